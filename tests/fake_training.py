"""What stands in for a trainer: leaves what a run leaves, in no time.

  python fake_training.py GIVEN RUN_DIR HOW

It takes ten steps, the last five after a checkpoint, and HOW it ends is a
word. What went on is appended to the file `trace` beside the run directory.
"""

import fcntl
import json
import os
import pathlib
import signal
import sys
import time

LAST = 10
given, run_dir, how = pathlib.Path(sys.argv[1]), *sys.argv[2:]
run_dir = pathlib.Path(run_dir)
first_time = not (run_dir / "checkpoints").exists()


def trace(word):
  with (run_dir.parent / "trace").open("a") as file:
    file.write(f"{word} {run_dir.name}\n")


def started():
  return (run_dir.parent / "trace").read_text().count("start")


def record(step, kind="train", **values):
  values = {"fill": 0.5, "mean_segment": 8.0, **values}
  with (run_dir / "metrics.jsonl").open("a") as file:
    file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")


def save(step):
  (run_dir / f"checkpoints/{step}").mkdir(parents=True)


def stop(*_):
  trace("stop")
  sys.exit(75)


signal.signal(signal.SIGTERM, stop)
if how == "refuses":
  print("main: there is no data")
  sys.exit(1)
with (run_dir / "lock").open("w") as lock:
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    sys.exit(f"nobody holds the lock of {run_dir}")
  except BlockingIOError:  # we do, as we inherited it
    pass
if (run_dir / "attempt.json").exists():
  sys.exit("how the last one ended is known of this one")
trace("start")
(run_dir / "config.json").write_text(given.read_text())
(run_dir / "goodput.jsonl").write_text(
  '{"time": 3, "step": 10, "seconds": {"start": 1, "step": 2}, "resumed_at": 0}'
  "\n"
)
if first_time:
  for step in range(1, 6):
    record(step, loss=3.0 - 0.1 * step)
  save(5)
if how == "gives_up":
  print("Traceback (most recent call last):\n  File x\nFloatingPointError: nan")
  print("The last good checkpoint is that of step 5.")
  sys.exit(1)
if how == "is_killed" and first_time:
  os.kill(os.getpid(), signal.SIGKILL)
if how == "interrupts" and first_time:
  os.kill(os.getppid(), signal.SIGINT)
if how in ("interrupts", "waits") and first_time:
  time.sleep(30)
if how == "meets_another":  # runs 1 and 2 each other, runs 3 and 4, ...
  mine = started()
  while started() < mine + mine % 2:
    time.sleep(0.01)
for step in range(6, LAST + 1):
  risen, gone = how == "rises", how == "is_lost"
  record(step, loss=None if gone else 4.0 if risen else 3.0 - 0.1 * step)
record(LAST, "eval/songs", loss=2.5, **{"loss/vocal": 1.5})
save(LAST)
trace("end")
