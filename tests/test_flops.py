"""FLOPs counted in programs, against hand counts and the model's formulas."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from tests import tiny
from tests.conftest import EMITTERS_ARE_A_CHOICE
from yue_jax import accounting, config
from yue_jax.planner import flops, hlo
from yue_jax.train.step import lower_train_step

# Splash attention as the partitioned program calls it: the mask of blocks is a
# constant that comes into a loop of three trips from outside.
SPLASH = """HloModule m

%body (p: (s32[], s8[1,2,2], bf16[4,1024,128])) -> (s32[], s8[1,2,2], \
bf16[4,1024,128]) {
  %p = (s32[], s8[1,2,2]{2,1,0}, bf16[4,1024,128]{2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %mask = s8[1,2,2]{2,1,0} get-tuple-element(%p), index=1
  %q = bf16[4,1024,128]{2,1,0} get-tuple-element(%p), index=2
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %kernel = (RESULT) custom-call(%mask, %mask, %q, %q, %q), \
custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 512, \\"block_kv\\": 512, \
\\"block_q_dkv\\": 512, \\"block_kv_dkv\\": 512, \
\\"block_q_dq\\": 512, \\"block_kv_dq\\": 512}"
}}, metadata={op_name="jit(f)/PASS/splash_mha_PHASE_segmented/pallas_call"}
  ROOT %t = (s32[], s8[1,2,2]{2,1,0}, bf16[4,1024,128]{2,1,0}) \
tuple(%next, %mask, %q)
}

%condition (c: (s32[], s8[1,2,2], bf16[4,1024,128])) -> pred[] {
  %c = (s32[], s8[1,2,2]{2,1,0}, bf16[4,1024,128]{2,1,0}) parameter(0)
  %j = s32[] get-tuple-element(%c), index=0
  %three = s32[] constant(3)
  ROOT %less = pred[] compare(%j, %three), direction=LT
}

ENTRY %main (a: bf16[4,1024,128]) -> bf16[4,1024,128] {
  %a = bf16[4,1024,128]{2,1,0} parameter(0)
  %zero = s32[] constant(0)
  %blocks = s8[1,2,2]{2,1,0} constant({ { { 1, 0 }, { 2, 1 } } })
  %start = (s32[], s8[1,2,2]{2,1,0}, bf16[4,1024,128]{2,1,0}) \
tuple(%zero, %blocks, %a)
  %loop = (s32[], s8[1,2,2]{2,1,0}, bf16[4,1024,128]{2,1,0}) \
while(%start), condition=%condition, body=%body
  ROOT %out = bf16[4,1024,128]{2,1,0} get-tuple-element(%loop), index=2
}
"""
ONE_PRODUCT = 3 * 2 * 4 * (3 * 512 * 512) * 128  # of three blocks in four heads


def splash(phase, path="jvp()", results=2):
  result = ", ".join(["bf16[4,1024,128]{2,1,0}"] * results)
  text = SPLASH.replace("RESULT", result).replace("PHASE", phase)
  return flops.count(hlo.parse(text.replace("PASS", path)))


@pytest.mark.parametrize(
  ("phase", "results", "products"),
  [("fwd", 2, 2), ("dq", 2, 3), ("dkv", 4, 4), ("dkv", 5, 5)],
)
def test_a_kernel_counts_the_blocks_that_its_mask_lets_run(
  phase, results, products
):
  assert splash(phase, results=results).total == products * ONE_PRODUCT


def test_passes_are_told_apart():
  again = splash("fwd", "transpose(jvp())/checkpoint/rematted_computation")
  assert again.kernels == {"recomputed": 2 * ONE_PRODUCT}
  assert set(splash("dq", "transpose(jvp())").kernels) == {"backward"}


def test_a_kernel_counts_what_it_declares():
  text = SPLASH.replace("RESULT", "bf16[4,1024,128]{2,1,0}")
  text = text.replace("splash_mha_PHASE_segmented", "mine")
  with pytest.raises(ValueError, match="give its pallas_call a cost_estimate"):
    flops.count(hlo.parse(text))
  declared = text.replace(
    "pallas_call", 'pallas_call"}, backend_config={"cost":{"flops":100}'
  ).replace('100}"}', "100}}")
  assert flops.count(hlo.parse(declared)).total == 300


def test_products_of_a_lowered_program():
  def f(x, w):
    y = jnp.einsum("btd,df->btf", x, w)
    return jnp.einsum("btf,bsf->bts", y, y)

  lowered = jax.jit(f).lower(jnp.ones((2, 3, 5)), jnp.ones((5, 7)))
  counted = flops.count(hlo.parse(lowered.as_text("hlo")))
  assert counted.total == 2 * (2 * 3 * 5 * 7) + 2 * (2 * 3 * 3 * 7)


@pytest.mark.parametrize("mesh", tiny.MESHES)
def test_the_compiled_step_does_what_the_model_needs(mesh):
  """Nothing recomputed, and attention over every pair: the full convention.

  No two devices do the same work, so that they do the model's together.
  """
  run = tiny.run_dict(
    mesh=dataclasses.asdict(tiny.MESHES[mesh]),
    phases=[tiny.phase_dict(microbatches=2)],
  )
  cfg = config.from_config_dict(run)
  devices = tiny.mesh(cfg.mesh)
  # As outside of the suite: its emitters make loops of scatters.
  choice = "xla_cpu_use_fusion_emitters"
  options = {choice: True} if EMITTERS_ARE_A_CHOICE else {}
  compiled = lower_train_step(cfg, devices).compile(options)
  counted = flops.count(hlo.parse(compiled.as_text()))
  model = accounting.train_flops_per_token_full(cfg.model, 16) * 16 * 8
  # The only other products are the sums of losses by stream.
  assert model <= counted.total * devices.size < 1.001 * model


def test_full_remat_recomputes_the_layers_but_not_the_head():
  run = tiny.run_dict()
  run["model"]["remat"] = "full"
  cfg = config.from_config_dict(run)
  lowered = lower_train_step(cfg, tiny.mesh(cfg.mesh))
  counted = flops.count(hlo.parse(lowered.as_text("hlo", debug_info=True)))
  tokens, model = 16 * 8, cfg.model
  forward = accounting.train_flops_per_token_full(model, 16) / 3 * tokens
  head = 2 * model.vocab_size * model.width * tokens
  # The last product of a block is not needed for its gradient.
  down = 2 * model.layers * model.mlp_width * model.width * tokens
  # Attention may bring a gradient of its own, which recomputes by itself.
  pairs = 4 * model.layers * model.width * 16 * tokens
  most = forward - head - down
  assert counted.matmuls["recomputed"] in (most, most - pairs)
