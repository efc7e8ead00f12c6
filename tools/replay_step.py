"""Takes one step of a run again, alone, and says what is in it.

  python tools/replay_step.py runs/stage1 --step=1234

reads the batch that the run read in that step, bit for bit, and the weights of
the last checkpoint before it, and prints: the loss and the gradient norm; loss,
sample and documents of every row; parameters whose weights or gradients are
not finite, layer by layer. --save keeps the batch as an .npz file.

The run's own mesh is used, unless --fsdp and --tensor name another one that
fits the devices here; losses then differ by rounding.
"""

import argparse
from collections.abc import Iterator
import pathlib
import sys

import jax
import numpy as np

from yue_jax.config import MeshConfig
from yue_jax.train.replay import Replay, broken_weights
from yue_jax.train.rows import Row


def main() -> None:
  args = _parser().parse_args()
  mesh = None
  if args.fsdp or args.tensor:
    mesh = MeshConfig(fsdp=args.fsdp or 1, tensor=args.tensor or 1)
  try:
    replay = Replay(args.run_dir, mesh=mesh)
    batch = replay.batch(args.step)
    params, saved = replay.weights(args.step)
  except (ValueError, OSError) as error:
    sys.exit(f"replay_step: {error}")
  if args.save:
    np.savez(args.save, **jax.device_get(batch))
  print(f"step {args.step} with the weights of step {saved}")
  for line in describe(replay, args.step, params, batch):
    print(line, flush=True)


def describe(replay: Replay, step: int, params, batch) -> Iterator[str]:
  """Lines of text."""
  for name, count in broken_weights(params).items():
    yield f"weights of {name}: {count} values are not finite"
  result, gradients = replay.take(params, batch)
  yield f"loss {result['loss']:.6f}, gradient norm {result['grad_norm']:.6g}"
  for name, found in gradients.items():
    if found["bad"].any():
      where = ""
      if found["bad"].ndim:
        where = f" in layers {np.flatnonzero(found['bad']).tolist()}"
      yield (
        f"gradient of {name}: {found['bad'].sum()} values are not finite{where}"
      )
  rows = replay.rows(step)
  losses = replay.loss_by_row(params, batch)
  for number, (row, loss) in enumerate(zip(rows, losses, strict=True)):
    yield f"row {number}: loss {loss:.4f}, {_origin(row)}"


def _origin(row: Row) -> str:
  pieces = ", ".join(
    f"{document} from token {start} on, {length}"
    for document, start, length in row.pieces
  )
  return (
    f"sample {row.sample} of the phase, {row.number} of {row.source!r}, epoch"
    f" {row.epoch}, documents {pieces}"
  )


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("run_dir", help="of the run; may be in a bucket")
  parser.add_argument("--step", type=int, required=True, help="counted from 1")
  parser.add_argument("--fsdp", type=int, help="devices along this axis")
  parser.add_argument("--tensor", type=int, help="devices along this axis")
  parser.add_argument("--save", type=pathlib.Path, help=".npz for the batch")
  return parser


if __name__ == "__main__":
  main()
