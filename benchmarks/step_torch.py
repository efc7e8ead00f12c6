"""transformers' Llama and torch's AdamW as a contender of benchmarks/step.py.

Their best settings on a CPU: scaled_dot_product_attention, the fused AdamW,
gradients set to None, all cores; with --compile, loss and gradients come from
torch.compile.
"""

import argparse
import os
import pathlib

import torch
from torch.nn import functional
import transformers

from benchmarks.step_shapes import MATMUL, OPTIMIZER, RATE, batch
from benchmarks.turns import serve


def main() -> None:
  args = _parser().parse_args()
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  model = transformers.AutoModelForCausalLM.from_pretrained(
    args.folder,
    dtype=torch.float32,
    attn_implementation="sdpa",
    local_files_only=True,
  ).train()
  optimizer = make_optimizer(model)
  inputs, targets = (torch.from_numpy(x).long() for x in batch(args.vocab))

  def loss_of(inputs, targets):
    logits = model(input_ids=inputs, use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

  if args.compile:
    loss_of = torch.compile(loss_of)

  def take() -> dict[str, float]:
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(inputs, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.clip_norm)
    optimizer.step()
    return {"loss": loss.item()}

  x = torch.ones(MATMUL, MATMUL)

  def matmul() -> dict[str, float]:
    torch.mm(x, x)
    return {}

  serve({"step": take, "matmul": matmul}, first=take())


def make_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
  """AdamW as ours: scales of norms are not decayed."""
  parameters = list(model.parameters())
  decay = OPTIMIZER.weight_decay
  return torch.optim.AdamW(
    [
      {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
      {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ],
    lr=RATE,
    betas=(OPTIMIZER.beta1, OPTIMIZER.beta2),
    eps=OPTIMIZER.eps,
    fused=True,
  )


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(description=__doc__)
  add = parser.add_argument
  add("--vocab", type=int, required=True)
  add("--folder", type=pathlib.Path, required=True)
  add("--compile", action="store_true")
  return parser


if __name__ == "__main__":
  main()
