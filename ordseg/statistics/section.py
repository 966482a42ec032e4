"""The section ``intervals`` of metrics.json."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ordseg.metrics import GapBins, Resamples
from ordseg.statistics import noise
from ordseg.statistics.gaps import gaps_of
from ordseg.statistics.means import interval
from ordseg.statistics.resampling import Measure, Settings, Units, bootstrap, estimates, jackknife


def intervals(
  measure: Measure, units: Units, settings: Settings, gap_bins: Mapping[str, GapBins] | None = None
) -> dict[str, Any]:
  """Returns how intervals were made, and those of each metric that has one.

  Args:
    measure: every metric that can be resampled.
    units: what is drawn.
    settings: how.
    gap_bins: bins per image of those that are made of absolute gaps.

  Returns:
    confidence, method (of plain means), num_resamples, unit, num_units; values: metric -> [low, high]; methods: metric
    -> its method; corrected: error -> its value corrected for noise; miscalibration_p: error -> p of "calibrated, but
    for noise"; none: why there is no interval, '' where there are some. One unit has nothing to resample.
  """
  out: dict[str, Any] = {
    "confidence": settings.confidence,
    "method": settings.method,
    "num_resamples": settings.num_resamples,
    "unit": units.kind,
    "num_units": units.num,
    **{name: {} for name in ("values", "methods", "corrected", "miscalibration_p")},
    "none": why_none(units),
  }
  if units.num < 2:
    return out
  plan = noise.Plan({name: gaps_of(bins, units) for name, bins in (gap_bins or {}).items()})

  def both(pool: Resamples) -> dict[str, np.ndarray]:
    return {**measure(pool), **plan.measure(pool)}

  found = bootstrap(both, units, num_resamples=settings.num_resamples, seed=settings.seed)
  exact = estimates(measure, units)
  bca = settings.method == "bca" and units.num >= noise.FEWEST
  left_out = jackknife(measure, units) if bca else {}
  errors = plan.estimates(exact, found)
  for name, value in exact.items():
    if name in errors:
      if not np.isfinite(value):
        continue
      error = errors[name]
      out["corrected"][name] = error.corrected
      ends, method = error.ends(settings.confidence), noise.METHOD
      if error.known:
        out["miscalibration_p"][name] = error.p
    else:
      ends, method = mean_interval(found[name], units, settings, value, left_out.get(name)), settings.method
    if not np.isnan(ends[0]):
      out["values"][name], out["methods"][name] = list(ends), method
  return out


def mean_interval(
  samples: np.ndarray, units: Units, settings: Settings, estimate: float, left_out: np.ndarray | None
) -> tuple[float, float]:
  """Returns `interval`, none with fewer than `noise.FEWEST` units."""
  return (np.nan, np.nan) if units.num < noise.FEWEST else interval(samples, settings, estimate, left_out)


def why_none(units: Units) -> str:
  """Says why so few units have no interval, '' for enough."""
  if units.num >= noise.FEWEST:
    return ""
  kind = units.kind if units.num != 1 else units.kind[:-1]
  return f"{units.num} {kind}: too few for an interval that holds what it says; it takes {noise.FEWEST}"
