"""Sufficient statistics per image: what the device counts, and how the host holds it.

`image_sums` counts on the device; `ImageSums` holds the counts of many images on the host, in 64-bit integers. Merging
batches or processes is concatenation, pooling is a sum over rows, resampling images is a choice of rows.

Where only n < R raters answered, all that is scored against their votes is of the prediction thinned to n: `majority`
is the probability that half of these n or more mark the pixel, as their majority is the label; RPS and `at_least_j`,
for j <= n; `mean_vote` is the same for every n. Pixels with mask 0, and images that nobody answered, count nowhere.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from ordseg import ordinal
from ordseg.metrics import calibration, cells, counts, exact_sums
from ordseg.metrics.cells import NUM_RANKS, rank_cell
from ordseg.types import Array, Batch

# Soft Dice: of probability and share of votes, both cut at these tenths, averaged; or at every second one of them.
SOFT_DICE_TENTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9)
AT_HALF = SOFT_DICE_TENTHS.index(5)  # this cut of the share of votes is the majority vote
# Probabilities are kept this far from 0 and 1 in the logarithms of the NLL, which is then at most 16.6 nats.
PROB_EPSILON = 2.0**-24
# float32 sums of squares and of nats would lose digits: fixed point, with an error of at most 2**-31 or 2**-27 each.
SQUARE_BITS, NAT_BITS = 30, 26


# --- On the device ----------------------------------------------------------------------------------------------------


@struct.dataclass
class _Pixels:
  """One image as columns of pixels; entries that do not count are 0 or False."""

  counts: Array  # [P] bool
  votes: Array  # [P] int32
  num_valid: Array  # scalar, n
  raters: list[Array]  # R times [P] bool

  def at_least(self, tenths: int) -> Array:
    """[P]: whether the share of votes is at least tenths / 10, decided in integers."""
    return (10 * self.votes >= tenths * self.num_valid) & self.counts


def image_sums(level_probs: Array, batch: Batch, *, num_bins: int) -> dict[str, Array]:
  """Counts one image; `jax.vmap` it over a batch. Pure.

  Args:
    level_probs: [..., L] float32, any shape of pixels.
    batch: one example: rater_masks [..., R], rater_valid [R], mask [...].
    num_bins: bins of the calibration errors, 1..255.

  Returns:
    Arrays for `to_host`; ``proper``, whether all that counts is a distribution; and for `pooled_ranks` ``ranks``
    [2, NUM_RANKS, 4] int32, per read-out and cell the pixels outside and inside the majority and the votes against and
    for, and ``rank_probs`` [2, NUM_RANKS, K].
  """
  num_raters = level_probs.shape[-1] - 1
  valid = jnp.asarray(batch["rater_valid"]) != 0
  pixels = _columns(jnp.asarray(batch["rater_masks"]), valid, jnp.asarray(batch["mask"]))
  weights = _weights(pixels.num_valid, num_raters)
  # Not `ordinal.read_out` 2 R + 2 times: one product reads the probabilities once.
  columns = jnp.einsum("pl,ol->op", level_probs.reshape(-1, num_raters + 1), weights, precision=lax.Precision.HIGHEST)
  probs = jnp.clip(columns[:-1], 0.0, 1.0)
  tails, full_tails = jnp.split(probs[2:], 2)
  return {
    "num_valid": pixels.num_valid,
    "rater_valid": valid.astype(jnp.int32),
    "proper": jnp.all((jnp.abs(columns[-1] - 1.0) < 1e-3) | ~pixels.counts),
    **_panel_sums(pixels),
    **jax.vmap(lambda prob: _read_out_sums(prob, pixels, valid, num_bins=num_bins))(probs[:2]),
    **_level_sums(tails, pixels, num_bins=num_bins),
    **counts.nested_counts(full_tails, pixels.raters, pixels.counts),
  }


def _columns(rater_masks: Array, valid: Array, mask: Array) -> _Pixels:
  """Reads the masks once, into one bit per rater: what follows then runs along contiguous columns."""
  num_raters = rater_masks.shape[-1]
  counts = (mask.ravel() != 0) & jnp.any(valid)
  marked = (rater_masks.reshape(-1, num_raters) != 0) & valid[None, :] & counts[:, None]
  words = []
  for start in range(0, num_raters, 32):
    part = marked[:, start : start + 32]
    bits = jnp.uint32(1) << jnp.arange(part.shape[1], dtype=jnp.uint32)
    words.append(jnp.sum(jnp.where(part, bits[None, :], jnp.uint32(0)), axis=-1, dtype=jnp.uint32))
  return _Pixels(
    counts=counts,
    votes=sum(lax.population_count(word) for word in words).astype(jnp.int32),  # type: ignore[union-attr]
    num_valid=jnp.sum(valid, dtype=jnp.int32),
    raters=[(words[r // 32] >> (r % 32)) & 1 != 0 for r in range(num_raters)],
  )


def _weights(num_valid: Array, num_raters: int) -> Array:
  """Returns [2 R + 3, L]: weights of the read-outs and of each `at_least_j` for n raters, of these for R, and ones."""
  tails = np.flip(np.cumsum(np.flip(ordinal.thinning_matrices(num_raters), -1), -1), -1)  # [n, l, c]: P(c or more)
  at_least = jnp.asarray(np.moveaxis(tails, -1, 1)[:, 1:], jnp.float32)[num_valid]
  names = [f"at_least_{j}" for j in range(1, num_raters + 1)]
  full = jnp.asarray(np.stack([ordinal.read_out_weights(name, num_raters) for name in names]))
  read_outs = jnp.stack([ordinal.thinned_weights(name, num_valid[None], num_raters)[0] for name in ordinal.READ_OUTS])
  return jnp.concatenate([read_outs, at_least, full, jnp.ones_like(at_least[:1])])


def _panel_sums(pixels: _Pixels) -> dict[str, Array]:
  """Counts by votes and by pairs of raters; nothing of the prediction."""
  num_raters = len(pixels.raters)
  by_votes = [(pixels.votes == c) & pixels.counts for c in range(num_raters + 1)]
  sums = exact_sums.count_fields([*by_votes, *pixels.raters], [pixels.counts, *pixels.raters])
  return {
    "level_count": sums[: num_raters + 1, 0],
    "rater_levels": sums[: num_raters + 1, 1:].T,
    "both_marked": sums[num_raters + 1 :, 1:],
  }


def _read_out_sums(prob: Array, pixels: _Pixels, valid: Array, *, num_bins: int) -> dict[str, Array]:
  """Counts of one read-out, `prob` [P] float32."""
  bins = calibration.bin_pixels(prob, [*pixels.raters, pixels.at_least(5)], pixels.counts, num_bins=num_bins)
  cuts = [(prob >= tenths / 10) & pixels.counts for tenths in SOFT_DICE_TENTHS]
  both = [cut & pixels.at_least(tenths) for cut, tenths in zip(cuts, SOFT_DICE_TENTHS, strict=True)]
  raters = [cuts[AT_HALF] & marked for marked in pixels.raters]
  areas = exact_sums.count_fields([pixels.counts], [*cuts, *both, *raters])[0]  # [T + T + R]
  mean_vote = ordinal.mean_vote(pixels.votes[None], pixels.num_valid[None])[0]
  safe = jnp.clip(prob, PROB_EPSILON, 1.0 - PROB_EPSILON)
  nats = -(mean_vote * jnp.log(safe) + (1.0 - mean_vote) * jnp.log1p(-safe))
  return {
    "bin_count": bins.count,
    "bin_prob": bins.prob_limbs,
    "bin_majority": bins.label_count[:, -1],
    "bin_rater": bins.label_count[:, :-1].T,
    "predicted": areas[: len(cuts)],
    "overlap": areas[len(cuts) : 2 * len(cuts)],
    "rater_overlap": areas[2 * len(cuts) :],
    "square": exact_sums.fixed_point_sum(jnp.square(prob - mean_vote), pixels.counts, fraction_bits=SQUARE_BITS),
    "nll": exact_sums.fixed_point_sum(nats, pixels.counts, fraction_bits=NAT_BITS),
    **_rank_counts(prob, pixels),
    **counts.top_label_counts(prob, pixels.raters, valid, pixels.counts),
  }


def _rank_counts(prob: Array, pixels: _Pixels) -> dict[str, Array]:
  num_levels, cell = len(pixels.raters) + 1, rank_cell(prob)
  joint = jax.ops.segment_sum(
    pixels.counts.astype(jnp.int32), cell * num_levels + pixels.votes, num_segments=NUM_RANKS * num_levels
  )
  votes, n = jnp.arange(num_levels), pixels.num_valid
  inside = ordinal.majority_label(votes[None], n[None])[0]
  columns = jnp.stack([~inside, inside, jnp.maximum(n - votes, 0), votes], axis=-1).astype(jnp.int32)
  return {
    "ranks": joint.reshape(NUM_RANKS, num_levels) @ columns,
    "rank_probs": cells.low_sums(prob, cell, pixels.counts),
  }


def _level_sums(tails: Array, pixels: _Pixels, *, num_bins: int) -> dict[str, Array]:
  """RPS and bins of each `at_least_j`, tails [R, P], of the prediction thinned to n."""
  levels = jnp.arange(1, len(tails) + 1)
  reached = pixels.votes[None, :] >= levels[:, None]
  asked = pixels.counts[None, :] & (levels <= pixels.num_valid)[:, None]

  def one(prob: Array, label: Array, mask: Array) -> calibration.BinCounts:
    return calibration.bin_pixels(prob, [label], mask, num_bins=num_bins)

  bins = jax.vmap(one)(tails, reached, asked)
  # P_j - F_j = 1[c >= j + 1] - P(c >= j + 1): the sum over j = 0..n-1 is one over j = 1..n of the tails.
  squares = jnp.sum(jnp.where(asked, jnp.square(tails - reached), 0.0), axis=0)
  score = squares / (pixels.num_valid + 1).astype(jnp.float32)
  return {
    "level_bin_count": bins.count,
    "level_bin_prob": bins.prob_limbs,
    "level_bin_label": bins.label_count[..., 0],
    "rps": exact_sums.fixed_point_sum(score, pixels.counts, fraction_bits=SQUARE_BITS),
  }


# --- On the host ------------------------------------------------------------------------------------------------------


@struct.dataclass
class ImageSums:
  """Sums of I images, int64. Read-outs (axis O) are in the order of `ordinal.READ_OUTS`; K bins, T cuts.

  Attributes:
    num_valid: [I] n, raters who answered.
    rater_valid: [I, R], 0 or 1.
    level_count: [I, L] pixels by number of votes.
    rater_levels: [I, R, L] pixels that a rater marked, by number of votes.
    both_marked: [I, R, R] pixels that both raters marked; the diagonal holds each rater's area.
    bin_count: [I, O, K] pixels.
    bin_prob: [I, O, K] sums of the probability, in units of 2**-24.
    bin_majority: [I, O, K] pixels inside the majority vote.
    bin_rater: [I, O, R, K] pixels that a rater marked.
    predicted: [I, O, T] pixels with the probability at or above each cut of `SOFT_DICE_TENTHS`.
    overlap: [I, O, T] those whose share of votes is, too.
    rater_overlap: [I, O, R] pixels at or above 1/2 that a rater marked.
    square: [I, O] sum of (p - m)^2, in units of 2**-30.
    nll: [I, O] sum of the cross-entropy of p against m, in units of 2**-26 nats.
    level_bin_count: [I, R, K] as bin_count, of at_least_j, j = 1..R.
    level_bin_prob: [I, R, K].
    level_bin_label: [I, R, K] pixels with j votes or more.
    rps: [I] sum of the RPS (divisor n + 1, of the prediction thinned to n), in units of 2**-30.
    top_count: [I, O, 25] pixels by confidence max(p, 1 - p), see `counts.top_label_counts`.
    top_prob: [I, O, 25] sums of the confidence, in units of 2**-24.
    top_correct: [I, O, R, 25] pixels where the mask p >= 1/2 has the label of a rater who answered.
    nested_count: [I, L] pixels by the number of nested masks P(c >= j) >= 1/2 that hold them, of the full panel.
    nested_rater: [I, R, L] those that a rater marked.
  """

  num_valid: np.ndarray
  rater_valid: np.ndarray
  level_count: np.ndarray
  rater_levels: np.ndarray
  both_marked: np.ndarray
  bin_count: np.ndarray
  bin_prob: np.ndarray
  bin_majority: np.ndarray
  bin_rater: np.ndarray
  predicted: np.ndarray
  overlap: np.ndarray
  rater_overlap: np.ndarray
  square: np.ndarray
  nll: np.ndarray
  level_bin_count: np.ndarray
  level_bin_prob: np.ndarray
  level_bin_label: np.ndarray
  rps: np.ndarray
  top_count: np.ndarray
  top_prob: np.ndarray
  top_correct: np.ndarray
  nested_count: np.ndarray
  nested_rater: np.ndarray

  @property
  def num_images(self) -> int:
    """I."""
    return len(self.num_valid)

  @property
  def num_pixels(self) -> np.ndarray:
    """[I] pixels that count; 0 where nobody answered."""
    return self.level_count.sum(-1)

  @property
  def num_pairs(self) -> np.ndarray:
    """[I] pairs (pixel, rater who answered)."""
    return self.num_pixels * self.num_valid

  def rows(self, index: np.ndarray) -> "ImageSums":
    """Returns the images `index` (repeats allowed): a permutation, a group, a bootstrap sample."""
    return jax.tree.map(lambda x: x[index], self)

  def label_area(self, tenths: int) -> np.ndarray:
    """[I] pixels whose share of votes is at least tenths / 10; 5 gives the majority vote."""
    inside = 10 * np.arange(self.level_count.shape[-1]) >= tenths * self.num_valid[:, None]
    return (self.level_count * inside).sum(-1)

  @property
  def vote_variance(self) -> np.ndarray:
    """[I] sum of m (1 - m)."""
    m = self._shares()
    return (self.level_count * m * (1 - m)).sum(-1)

  @property
  def vote_entropy(self) -> np.ndarray:
    """[I] sum of the entropy of m, nats."""
    m = self._shares()
    terms = [x * np.log(np.where(x > 0, x, 1.0)) for x in (m, 1 - m)]
    return (self.level_count * -(terms[0] + terms[1])).sum(-1)

  def _shares(self) -> np.ndarray:
    """[I, L] c / n of each number of votes; 1 where c > n, which no pixel has."""
    return np.minimum(np.arange(self.level_count.shape[-1]) / np.maximum(self.num_valid, 1)[:, None], 1.0)


def concatenate(parts: list[ImageSums]) -> ImageSums:
  """Merges the sums of several batches."""
  return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)


def add(parts: list[ImageSums]) -> ImageSums:
  """Adds up the sums of several parts of the same images."""
  first = parts[0]
  total = jax.tree.map(lambda *xs: np.sum(xs, axis=0), *parts)
  return total.replace(num_valid=first.num_valid, rater_valid=first.rater_valid)


def empty(num_raters: int, num_bins: int) -> ImageSums:
  """Returns the sums of no images."""
  R, K, T, C = num_raters, num_bins, len(SOFT_DICE_TENTHS), counts.NUM_TOP_BINS
  shapes = {
    "num_valid": (), "rater_valid": (R,), "level_count": (R + 1,), "rater_levels": (R, R + 1), "both_marked": (R, R),
    "bin_count": (2, K), "bin_prob": (2, K), "bin_majority": (2, K), "bin_rater": (2, R, K), "predicted": (2, T),
    "overlap": (2, T), "rater_overlap": (2, R), "square": (2,), "nll": (2,), "level_bin_count": (R, K),
    "level_bin_prob": (R, K), "level_bin_label": (R, K), "rps": (), "top_count": (2, C), "top_prob": (2, C),
    "top_correct": (2, R, C), "nested_count": (R + 1,), "nested_rater": (R, R + 1),
  }  # fmt: skip
  return ImageSums(**{name: np.zeros((0, *shape), np.int64) for name, shape in shapes.items()})


def to_host(sums: dict[str, Any], num_real: int) -> ImageSums:
  """Turns what the device counted of a batch into 64-bit sums; the dummies after the first `num_real` images go."""
  names = [field.name for field in dataclasses.fields(ImageSums)]
  arrays: dict[str, Any] = {name: np.asarray(sums[name])[:num_real] for name in names}
  out = {name: array.astype(np.int64) for name, array in arrays.items()}
  for name in ("square", "nll", "rps"):
    out[name] = exact_sums.fixed_point_total(arrays[name])
  for name in ("bin", "level_bin", "top"):
    bins = calibration.BinCounts(arrays[f"{name}_count"], arrays[f"{name}_prob"], arrays[f"{name}_count"])
    out[f"{name}_prob"] = bins.prob_total(counts.NUM_TOP_BINS if name == "top" else 0)
  return ImageSums(**out)


def pooled_ranks(sums: dict[str, Any], num_real: int, num_pixels: int) -> np.ndarray:
  """Adds up what the device counted per cell over the images of a batch.

  Args:
    sums: The sums of a batch, from `image_sums`.
    num_real: images that count.
    num_pixels: P of each image as it was counted, padding included.

  Returns:
    [2, NUM_RANKS, 5] int64, per read-out and cell: pixels outside and inside the majority, votes against and for, and
    the sum of the probability over all pairs, in units of 2**-24.
  """
  counted = np.asarray(sums["ranks"])[:num_real].astype(np.int64)
  probs = cells.prob_total(np.asarray(sums["rank_probs"])[:num_real], counted[..., 0] + counted[..., 1], num_pixels)
  weight = np.asarray(sums["num_valid"])[:num_real].astype(np.int64)[:, None, None]
  return np.concatenate([counted.sum(0), (probs * weight).sum(0)[..., None]], -1)
