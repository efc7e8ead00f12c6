"""Contenders in processes of their own that take turns.

A contender's process starts, takes one step, says what came out, and then
takes a step whenever it is told to: nobody computes while another does, all
see the same machine, and memory and start are each one's own.

  parent   Contender(command) ... .call("step") ... .close()
  child    serve({"step": step, "matmul": matmul}, first=...)

Both talk in lines of JSON through the child's stdin and stdout.
"""

from collections.abc import Callable, Mapping, Sequence
import json
import os
import pathlib
import subprocess
import sys
import time


class Contender:
  """A process that waits for its turn.

  Attributes:
    seconds_to_first_step: from launch, with imports and compilation.
    first: what it said of its first step.
  """

  def __init__(
    self,
    command: Sequence[str],
    *,
    cwd: pathlib.Path,
    environment: Mapping[str, str],
  ):
    began = time.perf_counter()
    self._process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      cwd=cwd,
      env=os.environ | dict(environment),
    )
    self.first = self._answer()
    self.seconds_to_first_step = time.perf_counter() - began

  def call(self, what: str) -> dict[str, float]:
    """What came out, with its seconds and cpu_seconds (of all threads)."""
    self._process.stdin.write(what + "\n")
    self._process.stdin.flush()
    return self._answer()

  def close(self) -> float:
    """Ends it; returns the highest memory that it had, in bytes."""
    self._process.stdin.close()
    _, status, usage = os.wait4(self._process.pid, 0)
    self._process.returncode = os.waitstatus_to_exitcode(status)
    self._process.stdout.close()
    return usage.ru_maxrss * 1024

  def _answer(self) -> dict[str, float]:
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError(f"{self._process.args} ended early; see above")
    return json.loads(line)


def serve(
  calls: Mapping[str, Callable[[], dict[str, float]]],
  *,
  first: Mapping[str, float],
) -> None:
  """Answers the parent until it is done."""
  _say(first)
  for line in sys.stdin:
    began, cpu = time.perf_counter(), time.process_time()
    answer = calls[line.strip()]()
    spent = {
      "seconds": time.perf_counter() - began,
      "cpu_seconds": time.process_time() - cpu,
    }
    _say(spent | answer)


def _say(answer: Mapping[str, float]) -> None:
  print(json.dumps(dict(answer)), flush=True)
