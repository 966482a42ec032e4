"""The rank rule: which pixels to mark where Dice is what counts.

A map thresholded at 1/2 maximises the share of pixels that are right, not Dice: of a nodule whose pixels all have
probability .4 it marks nothing.
"""

import numpy as np


def rank_rule(prob: np.ndarray) -> np.ndarray:
  """Returns the mask with the best expected Dice: the k most probable pixels (Dai and Li, RankSEG, JMLR 2023).

  The expectation of marking k >= 1 pixels is taken as 2 sum_top p / (k + sum p), the ratio of expectations; that of
  marking none is the probability that nothing is there, prod (1 - p), since two empty masks have Dice 1. Pixels count
  as independent. Of several best k the smallest is taken, of pixels that tie at the boundary the first in C order.

  Args:
    prob: any shape, in [0, 1].

  Returns:
    bool, as `prob`.

  Raises:
    ValueError: something is no probability.
  """
  flat = np.asarray(prob, np.float64).ravel()
  if not ((flat >= 0) & (flat <= 1)).all():
    raise ValueError("rank_rule takes probabilities in [0, 1].")
  mask = np.zeros(flat.size, np.bool_)
  total = flat.sum()
  if total > 0:
    # The k-th pixel helps only if its p exceeds half of the best value, which is at least that of k = 1: no other needs
    # a place in the order.
    candidates = np.flatnonzero(flat >= flat.max() / (1 + total))
    order = candidates[np.argsort(-flat[candidates], kind="stable")]
    values = 2 * np.cumsum(flat[order]) / (np.arange(1, len(order) + 1) + total)
    best = int(np.argmax(values))
    with np.errstate(divide="ignore"):
      nothing = np.exp(np.log1p(-flat).sum())
    if values[best] > nothing:
      mask[order[: best + 1]] = True
  return mask.reshape(np.shape(prob))
