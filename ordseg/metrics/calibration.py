"""Calibration statistics that stay exact at any number of pixels.

The device counts in integers, the host merges in 64 bit, and every calibration error is arithmetic on the merged sums.
Probabilities are rounded once, to multiples of 2**-24 (an error of at most 3e-8 each, so of any calibration error);
after that nothing is lost, whatever the number of pixels and the order of the sums. float32 counters stop at 2**24.

Bin b of B holds [b/B, (b + 1)/B): a probability on an edge belongs to the bin above it, and 1 to the last bin. Edges
are rounded as probabilities are, so float32(b/B), such as the votes of some people, lies on its edge and not below it.

A pixel is never copied per rater. All raters see the same probability, so the pairs (pixel, rater) fall into the bins
of the pixels, and the raters' votes are added up there.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from ordseg.metrics import exact_sums
from ordseg.types import Array, ArrayLike

FRACTION_BITS = 24  # of a rounded probability

_BLOCK = 2**18  # pixels that `mr_ece` counts at a time


# --- Bins -------------------------------------------------------------------------------------------------------------


@struct.dataclass
class BinCounts:
  """What the device counts of one image (a leading axis under vmap).

  Attributes:
    count: [num_bins] int32, pixels.
    prob_limbs: [num_bins, 3] uint32; `prob_total` reads them.
    label_count: [num_bins, F] int32, sums of each label.
  """

  count: Array
  prob_limbs: Array
  label_count: Array

  def prob_total(self, first_bin: int = 0) -> np.ndarray:
    """Returns the sums of the probabilities per bin on the host, [..., num_bins] int64 in units of 2**-24.

    Args:
      first_bin: as `bin_pixels` was given it.
    """
    above_edge = exact_sums.from_limbs(self.prob_limbs)
    edges = fixed_edges(first_bin + above_edge.shape[-1])[first_bin:]
    return above_edge + np.asarray(self.count).astype(np.int64) * edges


@functools.cache
def fixed_edges(num_bins: int) -> np.ndarray:
  """Returns the lower edges of the bins, [num_bins] int64 in units of 2**-24: the integers nearest to b/B."""
  edges = ((np.arange(num_bins, dtype=np.int64) << (FRACTION_BITS + 1)) + num_bins) // (2 * num_bins)
  edges.setflags(write=False)
  return edges


def bin_index(prob: ArrayLike, num_bins: int) -> np.ndarray:
  """Returns the bin that each probability falls into, [...] int64, on the host: that of the nearest float32."""
  doubled = (np.clip(np.asarray(prob, np.float32), 0, 1) * np.float32(2 ** (FRACTION_BITS + 1))).astype(np.int64)
  return np.minimum((((doubled + 1) >> 1) * num_bins + num_bins // 2) >> FRACTION_BITS, num_bins - 1)


def fixed_point(prob: Array) -> Array:
  """Returns probabilities in units of 2**-24, uint32; halves are rounded up, as no other rule keeps b/B on its edge.

  A float32 below 1/2 is finer than the unit: that of b/B may be a half where b/B itself is a little more.
  """
  return ((jnp.clip(prob, 0.0, 1.0) * 2.0 ** (FRACTION_BITS + 1)).astype(jnp.uint32) + 1) >> 1


def _bin_of_fixed(fixed: Array, num_bins: int) -> Array:
  """The last bin whose edge is not above; (f B + B // 2) >> 24 compares with the integers nearest to b/B."""
  return jnp.minimum((fixed * jnp.uint32(num_bins) + num_bins // 2) >> FRACTION_BITS, jnp.uint32(num_bins - 1))


def bin_of(prob: Array, num_bins: int) -> Array:
  """Returns the bin that each probability falls into, [...] int32, on the device; 1..255 bins."""
  return _bin_of_fixed(fixed_point(prob), num_bins).astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("num_bins", "max_label", "first_bin"))
def bin_pixels(
  prob: Array,
  labels: Sequence[Array],
  mask: Array | None = None,
  *,
  num_bins: int,
  max_label: int = 1,
  first_bin: int = 0,
) -> BinCounts:
  """Counts one image; pure, for jit and vmap. At most 2**28 pixels, and 2**31 / max_label.

  Args:
    prob: [...] float32 in [0, 1].
    labels: F integer arrays like `prob`, in 0..max_label, such as each rater's mask, or the number of votes.
    mask: like `prob`, nonzero where a pixel counts; None: everywhere.
    num_bins: Number of bins of equal width, 1..255.
    max_label: the largest label.
    first_bin: the bins below it are not counted, and not returned.

  Returns:
    Exact counts, and exact sums of the probabilities rounded to multiples of 2**-24.
  """
  if not 1 <= num_bins <= 255:
    raise ValueError(f"num_bins must be in 1..255, got {num_bins}")
  exact_sums.check_size(prob.size, max_label)
  pixels_per_sum = exact_sums.PIXELS_PER_SUM
  # A partial sum of probabilities is recovered from its remainder modulo 2**32, because it is known to lie between
  # the edges of its bin times the pixels in it.
  while pixels_per_sum * (2**FRACTION_BITS // num_bins + 2) >= 2**32:
    pixels_per_sum //= 2
  counts = jnp.ones(prob.shape, bool) if mask is None else mask != 0
  fixed = fixed_point(prob)
  index = _bin_of_fixed(fixed, num_bins).ravel()
  fields = [counts, *(jnp.where(counts, label.astype(jnp.uint32), jnp.uint32(0)) for label in labels)]
  words, places = exact_sums.pack([f.ravel() for f in fields], [1] + [max_label] * len(labels), pixels_per_sum)
  words = [jnp.where(counts, fixed, jnp.uint32(0)).ravel(), *words]
  sums = exact_sums.selected_sums(
    [index == b for b in range(first_bin, num_bins)], words, pixels_per_sum=pixels_per_sum
  )
  small = exact_sums.unpack(sums[:, 1:], places)  # [num_bins, 1 + F, C]
  edges = jnp.asarray(fixed_edges(num_bins)[first_bin:], jnp.uint32)[:, None]
  totals = jnp.sum(small, axis=-1).astype(jnp.int32)
  return BinCounts(
    count=totals[:, 0], prob_limbs=exact_sums.to_limbs(sums[:, 0] - small[:, 0] * edges), label_count=totals[:, 1:]
  )


@dataclasses.dataclass(frozen=True)
class BinSums:
  """Sums per bin on the host, over whatever was pooled; leading axes (images, raters) stay through every function.

  Attributes:
    count: [..., num_bins], pixels or pairs (pixel, rater).
    prob_sum: [..., num_bins] float64.
    label_sum: [..., num_bins] float64.
  """

  count: np.ndarray
  prob_sum: np.ndarray
  label_sum: np.ndarray

  @classmethod
  def from_fixed(cls, count: np.ndarray, prob_total: np.ndarray, label_sum: np.ndarray) -> "BinSums":
    """Makes sums from integers, `prob_total` in units of 2**-24."""
    return cls(count, prob_total / 2.0**FRACTION_BITS, np.asarray(label_sum, np.float64))

  def pooled(self, axis: int = 0) -> "BinSums":
    """Sums over an axis, such as images."""
    return BinSums(self.count.sum(axis), self.prob_sum.sum(axis), self.label_sum.sum(axis))

  def __iter__(self) -> Iterator["BinSums"]:
    """Walks along the first axis."""
    for parts in zip(self.count, self.prob_sum, self.label_sum, strict=True):
      yield BinSums(*parts)


def ece(bins: BinSums) -> np.ndarray:
  """Expected calibration error sum_b (n_b / N) |mean_b p - mean_b y| (Naeini et al., AAAI 2015); NaN without pixels.

  Args:
    bins: [..., num_bins].

  Returns:
    [...] float64.

  >>> bins = BinSums(np.array([8, 2]), np.array([0.8, 1.8]), np.array([0, 1]))  # p = .1 and .9
  >>> float(ece(bins).round(3)), float(ace(bins).round(3)), float(mce(bins).round(3))  # gaps .1 and .4
  (0.16, 0.25, 0.4)
  """
  return ratio(np.abs(bins.prob_sum - bins.label_sum).sum(-1), bins.count.sum(-1))


def ace(bins: BinSums) -> np.ndarray:
  """Average calibration error: the mean gap of the bins that hold something, each counting the same; NaN without.

  (Neumann et al., 2018. The adaptive calibration error of Nixon et al., 2019, which is called ACE as well, has bins of
  equal mass: `metrics.equal_mass_bins`.)
  """
  return ratio(np.nan_to_num(_gaps(bins)).sum(-1), (bins.count > 0).sum(-1))


def mce(bins: BinSums) -> np.ndarray:
  """Maximum calibration error: the largest gap of the bins that hold something; NaN without."""
  return np.where(bins.count.sum(-1) > 0, np.nan_to_num(_gaps(bins)).max(-1), np.nan)


def _gaps(bins: BinSums) -> np.ndarray:
  """|mean probability - mean label| of each bin; NaN where a bin is empty."""
  return ratio(np.abs(bins.prob_sum - bins.label_sum), bins.count)


def rater_mean_ece(bins: BinSums) -> np.ndarray:
  """Mean over raters of their own calibration errors, each rater counting the same however much they answered.

  Where every rater answered everywhere it is never smaller than the pooled error: errors of opposite sign do not cancel
  between raters.

  Args:
    bins: [..., R, num_bins], one rater each.

  Returns:
    [...] float64; raters who answered nothing are left out, NaN if all of them are.
  """
  errors = ece(bins)
  return ratio(np.nan_to_num(errors).sum(-1), (~np.isnan(errors)).sum(-1))


def curve(bins: BinSums) -> dict[str, list[Any]]:
  """Returns a reliability curve for JSON.

  Args:
    bins: [num_bins].

  Returns:
    bin_edges [num_bins + 1], count, mean_prob and mean_label [num_bins]; means are None where a bin is empty.
  """

  def means(total: np.ndarray) -> list[float | None]:
    return [float(t / n) if n else None for t, n in zip(total, bins.count, strict=True)]

  return {
    "bin_edges": np.linspace(0.0, 1.0, len(bins.count) + 1).tolist(),
    "count": bins.count.astype(np.int64).tolist(),
    "mean_prob": means(bins.prob_sum),
    "mean_label": means(bins.label_sum),
  }


def ratio(total: ArrayLike, weight: ArrayLike) -> np.ndarray:
  """Returns total / weight as float64, NaN where weight is 0."""
  weight = np.asarray(weight, np.float64)
  return np.where(weight > 0, np.asarray(total, np.float64) / np.where(weight > 0, weight, 1.0), np.nan)


# --- Arrays in, number out --------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="num_bins")
def _bin_votes(arrays: dict[str, Array], *, num_bins: int) -> BinCounts:
  """Counts in blocks that fit the cache, so that nothing of the size of the image is written; [blocks, num_bins]."""
  num_pixels, num_raters = arrays["rater_masks"].shape

  def count(start: ArrayLike | int, size: int) -> BinCounts:
    part = {name: lax.dynamic_slice_in_dim(x, start, size) for name, x in arrays.items()}
    # In 8 bits where they suffice: the masks are the largest array, and read at the speed of the memory.
    votes = jnp.sum(part["rater_masks"] != 0, axis=-1, dtype=jnp.uint8 if num_raters < 256 else jnp.int32)
    return bin_pixels(part["prob"], [votes], part.get("mask"), num_bins=num_bins, max_label=num_raters)

  num_blocks, rest = divmod(num_pixels, _BLOCK)
  parts = []
  if num_blocks:
    parts.append(lax.map(lambda k: count(k * _BLOCK, _BLOCK), jnp.arange(num_blocks)))
  if rest or not num_blocks:
    parts.append(jax.tree.map(lambda x: x[None], count(num_pixels - rest, rest)))
  return jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)


def mr_ece(prob: ArrayLike, rater_masks: ArrayLike, mask: ArrayLike | None = None, *, num_bins: int = 15) -> float:
  """Multi-rater ECE, pooled over all pairs (pixel, rater), of any number of pixels at once.

  Equal to the ECE of the probability against the share of raters that marked the pixel.

  Args:
    prob: [...] float32 in [0, 1].
    rater_masks: [..., R], 0 or 1.
    mask: [...], nonzero where a pixel counts; None: everywhere.
    num_bins: Number of bins of equal width.

  Returns:
    The error in [0, 1]; NaN where nothing counts.

  >>> round(mr_ece(np.array([0.25, 0.75]), np.array([[1, 0], [1, 1]])), 3)  # half and all of two raters mark: .25, .25
  0.25
  """
  num_raters = np.shape(rater_masks)[-1]
  arrays = {
    "prob": jnp.ravel(jnp.asarray(prob, jnp.float32)),
    "rater_masks": jnp.reshape(rater_masks, (-1, num_raters)),
  }
  if mask is not None:
    arrays["mask"] = jnp.ravel(mask)
  counts = jax.device_get(_bin_votes(arrays, num_bins=num_bins))
  count, labels = (x.astype(np.int64).sum(0) for x in (counts.count, counts.label_count[..., 0]))
  return float(ece(BinSums.from_fixed(count * num_raters, counts.prob_total().sum(0) * num_raters, labels)))
