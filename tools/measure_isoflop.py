"""Measures how far IsoFLOP parabolas are off, on laws that are known.

  python tools/measure_isoflop.py

plants laws in tables of runs, without noise and with it, and recommends sizes
by parabolas; with noise, also by the law fitted to the same runs. Writes
isoflop.json with all numbers, and from it isoflop.md and isoflop.png, into
--out. A few minutes. --from_results writes page and picture again from
isoflop.json.
"""

import argparse
import json
import pathlib

from yue_jax.progress import track
from yue_jax.scaling import bias, bias_page

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs")
  parser.add_argument(
    "--tables", type=int, default=40, help="with noise, for each grid"
  )
  parser.add_argument(
    "--from_results", action="store_true", help="measure nothing"
  )
  options = parser.parse_args()
  options.out.mkdir(parents=True, exist_ok=True)
  results = options.out / "isoflop.json"
  if not options.from_results:
    text = json.dumps(_measure(options.tables), indent=1, allow_nan=False)
    results.write_text(text + "\n")
  bias_page.write(json.loads(results.read_text()), options.out)
  print(options.out / "isoflop.md")


def _measure(tables: int) -> dict[str, list]:
  grids = track(bias.TRIED, len(bias.TRIED), "grids", "with noise")
  return {
    "noiseless": list(bias.noiseless()),
    "noisy": [bias.noisy(law, grid, tables) for law, grid in grids],
  }


if __name__ == "__main__":
  main()
