"""Four phases do better than one, and in-context learning must come late.

Paper    section 4.1.2: warm-up; a constant rate; a longer context without
         single-track unconditional music; annealing on cot and clips, 2 : 1.
         "Early ICL is irreversible": a model that has had it early falls back
         on clips, hence it is delayed to the annealing.
Here     The same tokens in five ways. four phases: as in the paper. one phase:
         the sum of its mixtures all the way, at the longer context and a rate
         that stays. early ICL: clips in the first two phases in place of the
         last. no annealing: the rate stays in the last phase too. no
         extension: the shorter context, in which songs of three sections are
         cut, to the end. The quick form leaves out the last two.
Holds    if, without a clip, four phases sing fewer wrong words than one.
Command  make paper, or python tools/paper.py phases
"""

from yue_jax.paper import setting
from yue_jax.paper.cases import All, Case, Claim, Finding, Panel, Phase
from yue_jax.paper.losses import Losses
from yue_jax.paper.singing import Singing

SHARES = (0.1, 0.35, 0.25, 0.3)  # of the steps; the last is more than theirs
FIRST = {"cot": 0.75, "mixture": 0.15, "dual": 0.1}
LONGER = {"cot": 0.75, "dual": 0.25}
LAST = {"cot": 2 / 3, "icl": 1 / 3}
EARLY = {"cot": 0.5, "icl": 0.25, "mixture": 0.15, "dual": 0.1}
ARMS = {
  "quick": ("four phases", "one phase", "early ICL"),
  "full": (
    "four phases",
    "one phase",
    "early ICL",
    "no annealing",
    "no extension",
  ),
}


def phases(form: str, arm: str) -> list[Phase]:
  steps = [round(share * setting.STEPS[form]) for share in SHARES]
  context, samples = setting.ICL_CONTEXT, setting.ICL_SAMPLES[form]
  long = {"context": context, "samples": samples}
  short = {"context": context // 2, "samples": 2 * samples}  # as many tokens
  if arm == "one phase":
    return [_phase(sum(steps), _sum_of_mixtures(), long, warmup=steps[0])]
  early = arm == "early ICL"
  first = EARLY if early else FIRST
  last = {"cot": 1.0} if early else LAST
  later = short if arm == "no extension" else long
  decay = 0 if arm == "no annealing" else steps[3]
  return [
    _phase(steps[0], first, short, warmup=steps[0]),
    _phase(steps[1], first, short),
    _phase(steps[2], LONGER, later),
    _phase(steps[3], last, later, decay=decay),
  ]


def _phase(steps: int, kinds: dict[str, float], size, **rate) -> Phase:
  return Phase(
    steps=steps,
    kinds=tuple(kinds.items()),
    peak=setting.PEAK,
    final=setting.PEAK / 10 if rate.get("decay") else 0.0,
    **size,
    **rate,
  )


def _sum_of_mixtures() -> dict[str, float]:
  """What the four phases read in all."""
  total: dict[str, float] = {}
  for share, kinds in zip(SHARES, (FIRST, FIRST, LONGER, LAST), strict=True):
    for kind, weight in kinds.items():
      total[kind] = total.get(kind, 0.0) + share * weight
  return {kind: round(weight, 6) for kind, weight in total.items()}


def cases(form: str) -> list[Case]:
  same = {"sections": setting.LONGEST, "songs": setting.HELDOUT[form]}
  looks = All(
    (
      ("", Losses(kind="cot", **same)),
      ("", Singing(kind="cot", **same)),
      ("clip_", Singing(kind="icl_dual", **same)),
    )
  )
  return [
    Case(
      arm=arm,
      run=setting.run(form, seed, *phases(form, arm)),
      measure=looks,
    )
    for seed in setting.SEEDS[form]
    for arm in ARMS[form]
  ]


def less(name: str, arm: str):
  """How much lower a value of four phases is than that of another arm."""
  return lambda table: table.differences(name, of=arm, minus="four phases")


CLAIM = Claim(
  name="phases",
  title="Four phases do better than one, with clips at the end",
  text="""
The same number of tokens, as many a step, in phases as the paper
has them and in other ways. All are measured on songs of three sections, without
a clip (lyric error rate; gap, nats a second of music above the exact floor) and
after a clip of another song.
""",
  cases=cases,
  findings=(
    Finding(
      statement="four phases have fewer wrong words than one",
      differences=less("error", "one phase"),
      least=0.05,
    ),
    Finding(
      statement="fewer than with clips early",
      differences=less("error", "early ICL"),
      least=0.05,
    ),
    Finding(
      statement="annealing lowers the gap",
      differences=less("gap", "no annealing"),
      least=0.5,
      unit="nats/s",
    ),
    Finding(
      statement="the longer context makes fewer words wrong",
      differences=less("error", "no extension"),
      least=0.05,
    ),
  ),
  panels=(
    Panel(value="error", ylabel="lyric error rate, no clip", bars=True),
    Panel(value="gap", ylabel="nats a second above the floor", bars=True),
    Panel(value="clip_error", ylabel="lyric error rate, clip", bars=True),
    Panel(value="clip_singer", ylabel="in the clip's voice", bars=True),
  ),
)
