"""What is counted of each patient: plain numpy in float64, one image at a time.

Nothing of it depends on how ordseg's own metrics are defined, so that records outlive a change of those. A patient's
sums are counts of pixels and sums over pixels and slices; every number of the tables is arithmetic on them.

Where n < R raters answered, the prediction is thinned to n first. Reliability is counted of the prediction against a
label: of ``mean_vote``, ``majority`` P(2 c >= n) and ``strict`` P(2 c > n), the other reading of a tie, against the
votes; of the latter two against their own labels; of ``at_least_1`` .. ``at_least_R`` against theirs, for j <= n.
"""

import dataclasses

import numpy as np
from scipy import special

from ordseg import ordinal
from ordseg.metrics.rank_rule import rank_rule

NUM_BINS = 15
PROB_EPSILON = 2.0**-24  # probabilities are kept this far from 0 and 1 in logarithms
BACKGROUND, CORE = 0.01, 0.9  # P(c >= 1) below, P(2 c >= n) above: where said and true levels are compared
TIES = ("majority", "strict")
_RANK_STEP, _RANK_SPAN = 64, 24  # cells of the AUC: 1/64 of a logit, from -24 to 24
NUM_CELLS = 2 * _RANK_SPAN * _RANK_STEP + 1
VOTES = ("mean_vote", "majority_votes", "strict_votes")  # counted in pairs (pixel, rater), so that raters weigh alike
RELIABILITIES = (*VOTES, *TIES)  # and at_least_1 .. at_least_R

SCORES = ("rps", "vote_nll", "count_nll", "brier_mean_vote", "brier_majority")
DICES = (*(f"{rule}_{tie}" for tie in TIES for rule in ("half", "rank")), "half_mean_vote")
AREAS = tuple(f"{what}_{rule}_{tie}" for tie in TIES for rule in ("half", "rank") for what in ("marked", "both"))
PANEL = ("slices", "pixels", "pairs", "slices_majority", "slices_strict", "area_majority", "area_strict", "votes")


