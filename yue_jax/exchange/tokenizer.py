"""A SentencePiece model as a tokenizer.json, with equal ids.

Loaders of Hugging Face folders read this file (`AutoTokenizer`); left to
themselves with a tokenizer.model they rebuild the merges by piece number and
mark <s> and </s> as special, so that lyrics with two spaces in a row, or with
symbols of our own, get other ids than in training. Here the merges follow the
pieces' scores, and no text is special.
"""

from collections.abc import Iterator
import json
import pathlib
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

_SPACE = "▁"  # how SentencePiece writes a space
_NORMAL, _UNKNOWN, _USER_DEFINED = 1, 2, 4  # kinds of pieces
_BPE = 2  # kind of model


def write(source: pathlib.Path, folder: pathlib.Path, context: int) -> None:
  """Puts tokenizer.model, tokenizer.json and tokenizer_config.json there.

  Raises:
    ValueError: the file is no model, or not a BPE without normalisation.
  """
  model = source.read_bytes()
  described = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": context,
    "clean_up_tokenization_spaces": False,
  }
  contents = {"tokenizer.json": convert(model, str(source))}
  contents["tokenizer_config.json"] = described
  for name, content in contents.items():
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (folder / name).write_text(text + "\n", encoding="utf-8")
  (folder / "tokenizer.model").write_bytes(model)


def convert(model: bytes, name: str) -> dict[str, Any]:
  """Contents of tokenizer.json for a serialised SentencePiece model."""
  proto = _parse(model, name)
  _check(proto, name)
  spaces = [{"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}]
  strip = []
  if proto.normalizer_spec.add_dummy_prefix:
    spaces.insert(0, {"type": "Prepend", "prepend": _SPACE})
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
  unknown = [p.piece for p in proto.pieces if p.type == _UNKNOWN]
  return {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": list(_symbols(proto)),
    "normalizer": {"type": "Sequence", "normalizers": spaces},
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": {
      "type": "Sequence",
      "decoders": [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        *strip,
      ],
    },
    "model": {
      "type": "BPE",
      "dropout": None,
      "unk_token": unknown[0],
      "continuing_subword_prefix": None,
      "end_of_word_suffix": None,
      "fuse_unk": True,
      "byte_fallback": bool(proto.trainer_spec.byte_fallback),
      "ignore_merges": False,
      "vocab": {p.piece: id for id, p in enumerate(proto.pieces)},
      "merges": _merges(proto),
    },
  }


def _parse(model: bytes, name: str):
  try:
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
  except DecodeError:
    proto = None
  if proto is None or not proto.pieces:
    raise ValueError(
      f"{name} is no SentencePiece model; give the .model file that the"
      " training data were prepared with"
    )
  return proto


def _check(proto, name: str) -> None:
  normalizer = proto.normalizer_spec
  symbols = any(p.type == _USER_DEFINED for p in proto.pieces)
  for wrong, what in (
    (proto.trainer_spec.model_type != _BPE, "is not of type BPE"),
    (normalizer.precompiled_charsmap, "normalises characters"),
    (normalizer.remove_extra_whitespaces, "removes spaces"),
    (
      normalizer.add_dummy_prefix and symbols,
      "has user-defined symbols and adds a space in front",
    ),
  ):
    if wrong:
      raise ValueError(
        f"{name} {what}; no tokenizer.json with equal ids can be written for"
        " it: export without --tokenizer and ship the file by itself"
      )


def _symbols(proto) -> Iterator[dict[str, Any]]:
  """User-defined pieces: found in the text first, longest match first."""
  for id, piece in enumerate(proto.pieces):
    if piece.type == _USER_DEFINED:
      yield {
        "id": id,
        "content": piece.piece,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": True,
        "special": False,
      }


def _merges(proto) -> list[list[str]]:
  """Pairs of pieces that make a piece, in the order SentencePiece joins them.

  It always joins the pair whose whole has the highest score.
  """
  scores = {p.piece: p.score for p in proto.pieces if p.type == _NORMAL}
  ranked = sorted(scores, key=scores.get, reverse=True)
  return [
    [piece[:cut], piece[cut:]]
    for piece in ranked
    for cut in range(1, len(piece))
    if piece[:cut] in scores and piece[cut:] in scores
  ]
