"""Why a table of runs does not say what it is asked for.

Every refusal names what was needed, what there is, and what would help. They
are errors, not numbers with a warning: a recommendation that is printed is
used.
"""


class Refusal(ValueError):
  """A question that the runs at hand do not answer."""


class TooFewRuns(Refusal):
  """Fewer runs, sizes or settings than the curve has parameters."""


class TooFewBudgets(Refusal):
  """Too few budgets of compute to draw a line through."""


class NotIdentified(Refusal):
  """Sizes and tokens do not vary independently of each other."""


class ExponentOnEdge(Refusal):
  """The best exponent is the largest or smallest that was searched."""


class NoInteriorMinimum(Refusal):
  """The minimum of a parabola lies outside the settings that were run."""


class WrongWayUp(Refusal):
  """A parabola has a maximum, or no curvature, where it needs a minimum."""


class Extrapolation(Refusal):
  """Asked for too far beyond the largest run."""


def check_reach(
  wanted: float, largest: float, furthest: float, what: str
) -> float:
  """How many times the largest that was run is wanted.

  Raises:
    Extrapolation: more than `furthest` times.
  """
  beyond = float(wanted / largest)
  if beyond > furthest:
    raise Extrapolation(
      f"{wanted:.3g} {what} are {beyond:.3g} times those of the largest run,"
      f" expected at most {furthest:g} times; train larger runs, or allow more"
    )
  return beyond
