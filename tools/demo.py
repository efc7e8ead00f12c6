"""The whole way in the small world, by one command: make demo.

Makes songs whose every probability is known, prepares them, trains both
stages on a sharded mesh of two devices (stage 1 is killed and continues),
exports both to Hugging Face folders, compares these with PyTorch, generates
new songs from unseen lyrics, reads their words back and makes some audible.
Every step is a command of its own, printed before it runs. An interrupted demo
continues where it stopped; remove the directory to start anew.

Writes OUT/summary.json, OUT/demo.png, OUT/report.html and OUT/wav, and ends
with a table.
"""

import argparse
from collections.abc import Callable
import dataclasses
import importlib.util
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

from yue_jax.checkpoint import find_checkpoint
from yue_jax.metrics import read_metrics
from yue_jax.processes import cpu_environment

ROOT = pathlib.Path(__file__).resolve().parent.parent
AUDIBLE = 8  # songs


@dataclasses.dataclass(frozen=True)
class Size:
  """How much of everything; the rest is in the two experiment files.

  Attributes:
    variant: argument of the experiment files.
    train_songs: to learn from.
    heldout_songs: to measure losses on.
    generated_songs: from lyrics of held-out songs.
    targets: arguments of tools/report_demo.py.
    replayed: steps of the run that is never killed. The other one is saved
      every third of them, and killed some time after its first save.
  """

  variant: str
  train_songs: int
  heldout_songs: int
  generated_songs: int
  targets: tuple[str, ...] = ()
  replayed: int = 120


SIZES = {
  "demo": Size(
    "short", 10_000, 256, 64, ("--max-error-rate=0.3", "--min-closed=0.7")
  ),
  "long": Size(
    "long", 20_000, 512, 128, ("--max-error-rate=0.1", "--min-closed=0.9")
  ),
}


