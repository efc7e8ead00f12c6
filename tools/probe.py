"""Probes what a frozen checkpoint knows of songs, in the manner of MARBLE.

  python tools/probe.py runs/stage1 --data data/probing --labels labels.jsonl \
    --track mixture --out runs/probe.json

reads codebook 0 of one track of prepared songs (see tools/prepare_songs.py)
into the model, pools the states of every layer over time, and fits linear
probes on them (yue_jax/evaluation/probes.py). A line of the labels is a song:

  {"id": "0", "group": "some artist", "label": "jazz"}

A label that is a number is regressed, one that is a string classified. Songs of
one group are never in two parts; without "group", every song is its own.
--untrained probes the same model with weights that were drawn anew, which is
what a probe can get out of the codes themselves.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import jax
import numpy as np

from yue_jax import config, sharding
from yue_jax.data.dataset import open_dataset
from yue_jax.data.records import TRACKS, decode_song_record
from yue_jax.hidden_states import song_states
from yue_jax.manifest import read_rows
from yue_jax.train.state import decoder_of, init_params
from yue_jax.weights import load_weights

try:
  from yue_jax.evaluation.probes import probe_classes, probe_numbers
except ImportError as error:
  sys.exit(f"probe: {error}; pip install 'yue_jax[eval]'")


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    found = _probe(args)
  except (ValueError, OSError) as error:
    sys.exit(f"probe: {error}")
  text = json.dumps(found, indent=1) + "\n"
  if args.out is not None:
    args.out.write_text(text)
  for name, probe in found.items():
    layers = " ".join(f"{score:.3f}" for score in probe["layers"])
    test = probe["test"]
    print(
      f"{name}: {probe['metric']} {test['value']:.3f}"
      f" [{test['low']:.3f}, {test['high']:.3f}] at layer {probe['layer']},"
      f" chance {probe['chance']:.3f}; by layer, in validation: {layers}"
    )


def _probe(args: argparse.Namespace) -> dict[str, dict]:
  rows = _labels(args.labels)
  songs = _songs(args, rows)
  labels = [rows[name]["label"] for name in songs]
  groups = [str(rows[name].get("group", name)) for name in songs]
  mesh = sharding.make_mesh(config.MeshConfig(), jax.devices()[:1])
  weights = load_weights(args.checkpoint, mesh, dtype=None)
  with jax.set_mesh(mesh):
    models = {"trained": weights}
    if args.untrained:
      params = init_params(weights.model, seed=args.seed)
      models["untrained"] = dataclasses.replace(weights, params=params)
    states = {
      name: song_states(
        decoder_of(model.params, model.model),
        list(songs.values()),
        vocab=weights.vocab,
        frames=args.frames,
      )
      for name, model in models.items()
    }
  function = probe_classes if isinstance(labels[0], str) else probe_numbers
  return {
    name: dataclasses.asdict(function(array, labels, groups, seed=args.seed))
    for name, array in states.items()
  }


def _labels(path: pathlib.Path) -> dict[str, dict]:
  rows = read_rows(path)
  if not rows:
    raise ValueError(f"{path} has no labels; expected a JSON object a line")
  for number, row in enumerate(rows, start=1):
    if not {"id", "label"} <= row.keys():
      raise ValueError(f"{path}, line {number}: expected an id and a label")
  if len({isinstance(row["label"], str) for row in rows}) > 1:
    raise ValueError(f"{path}: labels are strings and numbers; expected either")
  labels = {row["id"]: row for row in rows}
  if len(labels) < len(rows):
    raise ValueError(f"{path}: {len(rows) - len(labels)} songs have two labels")
  return labels


def _songs(args: argparse.Namespace, rows: dict) -> dict[str, np.ndarray]:
  """Codes of the songs that have labels, by id."""
  found = {}
  for record in open_dataset(args.data).songs:
    song = decode_song_record(record)
    if song.id in rows and args.track in song.tracks:
      found[song.id] = song.tracks[args.track]
  if missing := sorted(rows.keys() - found.keys()):
    raise ValueError(
      f"{args.data} has no {args.track} of {len(missing)} songs with labels,"
      f" such as {missing[:3]}"
    )
  return found


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("checkpoint", help="run directory or checkpoint")
  add("--data", type=pathlib.Path, required=True, help="prepared songs")
  add("--labels", type=pathlib.Path, required=True, help="JSON lines")
  add("--track", choices=TRACKS, default="mixture", help="to read [mixture]")
  add("--frames", type=int, default=1500, help="of each song [1500, 30 s]")
  add("--untrained", action="store_true", help="new weights as well")
  add("--seed", type=int, default=0, help="of split and new weights [0]")
  add("--out", type=pathlib.Path, help="JSON file to write")
  return parser


if __name__ == "__main__":
  main()
