"""A scaling sweep of stage 1 at real sizes: loss at equal compute.

Purpose  Which size to train for a budget, before paying for it: six sizes at
         four budgets of FLOPs (IsoFLOP profiles, arXiv 2203.15556, section
         3.2), each with its own schedule to the end; those of 2 to 600 tokens
         a parameter. And the rate at two sizes.
Data     a prepared data set of songs at data/songs, as stage1_pretrain.py; one
         song in a thousand is held out, by source and language.
Runs     isoflop and rates.
Cost     isoflop: 5.7e21 FLOPs in all; python tools/sweep.py plan
           experiments/sweep_stage1.py:isoflop --topology v5p:4x4x4
Command  python tools/sweep.py render experiments/sweep_stage1.py:isoflop \
           --topology v5p:4x4x4 --run-dir gs://RUNS/isoflop \
           --data-bucket DATA --image IMAGE --out runs/launch/isoflop
         and, when they have run,
         python tools/sweep.py gather experiments/sweep_stage1.py:isoflop \
           --out gs://RUNS/isoflop

Shapes follow the rules of `presets`: heads of 128, 4 key/value heads (2 where
the heads are not divisible by 4), an MLP of 3.25 times the width; 1024 and
2048 are those of the 0.5B and of the 2B.
Nothing here has been run.
"""

import dataclasses

from yue_jax import accounting, config, phases, presets
from yue_jax.sweeps import axes
from yue_jax.vocab import RELEASED

_CONTEXT = 8192
_LAYERS = {512: 12, 768: 16, 1024: 24, 1536: 28, 2048: 32, 2560: 32}  # by width
_BUDGETS = (3e19, 1e20, 3e20, 1e21)  # FLOPs, by the causal convention
_RATIO = (2, 600)  # tokens a parameter


def get_sweep(variant: str = "isoflop") -> axes.Sweep:
  if variant not in _AXES:
    raise ValueError(f"variant={variant!r} is not one of {sorted(_AXES)}")
  return axes.Sweep(name=f"stage1_{variant}", base=_base(), axes=_AXES[variant])


def get_config(run: str):
  """The config of one run, "NAME" or "VARIANT/NAME"."""
  return axes.config_of(get_sweep, run)


def _base() -> config.RunConfig:
  return config.RunConfig(
    seed=0,
    vocab=RELEASED,
    model=_model(1024),
    mesh=config.MeshConfig(fsdp=64),
    data=config.DataConfig(heldout=0.001, attend_across_documents=True),
    phases=(
      phases.PhaseConfig(
        name="all",
        tokens=10**9,
        context=_CONTEXT,
        samples=128,
        microbatches=1,
        rate=phases.RateConfig(peak=3e-4, final=3e-5),
        mixture={
          "cot": phases.SourceConfig(data="data/songs", kind="cot", weight=1.0)
        },
      ),
    ),
    optimizer=config.OptimizerConfig(),
    loss=config.LossConfig(
      weights=dict.fromkeys(
        ("text", "restated", "mark", "reference", "vocal", "backing"), 1.0
      )
    ),
    train=config.TrainConfig(
      log_every=10,
      eval_every=1000,
      eval_samples=512,
      checkpoint_every=500,
    ),
  )


def _model(width: int) -> config.ModelConfig:
  return dataclasses.replace(
    presets.stage1_0b5(),
    width=width,
    mlp_width=-(-13 * width // 4 // 256) * 256,
    layers=_LAYERS[width],
    heads=width // 128,
    kv_heads=4 if width % 512 == 0 else 2,
    max_positions=_CONTEXT,
  )


def _set_width(tree: dict, width: int) -> None:
  tree["model"] = dataclasses.asdict(_model(width))


def _tokens(width: int) -> tuple[int, ...]:
  """Tokens for every budget that is neither much nor little for the size."""
  model = _model(width)
  each = accounting.train_flops_per_token(model, _CONTEXT)
  low, high = (n * accounting.parameter_count(model) for n in _RATIO)
  tokens = (round(budget / each, -6) for budget in _BUDGETS)
  return tuple(int(n) for n in tokens if low <= n <= high)


_WIDTH = axes.Axis(name="width", values=tuple(_LAYERS), apply=_set_width)
_SCHEDULE = axes.tokens(warmup=0.02, decay=0.2)
_AXES = {
  "isoflop": (
    _WIDTH,
    axes.Axis(
      name="tokens",
      per="width",
      values={width: _tokens(width) for width in _LAYERS},
      apply=_SCHEDULE,
    ),
  ),
  "rates": (
    dataclasses.replace(_WIDTH, values=(512, 1024)),
    axes.Axis(name="tokens", values=(5 * 10**9,), apply=_SCHEDULE),
    axes.Axis(
      name="rate",
      values=(3e-4, 6e-4, 1.2e-3, 2.4e-3),
      apply=axes.fields("phases[0].rate.peak"),
    ),
  ),
}
