"""Calibration statistics that stay exact at any number of pixels (docs/metrics.md).

The device counts, in integers; the host merges, in 64 bit; every calibration error is arithmetic on the merged sums. A
pixel's votes take R + 1 values, so counting pixels by (bin, votes) keeps all labels exactly: the share of votes, the
majority label, everything derived from them. Only the sum of the probabilities is not a count, and it is held in fixed
point, in units of 2**-24: what a pixel adds is off by at most 2**-25, and no sum loses anything after that.

float32 counters stop at 2**24; adding a float32 to a bin one by one, as `segment_sum` does, loses digits long before.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ordseg.types import Array

FRACTION_BITS = 24
# 128 * 2**24 = 2**31 fits an unsigned 32-bit sum; 2**16 such halves fit again.
_PIXELS_PER_SUM = 128
_SUMS_PER_LIMB = 2**15


@struct.dataclass
class DeviceBins:
  """What the device counts for one image, or for a batch of images with a leading axis.

  Attributes:
    count: [num_bins, num_labels] int32, pixels by bin and label.
    prob_limbs: [num_groups, num_bins, 2] uint32, sums of the low and high 16 bits of the fixed-point probabilities.
  """

  count: Array
  prob_limbs: Array


def bin_index(prob: Array, num_bins: int) -> Array:
  """Returns the bin of each probability: bin b is [b / num_bins, (b + 1) / num_bins), and the last one holds 1 too."""
  return jnp.clip((prob * num_bins).astype(jnp.int32), 0, num_bins - 1)


def bin_pixels(prob: Array, label: Array, mask: Array | None = None, *, num_bins: int, num_labels: int) -> DeviceBins:
  """Counts one image.

  Args:
    prob: [...] float32 in [0, 1].
    label: [...] int32 in 0..num_labels-1, such as the number of votes.
    mask: [...], nonzero where a pixel counts; None: everywhere.
    num_bins: of equal width.
    num_labels: values a label can take.

  Returns:
    The counts; merge with `merge`. At most 2**31 - 1 pixels.
  """
  prob, label = prob.ravel(), label.ravel()
  index = bin_index(prob, num_bins)
  width = num_bins
  if mask is not None:
    width += 1  # one bin more, for what does not count
    index = jnp.where(mask.ravel() != 0, index, num_bins)
  ones = jnp.ones(prob.size, jnp.int32)
  count = jax.ops.segment_sum(ones, index * num_labels + label, num_segments=width * num_labels)
  count = count.reshape(width, num_labels)[:num_bins]
  return DeviceBins(count=count, prob_limbs=_limbs(prob, index, width)[:, :num_bins])


def _limbs(prob: Array, index: Array, num_bins: int) -> Array:
  """Sums fixed-point probabilities by bin: [N] -> [num_groups, num_bins, 2] uint32, nothing overflowing on the way."""
  fixed = jnp.round(prob * 2.0**FRACTION_BITS).astype(jnp.uint32)
  which_sum = jax.lax.iota(jnp.int32, prob.size) // _PIXELS_PER_SUM
  num_sums = -(-prob.size // _PIXELS_PER_SUM)
  sums = jax.ops.segment_sum(fixed, which_sum * num_bins + index, num_segments=num_sums * num_bins)
  num_groups = -(-num_sums // _SUMS_PER_LIMB)
  sums = sums.reshape(num_sums, num_bins)
  if num_groups > 1:
    sums = jnp.pad(sums, ((0, num_groups * _SUMS_PER_LIMB - num_sums), (0, 0)))
  sums = sums.reshape(num_groups, -1, num_bins)
  return jnp.stack([jnp.sum(sums & 0xFFFF, axis=1), jnp.sum(sums >> 16, axis=1)], axis=-1)


def prob_sums(prob_limbs: np.ndarray) -> np.ndarray:
  """Returns the sums of probabilities per bin, [..., num_bins] float64, from `DeviceBins.prob_limbs` on the host."""
  limbs = np.asarray(prob_limbs).astype(np.int64).sum(axis=-3)
  return (limbs[..., 0] + (limbs[..., 1] << 16)) / 2.0**FRACTION_BITS


@dataclasses.dataclass(frozen=True)
class BinSums:
  """Sums per bin on the host, over whatever was pooled. Leading axes are kept by every function below.

  Attributes:
    count: [..., num_bins] pairs (pixel, label) in each bin; int64.
    prob_sum: [..., num_bins] float64.
    label_sum: [..., num_bins] float64; exact for labels that are votes.
  """

  count: np.ndarray
  prob_sum: np.ndarray
  label_sum: np.ndarray

  def pooled(self) -> "BinSums":
    """Sums over the first axis, e.g. over images."""
    return BinSums(self.count.sum(0), self.prob_sum.sum(0), self.label_sum.sum(0))

  @property
  def gap(self) -> np.ndarray:
    """|mean probability - mean label| of each bin, NaN where a bin is empty."""
    with np.errstate(invalid="ignore", divide="ignore"):
      return np.abs(self.prob_sum - self.label_sum) / np.where(self.count > 0, self.count, np.nan)


def ece(bins: BinSums) -> np.ndarray:
  """Expected calibration error sum_b (n_b / N) |mean_b p - mean_b y| (Naeini et al., AAAI 2015); NaN without pixels."""
  total = bins.count.sum(-1)
  error = np.abs(bins.prob_sum - bins.label_sum).sum(-1)
  return _divide(error, total)


def ace(bins: BinSums) -> np.ndarray:
  """Average calibration error: the mean gap over the bins that hold something, each counting the same."""
  filled = bins.count > 0
  return _divide(np.where(filled, np.nan_to_num(bins.gap), 0.0).sum(-1), filled.sum(-1))


def mce(bins: BinSums) -> np.ndarray:
  """Maximum calibration error: the largest gap over the bins that hold something."""
  gap = np.where(bins.count > 0, np.nan_to_num(bins.gap), -np.inf).max(-1)
  return np.where(np.isfinite(gap), gap, np.nan)


def curve(bins: BinSums) -> dict[str, list]:
  """Returns a reliability curve: bin_edges, count, mean_prob and mean_label; means are None where a bin is empty."""
  num_bins = bins.count.shape[-1]

  def means(total: np.ndarray) -> list:
    return [float(t / n) if n else None for t, n in zip(total, bins.count, strict=True)]

  return {
    "bin_edges": np.linspace(0.0, 1.0, num_bins + 1).tolist(),
    "count": bins.count.astype(np.int64).tolist(),
    "mean_prob": means(bins.prob_sum),
    "mean_label": means(bins.label_sum),
  }


def against_votes(count: np.ndarray, prob_sum: np.ndarray, num_valid: np.ndarray) -> BinSums:
  """Bins per image of all pairs (pixel, rater who answered), which give MR-ECE.

  Every pixel stands for n pairs with the same probability and c positive labels; no copies are needed. In each bin the
  gap equals the one between p and the share of votes, so for one n this is the ECE against the mean vote.

  Args:
    count: [I, num_bins, L] pixels by bin and votes.
    prob_sum: [I, num_bins].
    num_valid: [I], n.

  Returns:
    `BinSums` with a leading axis of images.
  """
  votes = np.arange(count.shape[-1])
  n = num_valid[:, None]
  return BinSums(count.sum(-1) * n, prob_sum * n, (count @ votes).astype(np.float64))


def against_majority(count: np.ndarray, prob_sum: np.ndarray, num_valid: np.ndarray) -> BinSums:
  """Bins per image against the majority label 1[c >= n / 2]; arguments as in `against_votes`; n = 0 counts nothing."""
  is_majority = 2 * np.arange(count.shape[-1]) >= num_valid[:, None]
  answered = (num_valid > 0)[:, None]
  label_sum = (count * is_majority[:, None, :]).sum(-1)
  return BinSums(count.sum(-1) * answered, prob_sum * answered, (label_sum * answered).astype(np.float64))


def against_raters(
  count: np.ndarray, prob_sum: np.ndarray, rater_positives: np.ndarray, rater_valid: np.ndarray
) -> BinSums:
  """Bins per rater, over the images that the rater answered.

  Args:
    count: [I, num_bins, L].
    prob_sum: [I, num_bins].
    rater_positives: [I, R, num_bins] pixels that rater r marked.
    rater_valid: [I, R].

  Returns:
    `BinSums` with leading axes [I, R].
  """
  valid = rater_valid[:, :, None]
  return BinSums(
    count.sum(-1)[:, None, :] * valid, prob_sum[:, None, :] * valid, (rater_positives * valid).astype(np.float64)
  )


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore", divide="ignore"):
    return np.where(b > 0, a / np.where(b > 0, b, 1), np.nan)
