"""Uncertainty from sums per image: bootstrap intervals, paired permutation tests, Holm's correction, spread over seeds.

Images, or groups of them such as patients, are resampled; nothing is predicted again. Ten thousand resamples are a
matrix of weights, and every metric is evaluated on all of them at once by the code that evaluates it on the data set.
docs/statistics.md says what the numbers mean.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from ordseg.metrics import Resamples
from ordseg.metrics.top_label import cases_of
from ordseg.validate import InputError, check_choice

Values = Mapping[str, np.ndarray]  # path of a metric -> [S], its value in each resample
Measure = Callable[[Resamples], Values]

METHODS = ("percentile", "bca")
UNITS = ("image", "group")
# An interval is given only if this share of the resamples has the metric at all.
MIN_DEFINED = 0.95
_WEIGHTS_AT_ONCE, _ROWS_AT_ONCE = 2**24, 4096


@dataclasses.dataclass(frozen=True)
class Settings:
  """How intervals are made.

  Attributes:
    num_resamples: S.
    confidence: in (0, 1).
    method: 'percentile' or 'bca'.
    seed: of the draws.

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
    groups: of the images.
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


def _row_counts(num_rows: int, num_units: int) -> Iterator[int]:
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
    seed: of the draws.

  Returns:
    [S] float64 for each metric, NaN where a resample has none.
  """
  random, U = np.random.default_rng(seed), units.num

  def weights() -> Iterator[np.ndarray]:
    for rows in _row_counts(num_resamples, U):
      drawn = random.integers(U, size=(rows, U)) + U * np.arange(rows)[:, None]
      yield np.bincount(drawn.ravel(), minlength=rows * U).reshape(rows, U)

  return evaluated(measure, weights(), units.index)


def jackknife(measure: Measure, units: Units) -> dict[str, np.ndarray]:
  """Evaluates metrics with each unit left out in turn, [U] each."""

  def weights() -> Iterator[np.ndarray]:
    start = 0
    for rows in _row_counts(units.num, units.num):
      yield 1.0 - np.eye(rows, units.num, start)
      start += rows

  return evaluated(measure, weights(), units.index)


def estimates(measure: Measure, units: Units) -> dict[str, float]:
  """Evaluates metrics with each unit once: the numbers of the data set."""
  return {name: float(x[0]) for name, x in evaluated(measure, iter([np.ones((1, units.num))]), units.index).items()}


# --- Intervals --------------------------------------------------------------------------------------------------------


def interval(
  samples: np.ndarray, settings: Settings, estimate: float = np.nan, left_out: np.ndarray | None = None
) -> tuple[float, float]:
  """Returns the ends of a bootstrap interval, both NaN where there is none.

  'percentile': quantiles of the samples. 'bca': quantiles at levels that correct for the bias of their median and for
  skewness (Efron, 1987), the acceleration from the jackknife.

  Args:
    samples: [S], NaN where undefined; those are left out, and where they are more than 5 % there is no interval.
    settings: confidence and method.
    estimate: of the data set, for 'bca'.
    left_out: [U] from `jackknife`, for 'bca'.
  """
  known = samples[~np.isnan(samples)]
  levels = np.asarray([(1 - settings.confidence) / 2, (1 + settings.confidence) / 2])
  if known.size < MIN_DEFINED * samples.size or not known.size:
    return np.nan, np.nan
  if settings.method == "bca" and known.min() < known.max():
    assert left_out is not None
    levels = bca_levels(known, levels, estimate, left_out)
    if np.isnan(levels).any():
      return np.nan, np.nan
  low, high = np.quantile(known, levels)
  return float(low), float(high)


def bca_levels(samples: np.ndarray, levels: np.ndarray, estimate: float, left_out: np.ndarray) -> np.ndarray:
  """Returns the levels at which BCa takes quantiles, NaN where all samples lie on one side of the estimate.

  Args:
    samples: [S] finite.
    levels: [2] nominal.
    estimate: of the data set.
    left_out: [U] from `jackknife`.
  """
  share = (np.mean(samples < estimate) + np.mean(samples <= estimate)) / 2
  if not 0 < share < 1 or np.isnan(left_out).any():
    return np.full(2, np.nan)
  bias = special.ndtri(share)
  away = left_out.mean() - left_out
  spread = (away**2).sum()
  acceleration = (away**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
  z = bias + special.ndtri(levels)
  return special.ndtr(bias + z / (1 - acceleration * z))


def intervals(measure: Measure, units: Units, settings: Settings) -> dict[str, Any]:
  """Returns the section ``intervals`` of metrics.json: how they were made, and [low, high] of each metric that has one.

  With one unit there is nothing to resample and no interval.
  """
  values: dict[str, list[float]] = {}
  if units.num > 1:
    samples = bootstrap(measure, units, num_resamples=settings.num_resamples, seed=settings.seed)
    exact = estimates(measure, units) if settings.method == "bca" else {}
    left_out = jackknife(measure, units) if settings.method == "bca" else {}
    ends = {name: interval(x, settings, exact.get(name, np.nan), left_out.get(name)) for name, x in samples.items()}
    values = {name: list(pair) for name, pair in ends.items() if not np.isnan(pair[0])}
  return {
    "confidence": settings.confidence,
    "method": settings.method,
    "num_resamples": settings.num_resamples,
    "unit": units.kind,
    "num_units": units.num,
    "values": values,
  }


# --- Tests ------------------------------------------------------------------------------------------------------------


def swap_differences(measure: Measure, units: Units, *, num_resamples: int, seed: int) -> tuple[Values, bool]:
  """Evaluates the difference of two runs after swapping their sums in a random half of the units.

  Args:
    measure: of both runs' images, those of the first run before those of the second, 2 I in all.
    units: of I images.
    num_resamples: patterns of swaps, S. Where there are no more than S different ones, each is taken once.
    seed: of the patterns.

  Returns:
    Differences [S], the unswapped one first, and whether these are all there are.
  """
  U, unit = units.num, np.concatenate([units.index, units.index + units.num])
  # A pattern and its complement differ in sign alone, so of all patterns half suffice: the last unit stays.
  every = U <= 30 and num_resamples >= 2 ** (U - 1)
  num = 2 ** (U - 1) if every else num_resamples + 1
  random = np.random.default_rng(seed)

  def swaps() -> Iterator[np.ndarray]:
    start = 0
    for rows in _row_counts(num, 2 * U):
      number = np.arange(start, start + rows)
      swapped = (number[:, None] >> np.arange(U)) & 1 if every else random.integers(2, size=(rows, U))
      yield np.where(number[:, None] == 0, 0, swapped)
      start += rows

  parts = []
  for swapped in swaps():
    both = np.concatenate([1 - swapped, swapped], axis=1), np.concatenate([swapped, 1 - swapped], axis=1)
    first, second = (measure(Resamples(weights, unit)) for weights in both)
    parts.append({name: first[name] - second[name] for name in first})
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, every


def permutation_p(differences: np.ndarray) -> float:
  """Returns the two-sided p-value: how often a swapped difference is at least as large as the real one.

  With random patterns the real one counts as one of them, so p is at least 1 / (S + 1) (Phipson, Smyth, 2010).

  Args:
    differences: from `swap_differences`: the real one, then those of the patterns; undefined ones count as large.

  Returns:
    p in (0, 1]; NaN where the real difference is undefined.
  """
  real = abs(differences[0])
  if np.isnan(real):
    return float("nan")
  # What is equal but for rounding counts as equal.
  large = ~(np.abs(differences) < real - 1e-12 - 1e-9 * real)
  return float(large.mean())


def holm(p_values: Sequence[float]) -> list[float]:
  """Returns p-values corrected for their number: the chance of any false finding stays at the level (Holm, 1979).

  NaN are no comparisons and stay.
  """
  p = np.asarray(p_values, np.float64)
  order = np.argsort(p)[: int((~np.isnan(p)).sum())]
  out = np.full(len(p), np.nan)
  out[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
  return out.tolist()


def welch(a: Sequence[float], b: Sequence[float], confidence: float) -> tuple[float, float]:
  """Returns the interval of mean(a) - mean(b) by Welch's t, for few seeds; NaN where either has fewer than two."""
  if len(a) < 2 or len(b) < 2:
    return np.nan, np.nan
  gap = float(np.mean(a) - np.mean(b))
  parts = np.asarray([np.var(x, ddof=1) / len(x) for x in (a, b)])
  if not parts.sum() > 0:
    return gap, gap
  freedom = parts.sum() ** 2 / (parts**2 / [len(a) - 1, len(b) - 1]).sum()
  half = float(special.stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(parts.sum()))
  return gap - half, gap + half
