"""How much the raters agree, from the integer counts of `metrics.ImageSums`.

Everything here is about raters, not about a model: it is the human row that a model is read beside.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ordseg.metrics import EVERY_IMAGE, ImageSums, Pool, calibration, dice, mean_of
from ordseg.metrics.calibration import BinSums, ratio


def rater_metrics(sums: ImageSums, *, num_bins: int, pool: Pool = EVERY_IMAGE) -> dict[str, Any]:
  """Returns the human row: agreement among the raters, and each rater left out and scored by the others.

  Args:
    sums: of all images.
    num_bins: bins of the calibration error of the left-out raters.
    pool: of the images; here and below, results have its leading axes.

  Returns:
    pairwise_dice and pairwise_kappa [R, R] (NaN where a pair never met) and their means over pairs, fleiss_kappa,
    krippendorff_alpha, prevalence [R], share_disputed, leave_one_out.
  """
  pair_dice, kappa = pairwise_dice(sums, pool), pairwise_kappa(sums, pool)
  return {
    "pairwise_dice": pool.plain(pair_dice),
    "pairwise_dice_mean": pool.plain(_mean_over_pairs(pair_dice)),
    "pairwise_kappa": pool.plain(kappa),
    "pairwise_kappa_mean": pool.plain(_mean_over_pairs(kappa)),
    "fleiss_kappa": fleiss_kappa(sums, pool),
    "krippendorff_alpha": krippendorff_alpha(sums, pool),
    "prevalence": pool.plain(prevalence(sums, pool)),
    "share_disputed": share_disputed(sums, pool),
    "leave_one_out": leave_one_out(sums, num_bins=num_bins, pool=pool),
  }


def _areas(sums: ImageSums) -> np.ndarray:
  """[I, R] pixels that each rater marked."""
  return np.diagonal(sums.both_marked, axis1=1, axis2=2)


def _both_valid(sums: ImageSums) -> np.ndarray:
  """[I, R, R] bool: both raters answered, and the image has pixels that count."""
  valid = (sums.rater_valid > 0) & (sums.num_pixels > 0)[:, None]
  return valid[:, :, None] & valid[:, None, :]


def image_pairwise_dice(sums: ImageSums) -> np.ndarray:
  """Returns [I, R, R] the Dice of each pair of raters; NaN unless both answered and at least one of them marked
  something. Where only one marked something it is 0: leaving these images out would hide a disagreement."""
  area = _areas(sums)
  a, b = area[:, :, None], area[:, None, :]
  return np.where(_both_valid(sums) & (a + b > 0), dice(sums.both_marked, a, b), np.nan)


def pairwise_dice(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> np.ndarray:
  """Returns [R, R] the mean over images of `image_pairwise_dice`, NaN left out."""
  return pool.mean(image_pairwise_dice(sums))


def pairwise_kappa(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> np.ndarray:
  """Returns [R, R] Cohen's kappa over all pixels of the images both raters answered (Cohen, 1960); NaN where undefined:
  both marked nothing, or everything."""
  both, area = _both_valid(sums), _areas(sums)
  shares = (sums.num_pixels[:, None, None], area[:, :, None], area[:, None, :], sums.both_marked)
  total, a, b, joint = (np.asarray(pool.total(both * x), np.float64) for x in shares)
  observed = ratio(total - a - b + 2 * joint, total)
  expected = ratio(a * b + (total - a) * (total - b), total**2)
  return ratio(observed - expected, np.nan_to_num(1 - expected))


def _with_pairs(sums: ImageSums) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Counts by (n, c): n [I, 1], c [L], and the number of pixels [I, L], 0 where n < 2, all float64."""
  n, votes = sums.num_valid[:, None].astype(np.float64), np.arange(sums.level_count.shape[-1], dtype=np.float64)
  return n, votes, np.where(n >= 2, sums.level_count, 0.0)


