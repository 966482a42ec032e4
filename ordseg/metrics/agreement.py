"""How much the raters agree, from the integer counts of `metrics.ImageSums`.

Everything here is about raters, not about a model: it is the human row that a model is read beside.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ordseg.metrics import calibration
from ordseg.metrics.calibration import BinSums, ratio
from ordseg.metrics.gaps import GapBins
from ordseg.metrics.pooling import EVERY_IMAGE, Pool, mean_of
from ordseg.metrics.registry import Metric
from ordseg.metrics.scores import dice
from ordseg.metrics.sums import ImageSums


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


def fleiss_kappa(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> np.ndarray:
  """Fleiss' kappa of marked against unmarked, over the pixels with two or more raters; NaN where all votes are equal.

  In the form for varying n: a pixel's agreement is that among its own raters, and the agreement expected by chance
  follows from the share of all votes (Fleiss, 1971, where n is constant).

  >>> from ordseg.metrics import empty
  >>> pixels = np.array([[4, 2, 4]])  # that none, one and both of two raters marked
  >>> sums = empty(2, 1).replace(num_valid=np.array([2]), level_count=pixels)
  >>> float(fleiss_kappa(sums).round(3))  # agreement .8, half of it by chance
  0.6
  """
  n, c, pixels = _with_pairs(sums)
  agreement = np.nan_to_num(ratio(c * (c - 1) + (n - c) * (n - c - 1), n * (n - 1)))
  observed = ratio(pool.total((pixels * agreement).sum(-1)), pool.total(pixels.sum(-1)))
  p = ratio(pool.total((pixels * c).sum(-1)), pool.total((pixels * n).sum(-1)))
  chance = p**2 + (1 - p) ** 2
  return ratio(observed - chance, np.nan_to_num(1 - chance))


def krippendorff_alpha(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> np.ndarray:
  """Krippendorff's alpha for two nominal values, missing raters allowed (Krippendorff, 2004); NaN where all agree on
  one value everywhere.

  >>> from ordseg.metrics import empty
  >>> pixels = np.array([[4, 2, 4]])  # that none, one and both of two raters marked
  >>> sums = empty(2, 1).replace(num_valid=np.array([2]), level_count=pixels)
  >>> float(krippendorff_alpha(sums).round(3))  # 1 - 4 / (2 * 10 * 10 / 19)
  0.62
  """
  n, c, pixels = _with_pairs(sums)
  total, marked = pool.total((pixels * n).sum(-1)), pool.total((pixels * c).sum(-1))
  observed = pool.total((pixels * np.nan_to_num(ratio(2 * c * np.maximum(n - c, 0), n - 1))).sum(-1))
  expected = ratio(2 * marked * (total - marked), total - 1)
  return 1 - ratio(observed, np.nan_to_num(expected))


def prevalence(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> np.ndarray:
  """Returns [R] the share of pixels that each rater marked, over the images the rater answered."""
  return ratio(pool.total(_areas(sums)), pool.total(sums.rater_valid * sums.num_pixels[:, None]))


def share_disputed(sums: ImageSums, pool: Pool = EVERY_IMAGE) -> np.ndarray:
  """Of the pixels that anybody marked, the share that not everybody marked; over images with n >= 2."""
  n, c, pixels = _with_pairs(sums)
  disputed, marked = (pool.total((pixels * where).sum(-1)) for where in ((c > 0) & (c < n), c > 0))
  return ratio(disputed, marked)


@dataclasses.dataclass(frozen=True)
class LeftOut:
  """Each rater scored with the mean vote of the others, as if that were a model's probability; images with n >= 2.

  How well people predict one more person: a yardstick, not a bound. The others know what a model cannot, but they are
  few, which makes their mean coarse, and the scores of a model that predicts well can be better.

  Attributes:
    dice: [I] of the others' majority against the rater, mean over raters; NaN where no majority marked anything. Read
      it beside a model's dice_rater_mean.
    brier: [I] sum over all pairs (pixel, left-out rater).
    bins: [I, num_bins] over the same pairs. Read both beside a model's mean_vote.
  """

  dice: np.ndarray
  brier: np.ndarray
  bins: BinSums


def left_out(sums: ImageSums) -> LeftOut:
  """Leaves each rater out in turn; as many bins as `sums` has."""
  brier, scores = np.zeros(sums.num_images), np.full(sums.num_images, np.nan)
  for n, which, marked, unmarked in _by_panel(sums):
    prob = np.arange(n) / (n - 1)
    brier[which] = (marked * (1 - prob) ** 2 + unmarked * prob**2).sum((1, 2))
    marked_by_most = sums.rows(which).label_area(5) > 0
    scores[which] = np.where(marked_by_most, _others_dice(marked, unmarked, n), np.nan)
  return LeftOut(scores, brier, left_out_bins(sums, sums.bin_count.shape[-1]))


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


_NO_PAIR = "needs images that two raters answered"
_BACKGROUND = "that background counts as agreement, so it depends on how much of it there is"

METRICS = (
  Metric(
    key="pairwise_dice",
    section="raters",
    formula=lambda tally: tally.of(pairwise_dice),
    definition="Dice of each pair of raters, mean over images that both answered and one of them marked; a matrix",
    extent="0–1",
  ),
  Metric(
    key="pairwise_dice_mean",
    section="raters",
    formula=lambda tally: _mean_over_pairs(tally.of(pairwise_dice)),
    label="Dice of two raters",
    hint="Overlap of two raters' masks, mean over pairs.",
    decimals=3,
    missing=_NO_PAIR,
    definition="its mean over pairs: **the human row**",
    extent="0–1",
  ),
  Metric(
    key="pairwise_kappa",
    section="raters",
    formula=lambda tally: tally.of(pairwise_kappa),
    definition="Cohen's kappa of each pair over all pixels; a matrix",
    extent="−1 to 1",
    hides=_BACKGROUND,
  ),
  Metric(
    key="pairwise_kappa_mean",
    section="raters",
    formula=lambda tally: _mean_over_pairs(tally.of(pairwise_kappa)),
    label="Cohen's kappa of two raters",
    hint="Agreement of two raters beyond chance, mean over pairs.",
    decimals=3,
    missing=_NO_PAIR,
    place=3,
    definition="its mean over pairs",
    extent="−1 to 1",
    hides=_BACKGROUND,
  ),
  Metric(
    key="fleiss_kappa",
    section="raters",
    formula=lambda tally: tally.of(fleiss_kappa),
    label="Fleiss' kappa",
    hint="Agreement of the panel beyond chance: 0 is chance, 1 is full agreement.",
    decimals=3,
    missing=_NO_PAIR,
    place=2,
    definition="Fleiss' kappa of the panel, for varying n",
    extent="≤ 1",
    hides=_BACKGROUND,
  ),
  Metric(
    key="krippendorff_alpha",
    section="raters",
    formula=lambda tally: tally.of(krippendorff_alpha),
    label="Krippendorff's alpha",
    hint="The same, by disagreement; made for panels in which raters are missing.",
    decimals=3,
    missing=_NO_PAIR,
    place=2,
    definition="1 − observed / expected disagreement of two marks of one pixel, raters may be missing (Krippendorff, "
    "2004)",
    extent="≤ 1",
    hides=_BACKGROUND,
  ),
  Metric(
    key="prevalence",
    section="raters",
    formula=lambda tally: tally.of(prevalence),
    definition="share of pixels that each rater marked, a list",
    extent="0–1",
  ),
  Metric(
    key="share_disputed",
    section="raters",
    formula=lambda tally: tally.of(share_disputed),
    label="Disputed share",
    hint="Of the pixels that anyone marked, the share that not everyone marked.",
    decimals=3,
    missing="needs marked pixels in images that two raters answered",
    place=1,
    definition="of the pixels somebody marked, the share that not everybody marked",
    extent="0–1",
  ),
)

LEAVE_ONE_OUT = (
  Metric(
    key="dice",
    section="raters.leave_one_out",
    formula=lambda tally: tally.mean(tally.images.of(left_out).dice),
    label="Dice, each rater",
    short="Dice",
    hint="Overlap with one rater's mask, mean over raters.",
    better="higher",
    decimals=3,
    missing=_NO_PAIR,
    beside="read_outs.majority.dice_rater_mean",
    definition="the majority of the other raters against each rater, as if that were a model's mask",
    extent="0–1",
  ),
  Metric(
    key="mr_ece",
    section="raters.leave_one_out",
    gaps=lambda images: GapBins(images.of(left_out).bins, "pooled"),
    label="MR-ECE",
    hint="Gap between the share of votes predicted and the votes; mean over all pixels.",
    better="lower",
    missing=_NO_PAIR,
    beside="read_outs.mean_vote.mr_ece_pooled",
    definition="the other raters' mean vote against each rater, as if that were a model's map",
    extent="0–1",
  ),
  Metric(
    key="brier",
    section="raters.leave_one_out",
    formula=lambda tally: ratio(
      tally.total(tally.images.of(left_out).brier), tally.bins(tally.images.of(left_out).bins).count.sum(-1)
    ),
    label="Brier score",
    short="Brier",
    hint="Squared distance to each vote.",
    better="lower",
    missing=_NO_PAIR,
    beside="read_outs.mean_vote.brier",
    definition="the squared distance of the same to each vote",
    extent="0–1",
  ),
)
