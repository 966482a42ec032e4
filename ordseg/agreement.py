"""How much the raters agree, from the integer counts of `metrics.image_sums` (docs/metrics.md).

Everything here is about raters, not about a model: it is the human row that a model is compared with.
"""

import numpy as np

from ordseg import calibration
from ordseg.metrics import MetricSums, dice


def rater_metrics(m: MetricSums, *, num_bins: int) -> dict[str, object]:
  """Returns the human row: agreement among the raters, and each rater left out and scored by the others.

  Args:
    m: merged sums of all images.
    num_bins: bins of the calibration error of the left-out raters.

  Returns:
    pairwise_dice [R][R] and pairwise_kappa [R][R] (None-able NaN where a pair never met), their means over pairs,
    fleiss_kappa, prevalence [R], share_disputed and leave_one_out.
  """
  overlap, valid = m.sums["rater_overlap"], m.rater_valid
  pair_dice = pairwise_dice(overlap, valid)
  kappa = pairwise_kappa(overlap, valid, m.sums["num_pixels"])
  return {
    "pairwise_dice": pair_dice.tolist(),
    "pairwise_dice_mean": _mean_over_pairs(pair_dice),
    "pairwise_kappa": kappa.tolist(),
    "pairwise_kappa_mean": _mean_over_pairs(kappa),
    "fleiss_kappa": fleiss_kappa(m.sums["votes"], m.sums["num_valid"]),
    "prevalence": prevalence(overlap, valid, m.sums["num_pixels"]).tolist(),
    "share_disputed": share_disputed(m.sums["votes"], m.sums["num_valid"]),
    "leave_one_out": leave_one_out(m, num_bins=num_bins),
  }


def _pairs_valid(rater_valid: np.ndarray) -> np.ndarray:
  """[I, R] -> [I, R, R] bool: both raters answered."""
  valid = np.asarray(rater_valid, bool)
  return valid[:, :, None] & valid[:, None, :]


def pairwise_dice(overlap: np.ndarray, rater_valid: np.ndarray) -> np.ndarray:
  """Mean Dice of each pair of raters over the images both answered and at least one of them marked.

  Args:
    overlap: [I, R, R] pixels marked by both; areas on the diagonal.
    rater_valid: [I, R].

  Returns:
    [R, R] float64; NaN where no image is left.
  """
  area = np.diagonal(overlap, axis1=1, axis2=2)
  per_image = dice(overlap, area[:, :, None], area[:, None, :])
  return _nanmean(np.where(_pairs_valid(rater_valid), per_image, np.nan))


def pairwise_kappa(overlap: np.ndarray, rater_valid: np.ndarray, num_pixels: np.ndarray) -> np.ndarray:
  """Cohen's kappa of each pair of raters over all pixels of the images both answered (Cohen, 1960).

  Args:
    overlap: [I, R, R]; areas on the diagonal.
    rater_valid: [I, R].
    num_pixels: [I].

  Returns:
    [R, R] float64; NaN where undefined.
  """
  both = _pairs_valid(rater_valid)
  area = np.diagonal(overlap, axis1=1, axis2=2)
  total = (both * num_pixels[:, None, None]).sum(0).astype(np.float64)
  joint = (both * overlap).sum(0)
  a, b = (both * area[:, :, None]).sum(0), (both * area[:, None, :]).sum(0)
  with np.errstate(invalid="ignore", divide="ignore"):
    observed = (total - a - b + 2 * joint) / total
    expected = (a * b + (total - a) * (total - b)) / total**2
    return np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)


def fleiss_kappa(votes: np.ndarray, num_valid: np.ndarray) -> float:
  """Fleiss' kappa of foreground against background over all pixels that at least two raters answered.

  The form for varying numbers of raters: each pixel's agreement is that among its own n raters, and the expected one
  follows from the share of all votes (Fleiss, 1971, with equal n).

  Args:
    votes: [I, L] pixels by votes.
    num_valid: [I], n.
  """
  several = num_valid >= 2
  votes, n = votes[several].astype(np.float64), num_valid[several, None].astype(np.float64)
  c = np.arange(votes.shape[-1])
  if not votes.sum():
    return float("nan")
  agreement = (c * (c - 1) + (n - c) * (n - c - 1)) / (n * (n - 1))
  observed = (votes * agreement).sum() / votes.sum()
  p = (votes * c).sum() / (votes * n).sum()
  expected = p**2 + (1 - p) ** 2
  return float((observed - expected) / (1 - expected)) if expected < 1 else float("nan")


