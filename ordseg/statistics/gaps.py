"""Sums of absolute gaps (MR-ECE, ACE, MCE, level ECE and their like) taken apart into units: images, or groups of them.

U units, P parts (training seeds, over which an error is averaged), J columns (bins, of all raters or levels).
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from scipy import special

from ordseg.metrics import GapBins
from ordseg.statistics.resampling import Units


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

  @functools.cached_property
  def drifting(self) -> np.ndarray:
    """[P, J] how far one standard deviation of its own total noise moves each gap."""
    return self.along(self.total_noise)

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
    bins: Sums per bin of I images.
    units: The unit of each image.

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
