"""Which of an example's raters the training sees: the baselines that learn from one rater at a time."""

import numpy as np

from ordseg.errors import InputError

ALL, RANDOM = "all", "random"


def check(raters: str, num_raters: int) -> None:
  """Checks ``config.data.raters``.

  Args:
    raters: ``all``, ``random``, or numbers of raters from 0 on, with commas between.
    num_raters: R.

  Raises:
    InputError: it is none of these, or there is no such rater.
  """
  if raters in (ALL, RANDOM):
    return
  numbers = raters.split(",")
  if not all(number.isdigit() and int(number) < num_raters for number in numbers) or len(set(numbers)) < len(numbers):
    raise InputError(
      f"config.data.raters={raters!r} must be 'all', 'random' (one of each image's raters, drawn anew each time), or "
      f"numbers from 0 to {num_raters - 1} with commas between."
    )


def choose(rater_valid: np.ndarray, raters: str, draws: np.random.Generator) -> np.ndarray:
  """Returns uint8: `rater_valid` without the raters that are not to be seen, possibly all 0.

  Args:
    rater_valid: [R], 1 where the rater answered; [K, R] of several classes, for which the same raters are chosen.
    raters: The raters that are kept; see `check`.
    draws: The random generator of this example.
  """
  valid = np.asarray(rater_valid).astype(np.uint8)
  if raters == ALL or not valid.any():
    return valid
  somewhere = np.atleast_2d(valid).any(axis=0)
  seen = (
    [draws.choice(np.flatnonzero(somewhere))] if raters == RANDOM else [int(number) for number in raters.split(",")]
  )
  return valid * np.isin(np.arange(valid.shape[-1]), seen).astype(np.uint8)
