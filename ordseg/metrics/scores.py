"""Bins and scores of each image, from its sums; `votes`, `masks` and `levels` put them together for a data set."""

import numpy as np

from ordseg import ordinal
from ordseg.metrics import calibration
from ordseg.metrics.calibration import BinSums, ratio
from ordseg.metrics.pooling import mean_of
from ordseg.metrics.sums import AT_HALF, NAT_BITS, SOFT_DICE_TENTHS, SQUARE_BITS, ImageSums

# Cuts of the share of votes, as indices of `SOFT_DICE_TENTHS`: .1 .3 .5 .7 .9, and all nine.
SOFT_DICE_CUTS = {"soft_dice_5": slice(None, None, 2), "soft_dice_9": slice(None)}

# --- Bins per image ---------------------------------------------------------------------------------------------------


def vote_bins(sums: ImageSums, read_out: str) -> BinSums:
  """Bins per image [I, K] over all pairs (pixel, rater who answered), which give MR-ECE.

  In each bin the gap is that between p and the share of votes, so for one n this is the ECE against the mean vote.
  """
  o, n = ordinal.READ_OUTS.index(read_out), sums.num_valid[:, None]
  return BinSums.from_fixed(sums.bin_count[:, o] * n, sums.bin_prob[:, o] * n, sums.bin_rater[:, o].sum(1))


def majority_bins(sums: ImageSums, read_out: str) -> BinSums:
  """Bins per image [I, K] against the majority vote 1[c >= n / 2]."""
  o = ordinal.READ_OUTS.index(read_out)
  return BinSums.from_fixed(sums.bin_count[:, o], sums.bin_prob[:, o], sums.bin_majority[:, o])


def rater_bins(sums: ImageSums, read_out: str) -> BinSums:
  """Bins per image and rater [I, R, K], 0 where the rater did not answer."""
  o, valid = ordinal.READ_OUTS.index(read_out), sums.rater_valid[:, :, None]
  return BinSums.from_fixed(sums.bin_count[:, o, None] * valid, sums.bin_prob[:, o, None] * valid, sums.bin_rater[:, o])


def level_bins(sums: ImageSums) -> BinSums:
  """Bins per image and j [I, R, K] of `at_least_j`, 0 where n < j."""
  return BinSums.from_fixed(sums.level_bin_count, sums.level_bin_prob, sums.level_bin_label)


# --- Scores per image -------------------------------------------------------------------------------------------------


def dice(overlap: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns 2 |A and B| / (|A| + |B|) from counts; 1 where both are empty: nothing was there and nothing was found."""
  total = np.asarray(a + b, np.float64)
  return np.where(total > 0, 2.0 * overlap / np.where(total > 0, total, 1.0), 1.0)


def auc(negatives: np.ndarray, positives: np.ndarray) -> tuple[float, float]:
  """Area under the ROC curve from counts per cell of rising probability.

  Args:
    negatives: [T].
    positives: [T].

  Returns:
    The area with ties within a cell counting half, and the most by which the order within cells can change it; both
    NaN without negatives or without positives.
  """
  neg, pos = np.asarray(negatives, np.float64), np.asarray(positives, np.float64)
  if not (neg.sum() and pos.sum()):
    return float("nan"), float("nan")
  below = np.cumsum(neg) - neg
  pairs = neg.sum() * pos.sum()
  return float((pos * (below + neg / 2)).sum() / pairs), float((pos * neg).sum() / 2 / pairs)


def image_metrics(sums: ImageSums, read_out: str) -> dict[str, np.ndarray]:
  """Returns the metrics that each image has alone, [I] float64, NaN where nobody answered."""
  o = ordinal.READ_OUTS.index(read_out)
  scored = np.where(sums.num_pixels > 0, 1.0, np.nan)
  label = np.stack([sums.label_area(tenths) for tenths in SOFT_DICE_TENTHS], axis=-1)
  soft = dice(sums.overlap[:, o], sums.predicted[:, o], label)  # [I, T]
  return {
    "dice": soft[:, AT_HALF] * scored,
    "dice_rater_mean": mean_of(rater_dice(sums, read_out)),
    "iou": soft[:, AT_HALF] / (2 - soft[:, AT_HALF]) * scored,
    **{name: mean_of(np.where(label > 0, soft, np.nan)[:, cuts]) for name, cuts in SOFT_DICE_CUTS.items()},
    **{f"{name}_all": soft[:, cuts].mean(-1) * scored for name, cuts in SOFT_DICE_CUTS.items()},
    "mr_ece": calibration.ece(vote_bins(sums, read_out)),
    "mr_ece_rater_mean": calibration.rater_mean_ece(rater_bins(sums, read_out)),
    "ece_majority": calibration.ece(majority_bins(sums, read_out)),
    "brier": ratio(sums.square[:, o] / 2.0**SQUARE_BITS + sums.vote_variance, sums.num_pixels),
    "nll": ratio(sums.nll[:, o] / 2.0**NAT_BITS, sums.num_pixels),
  }


def rater_dice(sums: ImageSums, read_out: str) -> np.ndarray:
  """Returns [I, R] the Dice of the mask (probability >= 1/2) against each rater; NaN where the rater did not answer."""
  o = ordinal.READ_OUTS.index(read_out)
  area = np.diagonal(sums.both_marked, axis1=1, axis2=2)
  scores = dice(sums.rater_overlap[:, o], sums.predicted[:, o, AT_HALF, None], area)
  return np.where((sums.rater_valid > 0) & (sums.num_pixels > 0)[:, None], scores, np.nan)


def image_rps(sums: ImageSums) -> np.ndarray:
  """Returns [I] the mean RPS of each image; NaN where nobody answered."""
  return ratio(sums.rps / 2.0**SQUARE_BITS, sums.num_pixels)
