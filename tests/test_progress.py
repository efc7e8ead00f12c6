"""Progress is plain lines where there is no terminal."""

import io

from yue_jax import progress


def test_lines_name_rate_and_time_left(monkeypatch):
  clock = iter([0.0, 20.0, 20.0, 20.0, 25.0, 40.0, 40.0, 40.0])
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
  out = io.StringIO()
  with progress.Progress(100, "songs", "preparing", stream=out) as bar:
    bar.advance(50, note="1 rejected")  # after 20 s
    bar.advance(10)  # 5 s later: too soon for another line
    bar.advance(40)  # done
  assert out.getvalue().splitlines() == [
    "preparing: 50/100 songs, 2.5/s, 0:20 left, 1 rejected",
    "preparing: 100/100 songs, 2.5/s, 0:00 left",
  ]


def test_a_continued_run_counts_only_its_own_work(monkeypatch):
  clock = iter([0.0, 20.0, 20.0, 20.0])
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
  out = io.StringIO()
  bar = progress.Progress(100, "steps", "training", start=80, stream=out)
  bar.advance(10)
  assert out.getvalue() == "training: 90/100 steps, 0.5/s, 0:20 left\n"


def test_track_yields_everything():
  assert list(progress.track(iter("abc"), 3, "letters", "reading")) == [*"abc"]
