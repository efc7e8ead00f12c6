"""What all claims share, so that they share models too.

A world that can be learned in minutes on a core: ten words of one syllable,
four a section, songs of one, two or three sections. After some 150,000 tokens a
model of width 64 begins to find its place in the lyrics, and what it sings to
follow them; the quick form ends about there, the full one well beyond.
"""

import dataclasses

from yue_jax.paper.cases import Corpus, Phase, Run, Shape
from yue_jax.world.config import WorldConfig

SECTIONS = (1, 2, 3)
LONGEST = SECTIONS[-1]
CONTEXT = 112  # tokens; a song of three sections, or several shorter ones
ICL_CONTEXT = 144  # with a clip of half of it
ICL_SAMPLES = {"quick": 6, "full": 8}  # about as many tokens a step
SAMPLES = {"quick": 8, "full": 10}  # of each step
SHAPE = Shape(width=64, layers=2, heads=4)
PEAK = 1e-2
SEEDS = {"quick": (0, 1), "full": (0, 1, 2, 3, 4, 5)}
STEPS = {"quick": 240, "full": 800}
HELDOUT = {"quick": 32, "full": 96}
_TRAIN = {"quick": 900, "full": 1500}
_WARMUP = 20
_WORLD = WorldConfig(
  words=10,
  syllables=10,
  syllables_per_word=1,
  singers=2,
  genres=4,
  words_per_section=4,
  durations=(1, 2),
  chords=4,
  beats=2,
  progression=2,
  chord_durations=(2,),
  masking=(0.3, 0.3),
  codebooks=1,
)


def corpus(form: str, seed: int, *, masking: float | None = None) -> Corpus:
  """Songs of the world of a seed; `masking` of mixtures, on every beat."""
  world = dataclasses.replace(_WORLD, seed=seed)
  if masking is not None:
    masks = (masking,) * world.beats
    world = dataclasses.replace(world, masking=masks)
  return Corpus(
    world=world, sections=SECTIONS, train=_TRAIN[form], heldout=HELDOUT[form]
  )


def phase(form: str, kinds: dict[str, float], **changes) -> Phase:
  """All of a training: warm-up, constant rate, and a decay to 0 at the end."""
  steps = changes.pop("steps", STEPS[form])
  return dataclasses.replace(
    Phase(
      steps=steps,
      context=CONTEXT,
      samples=SAMPLES[form],
      kinds=tuple(kinds.items()),
      peak=PEAK,
      warmup=min(_WARMUP, steps // 5),
      decay=steps // 3,
    ),
    **changes,
  )


def run(form: str, seed: int, *phases: Phase, **changes) -> Run:
  """A run on the corpus of a seed; `changes` of its other fields."""
  made = Run(corpus=corpus(form, seed), shape=SHAPE, phases=phases, seed=seed)
  return dataclasses.replace(made, **changes)


def cot(form: str, seed: int) -> Run:
  """The run that most claims compare with."""
  return run(form, seed, phase(form, {"cot": 1.0}))
