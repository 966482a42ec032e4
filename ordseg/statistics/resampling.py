"""Resamples of images or groups: what is drawn, and every metric in all of them at once."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ordseg.errors import InputError, check_choice
from ordseg.metrics import Resamples
from ordseg.metrics.top_label import cases_of

Values = Mapping[str, np.ndarray]  # path of a metric -> [S], its value in each resample
Measure = Callable[[Resamples], Values]

METHODS = ("percentile", "bca")
UNITS = ("image", "group")
_WEIGHTS_AT_ONCE, _ROWS_AT_ONCE = 2**24, 4096


@dataclasses.dataclass(frozen=True)
class Settings:
  """How intervals are made.

  Attributes:
    num_resamples: S.
    confidence: in (0, 1).
    method: 'percentile' or 'bca', of plain means; calibration errors have a method of their own (`noise`).
    seed: Seed of the draws.

  Raises:
    InputError: a field is out of its range.
  """

  num_resamples: int = 10_000
  confidence: float = 0.95
  method: str = "percentile"
  seed: int = 0

  def __post_init__(self) -> None:
    check_choice(self.method, METHODS, field="method")
    if not 0 < self.confidence < 1:
      raise InputError(f"confidence={self.confidence!r} must lie between 0 and 1, such as 0.95.")
    if self.num_resamples < 100:
      raise InputError(f"resamples={self.num_resamples!r} must be at least 100.")


@dataclasses.dataclass(frozen=True)
class Units:
  """What is drawn: images, or groups of images.

  Attributes:
    index: [I] int in 0..num-1, the unit of each image.
    num: U.
    kind: 'images' or 'groups'.
    splits_groups: whether images of one group are drawn apart.
  """

  index: np.ndarray
  num: int
  kind: str
  splits_groups: bool = False


def units_of(groups: Sequence[str], by: str | None = None) -> Units:
  """Returns the units of images with `groups` [I], '' where an image has none.

  Args:
    groups: The group of each image.
    by: 'image' or 'group'; None takes groups where there are any.

  Raises:
    InputError: groups are asked for and there are none.
  """
  if by is not None:
    check_choice(by, UNITS, field="group-by")
  if by == "group" and not any(groups):
    raise InputError("group-by='group', but these images belong to no groups; use 'image'.")
  cases = cases_of(groups)
  num_cases = int(cases.max(initial=-1)) + 1
  if by == "group" or (by is None and num_cases < len(groups)):
    return Units(cases, num_cases, "groups")
  return Units(np.arange(len(groups)), len(groups), "images", splits_groups=num_cases < len(groups))


# --- Resamples --------------------------------------------------------------------------------------------------------


def evaluated(measure: Measure, weights: Iterator[np.ndarray], unit: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the metrics [S] under weights that come in parts [., U]."""
  parts = [measure(Resamples(part, unit)) for part in weights]
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def row_counts(num_rows: int, num_units: int) -> Iterator[int]:
  """Cuts `num_rows` into parts that fit the memory."""
  most = int(np.clip(_WEIGHTS_AT_ONCE // max(num_units, 1), 1, _ROWS_AT_ONCE))
  for start in range(0, num_rows, most):
    yield min(most, num_rows - start)


def bootstrap(measure: Measure, units: Units, *, num_resamples: int, seed: int) -> dict[str, np.ndarray]:
  """Evaluates metrics on resamples of as many units as there are, drawn with replacement (Efron, 1979).

  The draws depend on the seed and the number of units alone, so runs on the same images share them.

  Args:
    measure: what to evaluate.
    units: what to draw.
    num_resamples: S.
    seed: Seed of the draws.

  Returns:
    [S] float64 for each metric, NaN where a resample has none.
  """
  random, U = np.random.default_rng(seed), units.num

  def weights() -> Iterator[np.ndarray]:
    for rows in row_counts(num_resamples, U):
      drawn = random.integers(U, size=(rows, U)) + U * np.arange(rows)[:, None]
      yield np.bincount(drawn.ravel(), minlength=rows * U).reshape(rows, U)

  return evaluated(measure, weights(), units.index)


def jackknife(measure: Measure, units: Units) -> dict[str, np.ndarray]:
  """Evaluates metrics with each unit left out in turn, [U] each."""

  def weights() -> Iterator[np.ndarray]:
    start = 0
    for rows in row_counts(units.num, units.num):
      yield 1.0 - np.eye(rows, units.num, start)
      start += rows

  return evaluated(measure, weights(), units.index)


def estimates(measure: Measure, units: Units) -> dict[str, float]:
  """Evaluates metrics with each unit once: the numbers of the data set."""
  return {name: float(x[0]) for name, x in evaluated(measure, iter([np.ones((1, units.num))]), units.index).items()}
