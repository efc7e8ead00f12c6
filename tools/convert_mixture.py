"""Turns a data mixture of the released finetuning code into a phase.

  python tools/convert_mixture.py mixture.yml --root finetune > phase.txt

prints a PhaseConfig for an experiment file. A mixture is YAML like this:

  TOKEN_COUNT_LOG_DIR: ./count_token_logs   # not needed, tokens are counted
  GLOBAL_BATCH_SIZE: 8                      # samples of a step
  SEQ_LEN: 8192                             # tokens of a sample
  1_ROUND:                                  # data sets that are read once
    - ./example/mmap/songs_cot_text_document.bin
  0.5_ROUND: [./example/mmap/more_text_document.bin]

Paths are relative to --root. The YAML does not say what sounds in a data set:
--kind does for all of them, --kind-of PATH=KIND for one. A path in several
lists is read the sum of their rounds.
"""

import argparse
from collections.abc import Iterator, Mapping
import dataclasses
import json
import pathlib
import re
import sys

import yaml

from yue_jax.data.megatron.files import MegatronDocuments
from yue_jax.data.megatron.source import KINDS

_SIZES = ("GLOBAL_BATCH_SIZE", "SEQ_LEN")
_NOT_NEEDED = ("TOKEN_COUNT_LOG_DIR",)
_ROUNDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)_ROUND")


@dataclasses.dataclass(frozen=True)
class Mixture:
  """What a YAML file says; rounds by path, in its order."""

  samples: int
  context: int
  rounds: dict[str, float]


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    mixture = read_mixture(args.mixture)
    kinds = _kinds(args, mixture)
    lines = list(_phase(args, mixture, kinds))
  except (OSError, ValueError) as error:
    sys.exit(f"convert_mixture: {error}")
  print("\n".join(lines))


def read_mixture(path: pathlib.Path) -> Mixture:
  """Reads a YAML file; ValueError for anything that is not understood."""
  text = path.read_text(encoding="utf-8")
  try:
    content = yaml.safe_load(text)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
  except yaml.YAMLError as error:
    raise ValueError(f"{path} is no YAML: {error}") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path}: expected keys and values, got {content!r:.60}")
  keys = [key.value for key, _ in root.value]  # of which a dict keeps one each
  twice = sorted({key for key in keys if keys.count(key) > 1})
  if twice:
    raise ValueError(f"{path} has {twice} more than once; join them")
  lists = [key for key in keys if _ROUNDS.fullmatch(key)]
  unknown = sorted(set(keys) - {*_SIZES, *_NOT_NEEDED, *lists})
  if unknown:
    raise ValueError(
      f"{path} has unknown keys {unknown}; known are {[*_SIZES, *_NOT_NEEDED]}"
      " and numbers with _ROUND behind"
    )
  if not lists:
    raise ValueError(f"{path} lists no data; expected a key like 1_ROUND")
  rounds: dict[str, float] = {}
  for key in lists:
    for name in _paths(path, key, content[key]):
      rounds[name] = rounds.get(name, 0.0) + _number_of_rounds(path, key)
  samples, context = (_size(path, key, content.get(key)) for key in _SIZES)
  return Mixture(samples, context, rounds)


def _size(path: pathlib.Path, key: str, value: object) -> int:
  if type(value) is not int or value < 1:
    raise ValueError(f"{path}: {key}={value!r}, expected a positive integer")
  return value


def _number_of_rounds(path: pathlib.Path, key: str) -> float:
  number = float(_ROUNDS.fullmatch(key)[1])
  if not number:
    raise ValueError(f"{path}: {key} reads nothing; leave it out")
  return number


def _paths(path: pathlib.Path, key: str, value: object) -> list[str]:
  """Paths of a list, each once, as in the released code."""
  if not isinstance(value, list) or not value:
    raise ValueError(f"{path}: {key}={value!r:.60}, expected a list of paths")
  for name in value:
    if not isinstance(name, str) or not name.endswith(".bin"):
      raise ValueError(f"{path}: {key} has {name!r}, expected a path to a .bin")
  return list(dict.fromkeys(value))


