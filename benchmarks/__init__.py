"""Benchmarks, each of them a command; README.md says which and what of."""
