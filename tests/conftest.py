"""Every test runs on eight fake CPU devices, with cheap compilation.

Low XLA optimisation and a compile cache keep the suite inside its time
budget; neither changes what a test may conclude, since all tolerances are
those of float32 arithmetic. Rank promotion is an error: a silently broadcast
axis is the most common way to a wrong loss.
"""

import importlib.metadata
import importlib.util
import os
import pathlib

# Whether XLA can make the kernels of fusions without MLIR, which takes a third
# longer. jaxlib 0.11.0 still can, 0.11.2 cannot, and ends at an unknown flag.
EMITTERS_ARE_A_CHOICE = tuple(
  int(n) for n in importlib.metadata.version("jaxlib").split(".")[:2]
) < (0, 11)

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "")
  + " --xla_force_host_platform_device_count=8"
  + " --xla_backend_optimization_level=0"
  + EMITTERS_ARE_A_CHOICE * " --xla_cpu_use_fusion_emitters=false"
  + " --xla_cpu_parallel_codegen_split_count=1"
)
# A fake device that waits for others in a collective holds a thread of the
# pool that they need; a pool as small as the machine could stand still.
os.environ["PJRT_NPROC"] = "32"
# Products here are small, and there is a pytest process for every core.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
# In the environment, so that processes started by tests have them too.
ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"

import jax  # noqa: E402 - reads the environment
import pytest  # noqa: E402

# For tests that run the TPU compiler, which needs no TPU.
needs_libtpu = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="no libtpu; install the [tpu] extra",
)
REFERENCE = ROOT.parent / "shared" / "reference"


def pytest_configure():
  jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def reference() -> pathlib.Path:
  """Folder with YuE's own tokenizer and documents, where it is at hand."""
  if not REFERENCE.is_dir():
    pytest.skip(f"no reference material at {REFERENCE}")
  return REFERENCE
