"""Slow numpy oracles for the metrics: every (pixel, rater) pair written out, in float64, from docs/metrics.md."""

import numpy as np


def pairs(prob, masks, valid, counts):
  """All pairs (p, y) of pixels that count and raters that answered, over a list of images."""
  ps, ys = [], []
  for p, m, v, k in zip(prob, masks, valid, counts, strict=True):
    for r in range(m.shape[-1]):
      if v[r]:
        ps.append(np.asarray(p, np.float64)[k > 0])
        ys.append(np.asarray(m[..., r], np.float64)[k > 0])
  return np.concatenate(ps), np.concatenate(ys)


def bins_of(p, num_bins):
  return np.minimum(np.floor(np.asarray(p, np.float32) * np.float32(num_bins)).astype(int), num_bins - 1)


def ece(p, y, num_bins):
  index, total = bins_of(p, num_bins), 0.0
  for b in range(num_bins):
    inside = index == b
    if inside.any():
      total += inside.sum() / len(p) * abs(p[inside].mean() - y[inside].mean())
  return total


def gaps(p, y, num_bins):
  index = bins_of(p, num_bins)
  return [abs(p[index == b].mean() - y[index == b].mean()) for b in range(num_bins) if (index == b).any()]


def dice(a, b):
  a, b = np.asarray(a, bool), np.asarray(b, bool)
  return 2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else np.nan
