"""Draws what a demo has learned.

  python tools/plot_demo.py runs/demo

writes demo.png into that directory: held-out losses of both stages against
their floors, and one generated song as a piano roll with its words.
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from yue_jax.metrics import read_metrics
from yue_jax.world import corpus, manifest


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("out", type=pathlib.Path, help="directory of a demo")
  out = parser.parse_args().out
  summary = json.loads((out / "summary.json").read_text())
  figure = plt.figure(figsize=(12, 9), layout="constrained")
  grid = figure.add_gridspec(3, 2, height_ratios=(4, 4, 2))
  _draw_losses(
    figure.add_subplot(grid[0, 0]),
    out / "stage1",
    summary["stage1"],
    ("vocal", "backing"),
  )
  _draw_losses(
    figure.add_subplot(grid[0, 1]),
    out / "stage2",
    summary["stage2"],
    ("codebook_0", "codebook_1", "codebook_7"),
  )
  world = corpus.read_world(out / "world/world.json")
  folder = min((out / "songs").glob("*/song.json")).parent
  song = json.loads((folder / "song.json").read_text())
  vocal = figure.add_subplot(grid[1, :])
  _draw_vocal(vocal, world, song, np.load(folder / "vtrack.npy")[0])
  backing = figure.add_subplot(grid[2, :], sharex=vocal)
  _draw_backing(backing, world, song, np.load(folder / "itrack.npy")[0])
  figure.savefig(out / "demo.png", dpi=110)
  print(out / "demo.png")


def _draw_losses(axes, run_dir, table, streams) -> None:
  """Training curves, the last evaluation, and the floors as dashes."""
  records = read_metrics(run_dir / "metrics.jsonl")
  for number, stream in enumerate(streams):
    name, color = f"loss/{stream}", f"C{number}"
    train = [(r["step"], r[name]) for r in records if r["kind"] == "train"]
    held_out = [
      (r["step"], r[name]) for r in records if r["kind"] == "eval/heldout"
    ]
    axes.plot(*zip(*train, strict=True), color=color, alpha=0.35, lw=0.8)
    axes.plot(*zip(*held_out, strict=True), "o-", color=color, label=stream)
    axes.axhline(table["floor"][stream], color=color, ls="--", lw=1)
    axes.axhline(table["baseline"][stream], color=color, ls=":", lw=1)
  axes.set(
    title=f"{run_dir.name}: dots held out, dashes floor, dotted baseline",
    xlabel="step",
    ylabel="nats per token",
    ylim=(0, None),
  )
  axes.legend()


def _draw_vocal(axes, world, song, codes) -> None:
  """One row per syllable; the words read back stand above their section."""
  cfg = world.cfg
  sung = codes < cfg.vocal_codes
  syllable = codes % (2 * cfg.syllables) // 2
  onset = codes % 2 == 0
  for frame in np.flatnonzero(sung):
    axes.barh(
      syllable[frame],
      1,
      left=frame,
      height=0.9,
      color="C3" if onset[frame] else "C1",
    )
  bounds = np.concatenate([[0], np.cumsum(song["frames"])])
  for number, text in enumerate(song["sections"]):
    label, true = manifest.parse_section(world, text)
    words = song["words"][number]
    right = words == [world.words[w] for w in true]
    axes.axvline(bounds[number], color="black", lw=1)
    axes.text(
      bounds[number] + 0.5,
      cfg.syllables + 0.2,
      f"[{cfg.labels[label]}] lyrics: {' '.join(world.words[w] for w in true)}"
      f"\nsung: {' '.join(words)}",
      color="darkgreen" if right else "darkred",
    )
  axes.set(
    title=f"a generated song ({song['tags']}), red where a syllable begins\n\n",
    ylabel="syllable sung",
    ylim=(-0.7, cfg.syllables),
    yticks=range(cfg.syllables),
  )
  axes.grid(axis="y", alpha=0.2)


def _draw_backing(axes, world, song, codes) -> None:
  cfg = world.cfg
  played = codes >= cfg.vocal_codes
  chord = (codes - cfg.vocal_codes) // cfg.beats
  frames = np.flatnonzero(played)
  axes.barh(chord[frames], 1, left=frames, height=0.9, color="C0")
  for bound in np.cumsum(song["frames"])[:-1]:
    axes.axvline(bound, color="black", lw=1)
  axes.set(
    xlabel="frame (20 ms)",
    ylabel="chord played",
    ylim=(-0.7, cfg.chords),
    yticks=range(cfg.chords),
  )


if __name__ == "__main__":
  main()
