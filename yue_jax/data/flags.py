"""Command-line flags that name a vocabulary, for the tools that read songs.

(none)                         the released vocabulary
--small-vocab                  text as large as the tokenizer, then one codec
                               block of 8 codebooks of 1024 codes
--small-vocab --codes 160 --codebooks 8
"""

import argparse

from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import RELEASED, Vocab


def add_vocabulary_flags(parser: argparse.ArgumentParser) -> None:
  add = parser.add_argument
  add(
    "--small-vocab",
    action="store_true",
    help="text as large as the tokenizer and one codec block, in place of the"
    " released vocabulary",
  )
  add("--codes", type=int, help="in a codebook of a small vocabulary [1024]")
  add("--codebooks", type=int, help="of a small vocabulary [8]")


def vocabulary(args: argparse.Namespace, tokenizer: Tokenizer) -> Vocab:
  """The vocabulary the flags name; ValueError when they contradict."""
  sizes = {"codes": args.codes, "codebooks": args.codebooks}
  given = {name: size for name, size in sizes.items() if size is not None}
  if given and not args.small_vocab:
    raise ValueError(
      "--codes and --codebooks describe a small vocabulary; add --small-vocab"
    )
  for name, size in given.items():
    if size < 1:
      raise ValueError(f"--{name}={size}, expected 1 or more")
  if not args.small_vocab:
    return RELEASED
  return Vocab.small(tokenizer.size, **given)
