"""The parameters of the law, by variable projection.

Given the two exponents, the law is linear in E, A and B. So the plane of
exponents is searched densely, with the exact best E, A, B in every point of
it, and no starting value is lucky or unlucky (arXiv 2603.22339, section 6).
Least squares of relative errors stand in for the objective there, because
then a thousand bootstrap draws are one product of matrices: all that a draw
changes is how often each run counts. The best point is polished on the
objective proper, the Huber loss of the difference of log losses (arXiv
2203.15556, equation 3), by damped Gauss-Newton steps with reweighting.
"""

import numpy as np

from yue_jax.scaling.law import Law
from yue_jax.scaling.runs import Runs

DELTA = 1e-3  # of the Huber loss: half a square below, a line above
EXPONENTS = (0.02, 2.0)  # searched: alpha and beta alike
_GRID = np.geomspace(*EXPONENTS, 48)
_CHUNK = 128  # draws at a time: 2 MiB for each array over the plane
_ITERATIONS = 300
_TOLERANCE = 1e-9  # of the objective, relative, in one step
_LEAST = 1e-12  # of A and B, where the loss does not fall at all


def solve(runs: Runs, counts: np.ndarray) -> Law:
  """The law of least Huber loss for every draw.

  Args:
    runs: at least six, of which sizes and tokens vary.
    counts: (draws, runs), how often a draw holds each run.

  Returns:
    A law whose fields have shape (draws,). Exponents lie in `EXPONENTS`; on
    its ends where no better are inside.
  """
  centred = _Centred(runs)
  parts = np.array_split(counts, -(-len(counts) // _CHUNK))
  thetas = [centred.polish(centred.search(part), part) for part in parts]
  return centred.law(np.concatenate(thetas))


def objective(law: Law, runs: Runs) -> float:
  """Sum over runs of the Huber loss of log L(N, D) - log loss."""
  predicted = law.loss(runs.parameters, runs.tokens)
  return float(_huber(np.log(predicted / runs.loss)).sum())


class _Centred:
  """Runs with N and D in units of their geometric means.

  In these units the parameters `theta` = (E, log A, log B, alpha, beta) are
  far less correlated than in units of one.
  """

  def __init__(self, runs: Runs):
    logs = np.log([runs.parameters, runs.tokens])
    self._centres = logs.mean(1)
    self._logs = logs - self._centres[:, None]  # (2, runs)
    self._loss = runs.loss

  def law(self, theta: np.ndarray) -> Law:
    """In units of one, of (draws, 5)."""
    floor, log_a, log_b, alpha, beta = theta.T
    return Law(
      E=floor,
      A=np.exp(log_a + alpha * self._centres[0]),
      B=np.exp(log_b + beta * self._centres[1]),
      alpha=alpha,
      beta=beta,
    )

  def search(self, counts: np.ndarray) -> np.ndarray:
    """(draws, 5): the best point of the grid by relative least squares."""
    powers = np.exp(-self._logs[:, :, None] * _GRID)  # (2, runs, exponents)
    pairs = powers[0][:, :, None] * powers[1][:, None, :]
    weights = counts / self._loss**2
    weights /= weights.sum(1, keepdims=True)
    side = len(_GRID)
    xy = (weights @ pairs.reshape(-1, side**2)).reshape(-1, side, side)
    # Moments of both variables, laid along the two axes of the plane.
    x, y = (_along(weights @ p, n) for n, p in enumerate(powers))
    xx, yy = (_along(weights @ p**2, n) for n, p in enumerate(powers))
    relative = weights * self._loss
    xz, yz = (_along(relative @ p, n) for n, p in enumerate(powers))
    z, zz = (_along((weights @ self._loss**k)[:, None], 0) for k in (1, 2))

    a, b, error = _regress(
      xx - x * x, yy - y * y, xy - x * y, xz - x * z, yz - y * z, zz - z * z
    )
    floor = z - a * x - b * y
    below = floor < 0
    for free, bound in zip(
      (a, b, error), _regress(xx, yy, xy, xz, yz, zz), strict=True
    ):
      free[below] = bound[below]
    error[(a <= 0) | (b <= 0)] = np.inf

    best = error.reshape(len(counts), -1).argmin(1)
    row, column = np.divmod(best, side)
    at = np.arange(len(counts)), row, column
    sizes = np.log(np.maximum([a[at], b[at]], _LEAST))
    exponents = _GRID[row], _GRID[column]
    return np.stack([np.maximum(floor[at], 0), *sizes, *exponents], axis=-1)

  def polish(self, theta: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(draws, 5): steps from `theta` down the Huber loss, until none helps."""
    theta = theta.copy()
    value = self._value(theta, counts)
    damping = np.full(len(theta), 1e-3)
    active = np.arange(len(theta))
    for _ in range(_ITERATIONS):
      step = self._step(theta[active], counts[active], damping[active])
      trial = _inside(theta[active] + step)
      reached = self._value(trial, counts[active])
      gain = value[active] - reached
      better = gain > 0
      moved = active[better]
      theta[moved], value[moved] = trial[better], reached[better]
      damping[active] *= np.where(better, 0.2, 8.0)
      small = gain <= _TOLERANCE * value[active]
      stuck = damping[active] > 1e8
      active = active[~((better & small) | stuck)]
      if not active.size:
        break
    return theta

  def _value(self, theta: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return (counts * _huber(self._residuals(theta)[0])).sum(1)

  def _residuals(self, theta: np.ndarray) -> tuple[np.ndarray, ...]:
    """log L - log loss, L, A N^-alpha and B D^-beta, all (draws, runs)."""
    log_n, log_d = self._logs
    a = np.exp(theta[:, 1:2] - theta[:, 3:4] * log_n)
    b = np.exp(theta[:, 2:3] - theta[:, 4:5] * log_d)
    predicted = theta[:, :1] + a + b
    return np.log(predicted / self._loss), predicted, a, b

  def _step(self, theta, counts, damping) -> np.ndarray:
    residuals, predicted, a, b = self._residuals(theta)
    log_n, log_d = self._logs
    jacobian = np.stack([np.ones_like(a), a, b, -a * log_n, -b * log_d], axis=1)
    jacobian /= predicted[:, None]
    weights = counts / np.maximum(1, np.abs(residuals) / DELTA)
    weighted = jacobian * weights[:, None]
    hessian = weighted @ jacobian.swapaxes(1, 2)
    diagonal = np.einsum("tii->ti", hessian)
    diagonal *= 1 + damping[:, None]
    diagonal += 1e-12
    gradient = weighted @ residuals[:, :, None]
    return -np.linalg.solve(hessian, gradient)[:, :, 0]


def _along(moments: np.ndarray, axis: int) -> np.ndarray:
  """(draws, exponents), with the other axis of the plane beside it."""
  return moments[:, None, :] if axis else moments[:, :, None]


def _regress(xx, yy, xy, xz, yz, zz) -> tuple[np.ndarray, ...]:
  """z = a x + b y by least squares, from moments: a, b and the mean square."""
  with np.errstate(divide="ignore", invalid="ignore"):
    determinant = xx * yy - xy * xy
    a = (xz * yy - yz * xy) / determinant
    b = (yz * xx - xz * xy) / determinant
    return a, b, zz - a * xz - b * yz


def _inside(theta: np.ndarray) -> np.ndarray:
  """The nearest point with a floor that is not negative, and in the search."""
  theta[:, 0] = np.maximum(theta[:, 0], 0)
  theta[:, 3:] = np.clip(theta[:, 3:], *EXPONENTS)
  return theta


def _huber(residuals: np.ndarray) -> np.ndarray:
  size = np.abs(residuals)
  return np.where(size < DELTA, size * size / 2, DELTA * (size - DELTA / 2))
