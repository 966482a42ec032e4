"""What a map is read beside: a constant map below it, one rater's mask beside it.

The ceiling is in `votes.FLOORS`: the map that equals the share of votes. All follows from the counts of the votes.
"""

import dataclasses

import numpy as np

from ordseg.metrics.agreement import left_out, pairwise_dice
from ordseg.metrics.calibration import ratio
from ordseg.metrics.pooling import Pool, mean_of
from ordseg.metrics.registry import Metric, Tally
from ordseg.metrics.scores import dice
from ordseg.metrics.sums import ImageSums
from ordseg.metrics.votes import NO_ANSWER, over_pairs

_ALL_ALIKE = "all votes are the same"


# --- A constant map ---------------------------------------------------------------------------------------------------


def prevalence(sums: ImageSums, pool: Pool) -> np.ndarray:
  """Returns the share of votes that mark, [...] of the pool; NaN without votes."""
  return ratio(pool.total(sums.rater_levels.sum(-1).sum(-1)), pool.total(sums.num_pairs))


def _constant_nll(tally: Tally) -> np.ndarray:
  p = tally.of(prevalence)
  inside = (p > 0) & (p < 1)
  safe = np.where(inside, p, 0.5)
  entropy = -safe * np.log(safe) - (1 - safe) * np.log1p(-safe)
  return np.where(np.isnan(p), np.nan, np.where(inside, entropy, 0.0))


def _constant_dice(tally: Tally) -> np.ndarray:
  """The mask is everything where half of the votes mark, else nothing."""
  area, pixels = tally.sums.label_area(5), tally.sums.num_pixels
  everything = tally.mean(np.where(area > 0, dice(area, area, pixels), np.nan))
  p = tally.of(prevalence)
  return np.where(p >= 0.5, everything, np.where(np.isnan(everything), np.nan, 0.0))


def _over_constant(brier: np.ndarray, p: np.ndarray) -> np.ndarray:
  """Returns the skill of a Brier score over that of a constant map on the same votes, a share p of which mark."""
  return 1.0 - ratio(brier, np.nan_to_num(p * (1 - p)))


def _skill(tally: Tally) -> np.ndarray:
  return _over_constant(over_pairs(tally, "brier"), tally.of(prevalence))


def _left_out_skill(tally: Tally) -> np.ndarray:
  found = tally.images.of(left_out)
  bins = tally.bins(found.bins)
  pairs = bins.count.sum(-1)
  return _over_constant(ratio(tally.total(found.brier), pairs), ratio(bins.label_sum.sum(-1), pairs))


# --- One rater as a map -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Alone:
  """Each rater's mask as if it were a map of 0 and 1, against the votes of the other raters; pairs (pixel, other).

  Attributes:
    pairs: [I, R] pairs.
    votes: [I, R] pairs in which the other marked.
    unmarked: [I, R] pairs in which the other alone marked.
    marked: [I, R] pairs in which the rater alone marked.
  """

  pairs: np.ndarray
  votes: np.ndarray
  unmarked: np.ndarray
  marked: np.ndarray


def alone(sums: ImageSums) -> Alone:
  """Counts; images with two raters or more."""
  valid = sums.rater_valid > 0
  others = valid[:, :, None] & valid[:, None, :] & ~np.eye(valid.shape[1], dtype=bool)
  area = np.diagonal(sums.both_marked, axis1=1, axis2=2)
  votes, own, both = area[:, None, :], area[:, :, None], sums.both_marked
  counts = (sums.num_pixels[:, None, None], votes, votes - both, own - both)
  return Alone(*((others * x).sum(-1) for x in counts))


def _alone_brier(tally: Tally) -> np.ndarray:
  found = tally.images.of(alone)
  return ratio(tally.total(found.unmarked + found.marked), tally.total(found.pairs))


def _alone_skill(tally: Tally) -> np.ndarray:
  found = tally.images.of(alone)
  return _over_constant(_alone_brier(tally), ratio(tally.total(found.votes), tally.total(found.pairs)))


def _alone_mr_ece(tally: Tally) -> np.ndarray:
  """Two bins, that of 0 and that of 1, are all that hold something; of one bin the two are the same."""
  found = tally.images.of(alone)
  unmarked, marked = tally.total(found.unmarked), tally.total(found.marked)
  gap = unmarked + marked if tally.images.num_bins > 1 else np.abs(unmarked - marked)
  return ratio(gap, tally.total(found.pairs))


def _alone_dice(tally: Tally) -> np.ndarray:
  pairs = tally.of(pairwise_dice)
  return mean_of(np.where(np.eye(pairs.shape[-1], dtype=bool), np.nan, pairs))


METRICS = (
  Metric(
    key="brier_skill",
    section="read_outs",
    formula=_skill,
    label="Brier skill",
    hint="Share of the constant map's Brier score that is gone: 1 is perfect, 0 no better than the prevalence alone.",
    better="higher",
    missing=_ALL_ALIKE,
    table="votes",
    place=1,
    definition="1 − `brier` / `constant.brier`",
    extent="≤ 1",
    hides="that 1 is out of reach: 1 − `floors.brier` / `constant.brier` is the most",
  ),
)

CONSTANT = (
  Metric(
    key="prevalence",
    section="constant",
    formula=lambda tally: tally.of(prevalence),
    definition="p̄, the share of votes that mark: the value of the map",
    extent="0–1",
  ),
  Metric(
    key="brier",
    section="constant",
    formula=lambda tally: tally.of(prevalence) * (1 - tally.of(prevalence)),
    label="Brier score",
    short="Brier",
    hint="Squared distance of the prevalence to each vote.",
    better="lower",
    missing=NO_ANSWER,
    definition="p̄(1 − p̄): its Brier score",
    extent="0–¼",
  ),
  Metric(
    key="nll",
    section="constant",
    formula=_constant_nll,
    label="NLL (nats)",
    hint="Log loss of the prevalence.",
    better="lower",
    missing=NO_ANSWER,
    definition="the entropy of p̄, nats: its NLL",
    extent="0–log 2",
  ),
  Metric(
    key="dice",
    section="constant",
    formula=_constant_dice,
    label="Dice",
    hint="Of a mask that is everything where half of the votes mark, else nothing.",
    better="higher",
    decimals=3,
    missing="no majority marked anything",
    definition="Dice of its mask with the majority, mean over images that have one",
    extent="0–1",
  ),
)

LEAVE_ONE_OUT = (
  Metric(
    key="brier_skill",
    section="raters.leave_one_out",
    formula=_left_out_skill,
    definition="1 − `brier` / that of a constant map on the same votes, of images with two raters",
    extent="≤ 1",
  ),
)

EACH = (
  Metric(
    key="dice",
    section="raters.each",
    formula=_alone_dice,
    definition="Dice of the rater's mask with each other rater's, mean over images, then raters; a list",
    extent="0–1",
  ),
  Metric(
    key="mr_ece",
    section="raters.each",
    formula=_alone_mr_ece,
    definition="MR-ECE of the rater's mask, as a map of 0 and 1, against the other raters' votes; a list",
    extent="0–1",
  ),
  Metric(
    key="brier",
    section="raters.each",
    formula=_alone_brier,
    definition="Brier score of the same: the share of pairs (pixel, other rater) that differ; a list",
    extent="0–1",
  ),
  Metric(
    key="brier_skill",
    section="raters.each",
    formula=_alone_skill,
    definition="1 − `brier` / that of a constant map on the same votes; a list",
    extent="≤ 1",
  ),
)
