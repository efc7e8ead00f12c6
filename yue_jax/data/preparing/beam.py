"""Preparing with Apache Beam: the parts of `data.prepare` as a pipeline.

  chunks ─► Create ─► Reshuffle ─► write_part, on any worker ─► joined here

A runner only has to see the manifests, the codes and the folder of the data
set under the same paths everywhere. What is written is, byte for byte, what
one machine would write, and is continued in the same way, also without Beam.

Beam has older versions of protobuf and pyarrow than the rest of the project
is used with: pip install '.[beam]' in an environment of its own.
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from yue_jax.data.preparing.chunks import Chunk
from yue_jax.data.preparing.parts import write_part
from yue_jax.data.preparing.prepare import Manifests, Run, open_run


def prepare_on_beam(
  manifests: Manifests,
  out: str | os.PathLike[str],
  *,
  flags: Sequence[str] = (),
  **settings,
) -> dict[str, Any]:
  """Like `data.prepare.prepare`, on the runner that Beam's `flags` name.

  Without flags, Beam's direct runner works on this machine.
  """
  run = open_run(manifests, out, **settings)
  missing = [task.chunk for task in run.tasks(run.chunks)]
  write = _WriteChunk(dataclasses.replace(run, chunks=()))
  with beam.Pipeline(options=PipelineOptions(list(flags))) as pipeline:
    _ = (
      pipeline
      | "chunks" >> beam.Create(missing, reshuffle=False)
      | "to any worker" >> beam.Reshuffle()
      | "write parts" >> beam.ParDo(write)
    )
  return run.join()


class _WriteChunk(beam.DoFn):
  """Writes the part of a chunk, unless it is there."""

  def __init__(self, run: Run):
    self._run = run  # once per worker, since a tokenizer is in it

  def process(self, chunk: Chunk) -> list[int]:
    return [write_part(self._run.task(chunk)).rows]