@dataclasses.dataclass
class Sums:
  """Sums of I patients over R raters, float64; axis O is `RELIABILITIES` and at_least_1..R.

  Attributes:
    panel: [I, len(PANEL)], of the raters alone: slices, pixels, (pixel, rater) pairs, slices and pixels inside the
      majority by either tie rule, and the sum of the shares of votes.
    levels: [I, L] pixels by number of votes, where all R answered.
    scores: [I, len(SCORES)] sums over pixels; rps has the divisor n + 1, vote_nll is the cross-entropy of the mean
      vote, count_nll -log q_c.
    dices: [I, len(DICES)] sums of Dice over slices with such a majority.
    areas: [I, len(AREAS)] pixels marked by a rule, and of them inside the majority.
    bins: [I, O, K, 3] pixels (of `VOTES`: pairs), sum of the probability, sum of the label, by bins of equal width.
    said: [I, 2, 1 + 2 L] where P(c >= 1) < `BACKGROUND` and where P(2 c >= n) > `CORE`, and all R answered: pixels, sum
      of p_l, pixels with l votes.
    cells: [I, 2, 2, NUM_CELLS] for the AUC: of majority against its label and of mean_vote against the votes, negatives
      and positives by cell of the logit.
  """

  panel: np.ndarray
  levels: np.ndarray
  scores: np.ndarray
  dices: np.ndarray
  areas: np.ndarray
  bins: np.ndarray
  said: np.ndarray
  cells: np.ndarray

  @classmethod
  def zeros(cls, num_patients: int, num_raters: int) -> "Sums":
    """Returns the sums of nothing."""
    shapes = {
      "panel": (len(PANEL),), "levels": (num_raters + 1,), "scores": (len(SCORES),), "dices": (len(DICES),),
      "areas": (len(AREAS),), "bins": (len(RELIABILITIES) + num_raters, NUM_BINS, 3), "said": (2, 2 * num_raters + 3),
      "cells": (2, 2, NUM_CELLS),
    }  # fmt: skip
    return cls(**{name: np.zeros((num_patients, *shape)) for name, shape in shapes.items()})

  def add_image(self, i: int, level_probs: np.ndarray, rater_masks: np.ndarray, rater_valid: np.ndarray) -> None:
    """Adds an image of patient i.

    Args:
      i: the patient.
      level_probs: [..., L] float32, the full panel's.
      rater_masks: [..., R], 0 or 1.
      rater_valid: [R], 0 or 1; an image that nobody answered counts nowhere.
    """
    R, valid = len(rater_valid), np.asarray(rater_valid) != 0
    n = int(valid.sum())
    if not n:
      return
    full = np.asarray(level_probs, np.float64).reshape(-1, R + 1)
    votes = (rater_masks.reshape(-1, R)[:, valid] != 0).sum(-1)
    probs = full @ ordinal.thinning_matrices(R)[n][:, : n + 1]
    tails = np.clip(np.cumsum(probs[:, ::-1], axis=1)[:, ::-1][:, 1:], 0, 1)  # [P, n], P(c >= j)
    mean = np.clip(full @ np.arange(R + 1) / R, 0, 1)
    share = votes / n
    reached = votes[:, None] >= np.arange(1, n + 1)
    at = {"majority": (n + 1) // 2 - 1, "strict": n // 2}  # columns of `tails`
    self._add_panel(i, votes, n, R, reached, at)
    self.scores[i] += _scores(probs, tails, reached, mean, votes, share, at["majority"])
    for tie, column in at.items():
      self._add_masks(i, tie, tails[:, column], reached[:, column])
    self._add_dice(i, "half_mean_vote", mean >= 0.5, reached[:, at["majority"]])
    columns = list(at.values())
    for o, prob in enumerate((mean, *(tails[:, j] for j in columns))):
      self.bins[i, o] += n * _bins(prob, share)
    by_level = [_bins(tails[:, j], reached[:, j]) for j in range(n)]
    self.bins[i, len(VOTES) : len(RELIABILITIES) + n] += [*(by_level[j] for j in columns), *by_level]
    if n == R:
      for k, inside in enumerate((tails[:, 0] < BACKGROUND, tails[:, at["majority"]] > CORE)):
        counts = np.bincount(votes[inside], minlength=R + 1)
        self.said[i, k] += np.concatenate([[inside.sum()], full[inside].sum(0), counts])
    for k, (prob, label) in enumerate(((tails[:, at["majority"]], reached[:, at["majority"]]), (mean, share))):
      cell, weight = _cell(prob), label.astype(np.float64)
      self.cells[i, k] += [np.bincount(cell, w, minlength=NUM_CELLS) for w in (1 - weight, weight)]

  def _add_panel(self, i: int, votes: np.ndarray, n: int, R: int, reached: np.ndarray, at: dict[str, int]) -> None:
    areas = [reached[:, column].sum() for column in at.values()]
    has = [float(area > 0) for area in areas]
    self.panel[i] += [1, len(votes), n * len(votes), *has, *areas, votes.sum() / n]
    if n == R:
      self.levels[i] += np.bincount(votes, minlength=R + 1)

  def _add_masks(self, i: int, tie: str, prob: np.ndarray, label: np.ndarray) -> None:
    for rule, mask in (("half", prob >= 0.5), ("rank", rank_rule(prob))):
      self._add_dice(i, f"{rule}_{tie}", mask, label)
      for what, count in (("marked", mask.sum()), ("both", (mask & label).sum())):
        self.areas[i, AREAS.index(f"{what}_{rule}_{tie}")] += count

  def _add_dice(self, i: int, name: str, mask: np.ndarray, label: np.ndarray) -> None:
    if label.any():
      self.dices[i, DICES.index(name)] += 2 * (mask & label).sum() / (mask.sum() + label.sum())


def _scores(
  probs: np.ndarray, tails: np.ndarray, reached: np.ndarray, mean: np.ndarray, votes: np.ndarray, share: np.ndarray,
  majority: int,
) -> np.ndarray:  # fmt: skip
  n = tails.shape[1]
  safe = np.clip(mean, PROB_EPSILON, 1 - PROB_EPSILON)
  observed = np.take_along_axis(probs, votes[:, None], axis=1)
  return np.asarray([
    np.square(tails - reached).sum() / (n + 1),
    -(share * np.log(safe) + (1 - share) * np.log1p(-safe)).sum(),
    -np.log(np.maximum(observed, PROB_EPSILON)).sum(),
    np.square(mean - share).sum(),
    np.square(tails[:, majority] - reached[:, majority]).sum(),
  ])  # fmt: skip


def _bins(prob: np.ndarray, label: np.ndarray) -> np.ndarray:
  """[K, 3]; a probability on an edge belongs to the bin above it, 1 to the last."""
  index = np.minimum((prob * NUM_BINS).astype(np.intp), NUM_BINS - 1)
  columns = (None, prob, label.astype(np.float64))
  return np.stack([np.bincount(index, weights, minlength=NUM_BINS) for weights in columns], axis=-1)


def _cell(prob: np.ndarray) -> np.ndarray:
  logit = np.clip(special.logit(prob), -_RANK_SPAN, _RANK_SPAN)
  return np.rint((logit + _RANK_SPAN) * _RANK_STEP).astype(np.intp)


def auc(cells: np.ndarray) -> np.ndarray:
  """Returns the area under the ROC curve, ties counted half: [..., 2, C] -> [...]; NaN without both classes."""
  negative, positive = cells[..., 0, :], cells[..., 1, :]
  below = np.cumsum(negative, -1) - negative / 2
  with np.errstate(invalid="ignore", divide="ignore"):
    return (positive * below).sum(-1) / (positive.sum(-1) * negative.sum(-1))
