"""Permutations of 0 .. n - 1 that need no memory."""

import functools

import numpy as np

from yue_jax.references import counter_hash

_ROUNDS = 6


class Permutation:
  """A drawn order of `size` numbers: `p[0]`, ..., `p[size - 1]`, each once.

  Of the next power of two, in rounds of a product with an odd number, a sum
  and a shift, all of them reversible; results that are too large are taken
  through it again. A function of the counters, such as seed and epoch.
  """

  def __init__(self, size: int, *counters: int, purpose: str):
    self._size, self._bits = size, max(1, (size - 1).bit_length())
    self._keys = _keys(counters, purpose)

  def __getitem__(self, number: int) -> int:
    if not 0 <= number < self._size:
      raise IndexError(f"number {number} of {self._size}")
    mask, shift = (1 << self._bits) - 1, (self._bits + 1) // 2
    while True:
      for factor, summand in self._keys:
        number = (number * factor + summand) & mask
        number ^= number >> shift
      if number < self._size:
        return number


@functools.lru_cache(64)
def _keys(counters: tuple[int, ...], purpose: str) -> list[tuple[int, int]]:
  numbers = counter_hash(
    *counters, np.arange(2 * _ROUNDS), purpose=purpose
  ).tolist()
  return [
    (factor | 1, summand)
    for factor, summand in zip(numbers[::2], numbers[1::2], strict=True)
  ]
