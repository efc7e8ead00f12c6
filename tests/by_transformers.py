"""Queues worked off by `generate` of transformers, as the released code does.

One call for every entry that is drawn, and each reads anew all that there is:
a section of stage 1, or a frame of stage 2. Guidance, the repetition penalty
and the minimum length are the processors that transformers has for them.
"""

import pathlib

from flax import nnx
import jax
import numpy as np
import pytest

from tests import tiny
from yue_jax.exchange.folder import export_folder
from yue_jax.model import Decoder
from yue_jax.sampling.queues import SAMPLE, Row, Rule
from yue_jax.weights import Weights


def exported(decoder: Decoder, folder: pathlib.Path):
  """The model of a folder that these weights were exported to."""
  params = nnx.to_pure_dict(nnx.state(decoder, nnx.Param))
  export_folder(
    folder,
    Weights(decoder.cfg, tiny.VOCAB, 0, jax.tree.map(np.asarray, params)),
    dtype="float32",
    shard_bytes=2**20,
    tokenizer_model=None,
  )
  return loaded(folder)


def loaded(folder: pathlib.Path):
  """Skips the test where PyTorch or transformers is not installed."""
  torch = pytest.importorskip("torch", reason="needs PyTorch")
  transformers = pytest.importorskip(
    "transformers", reason="needs transformers"
  )
  return transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, local_files_only=True
  ).eval()


def greedily(
  model, row: Row, rules: list[Rule], *, penalty: float = 1.0
) -> list[int]:
  """All tokens that a row comes to, those of its queue included."""
  ids = []
  for token, rule, scale in zip(*row, strict=True):
    if token == SAMPLE:
      ids = _drawn(model, ids, rules[rule], float(scale), penalty)
    else:
      ids.append(int(token))
  return ids


def _drawn(
  model, ids: list[int], rule: Rule, scale: float, penalty: float
) -> list[int]:
  import torch

  def only_allowed(now, scores):
    count = now.shape[1] - len(ids)
    allowed = torch.zeros(scores.shape[-1], dtype=torch.bool)
    allowed[list(rule.cycle[count % len(rule.cycle)])] = True
    if rule.stop is not None and count % len(rule.cycle) == 0:
      allowed[rule.stop] = True
    return scores.masked_fill(~allowed, -float("inf"))

  least = rule.maximum if rule.stop is None else rule.minimum
  (result,) = model.generate(
    torch.tensor([ids]),
    attention_mask=torch.ones(1, len(ids), dtype=torch.long),
    guidance_scale=scale,
    repetition_penalty=penalty,
    min_new_tokens=least,
    max_new_tokens=rule.maximum,
    logits_processor=[only_allowed],
    eos_token_id=rule.stop,
    pad_token_id=0,
    do_sample=False,
  ).tolist()
  # The released code ends a section itself that came to its longest.
  ends = rule.stop is None or result[-1] == rule.stop
  return result if ends else [*result, rule.stop]
