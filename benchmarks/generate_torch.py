"""transformers' generate as a contender of benchmarks/generate.py.

frame by frame     one call for each frame, which reads all that there is so far
                   and gives seven tokens: what the released inference does
stage 2, stage 1   one call with a static cache; tokens that are given
                   are all that is allowed in their place
"""

import argparse
import os
import pathlib

import torch
import transformers

from benchmarks.generate_shapes import (
  PENALTY,
  PROMPT,
  RESIDUAL,
  ROWS,
  WORKS,
  Work,
)
from benchmarks.turns import serve

FRAME = RESIDUAL + 1


class Allowed(transformers.LogitsProcessor):
  """Nothing but a range of ids, and in some places one id of each row."""

  def __init__(self, ids: range, given: dict[int, torch.Tensor]):
    self.ids, self.given = ids, given

  def __call__(self, input_ids, scores):
    allowed = torch.full_like(scores, -float("inf"))
    given = self.given.get(input_ids.shape[1])
    if given is None:
      part = slice(self.ids.start, self.ids.stop)
      allowed[:, part] = scores[:, part]
    else:
      allowed[torch.arange(ROWS), given] = 0.0
    return allowed


def main() -> None:
  args = _parser().parse_args()
  torch.set_num_threads(args.threads or len(os.sched_getaffinity(0)))
  work = WORKS[args.work]
  model = transformers.AutoModelForCausalLM.from_pretrained(
    args.folder,
    dtype=torch.float32,
    attn_implementation="sdpa",
    local_files_only=True,
  ).eval()
  by_frame = all_frames if work.every == 1 else some_frames
  drawn = {"do_sample": True, "temperature": 1.0, "top_k": 50, "top_p": 0.93}
  calls = {
    "frame by frame": lambda: by_frame(model, work),
    "stage 2": lambda: windows(model, work),
    "stage 1": lambda: tracks(model, work, do_sample=False),
    "stage 1, drawn": lambda: tracks(model, work, **drawn),
  }
  with torch.inference_mode():
    serve(calls, first={})


def all_frames(model, work: Work) -> dict[str, list]:
  """All frames, each after those completed before."""
  prompt, codes = window_prompt(work)
  for frame in codes.T:
    prompt = complete_frame(model, work, prompt, frame)
  return {"ids": prompt.tolist()}


def some_frames(model, work: Work) -> dict[str, list]:
  """One of so many frames, in the middle of each such stretch."""
  prompt, codes = window_prompt(work)
  drawn = torch.randint(
    work.residual.start, work.residual.stop, (ROWS, work.window, RESIDUAL)
  )
  before = torch.cat([codes[:, :, None], drawn], dim=2)
  for number in range(work.every // 2, work.window, work.every):
    known = torch.cat([prompt, before[:, :number].flatten(1)], dim=1)
    complete_frame(model, work, known, codes[:, number])
  return {"ids": []}


def complete_frame(model, work: Work, prompt, frame) -> torch.Tensor:
  prompt = torch.cat([prompt, frame[:, None]], dim=1)
  return generate(model, prompt, RESIDUAL, [Allowed(work.residual, {})])


def windows(model, work: Work) -> dict[str, list]:
  prompt, codes = window_prompt(work)
  length = prompt.shape[1]
  given = {length + FRAME * n: frame for n, frame in enumerate(codes.T)}
  ids = generate(
    model,
    prompt,
    FRAME * work.window,
    [Allowed(work.residual, given)],
    cache_implementation="static",
  )
  return {"ids": ids.tolist()}


def tracks(model, work: Work, **settings) -> dict[str, list]:
  ids = generate(
    model,
    torch.from_numpy(work.prompts(PROMPT)).long(),
    work.drawn,
    [Allowed(work.vocab.codebook(0), {})],
    cache_implementation="static",
    repetition_penalty=PENALTY,
    **settings,
  )
  return {"ids": ids.tolist()}


def window_prompt(work: Work) -> tuple[torch.Tensor, torch.Tensor]:
  """<SOA> <stage_1> codebook 0 <stage_2>, and the ids of codebook 0."""
  vocab = work.vocab
  codes = torch.from_numpy(work.codes()[:ROWS]) + vocab.codebook(0).start
  marks = torch.tensor([vocab.soa, vocab.stage_1, vocab.stage_2])
  marks = marks.expand(ROWS, 3)
  return torch.cat([marks[:, :2], codes, marks[:, 2:]], dim=1), codes


def generate(model, ids: torch.Tensor, count: int, allowed: list, **settings):
  return model.generate(
    ids,
    attention_mask=torch.ones_like(ids),
    min_new_tokens=count,
    max_new_tokens=count,
    logits_processor=allowed,
    pad_token_id=0,
    **{"do_sample": False, **settings},
  )


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--work", choices=WORKS, required=True)
  parser.add_argument("--folder", type=pathlib.Path, required=True)
  parser.add_argument("--threads", type=int, help="[all cores]")
  return parser


if __name__ == "__main__":
  main()