def fleiss_kappa(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> Any:
  """Fleiss' kappa of marked against unmarked, over the pixels with two or more raters; NaN where all votes are equal.

  In the form for varying n: a pixel's agreement is that among its own raters, and the agreement expected by chance
  follows from the share of all votes (Fleiss, 1971, where n is constant).
  """
  n, c, pixels = _with_pairs(sums)
  agreement = np.nan_to_num(ratio(c * (c - 1) + (n - c) * (n - c - 1), n * (n - 1)))
  observed = ratio(pool.total((pixels * agreement).sum(-1)), pool.total(pixels.sum(-1)))
  p = ratio(pool.total((pixels * c).sum(-1)), pool.total((pixels * n).sum(-1)))
  chance = p**2 + (1 - p) ** 2
  return pool.plain(ratio(observed - chance, np.nan_to_num(1 - chance)))


def krippendorff_alpha(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> Any:
  """Krippendorff's alpha for two nominal values, missing raters allowed (Krippendorff, 2004); NaN where all agree on
  one value everywhere."""
  n, c, pixels = _with_pairs(sums)
  total, marked = pool.total((pixels * n).sum(-1)), pool.total((pixels * c).sum(-1))
  observed = pool.total((pixels * np.nan_to_num(ratio(2 * c * np.maximum(n - c, 0), n - 1))).sum(-1))
  expected = ratio(2 * marked * (total - marked), total - 1)
  return pool.plain(1 - ratio(observed, np.nan_to_num(expected)))


def prevalence(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> np.ndarray:
  """Returns [R] the share of pixels that each rater marked, over the images the rater answered."""
  return ratio(pool.total(_areas(sums)), pool.total(sums.rater_valid * sums.num_pixels[:, None]))


def share_disputed(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> Any:
  """Of the pixels that anybody marked, the share that not everybody marked; over images with n >= 2."""
  n, c, pixels = _with_pairs(sums)
  disputed, marked = (pool.total((pixels * where).sum(-1)) for where in ((c > 0) & (c < n), c > 0))
  return pool.plain(ratio(disputed, marked))


def leave_one_out(sums: ImageSums, *, num_bins: int, pool: Pool = EVERY_IMAGE) -> dict[str, Any]:
  """Scores each rater with the mean vote of the others, as if that were a model's probability.

  How well people predict one more person: a yardstick, not a bound. The others know what a model cannot, but they are
  few, which makes their mean coarse, and the scores of a model that predicts well can be better.

  Args:
    sums: of all images; those with n >= 2 take part.
    num_bins: of the calibration error.
    pool: of the images.

  Returns:
    dice: of the others' majority against the rater; mean over raters, then over the images in which a majority marked
      something. Read it beside a model's dice_rater_mean.
    mr_ece, brier: pooled over all pairs (pixel, left-out rater). Read them beside a model's mean_vote.
  """
  brier, scores = np.zeros(sums.num_images), np.full(sums.num_images, np.nan)
  for n, which, marked, unmarked in _by_panel(sums):
    prob = np.arange(n) / (n - 1)
    brier[which] = (marked * (1 - prob) ** 2 + unmarked * prob**2).sum((1, 2))
    marked_by_most = sums.rows(which).label_area(5) > 0
    scores[which] = np.where(marked_by_most, _others_dice(marked, unmarked, n), np.nan)
  bins = pool.bins(left_out_bins(sums, num_bins))
  out = {
    "dice": pool.mean(scores),
    "mr_ece": calibration.ece(bins),
    "brier": ratio(pool.total(brier), bins.count.sum(-1)),
  }
  return {name: pool.plain(value) for name, value in out.items()}


def left_out_bins(sums: ImageSums, num_bins: int) -> BinSums:
  """Bins per image [I, num_bins] over all pairs (pixel, left-out rater); the others' mean vote is the probability."""
  count, prob_sum, label_sum = np.zeros((3, sums.num_images, num_bins))
  for n, which, marked, unmarked in _by_panel(sums):
    prob = np.arange(n) / (n - 1)
    for k, index in enumerate(calibration.bin_index(prob, num_bins).tolist()):
      pairs = (marked + unmarked)[..., k].sum(1)
      count[which, index] += pairs
      prob_sum[which, index] += pairs * prob[k]
      label_sum[which, index] += marked[..., k].sum(1)
  return BinSums(count, prob_sum, label_sum)


def _by_panel(sums: ImageSums) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
  """Walks over n >= 2: n, the images that n raters answered, and `_votes_of_others` of them."""
  for n in np.unique(sums.num_valid[sums.num_valid >= 2]).tolist():
    which = np.flatnonzero(sums.num_valid == n)
    yield n, which, *_votes_of_others(sums.rows(which), n)


def _votes_of_others(sums: ImageSums, n: int) -> tuple[np.ndarray, np.ndarray]:
  """Pixels [I, R, n] by the votes 0..n-1 of the others: those the left-out rater marked, and those not."""
  valid = sums.rater_valid[:, :, None]
  marked = sums.rater_levels[:, :, 1 : n + 1]  # c votes in all are c - 1 of the others
  unmarked = (sums.level_count[:, None, :n] - sums.rater_levels[:, :, :n]) * valid
  return marked * valid, unmarked


def _others_dice(marked: np.ndarray, unmarked: np.ndarray, n: int) -> np.ndarray:
  """[I] mean over the raters who answered; NaN for images without pixels."""
  majority = 2 * np.arange(n) >= n - 1
  scores = dice((marked * majority).sum(-1), ((marked + unmarked) * majority).sum(-1), marked.sum(-1))
  answered = (marked + unmarked).sum(-1) > 0
  return ratio((scores * answered).sum(-1), answered.sum(-1))


def _mean_over_pairs(matrix: np.ndarray) -> np.ndarray:
  """[..., R, R] -> [...]."""
  return mean_of(matrix[..., *np.triu_indices(matrix.shape[-1], 1)])
