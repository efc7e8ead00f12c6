"""Sweeps: many runs that differ along named axes, and one table of results.

  axes      Axis, Sweep: what is varied, and the named runs that come of it
  running   run_all: trains what is missing, in parallel processes, and stops
            and continues it
  saved     the experiment file of a config that was saved as JSON
  outcomes  what became of a run, by rule
  results   a row a run, as JSON lines and CSV
  costs     tokens, FLOPs, time and dollars before anything runs

Any configs can be run side by side, whether or not a sweep made them:

    outcomes = running.run_all({"a": cfg, "b": other}, out, parallel=2)
    outcomes["a"].status  # "done"

and those of a sweep a table, finished or not, from which laws are fitted:

    rows = results.gather(sweep, out)
    results.write(rows, out)  # results.jsonl and results.csv
"""
