"""Scores runs on a small world against what a perfect model would reach.

  python tools/score_world.py --world data/world --data data/heldout \
    --stage1 runs/stage1 --stage2 runs/stage2 --out runs/scores.json

writes, for each stage and stream, in nats per token of the held-out songs:
loss (the run's last evaluation), floor (of a perfect model, see
yue_jax/world/floors.py) and baseline (without the lyrics; unigrams for backing
and codebooks, see yue_jax/world/baselines.py). `audio` are all trained audio
streams together. The world and the data must be those of the runs.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

from yue_jax import config, documents
from yue_jax.data.dataset import open_dataset
from yue_jax.data.records import decode_song_record, decode_windows_record
from yue_jax.manifest import read_manifest
from yue_jax.metrics import read_metrics
from yue_jax.songs import Rules, song_from_row
from yue_jax.vocab import Stream
from yue_jax.world import baselines, corpus, floors, manifest, nats

AUDIO = frozenset(
  s.name.lower()
  for s in Stream
  if s not in (Stream.PAD, Stream.TEXT, Stream.RESTATED, Stream.MARK)
)
NEAR_ZERO = 0.1  # nats


def main() -> None:
  args = _parser().parse_args()
  try:
    scores = {
      "stage1": _score(args.stage1, *stage1_totals(args.world, args.data)),
      "stage2": _score(args.stage2, *stage2_totals(args.world, args.data)),
    }
  except (ValueError, OSError) as error:
    sys.exit(f"score_world: {error}")
  args.out.write_text(json.dumps(scores, indent=2) + "\n")
  for stage, table in scores.items():
    print(stage)
    for line in lines(table):
      print("  " + line)


def closed(table: dict[str, dict[str, float]]) -> dict[str, float]:
  """Share of the gap between baseline and floor that a stream has closed.

  Only for audio, and where the floor is not near zero: there any model that
  is good at all closes nearly everything, and nats say more.
  """
  return {
    stream: (table["baseline"][stream] - table["loss"][stream])
    / (table["baseline"][stream] - floor)
    for stream, floor in table["floor"].items()
    if stream in AUDIO and floor > NEAR_ZERO
  }


def lines(table: dict[str, dict[str, float]]) -> list[str]:
  """One line for each stream that has a floor."""
  rows = [f"{'stream':<12}{'loss':>8}{'floor':>8}{'baseline':>10}{'closed':>8}"]
  shares = closed(table)
  for stream, floor in table["floor"].items():
    loss, base = table["loss"][stream], table["baseline"][stream]
    share = f"{shares[stream]:.1%}" if stream in shares else ""
    row = f"{stream:<12}{loss:8.3f}{floor:8.3f}{base:10.3f}{share:>8}"
    rows.append(row.rstrip())
  return rows


def stage1_totals(world_dir, data_dir) -> tuple[nats.Totals, nats.Totals]:
  """Sums of floor and baseline over the held-out lyrics-to-song documents."""
  world = corpus.read_world(world_dir / "world.json")
  dataset = open_dataset(data_dir)
  heldout = list(
    _world_songs(world, world_dir / "heldout/songs.jsonl", dataset)
  )
  train = map(decode_song_record, open_dataset(data_dir.parent / "train").songs)
  unigram = baselines.unigram(
    np.concatenate([song.tracks["backing"] for song in train]),
    size=world.cfg.codes,
  )
  streams = [
    documents.cot(
      decode_song_record(record), dataset.vocab, phrases=dataset.phrases
    ).streams
    for record in dataset.songs
  ]
  return tuple(
    nats.add(d.totals(s) for d, s in zip(scored, streams, strict=True))
    for scored in (
      floors.cot(world, heldout),
      baselines.documents(world, heldout, backing=unigram),
    )
  )


def _world_songs(world, path: pathlib.Path, dataset):
  rules = Rules(**dataset.info["rules"])
  for _, row in read_manifest(path):
    song = song_from_row(row, path.parent, rules=rules, vocab=dataset.vocab)
    yield manifest.from_song(world, song)


def stage2_totals(world_dir, data_dir) -> tuple[nats.Totals, nats.Totals]:
  """Sums of floor and baseline over the held-out windows."""
  world = corpus.read_world(world_dir / "world.json")
  heldout, train = (
    np.concatenate([decode_windows_record(r) for r in open_dataset(d).windows])
    for d in (data_dir, data_dir.parent / "train")
  )
  unigrams = baselines.unigram(
    np.moveaxis(train, 1, 0).reshape(train.shape[1], -1), size=world.cfg.codes
  )
  return (
    nats.window_totals(floors.windows(world, heldout)),
    nats.window_totals(baselines.windows(heldout, unigrams=unigrams)),
  )


def _score(run_dir, floor: nats.Totals, baseline: nats.Totals) -> dict:
  """Losses beside floor and baseline; audio weighted by tokens."""
  cfg = config.from_config_dict(
    json.loads((run_dir / "config.json").read_text())
  )
  evaluations = [
    record
    for record in read_metrics(run_dir / "metrics.jsonl")
    if record["kind"] == "eval/heldout"
  ]
  if not evaluations:
    raise ValueError(f"{run_dir} holds no evaluation; has the run ended?")
  loss = {
    name.removeprefix("loss/"): value
    for name, value in evaluations[-1].items()
    if name.startswith("loss/")
  }
  tables = {
    "loss": loss,
    "floor": nats.per_token(floor),
    "baseline": nats.per_token(baseline),
  }
  trained = [s for s in floor if s in AUDIO and cfg.loss.weights.get(s)]
  tokens = {s: floor[s][1] for s in trained}
  for table in tables.values():
    total = sum(table[s] * tokens[s] for s in trained)
    table["audio"] = total / sum(tokens.values())
  return tables


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--world", type=pathlib.Path, required=True, help="by make_world.py")
  add(
    "--data",
    type=pathlib.Path,
    required=True,
    help="held-out songs, prepared; the training songs lie beside it in train/",
  )
  add("--stage1", type=pathlib.Path, required=True, help="run directory")
  add("--stage2", type=pathlib.Path, required=True, help="run directory")
  add("--out", type=pathlib.Path, required=True, help="JSON file to write")
  return parser


if __name__ == "__main__":
  main()
