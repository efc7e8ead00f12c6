"""Evaluates the songs of a demo, trained against untrained, and says whether
every metric moved the way it must.

  python tools/evaluate_demo.py runs/demo

makes folders of results in runs/demo/evaluation (of the trained model, of the
same model before training, and of real songs of the world that neither was
trained on), computes the metrics of tools/evaluate.py for each, draws them,
and checks claims with the intervals of their differences (claims.txt). As a
positive control, songs that the model was trained on are taken for generated
ones: they must be found out as copies. Ends with an error if a claim fails.
"""

import argparse
from collections.abc import Iterator
import itertools
import json
import pathlib
import shutil
import sys

import numpy as np

try:
  from yue_jax.evaluation import figures, measures, report
except ImportError as error:
  sys.exit(f"evaluate_demo: {error}; pip install 'yue_jax[eval]'")
from yue_jax.evaluation.comparison import (
  Claim,
  difference,
  frechet_difference,
)
from yue_jax.evaluation.estimates import Estimate
from yue_jax.evaluation.measures import Evaluation
from yue_jax.evaluation.results import Results
from yue_jax.evaluation.training_songs import index_dataset
from yue_jax.manifest import read_rows
from yue_jax.progress import track
from yue_jax.world import corpus, manifest
from yue_jax.world.generator import World
from yue_jax.world.results import Sung, write_results

NGRAM = 8  # frames: more than a word of any duration
TIME_STEP = 0.4  # seconds; songs last a little more than one
SYSTEMS = ("trained", "untrained", "training")


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  out = args.demo / "evaluation"
  try:
    found = _evaluate(args.demo, out)
    claims = list(check(found, out))
  except (ValueError, OSError) as error:
    sys.exit(f"evaluate_demo: {error}")
  lines = [str(claim) for claim in claims]
  (out / "claims.txt").write_text("\n".join(lines) + "\n")
  report.write_json(list(found.values()), out / "evaluation.json")
  table = report.table(list(found.values()))
  (out / "table.txt").write_text("\n".join(table) + "\n", "utf-8")
  figures.draw_all(list(found.values()), out)
  print("\n".join(lines))
  if failed := [claim for claim in claims if not claim.holds]:
    sys.exit(f"evaluate_demo: {len(failed)} of {len(claims)} claims fail")


def check(
  found: dict[str, Evaluation], folders: pathlib.Path
) -> Iterator[Claim]:
  """The claims: what training must have changed, and what it must not."""
  good, bad, copies = (found[name] for name in SYSTEMS)
  real = found["real"]

  def less(path: str) -> Estimate:
    return difference(good.samples[path], bad.samples[path])

  for path, name in (
    ("lyrics/word_error_rate", "word error rate"),
    ("lyrics/character_error_rate", "character error rate"),
    ("class_kl/genre", "KL of genres to songs of the same tag, nats"),
  ):
    yield Claim(f"{name}, trained less untrained", less(path), below=0)
  yield Claim(
    "word error rate at the end of songs, trained",
    [rate for rate in good.over_time[1] if rate is not None][-1],
    below=bad.measures["lyrics/word_error_rate"].low,
  )
  for model in ("sound", "words"):
    sets = (
      Results(folders / name).embeddings("embeddings")[model]
      for name in ("trained", "untrained", "real")
    )
    yield Claim(
      f"Fréchet distance of {model}, trained less untrained",
      frechet_difference(*sets),
      below=0,
    )
  path = "alignment/words"
  yield Claim(
    "alignment with lyrics, trained less untrained", less(path), above=0
  )
  path = "alignment/words/above_others"
  yield Claim("alignment beyond others' lyrics", good.measures[path], above=0.1)
  path = "duration/seconds"
  yield Claim(
    "seconds from the real duration, trained less untrained",
    difference(
      *(_distances(e.samples[path], real.samples[path]) for e in (good, bad))
    ),
    below=0,
  )
  yield Claim(
    "songs that hold a note, trained less untrained",
    difference(_hold(good), _hold(bad)),
    above=0,
  )
  truth = real.measures["vocal_range/semitones/mean"]
  yield Claim(
    "vocal range, semitones, trained",
    good.measures["vocal_range/semitones/mean"],
    above=0.7 * truth.value,
    below=1.3 * truth.value,
  )
  path = "memorisation/vocal/covered"
  yield Claim(
    "frames in phrases of training songs, trained less untrained",
    less(path),
    above=0,
  )
  for name in ("run", "aligned"):
    path = f"memorisation/vocal/{name}/above_null"
    copied = copies.measures[path]
    yield Claim(f"training songs found as copies by {name}", copied, above=0.9)
    yield Claim(
      f"songs found as copies by {name}, trained",
      good.measures[path],
      below=copied.low,
    )


