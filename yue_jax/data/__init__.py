"""From a manifest of songs to batches: prepared once, then read by number.

  preparing   manifests ─► a data set on disk  (`layout`, `records`, `dataset`)
  sources     documents of one kind, by number, with their lengths
  megatron    the same of Megatron's files, and writing those
  planning    lengths ─► which pieces of documents fill which sample
  samples ─► mixture ─► course ─► pipeline: any sample, phase, run, batch

Imports point one way. `planning` knows lengths and nothing else of ours here;
`sources` know the files on disk; `megatron` and `preparing` know `sources`,
and not each other; what reads samples imports nothing of `preparing`.
"""
