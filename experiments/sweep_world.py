"""A sweep in the small world: loss against parameters, tokens and rate.

Purpose  To see a scaling sweep whole, from plan to table, on a laptop; the
         losses have known floors (tools/score_world.py). Held-out songs,
         weighted as in training, are the loss of the table.
Runs     full: three widths at three numbers of tokens, two seeds each, 18
         runs. quick: two widths, two numbers, one seed, 4 runs.
         rates: three rates at three widths, 9 runs. mup: the same with muP
         from the narrowest and without, 18 runs (docs/mup.md). law: four
         widths at four numbers of tokens, 16 runs (docs/scaling_laws.md).
Cost     full 1.3e13 FLOPs, about ten minutes on two cores; quick a minute or
         two (estimated).
Command  python tools/make_world.py runs/world --train-songs 10000 \
           --heldout-songs 256
         for split in train heldout; do python tools/prepare_songs.py \
           runs/world/$split/songs.jsonl --out runs/world/data/$split \
           --tokenizer runs/world/tokenizer.model --small-vocab --codes 160 \
           --window 25 --windows-per-record 1 --min-section-seconds 0.1; done
         python tools/sweep.py run experiments/sweep_world.py:quick \
           --out runs/sweep_world --parallel 2
         python tools/sweep.py gather experiments/sweep_world.py:quick \
           --out runs/sweep_world

The budgets are far below that of make demo, where lyrics begin to be
followed: what is learned here are codes, marks and the backing track.
"""

from yue_jax import config, phases, presets
from yue_jax.sweeps import axes
from yue_jax.vocab import Vocab

_VOCAB = Vocab.small(338, codes=160)  # the world's own tokenizer and codes
_CONTEXT = 200  # one song
_SAMPLES = 8
_HEAD = 16  # width of a head, the same at all sizes


def get_sweep(variant: str = "full") -> axes.Sweep:
  if variant not in _AXES:
    raise ValueError(f"variant={variant!r} is not one of {sorted(_AXES)}")
  return axes.Sweep(
    name=f"world_{variant}",
    base=_base(),
    axes=_AXES[variant],
    loss="eval/heldout",
  )


def get_config(run: str):
  """The config of one run, "NAME" or "VARIANT/NAME"."""
  return axes.config_of(get_sweep, run)


def _base() -> config.RunConfig:
  return config.RunConfig(
    seed=0,
    vocab=_VOCAB,
    model=presets.small(_VOCAB.padded_size(128)),
    mesh=config.MeshConfig(),
    data=config.DataConfig(
      evaluation={
        "heldout": phases.EvaluationConfig(
          data="runs/world/data/heldout", kind="cot"
        )
      },
    ),
    phases=(
      phases.PhaseConfig(
        name="all",
        tokens=_SAMPLES * _CONTEXT,
        context=_CONTEXT,
        samples=_SAMPLES,
        rate=phases.RateConfig(peak=5e-3),
        mixture={
          "songs": phases.SourceConfig(
            data="runs/world/data/train", kind="cot", weight=1.0
          )
        },
      ),
    ),
    optimizer=config.OptimizerConfig(),
    loss=config.LossConfig(
      weights={"restated": 1.0, "mark": 1.0, "vocal": 1.0, "backing": 1.0}
    ),
    train=config.TrainConfig(log_every=5, checkpoint_every=100),
  )


def _set_width(tree: dict, width: int) -> None:
  heads = width // _HEAD
  tree["model"] |= {"width": width, "mlp_width": 3 * width}
  tree["model"] |= {"heads": heads, "kv_heads": heads}


def _set_mup(tree: dict, scaled: bool) -> None:
  """Rates are those of the narrowest model, or of each width."""
  base = {"base_width": 32, "base_mlp_width": 96, "head_width": _HEAD}
  tree["mup"] = base if scaled else None


def _axes(widths, tokens, rates, seeds) -> tuple[axes.Axis, ...]:
  return (
    axes.Axis(name="width", values=widths, apply=_set_width),
    axes.Axis(
      name="tokens", values=tokens, apply=axes.tokens(warmup=0.05, decay=0.3)
    ),
    axes.Axis(
      name="rate", values=rates, apply=axes.fields("phases[0].rate.peak")
    ),
    axes.Axis(
      name="seed", values=seeds, apply=axes.fields("seed", "data.seed")
    ),
  )


_AXES = {
  "full": _axes((32, 64, 96), (160_000, 320_000, 640_000), (5e-3,), (0, 1)),
  "law": _axes(
    (16, 32, 48, 64), (80_000, 160_000, 320_000, 640_000), (5e-3,), (0,)
  ),
  "quick": _axes((32, 64), (80_000, 160_000), (5e-3,), (0,)),
  "rates": _axes((32, 64, 96), (160_000,), (2e-3, 5e-3, 1.25e-2), (0,)),
}
_AXES["mup"] = (
  axes.Axis(name="mup", values=(False, True), apply=_set_mup),
  *_AXES["rates"],
)