def _evaluate(demo: pathlib.Path, out: pathlib.Path) -> dict[str, Evaluation]:
  world = corpus.read_world(demo / "world/world.json")
  shutil.rmtree(out, ignore_errors=True)
  generated = {
    "trained": list(_generated(world, demo / "songs")),
    "untrained": list(_generated(world, demo / "songs/untrained")),
  }
  count = len(generated["trained"])
  folders = {
    **generated,
    "training": list(
      itertools.islice(_drawn(world, demo / "world/train"), count)
    ),
    "real": list(_drawn(world, demo / "world/heldout")),
  }
  for name, songs in track(folders.items(), 4, "folders", "listening"):
    write_results(world, songs, out / name)
  indexes = index_dataset(
    demo / "data/train", out / "index", n=NGRAM, tracks=("vocal",)
  )
  real = Results(out / "real")
  training = measures.training_songs(indexes, real)
  return {
    name: measures.evaluate(
      Results(out / name),
      real,
      training=training,
      ngram=NGRAM,
      time_step=TIME_STEP,
    )
    for name in (*SYSTEMS, "real")
  }


def _generated(world: World, folder: pathlib.Path) -> Iterator[Sung]:
  """The songs that tools/sing_world.py has written."""
  paths = sorted(folder.glob("*/song.json"))
  if not paths:
    raise ValueError(
      f"{folder} has no songs; run tools/demo.py, or its step sing"
    )
  for path in paths:
    song = json.loads(path.read_text())
    texts = [manifest.parse_section(world, text) for text in song["sections"]]
    yield Sung(
      path.parent.name,
      [label for label, _ in texts],
      [words.tolist() for _, words in texts],
      song["frames"],
      *(
        np.load(path.with_name(f"{name}.npy"), allow_pickle=False)[0]
        for name in ("vtrack", "itrack")
      ),
    )


def _drawn(world: World, folder: pathlib.Path) -> Iterator[Sung]:
  """The songs of a split of the world."""
  for row in read_rows(folder / "songs.jsonl"):
    segments = row["splitted_lyrics"]["segmented_lyrics"]
    texts = [manifest.parse_section(world, s["line_content"]) for s in segments]
    tracks = (
      np.load(folder / row[key], allow_pickle=False)[0]
      for key in ("vocals_codec", "instrumental_codec")
    )
    yield Sung(
      row["id"],
      [label for label, _ in texts],
      [words.tolist() for _, words in texts],
      [s["codec_frame_end"] - s["codec_frame_start"] for s in segments],
      *tracks,
    )


def _distances(
  values: dict[str, float], truth: dict[str, float]
) -> dict[str, float]:
  return {song: abs(value - truth[song]) for song, value in values.items()}


def _hold(found: Evaluation) -> dict[str, float]:
  """1 for each song that has a vocal range, 0 for those that hold no note."""
  known = found.samples.get("vocal_range/semitones", {})
  return {
    song: float(song in known) for song in found.samples["duration/seconds"]
  }


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("demo", type=pathlib.Path, help="of a finished demo")
  return parser


if __name__ == "__main__":
  main()
