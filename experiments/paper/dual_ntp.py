"""Two tracks are learned better than their mixture where it masks the voice.

Paper    section 3.2.1 and figure 11: two 0.5B models on 20B tokens, dual-track
         NTP's training loss about 0.4 lower than that of NTP on the mixture.
         These are losses of unlike streams. And the louder the backing, the
         more words are lost in mixtures.
Here     Models on both tracks (cot) and on their mixture (cot_mixture) of the
         same songs, as many of them a step, as the backing drowns the vocal in
         0 to 3 of 4 frames. Streams are compared by what a model pays above
         the exact floor of its own stream, in nats a second of music; words
         by errors beyond those that the true sound has, since what is masked
         cannot be read.
Holds    if, where masking is heaviest, two tracks cost less above their floor.
Command  make paper, or python tools/paper.py dual_ntp
"""

from yue_jax.paper import setting
from yue_jax.paper.cases import All, Case, Claim, Finding, Panel
from yue_jax.paper.losses import Losses
from yue_jax.paper.results import Table, paired
from yue_jax.paper.singing import Singing

SECTIONS = 2
MASKING = {"quick": (0.0, 0.6), "full": (0.0, 0.25, 0.5, 0.75)}
CONTEXT = 88  # tokens of as much music of one track as 112 are of two
KINDS = {"two tracks": "cot", "mixture": "cot_mixture"}


def cases(form: str) -> list[Case]:
  return [
    Case(
      arm=arm,
      x=masking,
      run=_run(form, seed, arm, masking),
      measure=_looks(form, KINDS[arm]),
    )
    for seed in setting.SEEDS[form]
    for masking in MASKING[form]
    for arm in KINDS
  ]


def _run(form: str, seed: int, arm: str, masking: float):
  if arm == "two tracks":  # which no mask touches: one run at every x
    return setting.cot(form, seed)
  phase = setting.phase(form, {"cot_mixture": 1.0}, context=CONTEXT)
  corpus = setting.corpus(form, seed, masking=masking)
  return setting.run(form, seed, phase, corpus=corpus)


def _looks(form: str, kind: str) -> All:
  same = {"kind": kind, "sections": SECTIONS, "songs": setting.HELDOUT[form]}
  return All((("", Losses(**same)), ("", Singing(**same))))


def _excess(table: Table, arm: str, x: float) -> dict[int, float]:
  error, unreadable = (
    table.by_seed(name, arm, x) for name in ("error", "unreadable")
  )
  return {seed: error[seed] - unreadable[seed] for seed in error}


def cheaper(table: Table) -> list[float]:
  heaviest = table.xs("mixture")[-1]
  return table.differences("gap", of="mixture", minus="two tracks", x=heaviest)


def dearer_by_masking(table: Table) -> list[float]:
  none, *_, heaviest = table.xs("mixture")
  less, more = (table.by_seed("gap", "mixture", x) for x in (none, heaviest))
  return paired(more, less)


def fewer_wrong(table: Table) -> list[float]:
  heaviest = table.xs("mixture")[-1]
  ours, theirs = (_excess(table, arm, heaviest) for arm in KINDS)
  return paired(theirs, ours)


CLAIM = Claim(
  name="dual_ntp",
  title="Two tracks are learned better than a mixture that masks the voice",
  text="""
The same songs as two interleaved tracks and as one mixture, in which the
backing replaces the vocal in a given share of frames. The gap is what a model
pays above the exact floor of its own stream, in nats a second of music.
Unreadable is the lyric error rate of the held-out songs' own sound: what masks
hide, no model can sing.
""",
  cases=cases,
  findings=(
    Finding(
      statement="under the heaviest masking two tracks cost less above their"
      " floor than the mixture",
      differences=cheaper,
      least=0.5,
      unit="nats/s",
    ),
    Finding(
      statement="masking makes the mixture dearer above its floor",
      differences=dearer_by_masking,
      least=0.5,
      unit="nats/s",
    ),
    Finding(
      statement="under it two tracks have fewer wrong words beyond what the"
      " true sound has",
      differences=fewer_wrong,
      least=0.05,
    ),
  ),
  panels=(
    Panel(
      value="gap",
      xlabel="share of frames masked",
      ylabel="nats a second above the floor",
    ),
    Panel(
      value="error",
      xlabel="share of frames masked",
      ylabel="lyric error rate",
    ),
    Panel(
      value="unreadable",
      xlabel="share of frames masked",
      ylabel="of the true sound",
    ),
  ),
)
