"""A clip in context tells what text cannot, and is not merely copied.

Paper    section 3.2.3: a clip of the song, of both tracks or of one, is heard
         before the song; it carries voice and style over, clips of both tracks
         best (section 4.3), and outputs are no copies of training songs.
Here     One model a seed on cot and, as often, on documents with a clip in all
         four modes. Of held-out songs, losses on frames outside the clip's
         span, with the clip and, on the same frames, without it. And songs
         sung after the clip of another song: whether they are in its voice,
         what share of their frames is copied from it, and how many of their
         own words are wrong.
Holds    if a clip of both tracks lowers the loss of the vocal outside of it.
Command  make paper, or python tools/paper.py icl
"""

from yue_jax.paper import setting
from yue_jax.paper.cases import All, Case, Claim, Finding, Panel
from yue_jax.paper.losses import Losses
from yue_jax.paper.singing import Singing

ARMS = {
  "cot": "cot",
  "both tracks": "icl_dual",
  "vocal": "icl_vocal",
  "mixture": "icl_mixture",
  "backing": "icl_inst",
}


def cases(form: str) -> list[Case]:
  phase = setting.phase(
    form,
    {"cot": 1.0, "icl": 1.0},
    context=setting.ICL_CONTEXT,
    samples=setting.ICL_SAMPLES[form],
  )
  return [
    Case(
      arm=arm, run=setting.run(form, seed, phase), measure=_looks(form, kind)
    )
    for seed in setting.SEEDS[form]
    for arm, kind in ARMS.items()
  ]


def _looks(form: str, kind: str) -> All:
  same = {
    "kind": kind,
    "sections": setting.LONGEST,
    "songs": setting.HELDOUT[form],
  }
  beside = "dual" if kind == "cot" else ""
  return All(
    (
      ("", Losses(**same, outside=beside)),
      ("", Singing(**same, unheard=beside)),
    )
  )


def lower(arm: str):
  return lambda table: table.differences("vocal", of="cot", minus=arm)


def higher(name: str, arm: str = "both tracks"):
  return lambda table: table.differences(name, of=arm, minus="cot")


CLAIM = Claim(
  name="icl",
  title="A clip in context tells the voice, and is not merely copied",
  text="""
Losses are those of the vocal on frames outside the span of a clip of the song
itself. Songs are sung after a clip of another song; "singer" is the share of
them in its voice (half of them by chance), "copied" the share of frames that
stand in stretches of six or more codes that the clip has too. The arm cot is
the same model without a clip, measured on the same frames and beside the same
clips.
""",
  cases=cases,
  findings=(
    Finding(
      statement="a clip of both tracks lowers the vocal's loss outside of it",
      differences=lower("both tracks"),
      least=0.01,
      unit="nats",
    ),
    *(
      Finding(
        statement=f"so does a clip of the {mode}",
        differences=lower(mode),
        least=0.01,
        unit="nats",
      )
      for mode in ("vocal", "mixture", "backing")
    ),
    Finding(
      statement="songs are sung in the voice of a clip of both tracks",
      differences=higher("singer"),
      least=0.1,
    ),
    Finding(
      statement="more of such a clip is copied than comes about without it",
      differences=higher("copied"),
      least=0.05,
    ),
    Finding(
      statement="a clip of another song makes more words wrong",
      differences=higher("error"),
      least=0.05,
    ),
  ),
  panels=(
    Panel(value="vocal", ylabel="nats of a vocal code", bars=True),
    Panel(value="singer", ylabel="in the clip's voice", bars=True),
    Panel(value="copied", ylabel="frames copied", bars=True),
    Panel(value="error", ylabel="lyric error rate", bars=True),
  ),
)
