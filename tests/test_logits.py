"""Every step from logits to a token, beside the class of transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yue_jax.sampling import logits as ours
from yue_jax.sampling.logits import GREEDY, Sampling

ROWS, VOCAB = 5, 40


@pytest.fixture
def scores() -> np.ndarray:
  rng = np.random.default_rng(0)
  return (3 * rng.normal(size=(ROWS, VOCAB))).astype(np.float32)


@pytest.fixture
def fed() -> np.ndarray:
  return np.random.default_rng(1).integers(0, VOCAB, (ROWS, 12))


@pytest.fixture
def theirs():
  pytest.importorskip("torch", reason="needs PyTorch")
  return pytest.importorskip(
    "transformers", reason="needs transformers"
  ).generation.logits_process


def apply(processor, fed, scores) -> np.ndarray:
  import torch

  return processor(torch.tensor(fed), torch.tensor(scores)).numpy()


def seen_of(fed: np.ndarray) -> np.ndarray:
  seen = np.zeros((ROWS, VOCAB), bool)
  np.put_along_axis(seen, fed, True, axis=1)
  return seen


@pytest.mark.parametrize("penalty", [0.8, 1.1, 1.7])
def test_repetition_penalty(theirs, scores, fed, penalty):
  expected = apply(
    theirs.RepetitionPenaltyLogitsProcessor(penalty), fed, scores
  )
  np.testing.assert_allclose(
    ours.penalize(scores, seen_of(fed), penalty), expected, rtol=1e-6
  )


def test_repetition_penalty_by_hand():
  seen = np.array([[True, True, False]])
  got = ours.penalize(np.array([[2.0, -2.0, 2.0]]), seen, 2.0)
  np.testing.assert_array_equal(got, [[1.0, -4.0, 2.0]])


def spread(sorted_scores, ids) -> np.ndarray:
  """Scores by id again; minus infinity where a token was not kept."""
  scores = np.full((ROWS, VOCAB), -np.inf, np.float32)
  np.put_along_axis(scores, np.asarray(ids), np.asarray(sorted_scores), axis=1)
  return scores


@pytest.mark.parametrize("k", [1, 7, VOCAB, 3 * VOCAB])
def test_top_k(theirs, scores, fed, k):
  expected = apply(theirs.TopKLogitsWarper(k), fed, scores)
  np.testing.assert_array_equal(spread(*ours.likeliest(scores, k)), expected)


def test_top_k_of_ties_are_still_k():
  _, ids = ours.likeliest(np.array([[1.0, 2.0, 1.0, 1.0]]), 2)
  np.testing.assert_array_equal(ids, [[1, 0]])


@pytest.mark.parametrize("k", [6, VOCAB])
@pytest.mark.parametrize("p", [1e-9, 1e-6, 0.3, 0.93, 0.999])
def test_top_p(theirs, scores, fed, k, p):
  expected = apply(theirs.TopKLogitsWarper(k), fed, scores)
  expected = apply(theirs.TopPLogitsWarper(p), fed, expected)
  kept, ids = ours.likeliest(scores, k)
  got = spread(ours.keep_top_p(kept, p), ids)
  np.testing.assert_array_equal(got, expected)


def test_top_p_by_hand():
  scores = np.log(np.array([[0.5, 0.3, 0.2]], np.float32))
  got = ours.keep_top_p(scores, 0.7)
  np.testing.assert_array_equal(np.isfinite(got), [[True, True, False]])


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_guidance(theirs, scores, fed, scale):
  import torch

  unconditional = np.roll(scores, 1, axis=1)
  cls = theirs.UnbatchedClassifierFreeGuidanceLogitsProcessor
  processor = cls(scale, None)
  answer = torch.tensor(unconditional)[:, None]
  processor.get_unconditional_logits = lambda _: answer
  expected = apply(processor, fed, scores)
  if scale == 1:  # generate() does not add the processor at all
    expected = scores
  got = ours.guide(scores, unconditional, np.full(ROWS, scale, np.float32))
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_all_steps_in_their_order(theirs, scores, fed):
  """What can be drawn, and how likely, is what transformers would draw."""
  allowed = np.arange(VOCAB) % 3 != 0
  sampling = Sampling(
    temperature=0.7, top_k=9, top_p=0.9, repetition_penalty=1.4
  )
  expected = scores
  for step in (
    theirs.RepetitionPenaltyLogitsProcessor(1.4),
    lambda _, x: x.masked_fill(~_tensor(allowed), -float("inf")),
    theirs.TemperatureLogitsWarper(0.7),
    theirs.TopKLogitsWarper(9),
    theirs.TopPLogitsWarper(0.9),
  ):
    expected = apply(step, fed, expected)
  draws = draw_many(scores, seen_of(fed), allowed, sampling, times=4000)
  for row in range(ROWS):
    share = np.bincount(draws[row], minlength=VOCAB) / draws.shape[1]
    probability = np.asarray(jax.nn.softmax(expected[row]))
    np.testing.assert_array_equal(share > 0, probability > 0)
    np.testing.assert_allclose(share, probability, atol=0.04)


def _tensor(x):
  import torch

  return torch.tensor(x)


def draw_many(scores, seen, allowed, sampling, *, times) -> np.ndarray:
  def once(key):
    return ours.next_tokens(
      jnp.asarray(scores),
      seen=seen,
      allowed=jnp.broadcast_to(allowed, scores.shape),
      keys=jax.random.split(key, ROWS),
      sampling=sampling,
      first=0,
    )

  keys = jax.random.split(jax.random.key(0), times)
  return np.asarray(jax.jit(jax.vmap(once, out_axes=1))(keys))


def test_greedy_takes_the_likeliest_allowed_token(scores):
  allowed = np.arange(VOCAB) != scores.argmax(axis=1)[:, None]
  got = ours.next_tokens(
    scores,
    seen=np.zeros_like(allowed),
    allowed=allowed,
    keys=jax.random.split(jax.random.key(0), ROWS),
    sampling=GREEDY,
    first=0,
  )
  np.testing.assert_array_equal(got, np.argsort(scores, axis=1)[:, -2])


@pytest.mark.parametrize(
  "wrong",
  [
    {"temperature": -1.0},
    {"top_k": -1},
    {"top_p": 0.0},
    {"top_p": 1.5},
    {"repetition_penalty": 0.0},
  ],
)
def test_bad_settings_name_the_field(wrong):
  (name,) = wrong
  with pytest.raises(ValueError, match=name):
    Sampling(**wrong)
