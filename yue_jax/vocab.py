"""The token-id map as arithmetic, and the stream every token belongs to.

A vocabulary is text, then 22 special tokens, then codec blocks, in this order
and without gaps; everything else follows by addition. YuE MM v0.2:

       0 .. 31,999  text (LLaMA BPE)
  32,000 .. 32,021  <EOD> <SOA> <EOA> ... <xcodec> <stage_2> ... special tokens
  32,022 .. 57,621  dac_16k, dac_44k, xcodec (12 codebooks of 1,024)
  57,622 .. 83,733  mert, hubert and semanticodec blocks (unused by the stages)
  83,734 .. 83,737  four ids of the training wrapper, never in a document

Every range here is half-open. A small world uses `Vocab.small`: the same
order with less text and one codec block. Standard library only.
"""

from collections.abc import Mapping
import dataclasses
import enum
import functools
import hashlib
import json
from typing import Any, Self

SPECIALS = (
  "EOD",
  "SOA",
  "EOA",
  "SOI",
  "EOI",
  "SOV",
  "EOV",
  "s_local",
  "e_local",
  "s_global",
  "e_global",
  "semantic",
  "acoustic",
  "stage_1",
  "dac_16k",
  "dac_44k",
  "xcodec",
  "stage_2",
  "semantic_mert",
  "semantic_hubert",
  "visual",
  "semanticodec",
)
_PLACES = {name: place for place, name in enumerate(SPECIALS)}
WRAPPER_IDS = 4  # CLS, SEP, MASK, PAD, appended by the released trainer


class Stream(enum.IntEnum):
  """What a token is, for loss weights and metrics.

  MARK covers special tokens and the phrases around sections; REFERENCE the
  codec tokens of an in-context clip. TEXT is text that stands for the first
  time, RESTATED the lyrics of a section that the head already gave: a model
  that finds its place in the lyrics predicts these, and those never. In a
  residual window the leading codebook-0 tokens belong to their track, those in
  the frames to CODEBOOK_k.
  """

  PAD = 0
  TEXT = 1
  MARK = 2
  REFERENCE = 3
  VOCAL = 4
  BACKING = 5
  MIXTURE = 6
  CODEBOOK_0 = 7
  CODEBOOK_1 = 8
  CODEBOOK_2 = 9
  CODEBOOK_3 = 10
  CODEBOOK_4 = 11
  CODEBOOK_5 = 12
  CODEBOOK_6 = 13
  CODEBOOK_7 = 14
  RESTATED = 15


MAX_CODEBOOKS = Stream.CODEBOOK_7 - Stream.CODEBOOK_0 + 1  # with a stream


@dataclasses.dataclass(frozen=True)
class CodecBlock:
  """`codebooks` codebooks of `size` codes each, one after the other."""

  name: str
  codebooks: int
  size: int

  def __post_init__(self):
    for field in ("codebooks", "size"):
      value = getattr(self, field)
      if type(value) is not int or value < 1:
        raise ValueError(
          f"codec block {self.name!r}: {field}={value!r}, "
          "expected a positive integer"
        )

  @property
  def ids(self) -> int:
    return self.codebooks * self.size


RELEASED_BLOCKS = (
  CodecBlock("dac_16k", 4, 1024),
  CodecBlock("dac_44k", 9, 1024),
  CodecBlock("xcodec", 12, 1024),
  CodecBlock("semantic_mert", 1, 1024),
  CodecBlock("semantic_hubert", 1, 512),
  CodecBlock("semanticodec_semantic", 1, 16_384),
  CodecBlock("semanticodec_acoustic", 1, 8_192),
)


