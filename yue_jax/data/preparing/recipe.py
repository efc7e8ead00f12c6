"""The recipe of a data set: what it depends on besides the manifests."""

import dataclasses
from typing import Any

from yue_jax.encoding import INSTRUCTION
from yue_jax.songs import Rules
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import Vocab

CONTENTS = ("songs", "music", "speech")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """What a data set depends on besides the manifest.

  Attributes:
    tokenizer: of the lyrics and tags.
    vocab: the token-id map, into which the tokenizer must fit.
    rules: what songs must satisfy.
    window: frames of a window.
    windows_per_record: how many windows are read at once; as many as fit into
      a sample waste nothing (three of 300 frames in 8,192 tokens).
    content: what a row is: a song with lyrics by section ("songs"), tracks
      and tags ("music"), or a track and what is said in it ("speech").
    instruction: how every text of a song begins.
  """

  tokenizer: Tokenizer
  vocab: Vocab
  rules: Rules
  window: int = 300
  windows_per_record: int = 3
  content: str = "songs"
  instruction: str = INSTRUCTION

  def __post_init__(self):
    if self.content not in CONTENTS:
      raise ValueError(f"content={self.content!r}, expected one of {CONTENTS}")
    for name in ("window", "windows_per_record"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)}, expected 1 or more")
    if self.windows_per_record > 255:
      raise ValueError(
        f"windows_per_record={self.windows_per_record}, expected 255 at most"
      )
    self.vocab.check_tokenizer(self.tokenizer.size)

  @property
  def codebooks(self) -> int:
    return self.vocab.window_codebooks

  def to_json(self) -> dict[str, Any]:
    """As in dataset.json, with the tokenizer's fingerprint."""
    return {
      "content": self.content,
      "vocab": self.vocab.to_json(),
      "vocab_fingerprint": self.vocab.fingerprint(),
      "tokenizer_fingerprint": self.tokenizer.fingerprint(),
      "instruction": self.instruction,
      "window": self.window,
      "windows_per_record": self.windows_per_record,
      "codebooks": self.codebooks,
      "rules": dataclasses.asdict(self.rules),
    }
