"""Calibration errors without fixed bins, from exact sums in the fine cells that also rank pixels for the AUC.

The cells (`cells.rank_cell`) are 2**-12 wide from 1/64 to 63/64 and narrower outside. Each holds, over a data set, its
pairs (pixel, rater who answered), their votes, and the sum of their probabilities: integers, pooled, whatever the
number of images. Binning anew is adding up cells, so it is exact for any edges that lie between cells.
"""

from typing import Any

import numpy as np
import scipy.fft

from ordseg.metrics import calibration
from ordseg.metrics.calibration import BinSums
from ordseg.metrics.cells import cell_edges
from ordseg.metrics.registry import Metric, Tally
from ordseg.metrics.scores import auc
from ordseg.metrics.votes import NO_ANSWER

_ONE_CLASS = "needs both marked and unmarked pixels"
_MESH = 8192  # points of [0, 1] on which residuals are smoothed
MIN_BANDWIDTH = 1e-3  # 8 points of the mesh


def _ranks(tally: Tally) -> np.ndarray:
  """[T, 5]; of all images, so these metrics are not resampled."""
  assert tally.images.ranks is not None
  return tally.images.ranks


def _columns(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Pairs, sums of their probabilities in units of 2**-24, and votes, each [T] int64."""
  return ranks[:, 2] + ranks[:, 3], ranks[:, 4], ranks[:, 3]


def _bin_of_cell(pairs: np.ndarray, num_bins: int) -> np.ndarray:
  """[T] the bin that each cell goes to: that of its middle pair. Integers only."""
  before = np.cumsum(pairs) - pairs
  return np.minimum((2 * before + pairs) * num_bins // max(2 * int(pairs.sum()), 1), num_bins - 1)


def equal_mass_bins(ranks: np.ndarray, num_bins: int) -> BinSums:
  """Merges neighbouring cells into bins of about equal numbers of pairs.

  A cell is never cut, so neither are ties: one with much more than 1 / num_bins of all pairs is a bin by itself, and
  other bins stay empty. The sums of the bins are exact; their edges are those of cells, so they differ from the
  quantiles by less than the width of a cell, at most 2**-11.

  Args:
    ranks: [T, 5] int64 of one read-out, see `sums.pooled_ranks`.
    num_bins: at most.

  Returns:
    [num_bins], over pairs.
  """
  totals: list[np.ndarray] = []
  columns = _columns(ranks)
  index = _bin_of_cell(columns[0], num_bins)
  for column in columns:
    total = np.zeros(num_bins, np.int64)
    np.add.at(total, index, column)
    totals.append(total)
  return BinSums.from_fixed(*totals)


def equal_mass_curve(ranks: np.ndarray, num_bins: int) -> dict[str, list[Any]]:
  """Returns the reliability curve of `equal_mass_bins` as `calibration.curve` does, empty bins left out."""
  bins, pairs = equal_mass_bins(ranks, num_bins), _columns(ranks)[0]
  filled = np.flatnonzero(bins.count)
  cells = np.flatnonzero(pairs)
  first = cells[np.searchsorted(_bin_of_cell(pairs, num_bins)[cells], filled)]
  kept = BinSums(bins.count[filled], bins.prob_sum[filled], bins.label_sum[filled])
  edges = [0.0, *cell_edges()[first[1:]].tolist(), 1.0] if len(filled) else [0.0, 1.0]
  return {**calibration.curve(kept), "bin_edges": edges}


def smooth_ece(ranks: np.ndarray) -> tuple[float, float]:
  """SmoothECE: the ECE of the residuals smoothed over the probability, with the bandwidth that equals it.

  smECE_s = integral over t of |1/N sum_i K_s(t, p_i) (p_i - y_i)|, with K_s the Gaussian of standard deviation s,
  reflected at 0 and 1. It falls as s grows, so s = smECE_s has one solution, which is the score (Blasiok, Nakkiran,
  ICLR 2024, whose code also keeps the bandwidth above 0.001): no bins, and continuous in the predictions.

  The residuals of a cell are placed at its mean probability. A residual moved by d changes smECE_s by at most 0.8 d / s
  of itself, and d is at most the width of the cell; since residuals move both ways, the score changes by far less.

  Args:
    ranks: [T, 5] int64 of one read-out.

  Returns:
    The score and its bandwidth, both NaN without pairs.
  """
  pairs, prob, votes = _columns(ranks)
  if not pairs.sum():
    return float("nan"), float("nan")
  used = pairs > 0
  place = prob[used] / 2.0**calibration.FRACTION_BITS / pairs[used] * _MESH - 0.5
  residual = (prob[used] / 2.0**calibration.FRACTION_BITS - votes[used]) / pairs.sum()
  left = np.floor(place).astype(np.int64)
  right_share = place - left
  mesh = np.zeros(_MESH)
  np.add.at(mesh, np.clip(left, 0, _MESH - 1), residual * (1 - right_share))
  np.add.at(mesh, np.clip(left + 1, 0, _MESH - 1), residual * right_share)
  waves, frequency = scipy.fft.dct(mesh, norm="ortho"), np.pi * np.arange(_MESH)

  def score(bandwidth: float) -> float:
    # Cosines are the eigenfunctions of a reflected Gaussian.
    smoothed = np.asarray(scipy.fft.idct(waves * np.exp(-0.5 * (frequency * bandwidth) ** 2), norm="ortho"))
    return float(np.abs(smoothed).sum())

  low, high = MIN_BANDWIDTH, 1.0
  if score(low) <= low:
    return score(low), low
  for _ in range(24):
    middle = (low + high) / 2
    low, high = (middle, high) if score(middle) > middle else (low, middle)
  return score(high), high


_RANKED = "ROC-AUC {}; ranked in 6,194 cells read from the bits of p, ties within a cell count half"

METRICS = (
  Metric(
    key="mr_ece_equal_mass",
    section="read_outs",
    formula=lambda tally: calibration.ece(equal_mass_bins(_ranks(tally), tally.images.num_bins)),
    needs="ranks",
    label="MR-ECE, equal-mass bins",
    hint="MR-ECE with as many pixels in each bin as ties allow, the adaptive error of Nixon et al.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    definition="the formula of `mr_ece_pooled` in at most 15 bins of equal numbers of pairs, see below",
    extent="0–1",
    hides="that nearly all bins divide the background",
  ),
  Metric(
    key="smooth_ece",
    section="read_outs",
    formula=lambda tally: smooth_ece(_ranks(tally))[0],
    needs="ranks",
    label="SmoothECE",
    hint="MR-ECE without bins: the gap smoothed over neighbouring probabilities.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    definition="SmoothECE (Błasiok, Nakkiran, ICLR 2024), see below",
    extent="0–1",
    hides="errors finer than its bandwidth; small lesions, since background dominates",
  ),
  Metric(
    key="auc_majority",
    section="read_outs",
    formula=lambda tally: auc(_ranks(tally)[:, 0], _ranks(tally)[:, 1])[0],
    needs="ranks",
    label="AUC, majority",
    hint="How often a pixel of it ranks above another one.",
    better="higher",
    missing=_ONE_CLASS,
    table="majority",
    definition=_RANKED.format("against the majority label"),
    extent="0–1",
    hides="calibration, entirely",
  ),
  Metric(
    key="auc_pooled",
    section="read_outs",
    formula=lambda tally: auc(_ranks(tally)[:, 2], _ranks(tally)[:, 3])[0],
    needs="ranks",
    label="AUC, all votes",
    hint="How often a marked pixel ranks above an unmarked one; says nothing about calibration.",
    better="higher",
    missing=_ONE_CLASS,
    table="votes",
    place=1,
    definition=_RANKED.format("over all pairs"),
    extent="0–1",
    hides="calibration, entirely",
  ),
)
