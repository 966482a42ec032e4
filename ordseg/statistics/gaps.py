"""Intervals of sums of absolute gaps, which resampling alone gets wrong: MR-ECE, ACE, MCE, level ECE and their like.

Noise makes gaps larger, and resampling adds it once more: quantiles of resamples lie above an error that is small, and
so does the error itself. Here the error is corrected for that bias, its spread is the larger of the resamples' and the
linearised one (resamples of |x| shrink near 0, and the other does not), and a test of "calibrated, but for noise"
decides whether the interval may leave out 0. docs/statistics.md has the formulas and what they cover.

Units are images or groups of images. U units, P parts (training seeds, over which an error is averaged), J columns
(bins, of all raters or levels), S resamples.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import special

from ordseg.metrics import GapBins, Resamples
from ordseg.statistics.means import MIN_DEFINED
from ordseg.statistics.resampling import Units, Values

METHOD = "noise-corrected"
# Fewer units than FEWEST have no interval; below FEW an error that is not beyond noise cannot be told from it.
FEWEST, FEW = 10, 20
_NONE = (float("nan"), float("nan"))
_SMALLEST_P = 1e-6


@dataclasses.dataclass(frozen=True)
class Gaps:
  """Signed gaps of a data set as they enter an error, and what each unit adds to them.

  Attributes:
    signed: [P, J] g; the error is `norm` of it.
    influence: [U, P, J] effect of a unit on g, to first order; sums to 0 over units.
    residual: [U, P, J] what a unit's gap differs from the data set's in the same bin: its noise were all calibrated.
    worst: whether the error is the largest gap, not their sum.
    num_units: units that have pixels.
  """

  signed: np.ndarray
  influence: np.ndarray
  residual: np.ndarray
  worst: bool
  num_units: int

  def norm(self, gaps: np.ndarray) -> np.ndarray:
    """Returns the error [...] of gaps [..., P, J]; `gaps` is overwritten."""
    np.abs(gaps, out=gaps)
    each = gaps.max(-1) if self.worst else gaps @ np.ones(gaps.shape[-1])
    return each.mean(-1)

  @functools.cached_property
  def error(self) -> float:
    """Of the data set."""
    return float(self.norm(self.signed.copy()))

  @functools.cached_property
  def linear(self) -> np.ndarray:
    """[U] effect of each unit on the error while no gap changes its sign."""
    signs = np.sign(self.signed)
    if self.worst:
      signs *= np.arange(signs.shape[-1]) == np.abs(self.signed).argmax(-1)[:, None]
    return np.einsum("upj,pj->u", self.influence, signs) / len(signs)

  @functools.cached_property
  def bin_noise(self) -> np.ndarray:
    """[P, J] standard deviation of each gap: of its resamples, had they no end."""
    return np.sqrt(np.einsum("upj,upj->pj", self.residual, self.residual))

  @functools.cached_property
  def smallest(self) -> np.ndarray:
    """[P, J] sizes of the gaps, each less by its noise: the smallest plausible ones, at which noise adds the most."""
    return np.maximum(np.abs(self.signed) - self.bin_noise, 0.0)

  def plausible_bias(self) -> float:
    """What noise adds to a sum of gaps as small as plausible: sum of E|N(g, s)| - g over bins."""
    g, s = self.smallest, np.where(self.bin_noise > 0, self.bin_noise, 1.0)
    folded = s * np.sqrt(2 / np.pi) * np.exp(-0.5 * (g / s) ** 2) + g * special.erf(g / s / np.sqrt(2))
    return float(np.where(self.bin_noise > 0, folded - g, 0.0).sum(-1).mean())

  @functools.cached_property
  def total_noise(self) -> np.ndarray:
    """[U] what a unit adds to the sum of all signed gaps, by chance."""
    return self.residual.sum(-1).mean(-1)

  def along(self, noise: np.ndarray) -> np.ndarray:
    """[P, J] how far one standard deviation of `noise` [U] moves each gap."""
    size = np.sqrt((noise**2).sum())
    return np.einsum("upj,u->pj", self.residual, noise) / (size if size > 0 else 1.0)

  def moved(self, direction: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Returns by how much [N] the error changes when all gaps move `steps` [N] times `direction` [P, J]."""
    return self.norm(self.signed + steps[:, None, None] * direction) - self.error

  @functools.cached_property
  def drift(self) -> float:
    """Standard deviation of noise that moves all bins one way: of the sum of signed gaps, or of the noisiest one."""
    if self.worst:
      return float(self.bin_noise.max(-1).mean())
    return float(np.sqrt((self.total_noise**2).sum()))


