"""A request to stop is heard whenever it comes, and stops all at one step."""

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from yue_jax.train.stopping import StopRequests


def test_a_process_alone_hears_the_signal():
  before = signal.getsignal(signal.SIGTERM)
  with StopRequests(3) as requests:
    assert not requests.reached(4)
    signal.raise_signal(signal.SIGTERM)
    assert requests.reached(5)
    assert requests.reached(6)
  assert signal.getsignal(signal.SIGTERM) == before


SCRIPT = """
import os, signal, sys, time
import jax
from yue_jax.train.stopping import StopRequests
when, port = sys.argv[1], sys.argv[2]
jax.distributed.initialize(f"localhost:{port}", 1, 0)
def term():
  os.kill(os.getpid(), signal.SIGTERM)
  time.sleep(2.5)  # JAX looks once a second
if when == "start":
  term()
with StopRequests(500) as requests:
  first = requests.reached(501)
  if when == "step":
    term()
  print(first, requests.reached(502), requests.reached(503))
"""


@pytest.mark.parametrize(
  ("when", "expected"),
  [("start", "True True True"), ("step", "False True True")],
)
def test_joined_processes_hear_it_before_their_first_step(when, expected):
  """A continued run asks about step 501 first; JAX counts from 0."""
  port = 20_000 + os.getpid() % 20_000
  done = subprocess.run(
    [sys.executable, "-c", SCRIPT, when, str(port)],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.stdout.strip() == expected, done.stderr[-2000:]
