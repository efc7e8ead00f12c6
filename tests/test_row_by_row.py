"""The restated preprocessing gives the released documents, id for id."""

import numpy as np

from benchmarks.row_by_row import encode_row
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import RELEASED


def test_documents_are_those_of_the_released_code(reference):
  songs = reference / "songs"
  tokenizer = Tokenizer(reference / "tokenizer.model")
  lines = (songs / "songs.q1.jsonl").read_text().splitlines()
  with np.load(songs / "golden" / "stage1_cot.npz") as golden:
    assert len(golden.files) == 2 * len(lines)
    for number, line in enumerate(lines):
      ids = encode_row(line, root=songs, tokenizer=tokenizer, vocab=RELEASED)
      np.testing.assert_array_equal(ids, golden[f"ids_{number}"])
