"""Intervals of sums of absolute gaps, which resampling alone gets wrong, and of their differences.

Noise makes gaps larger, and resampling adds it once more: quantiles of resamples lie above an error that is small, and
so does the error itself. Here the error is corrected for that bias, its spread is the larger of the resamples' and the
linearised one (resamples of |x| shrink near 0, and the other does not), and a test of "calibrated, but for noise"
decides whether the interval may leave out 0. docs/statistics.md has the formulas and what they cover. S resamples.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import special

from ordseg.metrics import Resamples
from ordseg.statistics.gaps import Gaps, minus
from ordseg.statistics.means import MIN_DEFINED
from ordseg.statistics.resampling import Values

METHOD = "noise-corrected"
FEWEST = 10  # fewer units have no interval
FEW = 20  # below, an error that is not beyond noise cannot be distinguished from it
_NONE = (float("nan"), float("nan"))
_SMALLEST_P = 1e-6


def noise_measure(gaps: Mapping[str, Gaps], linear: Mapping[str, Gaps] | None = None) -> Callable[[Resamples], Values]:
  """Measures what resamples tell of the noise of errors.

  Args:
    gaps: Gaps by name.
    linear: by name, errors that are themselves to be resampled, from their linearised gaps.

  Returns:
    A measure of ``noise <name>``, the error of the residuals alone; ``most <name>`` of a largest gap, that of the
    smallest plausible gaps with noise; ``error <name>`` of what is in `linear`.
  """
  linear = linear or {}
  blocks = [x.residual for x in gaps.values()] + [x.influence for x in linear.values()]
  columns = [x.reshape(len(x), -1) for x in blocks]
  matrix = np.concatenate(columns, 1) if columns else np.zeros((0, 0))
  ends = np.cumsum([0, *(x.shape[1] for x in columns)])
  names = [*gaps, *linear]

  def measure(pool: Resamples) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    if not names:
      return out
    moved = (pool.weights - 1.0) @ matrix
    for k, (name, block) in enumerate(zip(names, blocks, strict=True)):
      part = moved[:, ends[k] : ends[k + 1]].reshape(-1, *block.shape[1:])
      if k >= len(gaps):
        out[f"error {name}"] = linear[name].norm(part + linear[name].signed)
        continue
      if gaps[name].worst:
        out[f"most {name}"] = gaps[name].norm(part + gaps[name].smallest)
      out[f"noise {name}"] = gaps[name].norm(part)
    return out

  return measure


@dataclasses.dataclass(frozen=True)
class Estimate:
  """An error with what resamples tell of it.

  Attributes:
    gaps: of the data set.
    raw: the error as it is measured.
    samples: [S] in resamples.
    noise: [S] of the residuals in resamples.
    bias: the most that noise may plausibly have added.
  """

  gaps: Gaps
  raw: float
  samples: np.ndarray
  noise: np.ndarray
  bias: float

  @functools.cached_property
  def corrected(self) -> float:
    """The error less what noise adds to resamples of it, at least 0."""
    return max(0.0, 2 * self.raw - float(np.nanmean(self.samples)))

  @property
  def doubtful(self) -> float:
    """How much of the corrected error may still be bias."""
    return max(0.0, self.corrected - (self.raw - self.bias))

  @functools.cached_property
  def spread(self) -> float:
    """Standard deviation: the larger one of the resamples' and the linearised error's."""
    return max(float(np.nanstd(self.samples)), float(np.sqrt((self.gaps.linear**2).sum())))

  @functools.cached_property
  def p(self) -> float:
    """Twice the share of resamples of calibrated noise that reach the error: is there more than noise?

    Twice, because it is a one-sided test at half the level: p < 5 % just where a 95 % interval may leave out 0.
    """
    reached = 1 + int((self.noise >= self.raw * (1 - 1e-9) - 1e-12).sum())
    return min(1.0, 2 * reached / (1 + self.noise.size))

  @property
  def known(self) -> bool:
    """Whether there is enough for an interval."""
    defined = 1 - np.isnan(self.samples).mean()
    return self.gaps.num_units >= FEWEST and bool(np.isfinite(self.raw)) and defined >= MIN_DEFINED

  def quantile(self, confidence: float) -> float:
    """Student's t with one degree less than units, and the shortfall of resamples' variances."""
    n = self.gaps.num_units
    return float(special.stdtrit(n - 1, (1 + confidence) / 2) * np.sqrt(n / (n - 1)))

  def ends(self, confidence: float) -> tuple[float, float]:
    """Returns the interval, both ends NaN where there is none."""
    if not self.known:
      return _NONE
    t, beyond_noise = self.quantile(confidence), self.p < 1 - confidence
    low = min(self.corrected, self.raw - self.bias) - t * self.spread if beyond_noise else 0.0
    spread = self.spread if beyond_noise else max(self.spread, self.gaps.drift)
    curved = self.gaps.moved(self.gaps.drifting, _steps(t)).max()
    return max(low, 0.0), self.corrected + max(t * spread, float(curved))


@dataclasses.dataclass(frozen=True)
class Pair:
  """The errors of two methods on the same images, in the same resamples.

  Attributes:
    a, b: the errors; the difference is that of `a` from `b`.
    apart: the error of the difference of their signed gaps, see `minus`.
  """

  a: Estimate
  b: Estimate
  apart: Estimate

  @functools.cached_property
  def difference(self) -> float:
    """Of the corrected errors."""
    return self.a.corrected - self.b.corrected

  @functools.cached_property
  def spread(self) -> float:
    """Standard deviation of the difference."""
    resampled = float(np.nanstd(self.a.samples - self.b.samples))
    return max(resampled, float(np.sqrt(((self.a.gaps.linear - self.b.gaps.linear) ** 2).sum())))

  @functools.cached_property
  def _drifting(self) -> tuple[np.ndarray, np.ndarray]:
    """How far one standard deviation of the noise of both moves each gap of `a` and of `b`."""
    common = self.a.gaps.total_noise + self.b.gaps.total_noise
    return self.a.gaps.along(common), self.b.gaps.along(common)

  def ends(self, confidence: float) -> tuple[float, float]:
    """Returns the interval of the difference, both ends NaN where there is none."""
    if not (self.a.known and self.b.known):
      return _NONE
    t = self.apart.quantile(confidence)
    of_a, of_b = self._drifting
    curved = self.a.gaps.moved(of_a, _steps(t)) - self.b.gaps.moved(of_b, _steps(t))
    # Either error may still be too high, which adds to what chance does, as independent errors do.
    below, above = (float(np.hypot(t * self.spread, x.doubtful)) for x in (self.a, self.b))
    low = self.difference - max(below, -float(curved.min()))
    high = self.difference + max(above, float(curved.max()))
    # The bias of an error that may be 0 is unknown: it may be all of it.
    if not self.a.p < 1 - confidence:
      low = min(low - self.a.corrected, -self.b.ends(confidence)[1])
    if not self.b.p < 1 - confidence:
      high = max(high + self.b.corrected, self.a.ends(confidence)[1])
    most = max(self.apart.ends(confidence)[1], abs(self.difference))
    return max(low, -most), min(high, most)


def _steps(most: float) -> np.ndarray:
  """Steps to both sides, up to `most`; those of a smaller one are among them, so intervals grow with confidence."""
  half = np.arange(0.0, most, 0.1)
  return np.concatenate([-half[:0:-1], half])


class Plan:
  """What to measure in resamples for the intervals of errors and of their differences.

  Attributes:
    measure: to be evaluated in the same resamples as the errors.
  """

  def __init__(self, gaps: Mapping[str, Gaps], pairs: Sequence[tuple[str, str]] = ()):
    """Plans.

    Args:
      gaps: of each error, by name.
      pairs: names (a, b) whose difference a - b is wanted.
    """
    self._gaps = dict(gaps)
    self._apart = {(a, b): minus(gaps[a], gaps[b]) for a, b in pairs}
    linear = {f"{a} - {b}": apart for (a, b), apart in self._apart.items()}
    self.measure = noise_measure({**self._gaps, **linear}, linear)

  def estimates(self, raw: Mapping[str, float], found: Values) -> dict[str, Estimate]:
    """Returns each error with its noise.

    Args:
      raw: the errors as they are measured.
      found: in resamples: the errors themselves, and what `measure` measures.
    """
    out = {}
    for name, gaps in self._gaps.items():
      bias = gaps.plausible_bias()
      if gaps.worst:
        bias = float(found[f"most {name}"].mean() - gaps.norm(gaps.smallest.copy()))
      out[name] = Estimate(gaps, raw[name], found[name], found[f"noise {name}"], bias)
    return out

  def pairs(self, estimates: Mapping[str, Estimate], found: Values) -> dict[tuple[str, str], Pair]:
    """Returns the differences that were wanted."""
    out = {}
    for (a, b), gaps in self._apart.items():
      name = f"{a} - {b}"
      # Of its interval only the upper end is of use, which the bias does not enter.
      apart = Estimate(gaps, gaps.error, found[f"error {name}"], found[f"noise {name}"], 0.0)
      out[a, b] = Pair(estimates[a], estimates[b], apart)
    return out


def p_from_interval(ends: Callable[[float], tuple[float, float]]) -> float:
  """Returns the smallest level 1 - confidence whose interval leaves out 0, which makes test and interval one.

  Args:
    ends: confidence -> interval, wider for more confidence.

  Returns:
    p in [1e-6, 1]; NaN where there is no interval.
  """

  def holds_zero(level: float) -> bool:
    low, high = ends(1 - level)
    return bool(low <= 0 <= high)

  if np.isnan(ends(0.5)[0]):
    return float("nan")
  low, high = np.log(_SMALLEST_P), 0.0
  if not holds_zero(_SMALLEST_P):
    return _SMALLEST_P
  for _ in range(30):
    middle = (low + high) / 2
    low, high = (middle, high) if holds_zero(float(np.exp(middle))) else (low, middle)
  return float(np.exp(high))
