"""Scores of probability maps against several raters, in plain NumPy float64; definitions: expected.json."""

import numpy as np

_BINS = 15


def _ece(p, y):
  """Bins [p * 15], the last with 1; weighted absolute difference of the means."""
  bins = np.minimum(np.floor(p * _BINS).astype(int), _BINS - 1)
  sums = [np.bincount(bins, weights=w, minlength=_BINS) for w in (p, y)]
  return np.abs(sums[0] - sums[1]).sum() / len(p)


def score(cases, num_raters):
  """cases: (p [*image], masks [*image, R], valid [R]) each; returns the numbers of expected.json by name."""
  pairs, by_rater, majority, dice = [], [[] for _ in range(num_raters)], [], []
  for p, masks, valid in cases:
    flat, votes = np.asarray(p, np.float64).ravel(), masks.reshape(-1, num_raters)[:, valid].astype(np.float64)
    for r in np.flatnonzero(valid):
      y = masks.reshape(-1, num_raters)[:, r].astype(np.float64)
      pairs.append((flat, y))
      by_rater[r].append((flat, y))
    truth = votes.mean(1) >= 0.5
    majority.append((flat, truth.astype(np.float64)))
    if truth.any():
      mask = flat >= 0.5
      dice.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))

  def joined(some):
    return [np.concatenate(parts) for parts in zip(*some, strict=True)]

  p, y = joined(pairs)
  return {
    "mr_ece_pooled": _ece(p, y),
    "mr_ece_rater_mean": np.mean([_ece(*joined(some)) for some in by_rater if some]),
    "ece_majority": _ece(*joined(majority)),
    "dice": np.mean(dice) if dice else None,
    "brier": ((p - y) ** 2).mean(),
    "num_pairs": len(p),
  }
