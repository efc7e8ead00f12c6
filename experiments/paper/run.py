"""One run of the paper in miniature, as tools/paper.py has written it down.

Purpose  Lets `yue_jax.main` train what the claims beside this file name. They
         say what is compared with what, and why.
Command  make paper, or, for a run that it has begun,
         python -m yue_jax.main \
           --config=experiments/paper/run.py:runs/paper/runs/NAME/start.json \
           --run_dir=runs/paper/runs/NAME
"""

import json
import pathlib

import ml_collections

from yue_jax import config


def get_config(path: str) -> ml_collections.ConfigDict:
  run = config.from_config_dict(json.loads(pathlib.Path(path).read_text()))
  return ml_collections.ConfigDict(config.to_json(run))
