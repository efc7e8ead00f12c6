"""The paper in miniature: its claims tried in the small world.

cases       what is trained and measured, as values named by their hash
claims      the files of experiments/paper, one a claim
setting     the world, model and schedule that all claims share
corpora     songs of a world on disk, made once
training    a process of `yue_jax.main` for each run
trained     a run as measures see it
losses      measure: nats of held-out songs against their floors
singing     measure: lyric errors of songs that are sung
machine     does what is missing, and goes on after a kill
results     a line of JSON a case, and tables of them
statistics  paired intervals, and what they say of a statement
figures     pictures of a table
report      the document: sections, figures, verdicts
"""
