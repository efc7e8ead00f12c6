"""What a train step will need and do on TPUs that are not here.

  topology    which devices: "v5p:8x8x8", and how they are wired
  compiler    the real compiler's output for the step, kept on disk
  hlo, walk   its programs as data, and how often each instruction runs
  flops, collectives (groups), traffic, memory
              counts of one device and one step, read from those programs
  roofline    the least time that these counts take; `cost` is what it costs
  plan        all of it together; `report` and `plot` show it
  estimate, search
              other layouts, estimated before any of them is compiled

Nothing here is imported by training.
"""