@dataclasses.dataclass(frozen=True)
class Vocab:
  """Ids of text, special tokens and codec codebooks.

  Example (as released): `Vocab().codebook(1)` is `range(46_358, 47_382)`,
  since 32,000 + 22 + (4 + 9 + 1) * 1,024 = 46,358.
  """

  text_size: int = 32_000
  codec_blocks: tuple[CodecBlock, ...] = RELEASED_BLOCKS

  def __post_init__(self):
    if type(self.text_size) is not int or self.text_size < 1:
      raise ValueError(
        f"text_size={self.text_size!r}, expected a positive integer"
      )
    names = [block.name for block in self.codec_blocks]
    if len(set(names)) != len(names):
      raise ValueError(f"codec block names must differ, got {names}")

  @classmethod
  def small(
    cls, text_size: int, *, codes: int = 1024, codebooks: int = 8
  ) -> Self:
    """A vocabulary with nothing but an xcodec block after the specials."""
    return cls(text_size, (CodecBlock("xcodec", codebooks, codes),))

  @property
  def text(self) -> range:
    return range(self.text_size)

  @property
  def specials(self) -> range:
    return range(self.text_size, self.text_size + len(SPECIALS))

  def special(self, name: str) -> int:
    """Id of the special token `<name>`."""
    if name not in _PLACES:
      raise KeyError(f"no special token {name!r}; there are {SPECIALS}")
    return self.text_size + _PLACES[name]

  @functools.cached_property
  def eod(self) -> int:
    return self.special("EOD")

  @functools.cached_property
  def soa(self) -> int:
    return self.special("SOA")

  @functools.cached_property
  def eoa(self) -> int:
    return self.special("EOA")

  @functools.cached_property
  def xcodec(self) -> int:
    return self.special("xcodec")

  @functools.cached_property
  def stage_1(self) -> int:
    return self.special("stage_1")

  @functools.cached_property
  def stage_2(self) -> int:
    return self.special("stage_2")

  def codec(self, block: str = "xcodec") -> range:
    """All ids of one codec block."""
    return self._ranges[block][1]

  def codebook(self, k: int, block: str = "xcodec") -> range:
    """Ids of codebook `k`; IndexError when the block has no such codebook."""
    cfg, ids = self._ranges[block]
    if not 0 <= k < cfg.codebooks:
      raise IndexError(f"codebook {k} of {block}, which has {cfg.codebooks}")
    return ids[k * cfg.size : (k + 1) * cfg.size]

  def codes(self, block: str = "xcodec") -> int:
    """Number of codes in one codebook."""
    return self._ranges[block][0].size

  def codebooks(self, block: str = "xcodec") -> int:
    return self._ranges[block][0].codebooks

  @property
  def window_codebooks(self) -> int:
    """Codebooks of a window: those that have a stream of their own."""
    return min(self.codebooks(), MAX_CODEBOOKS)

  @property
  def size(self) -> int:
    """Number of pieces of the tokenizer (83,734 as released)."""
    return self.specials.stop + sum(block.ids for block in self.codec_blocks)

  def padded_size(self, multiple: int) -> int:
    """Rows of an embedding: size plus wrapper ids, rounded up to `multiple`.

    As released: 128 -> 83,840 (stage 2), 256 -> 83,968 (stage 1).
    """
    return -(-(self.size + WRAPPER_IDS) // multiple) * multiple

  def check_tokenizer(self, pieces: int) -> None:
    """ValueError unless a tokenizer of so many pieces fits this vocabulary.

    A tokenizer holds the text alone or, as YuE's own, every id there is.
    """
    if pieces not in (self.text_size, self.size):
      raise ValueError(
        f"the tokenizer has {pieces} pieces, the vocabulary expects "
        f"{self.text_size} (its text) or {self.size} (all of it); "
        "use the tokenizer and the vocabulary that belong together"
      )

  def to_json(self) -> dict[str, Any]:
    return {
      "text_size": self.text_size,
      "codec_blocks": [dataclasses.asdict(b) for b in self.codec_blocks],
    }

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Inverse of `to_json`; ValueError on unknown or missing keys."""
    _expect_keys("vocabulary", cls, fields)
    for block in fields["codec_blocks"]:
      _expect_keys("codec block", CodecBlock, block)
    blocks = tuple(CodecBlock(**block) for block in fields["codec_blocks"])
    return cls(fields["text_size"], blocks)

  def fingerprint(self) -> str:
    """Twelve hex digits that differ whenever the id map does."""
    text = json.dumps(self.to_json() | {"specials": SPECIALS}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

  @functools.cached_property
  def _ranges(self) -> dict[str, tuple[CodecBlock, range]]:
    ranges, start = {}, self.specials.stop
    for block in self.codec_blocks:
      ranges[block.name] = (block, range(start, start + block.ids))
      start += block.ids
    return ranges


RELEASED = Vocab()


def codebook_stream(k: int) -> Stream:
  """Stream of the tokens of codebook `k` inside a window's frames."""
  if not 0 <= k < MAX_CODEBOOKS:
    raise IndexError(f"codebook {k}; streams exist for 0..{MAX_CODEBOOKS - 1}")
  return Stream(Stream.CODEBOOK_0 + k)


def _expect_keys(what: str, cls: type, fields: Mapping[str, Any]) -> None:
  expected = {field.name for field in dataclasses.fields(cls)}
  if set(fields) != expected:
    raise ValueError(
      f"{what}: expected the keys {sorted(expected)}, got {sorted(fields)}"
    )
