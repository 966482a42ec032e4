"""Sufficient statistics per image, and the metrics they give (docs/metrics.md).

`image_sums` runs on the device and counts; `MetricSums` holds the counts of many images on the host, in 64 bit, so that
pooling, merging processes or resampling images is a sum or a choice of rows. No metric is ever averaged over batches.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ordseg import calibration, losses, ordinal
from ordseg.heads import Prediction
from ordseg.types import Array, Batch

# QUBIQ: Dice of both maps cut at these thresholds, averaged.
SOFT_DICE_TENTHS = (1, 3, 5, 7, 9)
# Probabilities are kept this far from 0 and 1 in the logarithms of the NLL; the floor has no such problem.
PROB_EPSILON = 2.0**-24
# AUC: pixels ranked by logit, in bins of 1/128 over [-16, 16]; pixels of one bin are ties.
_AUC_BINS_PER_LOGIT = 128
_AUC_MAX_LOGIT = 16


def image_sums(level_probs: Array, batch: Batch, *, num_bins: int) -> dict[str, Array]:
  """Counts one image; `jax.vmap` it over a batch.

  Args:
    level_probs: [H, W, L] float32.
    batch: one example: rater_masks [H, W, R], rater_valid [R], mask [H, W].
    num_bins: bins of the calibration errors.

  Returns:
    Arrays by the names of `MetricSums`, before the merge in 64 bit: counts as int32, float sums as [H] row sums.
  """
  target = ordinal.encode(batch["rater_masks"][None], batch["rater_valid"][None], batch["mask"][None])
  counts = target.weight[0] > 0
  votes, n = target.vote_counts[0], target.num_valid[0]
  answered = (jnp.asarray(batch["rater_valid"]) != 0)[None, None, :]
  masks = (jnp.asarray(batch["rater_masks"]) != 0) & answered & counts[..., None]
  num_levels = level_probs.shape[-1]
  out = {"num_valid": n, "num_pixels": jnp.sum(counts, dtype=jnp.int32), **_rater_sums(masks, votes, counts, num_levels)}
  out |= _floor_sums(votes, n, counts)
  for name in ordinal.READ_OUTS:
    prob = ordinal.foreground_prob(level_probs, ordinal.read_out_weights(name, num_levels - 1))
    sums = _read_out_sums(prob, votes, n, masks, counts, num_bins=num_bins, num_levels=num_levels)
    out |= {f"{name}/{key}": value for key, value in sums.items()}
  out |= _level_sums(level_probs, target, num_bins=num_bins)
  return out


def _rows(values: Array, counts: Array) -> Array:
  """[H, W] -> [H] float32 sums; the host adds the rows in 64 bit."""
  return jnp.sum(jnp.where(counts, values, 0.0), axis=-1)


def _count(flags: Array) -> Array:
  """Pixels [H, W, ...] -> [...] int32."""
  return jnp.sum(flags, axis=(0, 1), dtype=jnp.int32)


def _rater_sums(masks: Array, votes: Array, counts: Array, num_levels: int) -> dict[str, Array]:
  flat = masks.reshape(-1, masks.shape[-1]).astype(jnp.int32)
  by_votes = (votes[..., None] == jnp.arange(num_levels).reshape(1, 1, -1)) & counts[..., None]
  flat_votes = by_votes.reshape(-1, num_levels).astype(jnp.int32)
  return {
    "rater_overlap": flat.T @ flat,  # [R, R]; the diagonal holds the areas
    "rater_votes": flat.T @ flat_votes,  # [R, L] pixels the rater marked, by votes
    "votes": jnp.sum(flat_votes, axis=0),  # [L]
  }


def _entropy_term(x: Array) -> Array:
  return -x * jnp.log(jnp.maximum(x, jnp.finfo(jnp.float32).tiny))


def _floor_sums(votes: Array, n: Array, counts: Array) -> dict[str, Array]:
  m = votes / jnp.maximum(n, 1)
  return {
    "brier_floor": _rows(n * m * (1 - m), counts),
    "nll_floor": _rows(n * (_entropy_term(m) + _entropy_term(1 - m)), counts),
  }


def _read_out_sums(
  prob: Array, votes: Array, n: Array, masks: Array, counts: Array, *, num_bins: int, num_levels: int
) -> dict[str, Array]:
  bins = calibration.bin_pixels(prob, votes, counts, num_bins=num_bins, num_labels=num_levels)
  index = jnp.where(counts, calibration.bin_index(prob, num_bins), num_bins).ravel()
  flat_masks = masks.reshape(-1, masks.shape[-1]).astype(jnp.int32)
  positives = jax.ops.segment_sum(flat_masks, index, num_segments=num_bins + 1)[:num_bins]
  majority = (2 * votes >= n) & counts
  predicted = (prob >= 0.5) & counts
  safe = jnp.clip(prob, PROB_EPSILON, 1 - PROB_EPSILON)
  tenths = jnp.asarray(SOFT_DICE_TENTHS).reshape(1, 1, -1)
  cut_prob = (prob[..., None] >= tenths / 10) & counts[..., None]
  cut_votes = (10 * votes[..., None] >= tenths * n) & counts[..., None]
  return {
    "count": bins.count,
    "prob_limbs": bins.prob_limbs,
    "rater_positives": positives.T,  # [R, num_bins]
    "brier": _rows(n * jnp.square(prob) - 2 * prob * votes + votes, counts),
    "nll": _rows(-votes * jnp.log(safe) - (n - votes) * jnp.log1p(-safe), counts),
    "predicted": _count(predicted),
    "majority": _count(majority),
    "overlap": _count(predicted & majority),
    "rater_overlap": _count(predicted[..., None] & masks),  # [R]
    "soft_predicted": _count(cut_prob),
    "soft_votes": _count(cut_votes),
    "soft_overlap": _count(cut_prob & cut_votes),
    "auc": _auc_histogram(safe, votes, n, majority, counts),
  }


def _auc_histogram(safe: Array, votes: Array, n: Array, majority: Array, counts: Array) -> Array:
  """[bins, 4] int32: pixels of the majority and not, votes for and against, by the rank of the probability."""
  num_bins = 2 * _AUC_MAX_LOGIT * _AUC_BINS_PER_LOGIT
  logit = jnp.log(safe) - jnp.log1p(-safe)
  index = jnp.clip(((logit + _AUC_MAX_LOGIT) * _AUC_BINS_PER_LOGIT).astype(jnp.int32), 0, num_bins - 1)
  columns = jnp.stack([majority, counts & ~majority, votes, n - votes], axis=-1).astype(jnp.int32)
  columns = jnp.where(counts[..., None], columns, 0)
  return jax.ops.segment_sum(columns.reshape(-1, 4), index.ravel(), num_segments=num_bins)


def _level_sums(level_probs: Array, target: ordinal.OrdinalTarget, *, num_bins: int) -> dict[str, Array]:
  """RPS, and bins of each `at_least_j` of the prediction thinned to the n who answered; j <= n only."""
  n, counts = target.num_valid[0], target.weight[0] > 0
  tail = 1.0 - ordinal.thinned_cdf(level_probs[None], target.num_valid)[0][..., :-1]  # P(c > j - 1), j = 1..R
  reached = target.vote_counts[0][..., None] > jnp.arange(tail.shape[-1]).reshape(1, 1, -1)

  def level(prob: Array, label: Array, j: Array) -> calibration.DeviceBins:
    inside = counts & (j <= n)
    return calibration.bin_pixels(jnp.clip(prob, 0, 1), label.astype(jnp.int32), inside, num_bins=num_bins, num_labels=2)

  bins = jax.vmap(level, in_axes=(-1, -1, 0))(tail, reached, jnp.arange(1, tail.shape[-1] + 1))
  log_probs = jnp.log(jnp.maximum(level_probs, jnp.finfo(jnp.float32).tiny))[None]
  score = losses.rps(Prediction(logits=log_probs, log_level_probs=log_probs), target)[0]
  return {"level_count": bins.count, "level_prob_limbs": bins.prob_limbs, "rps": _rows(score, counts)}


@dataclasses.dataclass(frozen=True)
class MetricSums:
  """Merged sums of I images.

  Attributes:
    sums: name -> [I, ...] int64 or float64; see `image_sums` for the names. Limbs are merged to ``prob_sum``.
    rater_valid: [I, R].
    auc: read-out -> [bins, 4] int64, pooled over all images.
  """

  sums: dict[str, np.ndarray]
  rater_valid: np.ndarray
  auc: dict[str, np.ndarray]

  @property
  def num_images(self) -> int:
    """I."""
    return len(self.rater_valid)

  def votes_bins(self, read_out: str) -> calibration.BinSums:
    """Bins per image of the read-out against all raters' votes."""
    s = self.sums
    return calibration.against_votes(s[f"{read_out}/count"], s[f"{read_out}/prob_sum"], s["num_valid"])

  def majority_bins(self, read_out: str) -> calibration.BinSums:
    """Bins per image of the read-out against the majority label."""
    s = self.sums
    return calibration.against_majority(s[f"{read_out}/count"], s[f"{read_out}/prob_sum"], s["num_valid"])

  def rater_bins(self, read_out: str) -> calibration.BinSums:
    """Bins per image and rater, [I, R, num_bins]."""
    s = self.sums
    return calibration.against_raters(
      s[f"{read_out}/count"], s[f"{read_out}/prob_sum"], s[f"{read_out}/rater_positives"], self.rater_valid
    )

  def level_bins(self) -> calibration.BinSums:
    """Bins per image and j of `at_least_j`, [I, R, num_bins]."""
    count = self.sums["level_count"]
    return calibration.BinSums(count.sum(-1), self.sums["level_prob_sum"], count[..., 1].astype(np.float64))