def prevalence(overlap: np.ndarray, rater_valid: np.ndarray, num_pixels: np.ndarray) -> np.ndarray:
  """Share of the pixels that each rater marked, over the images the rater answered: [R]."""
  area = np.diagonal(overlap, axis1=1, axis2=2)
  total = (rater_valid * num_pixels[:, None]).sum(0)
  return np.where(total > 0, (area * rater_valid).sum(0) / np.maximum(total, 1), np.nan)


def share_disputed(votes: np.ndarray, num_valid: np.ndarray) -> float:
  """Of the pixels that anybody marked, the share that not everybody marked; images with two or more answers."""
  several = num_valid >= 2
  votes, n = votes[several], num_valid[several, None]
  c = np.arange(votes.shape[-1])
  union = (votes * (c > 0)).sum()
  return float((votes * ((c > 0) & (c < n))).sum() / union) if union else float("nan")


def leave_one_out(m: MetricSums, *, num_bins: int) -> dict[str, float]:
  """Scores each rater's mask with the mean vote of the other raters, as if that were a model's probability.

  How well people predict one more person. It is no ceiling of what a model may reach: the others have seen the image
  together with their own habits and slips, which a model cannot know, but they are few, which makes their mean coarse.

  Returns:
    dice (the others' majority against the left-out rater; mean over images and raters where either marked something),
    mr_ece (pooled over all left-out raters) and brier, all from images with two or more answers.
  """
  num_levels = m.sums["votes"].shape[-1]
  n = m.sums["num_valid"]
  use = (m.rater_valid > 0) & (n >= 2)[:, None]  # [I, R]
  marked = m.sums["rater_votes"]  # [I, R, L], by all votes c, the rater's own included
  unmarked = m.sums["votes"][:, None, :] - marked
  # What the others said: c - 1 of n - 1 where the rater marked the pixel, c where not.
  yes = np.concatenate([marked[..., 1:], np.zeros_like(marked[..., :1])], -1) * use[..., None]
  no = unmarked * use[..., None]
  others = np.arange(num_levels) / np.maximum(n - 1, 1)[:, None]  # [I, L] probability
  prob = np.clip(others, 0, 1)[:, None, :]
  majority = 2 * np.arange(num_levels) >= np.maximum(n - 1, 1)[:, None]
  majority = majority[:, None, :]
  overlap = (yes * majority).sum(-1)
  per_rater = dice(overlap, ((yes + no) * majority).sum(-1), yes.sum(-1))
  per_rater = np.where(use, per_rater, np.nan)
  total = float((yes + no).sum()) or float("nan")
  brier = (yes * (1 - prob) ** 2 + no * prob**2).sum() / total
  bins = _bin_tables(np.broadcast_to(prob, yes.shape), yes, no, num_bins)
  return {
    "dice": float(np.nanmean(per_rater)) if np.isfinite(per_rater).any() else float("nan"),
    "mr_ece": float(calibration.ece(bins)),
    "brier": float(brier),
  }


def _bin_tables(prob: np.ndarray, yes: np.ndarray, no: np.ndarray, num_bins: int) -> calibration.BinSums:
  index = np.minimum((prob * num_bins).astype(int), num_bins - 1).ravel()

  def per_bin(weights: np.ndarray) -> np.ndarray:
    return np.bincount(index, weights.ravel(), minlength=num_bins)

  return calibration.BinSums(per_bin(yes + no), per_bin((yes + no) * prob), per_bin(yes))


def _nanmean(values: np.ndarray) -> np.ndarray:
  seen = np.isfinite(values)
  count = seen.sum(0)
  return np.where(count > 0, np.where(seen, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _mean_over_pairs(matrix: np.ndarray) -> float:
  pairs = matrix[np.triu_indices(len(matrix), 1)]
  pairs = pairs[np.isfinite(pairs)]
  return float(pairs.mean()) if pairs.size else float("nan")
