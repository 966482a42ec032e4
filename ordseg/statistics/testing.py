"""Tests of differences, the correction for their number, and the spread over seeds."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import special

from ordseg.metrics import Resamples
from ordseg.statistics.resampling import Measure, Units, Values, row_counts


def swap_differences(measure: Measure, units: Units, *, num_resamples: int, seed: int) -> tuple[Values, bool]:
  """Evaluates the difference of two runs after swapping their sums in a random half of the units.

  Args:
    measure: of both runs' images, those of the first run before those of the second, 2 I in all.
    units: The unit of each of I images.
    num_resamples: patterns of swaps, S. Where there are no more than S different ones, each is taken once.
    seed: Seed of the patterns.

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
    for rows in row_counts(num, 2 * U):
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


def holm_levels(p_values: Sequence[float], level: float) -> list[float]:
  """Returns the level at which Holm's procedure judges each p-value: all at once they keep `level`.

  The k-th smallest of m is judged at level / (m - k + 1) while those before it are found; from the first one that is
  not, all are judged at its level, which none of them passes. So p below its own level is `holm`'s p below `level`.

  Args:
    p_values: NaN are no comparisons.
    level: such as 0.05.

  Returns:
    Levels, `level` itself for NaN.
  """
  p = np.asarray(p_values, np.float64)
  order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]
  out, own, failed = np.full(len(p), level), level, False
  for k, index in enumerate(order):
    own = own if failed else level / (len(order) - k)
    failed = failed or not p[index] < own
    out[index] = own
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