def to_host(sums: dict[str, np.ndarray], num_real: int) -> dict[str, np.ndarray]:
  """Merges what the device counted for a batch in 64 bit, and drops the dummies after the first `num_real` images."""
  out = {}
  for name, value in sums.items():
    value = np.asarray(value)[:num_real]
    if name.endswith("prob_limbs"):
      out[name.removesuffix("prob_limbs") + "prob_sum"] = calibration.prob_sums(value)
    elif value.dtype == np.float32:  # row sums
      out[name] = value.astype(np.float64).sum(-1)
    else:
      out[name] = value.astype(np.int64)
  return out


def dice(overlap: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """2 |A and B| / (|A| + |B|), from counts; NaN where both are empty."""
  total = np.asarray(a + b, np.float64)
  with np.errstate(invalid="ignore", divide="ignore"):
    return np.where(total > 0, 2 * overlap / np.where(total > 0, total, 1), np.nan)


def auc(positives: np.ndarray, negatives: np.ndarray) -> float:
  """Area under the ROC curve from histograms over ranked bins [bins]; ties within a bin count half; NaN for one class."""
  positives, negatives = positives.astype(np.float64), negatives.astype(np.float64)
  if not (positives.sum() and negatives.sum()):
    return float("nan")
  below = np.cumsum(negatives) - negatives
  return float((positives * (below + negatives / 2)).sum() / (positives.sum() * negatives.sum()))


def read_out_metrics(m: MetricSums, read_out: str) -> dict[str, float]:
  """Returns the pooled metrics of one read-out; docs/metrics.md defines each."""
  s = {key: m.sums[f"{read_out}/{key}"] for key in _PER_READ_OUT}
  pairs = float((m.sums["num_valid"] * m.sums["num_pixels"]).sum()) or float("nan")
  pooled = m.votes_bins(read_out).pooled()
  per_rater = calibration.ece(m.rater_bins(read_out).pooled())
  rater_area = np.diagonal(m.sums["rater_overlap"], axis1=1, axis2=2)
  rater_dice = np.where(m.rater_valid > 0, dice(s["rater_overlap"], s["predicted"][:, None], rater_area), np.nan)
  soft = dice(s["soft_overlap"], s["soft_predicted"], s["soft_votes"])
  overlap, union = s["overlap"], s["predicted"] + s["majority"] - s["overlap"]
  per_image = dice(overlap, s["predicted"], s["majority"])
  has_majority = (s["majority"] > 0) & (m.sums["num_valid"] > 0)
  histogram = m.auc[read_out]
  return {
    "mr_ece_pooled": float(calibration.ece(pooled)),
    "mr_ece_rater_mean": _mean(per_rater),
    "mr_ece_per_image_mean": _mean(calibration.ece(m.votes_bins(read_out))),
    "ece_majority": float(calibration.ece(m.majority_bins(read_out).pooled())),
    "ace": float(calibration.ace(pooled)),
    "mce": float(calibration.mce(pooled)),
    "brier": float(s["brier"].sum() / pairs),
    "nll": float(s["nll"].sum() / pairs),
    "dice": _mean(per_image[has_majority]),
    "dice_all": _mean(np.where(np.isnan(per_image), 1.0, per_image)),
    "dice_pooled": float(dice(overlap.sum(), s["predicted"].sum(), s["majority"].sum())),
    "dice_rater_mean": _mean(rater_dice[has_majority]),
    "iou": _mean((overlap / np.maximum(union, 1))[has_majority]),
    "soft_dice": _mean(np.where(np.isnan(soft), 1.0, soft).mean(-1)),
    "auc_majority": auc(histogram[:, 0], histogram[:, 1]),
    "auc_pooled": auc(histogram[:, 2], histogram[:, 3]),
  }


_PER_READ_OUT = (
  "brier",
  "nll",
  "predicted",
  "majority",
  "overlap",
  "rater_overlap",
  "soft_predicted",
  "soft_votes",
  "soft_overlap",
)


def level_metrics(m: MetricSums) -> dict[str, object]:
  """Returns rps, level_ece (mean over j) and level_ece_per_level [R]."""
  per_level = calibration.ece(m.level_bins().pooled())
  rated = m.sums["num_pixels"].sum() or float("nan")
  return {
    "rps": float(m.sums["rps"].sum() / rated),
    "level_ece": _mean(per_level),
    "level_ece_per_level": per_level.tolist(),
  }


def floor_metrics(m: MetricSums) -> dict[str, float]:
  """Returns what Brier and NLL would be if every probability were the share of votes itself: nothing can be lower."""
  pairs = float((m.sums["num_valid"] * m.sums["num_pixels"]).sum()) or float("nan")
  return {"brier": float(m.sums["brier_floor"].sum() / pairs), "nll": float(m.sums["nll_floor"].sum() / pairs)}


def _mean(values: np.ndarray) -> float:
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values)]
  return float(values.mean()) if values.size else float("nan")
