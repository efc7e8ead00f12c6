"""Plans generation on TPUs that are not there, with their real compiler.

  JAX_PLATFORMS=cpu python tools/plan_generation.py \
    --config=experiments/stage1_pretrain.py:7b --topology=v5e:2x2 --rows=4

compiles the very loop that generates, with weights in the activations' dtype,
for the absent topology (libtpu, the [tpu] extra, needs no TPU), and reports of
one device: parameters, cache, temporaries, whether they fit; and the most
tokens a second that the bandwidth of the memory allows when the cache is full.

Documents of windows are generated greedily, all others with guidance and as
the released inference draws. What was compiled is kept in --cache. Several
plans make a table: --markdown adds a line to that file.
"""

import pathlib
import sys

from absl import app, flags
import jax
from ml_collections import config_flags

from yue_jax import config, sharding
from yue_jax.planner import compiler, generation, topology
from yue_jax.sampling import decode
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.queues import Rule
from yue_jax.sampling.song import TrackSettings, section_rule
from yue_jax.sampling.windows import frame_rule, own_ranges
from yue_jax.vocab import Vocab

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Experiment file; see experiments/.", lock_config=True
)
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "Chips of one slice, such as v5e:2x2."
)
_TENSOR = flags.DEFINE_integer(
  "tensor", None, "Devices a layer is cut over; default: all."
)
_ROWS = flags.DEFINE_integer("rows", 8, "Songs or windows at once.")
_CONTEXT = flags.DEFINE_integer(
  "context",
  None,
  "Tokens of a row, rounded up as the cache is; default: as many as the model"
  " has.",
)
_CACHE = flags.DEFINE_string(
  "cache", "runs/plans", "Directory in which compiled turns are kept."
)
_MARKDOWN = flags.DEFINE_string("markdown", None, "File of a table.")


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}; see --help")
  try:
    made = make_plan(config.from_config_dict(_CONFIG.value))
  except (ValueError, TypeError, OSError) as error:
    sys.exit(f"plan_generation: {error}")
  print("\n".join(generation.lines(made)))
  if _MARKDOWN.value:
    path = pathlib.Path(_MARKDOWN.value)
    before = path.read_text() if path.exists() else f"{generation.TABLE}\n"
    path.write_text(f"{before}{generation.table_line(made)}\n")


def make_plan(cfg: config.RunConfig) -> generation.GenerationPlan:
  slices, model = topology.parse(_TOPOLOGY.value), cfg.model
  mesh = _mesh(model, slices)
  kinds = {s.kind for phase in cfg.phases for s in phase.mixture.values()}
  windows = any(kind.endswith("window") for kind in kinds)
  rules = [_rule(cfg.vocab, windows=windows)]
  sampling = GREEDY if windows else Sampling()
  slots = _CONTEXT.value or model.max_positions
  if not 0 < slots <= model.max_positions:
    raise ValueError(
      f"--context={slots}: the model has max_positions={model.max_positions}"
    )
  slots = decode.whole_slots(slots)
  lowered, weights, state = decode.lower_turn(
    model,
    mesh,
    rules,
    rows=_ROWS.value,
    slots=slots,
    sampling=sampling,
    guided=not windows,
  )
  with jax.set_mesh(mesh):
    program = decode.program_for(
      model, rules, sampling=sampling, guided=not windows
    )
  return generation.measure(
    compiler.compile_step(lowered, slices, pathlib.Path(_CACHE.value)),
    model,
    weights=weights,
    cache=state.cache,
    head=len(program.head),
    name=_name(),
    topology=slices,
    tensor=mesh.shape["tensor"],
    rows=_ROWS.value,
    branches=program.branches,
    slots=slots,
  )


def _mesh(
  model: config.ModelConfig, slices: topology.Topology
) -> jax.sharding.Mesh:
  count = slices.device_count
  tensor = _TENSOR.value or count
  fsdp, odd = divmod(count, tensor)
  if odd or _ROWS.value % fsdp:
    raise ValueError(
      f"--tensor={tensor} leaves {count / tensor:g} devices of {slices} for"
      f" --rows={_ROWS.value}; change one of them"
    )
  its = config.MeshConfig(fsdp=fsdp, tensor=tensor)
  sharding.check_divisible(model, its)
  return sharding.make_mesh(its, topology.devices(slices))


def _rule(vocab: Vocab, *, windows: bool) -> Rule:
  """Of the frames of windows, or of sections as they are released."""
  if windows:
    return frame_rule(own_ranges(vocab, vocab.window_codebooks))
  return section_rule(vocab, TrackSettings())


def _name() -> str:
  """Of the recipe: "stage1_pretrain:7b"."""
  file, *argument = config_flags.get_config_filename(
    flags.FLAGS["config"]
  ).split(":")
  return ":".join([pathlib.Path(file).stem, *argument])


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "topology"])
  app.run(main)
