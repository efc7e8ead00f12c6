"""The experiment file of a config that lies in a JSON file.

  python -m yue_jax.main --config=yue_jax/sweeps/saved.py:runs/x/config.json \
    --run_dir=runs/y

trains what another run has trained, or what a sweep has written down.
"""

import json
import pathlib

import ml_collections


def get_config(path: str) -> ml_collections.ConfigDict:
  """The config that `config.to_json` gave, written to the file `path`."""
  return ml_collections.ConfigDict(json.loads(pathlib.Path(path).read_text()))
