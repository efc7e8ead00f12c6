"""Chain of thought keeps following lyrics where a plain prefix loses them.

Paper    section 3.2.2 and figure 12: 0.5B models; word error rate every 30 s
         up to 150 s; CoT best at all lengths, the text as a prefix ("vanilla")
         and a curriculum from short songs to long ones much worse.
Here     cot: the whole text, then section by section with its text restated.
         prefix: the whole text, then all sound. curriculum: prefix, short
         songs first in every epoch. All on songs of one, two and three
         sections, the same songs, steps and model.
Holds    if, in the last section of the longest songs, cot sings fewer wrong
         words than prefix (and than curriculum).
Command  make paper, or python tools/paper.py cot
"""

from yue_jax.paper import setting
from yue_jax.paper.cases import Case, Claim, Finding, Panel
from yue_jax.paper.results import Table, paired
from yue_jax.paper.singing import Singing


def cases(form: str) -> list[Case]:
  def of(arm: str, kind: str, made, sections: int) -> Case:
    songs = setting.HELDOUT[form]
    singing = Singing(kind=kind, sections=sections, songs=songs)
    return Case(arm=arm, x=sections, run=made, measure=singing)

  found = []
  for seed in setting.SEEDS[form]:
    prefix = setting.phase(form, {"prefix": 1.0})
    curriculum = setting.phase(form, {"prefix": 1.0}, order="length")
    arms = {
      "cot": ("cot", setting.cot(form, seed)),
      "prefix": ("prefix", setting.run(form, seed, prefix)),
      "curriculum": ("prefix", setting.run(form, seed, curriculum)),
    }
    found += [
      of(arm, kind, made, sections)
      for arm, (kind, made) in arms.items()
      for sections in setting.SECTIONS
    ]
  return found


def less_wrong_than(arm: str, section: int):
  """Error rate of an arm less that of cot, in a section of long songs."""

  def differences(table: Table) -> list[float]:
    theirs, ours = (
      {seed: errors[section - 1] for seed, errors in by_seed.items()}
      for by_seed in (table.by_seed("by_section", a) for a in (arm, "cot"))
    )
    return paired(theirs, ours)

  return differences


CLAIM = Claim(
  name="cot",
  title="Chain of thought follows lyrics where a plain prefix loses them",
  text="""
The same text and sound in three forms: as section by section with the text of
each restated (cot), as one text before all sound (prefix), and the latter with
short songs first (curriculum). Errors are edits by word of unseen lyrics, read
back from the sung codes by the likeliest path.
""",
  cases=cases,
  findings=(
    Finding(
      statement="cot has fewer wrong words than prefix in the third section",
      differences=less_wrong_than("prefix", setting.LONGEST),
      least=0.05,
    ),
    Finding(
      statement="and than curriculum",
      differences=less_wrong_than("curriculum", setting.LONGEST),
      least=0.05,
    ),
    Finding(
      statement="cot has fewer than prefix in the first section already",
      differences=less_wrong_than("prefix", 1),
      least=0.05,
    ),
  ),
  panels=(
    Panel(
      value="by_section",
      places=True,
      xlabel="section of a song of three",
      ylabel="lyric error rate",
    ),
    Panel(
      value="error", xlabel="sections of the song", ylabel="lyric error rate"
    ),
  ),
)
