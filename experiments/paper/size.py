"""Following lyrics comes abruptly with scale, while the loss falls smoothly.

Paper    figure 12: with CoT the word error rate falls from about 70 % at 0.5B
         to about 20 % at 7B, which has also seen more tokens; no losses by
         size are shown.
Here     Models of five widths (three in the quick form) with two layers each,
         on cot, with tokens held to a law: so many for every parameter, as
         many as the model of the other claims has.
Holds    if more of the fall of the lyric error rate, over all sizes, happens
         between two neighbouring sizes than of the fall of the loss.
Command  make paper, or python tools/paper.py size
"""

import dataclasses
import itertools

from yue_jax.paper import setting
from yue_jax.paper.cases import All, Case, Claim, Finding, Panel
from yue_jax.paper.losses import Losses
from yue_jax.paper.results import Table, paired
from yue_jax.paper.singing import Singing

SECTIONS = 2
WIDTHS = {"quick": (16, 32, 64), "full": (16, 24, 32, 48, 64)}
VOCABULARY = 384  # rows of each embedding
ARM = "cot"


def parameters(width: int) -> int:
  """Of a model of two layers whose MLP is three times as wide, with both
  embeddings and without norms."""
  layers = setting.SHAPE.layers
  return 13 * width**2 * layers + 2 * VOCABULARY * width


def cases(form: str) -> list[Case]:
  songs = setting.HELDOUT[form]
  looks = All(
    (
      ("", Losses(kind="cot", sections=SECTIONS, songs=songs)),
      ("", Singing(kind="cot", sections=SECTIONS, songs=songs)),
    )
  )
  return [
    Case(
      arm=ARM,
      x=parameters(width),
      run=_run(form, seed, width),
      measure=looks,
    )
    for seed in setting.SEEDS[form]
    for width in WIDTHS[form]
  ]


def _run(form: str, seed: int, width: int):
  if width == setting.SHAPE.width:
    return setting.cot(form, seed)
  share = parameters(width) / parameters(setting.SHAPE.width)
  phase = setting.phase(
    form,
    {"cot": 1.0},
    steps=round(share * setting.STEPS[form]),
    peak=setting.PEAK * (setting.SHAPE.width / width) ** 0.5,
  )
  shape = dataclasses.replace(setting.SHAPE, width=width)
  return setting.run(form, seed, phase, shape=shape)


def abruptness(values: list[float]) -> float:
  """Share of a fall that is its largest step; 1 where there is one step.

  Example: 0.8, 0.7, 0.1, 0.0 -> 0.75.
  """
  steps = [a - b for a, b in itertools.pairwise(values)]
  whole = values[0] - values[-1]
  return max(steps) / whole if whole > 0 else 1 / len(steps)


def more_abrupt(table: Table) -> list[float]:
  by_seed = {
    name: [table.by_seed(name, ARM, x) for x in table.xs(ARM)]
    for name in ("error", "gap")
  }
  whole = [
    seed
    for seed in table.seeds
    if all(seed in found for rows in by_seed.values() for found in rows)
  ]
  return [
    abruptness([found[seed] for found in by_seed["error"]])
    - abruptness([found[seed] for found in by_seed["gap"]])
    for seed in whole
  ]


def falls(table: Table) -> list[float]:
  first, *_, last = table.xs(ARM)
  small, large = (table.by_seed("error", ARM, x) for x in (first, last))
  return paired(small, large)


CLAIM = Claim(
  name="size",
  title="Following lyrics comes abruptly with scale",
  text="""
Models of different widths, each with tokens in proportion to its parameters.
The gap is what a model pays above the exact floor, in nats a second of music.
Abruptness is the share of the whole fall from the smallest to the largest
model that lies between two neighbours.
""",
  cases=cases,
  findings=(
    Finding(
      statement="the fall of the lyric error rate is more abrupt than the"
      " loss's",
      differences=more_abrupt,
      least=0.1,
    ),
    Finding(
      statement="the largest model has fewer wrong words than the smallest",
      differences=falls,
      least=0.05,
    ),
  ),
  panels=(
    Panel(
      value="error",
      xlabel="parameters",
      ylabel="lyric error rate",
      log=True,
    ),
    Panel(
      value="gap",
      xlabel="parameters",
      ylabel="nats a second above the floor",
      log=True,
    ),
  ),
)