def _kinds(args: argparse.Namespace, mixture: Mixture) -> dict[str, str]:
  """Kind of every path of the mixture."""
  kinds = dict.fromkeys(mixture.rounds, args.kind)
  for pair in args.kind_of:
    name, _, kind = pair.rpartition("=")
    if name not in kinds or kind not in KINDS:
      raise ValueError(
        f"--kind-of={pair}: expected PATH=KIND, a path of {list(kinds)} and a"
        f" kind of {list(KINDS)}"
      )
    kinds[name] = kind
  return kinds


def _phase(
  args: argparse.Namespace, mixture: Mixture, kinds: Mapping[str, str]
) -> Iterator[str]:
  """Lines of Python that make the phase."""
  prefixes = {
    path: args.root / path.removesuffix(".bin") for path in mixture.rounds
  }
  sizes, tokens = {}, args.tokens
  if not tokens:
    sizes = {p: _count(prefix) for p, prefix in prefixes.items()}
    tokens = sum(
      _samples(sizes[path], rounds, mixture.context) * mixture.context
      for path, rounds in mixture.rounds.items()
    )
  yield f"# {args.mixture.name}, converted by tools/convert_mixture.py."
  yield "# The released trainer lets documents see those before them:"
  yield "# DataConfig(attend_across_documents=True). It names no rate; this is"
  yield "# the constant one of the paper, for full training."
  yield "PhaseConfig("
  yield f"  name={_quote(args.name)},"
  yield f"  tokens={tokens:_},"
  yield f"  context={mixture.context},"
  yield f"  samples={mixture.samples},"
  yield "  rate=RateConfig(peak=3e-4),"
  yield "  mixture={"
  for name, path in zip(_names(prefixes.values()), prefixes, strict=True):
    yield f"    {_quote(name)}: SourceConfig("
    yield f"      data={_quote(str(prefixes[path]))},"
    yield f"      kind={_quote(kinds[path])},"
    yield f"      rounds={mixture.rounds[path]},"
    yield '      packing="split",'
    if sizes:
      yield f"      expected_tokens={sizes[path]:_},"
    yield "    ),"
  yield "  },"
  yield ")"


def _quote(text: str) -> str:
  return json.dumps(text, ensure_ascii=False)


def _count(prefix: pathlib.Path) -> int:
  try:
    return MegatronDocuments(prefix).tokens
  except FileNotFoundError as error:
    raise FileNotFoundError(
      f"{error}; give --root, or --tokens if the data are elsewhere"
    ) from error


def _samples(tokens: int, rounds: float, context: int) -> int:
  """Samples that so many rounds of a data set fill, split at the context."""
  once = -(-tokens // context)
  return int(rounds) * once + round((rounds - int(rounds)) * once)


def _names(prefixes: Iterator[pathlib.Path]) -> Iterator[str]:
  """Names that a config can have as keys, all different."""
  used: dict[str, int] = {}
  for prefix in prefixes:
    name = re.sub(r"\W", "_", prefix.name)
    used[name] = used.get(name, 0) + 1
    yield f"{name}_{used[name]}" if used[name] > 1 else name


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("mixture", type=pathlib.Path, help="YAML")
  add(
    "--root",
    type=pathlib.Path,
    default=pathlib.Path(),
    help="folder that paths are relative to [the current one]",
  )
  add("--kind", choices=KINDS, default="megatron_dual", help="of all data sets")
  add(
    "--kind-of",
    action="append",
    default=[],
    metavar="PATH=KIND",
    help="kind of one data set, its path as in the YAML; may be repeated",
  )
  add("--name", default="finetune", help="of the phase")
  add("--tokens", type=int, help="of the phase [counted in the data sets]")
  return parser


if __name__ == "__main__":
  main()
