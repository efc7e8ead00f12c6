"""Sums up a demo: python tools/report_demo.py runs/demo.

Reads what the steps of tools/demo.py left behind, writes summary.json and
prints it as a table. With --max-error-rate and --min-closed it ends with an
error when the demo missed them.
"""

import argparse
import json
import pathlib
import sys

import score_world

from yue_jax.metrics import read_metrics


def main() -> None:
  args = _parser().parse_args()
  try:
    summary = summarise(args.demo)
  except (ValueError, OSError) as error:
    sys.exit(f"report_demo: {error}")
  text = json.dumps(summary, indent=2) + "\n"
  (args.demo / "summary.json").write_text(text)
  print("\n" + "\n".join(table(summary)))
  print(f"to play: {args.demo}/wav, *.wav as sung, *.true.wav as it was\n")
  if missed := misses(summary, args.max_error_rate, args.min_closed):
    sys.exit("report_demo: missed " + "; ".join(missed))


def summarise(demo: pathlib.Path) -> dict:
  """The figures of a finished demo, by name."""

  def read(name: str) -> dict:
    return json.loads((demo / name).read_text())

  songs, compared = read("songs/songs.json"), read("compare_torch.json")
  return {
    **read("scores.json"),
    "lyric_error_rate": songs["lyric_error_rate"],
    "lyric_error_rate_untrained": songs["lyric_error_rate_untrained"],
    "residual_agreement": songs["residual_agreement"],
    "logits_max_abs_difference": max(
      (stage["max_abs_difference"] for stage in compared.values()), default=None
    ),
    "resumed_bit_exact": resumed_bit_exact(demo),
    "seconds": read("steps.json"),
  }


def resumed_bit_exact(demo: pathlib.Path) -> bool:
  """Whether the killed run repeated the undisturbed one, bit for bit.

  True only if it was killed past a checkpoint, went on from that, and every
  loss and gradient norm of the undisturbed run came again.
  """
  undisturbed, killed = (
    {
      record["step"]: (record["loss"], record["grad_norm"])
      for record in read_metrics(demo / run / "metrics.jsonl")
      if record["kind"] == "train"
    }
    for run in ("stage1_undisturbed", "stage1")
  )
  note = json.loads((demo / "killed.json").read_text())
  return (
    0 < note["saved_step"] < note["killed_after_step"] < max(undisturbed)
    and undisturbed.items() <= killed.items()
  )


def table(summary: dict) -> list[str]:
  """The figures for reading."""
  difference = summary["logits_max_abs_difference"]
  compared = "no PyTorch here" if difference is None else f"{difference:.1e}"
  minutes = sum(summary["seconds"].values()) / 60
  return [
    "Nats per token on held-out songs, and how much of the gap between",
    "baseline and floor is closed:",
    "",
    "stage 1",
    *score_world.lines(summary["stage1"]),
    "",
    "stage 2",
    *score_world.lines(summary["stage2"]),
    "",
    f"lyric error rate, unseen lyrics    {summary['lyric_error_rate']:.3f}"
    f" (untrained {summary['lyric_error_rate_untrained']:.3f})",
    f"residual codes as the world's      {summary['residual_agreement']:.3f}",
    f"largest logit difference, PyTorch  {compared}",
    "killed and continued bit for bit   "
    + ("yes" if summary["resumed_bit_exact"] else "NO"),
    "seconds  "
    + ", ".join(f"{k} {v:.0f}" for k, v in summary["seconds"].items()),
    f"in all   {minutes:.1f} minutes",
  ]


def misses(
  summary: dict, max_error_rate: float | None, min_closed: float | None
) -> list[str]:
  """What falls short of the targets, in words."""
  missed = [] if summary["resumed_bit_exact"] else ["a bit-exact continuation"]
  rate = summary["lyric_error_rate"]
  if max_error_rate is not None and rate > max_error_rate:
    missed.append(f"lyric error rate {rate:.3f}, target {max_error_rate}")
  for stage in ("stage1", "stage2") if min_closed is not None else ():
    for stream, closed in score_world.closed(summary[stage]).items():
      if closed < min_closed:
        missed.append(f"{stage} {stream} {closed:.1%}, target {min_closed:.0%}")
  return missed


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("demo", type=pathlib.Path, help="directory of a finished demo")
  add("--max-error-rate", type=float, help="of the lyrics, at most")
  add("--min-closed", type=float, help="share of the gap, of every stream")
  return parser


if __name__ == "__main__":
  main()