def gaps_of(bins: GapBins, units: Units) -> Gaps:
  """Puts the bins of images together into the gaps of a data set.

  Args:
    bins: of I images.
    units: of the images.

  Returns:
    Gaps with one part.
  """
  gap, count = (_per_unit(x, units) for x in bins.parts())  # [U, rows, K]
  total = count.sum(0)
  if bins.weighting == "pooled":
    weight = np.broadcast_to(count.sum((1, 2), keepdims=True), count.shape)
  elif bins.weighting == "rows":
    rows = max(int((total.sum(-1) > 0).sum()), 1)
    weight = np.broadcast_to(count.sum(2, keepdims=True) * rows, count.shape)
  else:
    weight = count * (max(int((total > 0).sum()), 1) if bins.weighting == "bins" else 1)
  whole = weight.sum(0)
  whole = np.where(whole > 0, whole, 1.0)
  signed = gap.sum(0) / whole
  flat = (len(gap), 1, -1)
  return Gaps(
    signed=signed.reshape(1, -1),
    influence=((gap - signed * weight) / whole).reshape(flat),
    residual=(_residual(gap, count) / whole).reshape(flat),
    worst=bins.weighting == "worst",
    num_units=int((count.sum((1, 2)) > 0).sum()),
  )


def _per_unit(x: np.ndarray, units: Units) -> np.ndarray:
  out = np.zeros((units.num, *x.shape[1:]))
  np.add.at(out, units.index, x)
  return out


def _residual(gap: np.ndarray, count: np.ndarray) -> np.ndarray:
  """What a unit's gap in a bin differs from the mean gap there, [U, rows, K].

  A unit that holds the share h of a bin's pixels pulls the mean its way, so its residual is divided by sqrt(1 - h)
  (HC2, MacKinnon, White, 1985; n / (n - 1) in its square for equal units). Where a bin is of one unit alone nothing
  tells its gap from noise: all of it counts as noise.
  """
  total = count.sum(0)
  share = np.divide(count, total, out=np.zeros_like(count), where=total > 0)
  mean = np.divide(gap.sum(0), total, out=np.zeros_like(total), where=total > 0)
  alone = share >= 1
  return np.where(alone, gap, (gap - mean * count) / np.sqrt(np.where(alone, 1.0, 1.0 - share)))


def mean_over_seeds(parts: Sequence[Gaps]) -> Gaps:
  """Returns the gaps of an error that is the mean over seeds."""
  if len(parts) == 1:
    return parts[0]
  return Gaps(
    signed=np.concatenate([part.signed for part in parts]),
    influence=np.concatenate([part.influence for part in parts], 1),
    residual=np.concatenate([part.residual for part in parts], 1),
    worst=parts[0].worst,
    num_units=min(part.num_units for part in parts),
  )


def minus(a: Gaps, b: Gaps) -> Gaps:
  """Returns the difference of the signed gaps of two methods in the same bins of the same images.

  Its error bounds the difference of their errors: | |x| - |y| | <= |x - y| for every sum and maximum. Seeds are paired
  in their order; unequal numbers of them, all with all.
  """
  first, second = np.arange(len(a.signed)), np.arange(len(b.signed))
  if len(first) != len(second):
    first, second = np.repeat(first, len(second)), np.tile(second, len(first))
  return Gaps(
    signed=a.signed[first] - b.signed[second],
    influence=a.influence[:, first] - b.influence[:, second],
    residual=a.residual[:, first] - b.residual[:, second],
    worst=a.worst,
    num_units=min(a.num_units, b.num_units),
  )


# --- In resamples -----------------------------------------------------------------------------------------------------


def noise_measure(gaps: Mapping[str, Gaps], linear: Mapping[str, Gaps] | None = None) -> Callable[[Resamples], Values]:
  """Measures what resamples tell of the noise of errors.

  Args:
    gaps: by name.
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
    curved = self.gaps.moved(self.gaps.along(self.gaps.total_noise), _steps(t)).max()
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

  def ends(self, confidence: float) -> tuple[float, float]:
    """Returns the interval of the difference, both ends NaN where there is none."""
    if not (self.a.known and self.b.known):
      return _NONE
    t, a, b = self.apart.quantile(confidence), self.a.gaps, self.b.gaps
    common, steps = a.total_noise + b.total_noise, _steps(t)
    curved = a.moved(a.along(common), steps) - b.moved(b.along(common), steps)
    low = self.difference - max(t * self.spread, -float(curved.min()))
    high = self.difference + max(t * self.spread, float(curved.max()))
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
