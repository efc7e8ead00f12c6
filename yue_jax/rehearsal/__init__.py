"""Rehearsals: songs that a run sings every so often while it is trained.

    songs.jsonl ─► given      tags and lyrics of a few songs, as ids
    weights     ─► rehearsal  sings them, and measures what it has sung
                   └► record  of metrics.jsonl, kind "songs"
                      folder  RUN/songs/step_00000500/ID, to read and to hear

The trainer knows none of this: it calls an `train.evaluators.Evaluator`.
"""