class Demo:
  """The steps, in order; finished ones are not run again."""

  def __init__(self, out: pathlib.Path, size: Size, overrides: list[str]):
    self.out, self.size, self.overrides = out, size, overrides
    out.mkdir(parents=True, exist_ok=True)
    self._done_file = out / "steps.json"
    self.seconds: dict[str, float] = {}
    if self._done_file.exists():
      self.seconds = json.loads(self._done_file.read_text())

  def run(self) -> None:
    steps: dict[str, Callable[[], None]] = {
      "world": self.make_world,
      "prepare": self.prepare,
      "stage1_undisturbed": self.train_undisturbed,
      "stage1": self.train_stage1,
      "stage2": lambda: self.train("stage2"),
      "export": self.export,
      "compare_torch": self.compare_torch,
      "sing": self.sing,
      "generate": self.generate,
      "render": self.render,
      "score": self.score,
    }
    for number, (name, step) in enumerate(steps.items(), start=1):
      if name in self.seconds:
        continue
      print(f"\n[{number}/{len(steps)}] {name}", flush=True)
      began = time.monotonic()
      step()
      self.seconds[name] = round(time.monotonic() - began, 1)
      self._done_file.write_text(json.dumps(self.seconds, indent=2) + "\n")
    self.tool("report_demo", self.out, *self.size.targets)
    self.tool("plot_demo", self.out)
    self.tool(
      "report",
      self.out / "stage1",
      self.out / "stage2",
      f"--out={self.out}/report.html",
    )

  def make_world(self) -> None:
    world = self.fresh("world")
    self.tool(
      "make_world",
      world,
      f"--train-songs={self.size.train_songs}",
      f"--heldout-songs={self.size.heldout_songs}",
    )

  def prepare(self) -> None:
    shutil.rmtree(self.out / "data", ignore_errors=True)
    for split in ("train", "heldout"):
      self.tool(
        "prepare_songs",
        self.out / "world" / split / "songs.jsonl",
        f"--tokenizer={self.out}/world/tokenizer.model",
        f"--out={self.out}/data/{split}",
        "--small-vocab",
        "--codes=160",
        "--window=25",  # frames; one window fills a sample of demo_stage2.py
        "--windows-per-record=1",
        "--min-section-seconds=0.1",
      )

  def train_undisturbed(self) -> None:
    """The first steps of stage 1, to compare the killed run with."""
    command = self.training("stage1", self.fresh("stage1_undisturbed"))
    self.command([*command, f"--config.train.last_step={self.size.replayed}"])

  def train_stage1(self) -> None:
    """Killed once between two checkpoints, then continued to its end."""
    run_dir = self.out / "stage1"
    command = self.training("stage1", run_dir)
    if not (self.out / "killed.json").exists():
      self.fresh("stage1")
      every = self.size.replayed // 3
      at = random.choice(range(3 * every // 2, 9 * every // 4))
      self.kill_at(
        [*command, f"--config.train.checkpoint_every={every}"], run_dir, at
      )
    self.command(command)

  def train(self, stage: str) -> None:
    self.command(self.training(stage, self.out / stage))

  def export(self) -> None:
    for stage in ("stage1", "stage2"):
      self.tool(
        "export_hf",
        self.out / stage,
        self.fresh(f"hf/{stage}"),
        f"--tokenizer={self.out}/world/tokenizer.model",
      )

  def compare_torch(self) -> None:
    stages = ("stage1", "stage2")
    if importlib.util.find_spec("torch") is None:
      print("PyTorch is not installed: the exported weights are not compared")
      stages = ()
    results = {
      stage: json.loads(
        self.tool("compare_torch", self.out / stage, self.out / "hf" / stage)
      )
      for stage in stages
    }
    path = self.out / "compare_torch.json"
    path.write_text(json.dumps(results, indent=2) + "\n")

  def sing(self) -> None:
    self.tool(
      "sing_world",
      f"--world={self.out}/world",
      f"--stage1={self.out}/stage1",
      f"--stage2={self.out}/stage2",
      f"--out={self.fresh('songs')}",
      f"--songs={self.size.generated_songs}",
    )

  def generate(self) -> None:
    """One song by the front door, as one would with lyrics of one's own."""
    song = json.loads(min(self.out.glob("songs/*/song.json")).read_text())
    lyrics = self.out / "lyrics.txt"
    lyrics.write_text("".join(song["sections"]))
    self.tool(
      "generate",
      f"--stage1={self.out}/stage1",
      f"--stage2={self.out}/stage2",
      f"--tokenizer={self.out}/world/tokenizer.model",
      f"--lyrics={lyrics}",
      f"--tags={song['tags']}",
      f"--out={self.fresh('song')}",
      "--min-frames=1",
      "--max-frames=40",
      "--first-guidance=1",  # its unconditional branch was not trained here
      "--later-guidance=1",
      "--repetition-penalty=1",  # a syllable is a repetition
    )

  def render(self) -> None:
    """Songs to play, each with the true song of the same lyrics."""
    self.tool(
      "render_world",
      self.out / "songs",
      f"--world={self.out}/world",
      f"--out={self.fresh('wav')}",
      f"--count={AUDIBLE}",
    )

  def score(self) -> None:
    self.tool(
      "score_world",
      f"--world={self.out}/world",
      f"--data={self.out}/data/heldout",
      f"--stage1={self.out}/stage1",
      f"--stage2={self.out}/stage2",
      f"--out={self.out}/scores.json",
    )

  def training(self, stage: str, run_dir: pathlib.Path) -> list[str]:
    world = self.out / "world"
    rehearsal = [
      f"--config.rehearsal.songs={world}/heldout/songs.jsonl",
      f"--config.rehearsal.tokenizer={world}/tokenizer.model",
      f"--config.rehearsal.world={world}/world.json",
    ]
    return [
      sys.executable,
      "-m",
      "yue_jax.main",
      f"--config=experiments/demo_{stage}.py:{self.size.variant}",
      f"--run_dir={run_dir}",
      f"--config.phases[0].mixture.songs.data={self.out}/data/train",
      f"--config.data.evaluation.heldout.data={self.out}/data/heldout",
      *(rehearsal if stage == "stage1" else []),
      *self.overrides,
    ]

  def tool(self, name: str, *arguments) -> str:
    """Runs tools/NAME.py and returns the last line of what it printed."""
    command = [sys.executable, f"tools/{name}.py", *map(str, arguments)]
    return self.command(command).rstrip().rpartition("\n")[2]

  def command(self, command: list[str]) -> str:
    _show(command)
    done = subprocess.run(
      command,
      cwd=ROOT,
      env=cpu_environment(2, os.environ),
      stdout=subprocess.PIPE,
      text=True,
    )
    print(done.stdout, end="", flush=True)
    if done.returncode:
      sys.exit(f"demo: this command failed with {done.returncode}, see above")
    return done.stdout

  def kill_at(self, command: list[str], run_dir: pathlib.Path, step: int):
    """Ends a run by SIGKILL after `step` and notes where it stood."""
    _show(command)
    process = subprocess.Popen(
      command, cwd=ROOT, env=cpu_environment(2, os.environ)
    )
    reached = 0
    while reached < step and process.poll() is None:
      time.sleep(0.01)
      records = read_metrics(run_dir / "metrics.jsonl")
      reached = records[-1]["step"] if records else 0
    process.kill()
    if process.wait() != -signal.SIGKILL:
      sys.exit(f"demo: training ended by itself with {process.returncode}")
    saved = int(find_checkpoint(run_dir).name)
    note = {"killed_after_step": reached, "saved_step": saved}
    print(f"SIGKILL: {note}", flush=True)
    (self.out / "killed.json").write_text(json.dumps(note) + "\n")

  def fresh(self, name: str) -> pathlib.Path:
    """The path of an output that a broken-off step may have left behind."""
    path = self.out / name
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _show(command: list[str]) -> None:
  shown = ["python", *command[1:]]
  print("$ " + " ".join(shown), flush=True)


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", type=pathlib.Path, default="runs/demo")
  parser.add_argument(
    "--size", choices=SIZES, default="demo", help="long takes an hour"
  )
  parser.add_argument(
    "overrides",
    nargs="*",
    help="such as --config.train.last_step=150, after --",
  )
  args = parser.parse_args()
  Demo(args.out.absolute(), SIZES[args.size], args.overrides).run()


if __name__ == "__main__":
  main()
