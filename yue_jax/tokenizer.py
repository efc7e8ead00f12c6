"""Text to ids and back: SentencePiece behind a picklable wrapper.

Text is only ever text: "<SOA>" typed into lyrics becomes the pieces of those
five characters, never the special token. No begin-of-sentence id is added.
A SentencePiece processor cannot be sent to another process, so the wrapper
travels as the model's bytes and opens them again on arrival.
"""

from collections.abc import Iterable, Sequence
import hashlib
import io
import os
import pathlib

import sentencepiece


class Tokenizer:
  """The tokenizer of a SentencePiece .model file."""

  def __init__(self, path: str | os.PathLike[str]):
    """FileNotFoundError without the file, ValueError if it is no model."""
    self.path = pathlib.Path(path)
    self._model = self.path.read_bytes()
    self._processor = _open(self._model, self.path)

  def encode(self, text: str) -> list[int]:
    return self._processor.encode(text)

  def decode(self, ids: Sequence[int]) -> str:
    return self._processor.decode([int(id) for id in ids])

  @property
  def size(self) -> int:
    """Number of pieces, special ones included."""
    return self._processor.get_piece_size()

  def fingerprint(self) -> str:
    """Twelve hex digits that differ whenever the file does."""
    return hashlib.sha256(self._model).hexdigest()[:12]

  def check_fingerprint(self, expected: str, *, of: str) -> None:
    """ValueError unless this is the tokenizer that `of` was trained with.

    Another one of the same size would give ids that mean other text.
    """
    if self.fingerprint() != expected:
      raise ValueError(
        f"{of} was trained with tokenizer {expected}, but {self.path} is"
        f" {self.fingerprint()}; use the file that prepared its data"
      )

  def __getstate__(self):
    return self.path, self._model

  def __setstate__(self, state):
    self.path, self._model = state
    self._processor = _open(self._model, self.path)


def train_tokenizer(
  lines: Iterable[str],
  path: str | os.PathLike[str],
  *,
  size: int,
  symbols: Sequence[str] = (),
) -> Tokenizer:
  """Trains a LLaMA-like tokenizer of at most `size` pieces into `path`.

  BPE with byte fallback, text unchanged (spaces and newlines are kept, no
  leading space is added). Each of `symbols` is always one piece, longest
  match first; " word" stands for the word with the space before it.
  """
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(lines),
      model_writer=model,
      model_type="bpe",
      vocab_size=size,
      hard_vocab_limit=False,
      user_defined_symbols=[symbol.replace(" ", "▁") for symbol in symbols],
      byte_fallback=True,
      character_coverage=1.0,
      normalization_rule_name="identity",
      add_dummy_prefix=False,
      remove_extra_whitespaces=False,
      split_digits=True,
      num_threads=1,
      minloglevel=2,
    )
  except RuntimeError as error:
    raise ValueError(
      f"no tokenizer of size={size} with {len(symbols)} symbols; 256 pieces"
      f" are for bytes, 3 for control, and the rest must hold the symbols"
      f" and every character: {error}"
    ) from error
  pathlib.Path(path).write_bytes(model.getvalue())
  return Tokenizer(path)


def _open(
  model: bytes, path: pathlib.Path
) -> sentencepiece.SentencePieceProcessor:
  processor = sentencepiece.SentencePieceProcessor()
  try:
    processor.LoadFromSerializedProto(model)
  except RuntimeError as error:
    raise ValueError(f"{path} is no SentencePiece model: {error}") from error
  return processor
