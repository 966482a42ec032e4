"""Uncertainty from sums per image: intervals, tests of differences, Holm's correction, spread over seeds.

Images, or groups of them such as patients, are resampled; nothing is predicted again. Ten thousand resamples are a
matrix of weights, and every metric is evaluated on all of them at once by the code that evaluates it on the data set.
docs/statistics.md says what the numbers mean.
"""

from ordseg.statistics import gaps, noise
from ordseg.statistics.means import MIN_DEFINED, bca_levels, interval
from ordseg.statistics.noise import FEW, FEWEST
from ordseg.statistics.resampling import (
  METHODS,
  UNITS,
  Measure,
  Settings,
  Units,
  Values,
  bootstrap,
  estimates,
  evaluated,
  jackknife,
  units_of,
)
from ordseg.statistics.section import intervals, mean_interval, why_none
from ordseg.statistics.testing import holm, holm_levels, permutation_p, swap_differences, welch

__all__ = [
  "FEW",
  "FEWEST",
  "METHODS",
  "MIN_DEFINED",
  "UNITS",
  "Measure",
  "Settings",
  "Units",
  "Values",
  "bca_levels",
  "bootstrap",
  "estimates",
  "evaluated",
  "gaps",
  "holm",
  "holm_levels",
  "interval",
  "intervals",
  "jackknife",
  "mean_interval",
  "noise",
  "permutation_p",
  "swap_differences",
  "units_of",
  "welch",
  "why_none",
]
