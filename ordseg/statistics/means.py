"""Bootstrap intervals of plain means and of what is smooth in them: percentile and BCa."""

import numpy as np
from scipy import special

from ordseg.statistics.resampling import Settings

# An interval is given only if this share of the resamples has the metric at all.
MIN_DEFINED = 0.95


def interval(
  samples: np.ndarray, settings: Settings, estimate: float = np.nan, left_out: np.ndarray | None = None
) -> tuple[float, float]:
  """Returns the ends of a bootstrap interval, both NaN where there is none.

  'percentile': quantiles of the samples. 'bca': quantiles at levels that correct for the bias of their median and for
  skewness (Efron, 1987), the acceleration from the jackknife.

  Args:
    samples: [S], NaN where undefined; those are left out, and where they are more than 5 % there is no interval.
    settings: confidence and method.
    estimate: The value on the data set, for 'bca'.
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
    estimate: The value on the data set.
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
