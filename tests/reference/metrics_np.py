"""Slow numpy oracles for the metrics: every (pixel, rater) pair written out, in float64, from docs/method.md."""

import fractions
import itertools
import math

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
  """The last bin whose lower edge b / num_bins is not above p, both rounded to multiples of 2**-24, halves upwards."""
  fixed = np.floor(np.asarray(p, np.float32).astype(np.float64) * 2**24 + 0.5)
  edges = [math.floor(fractions.Fraction(b * 2**24, num_bins) + fractions.Fraction(1, 2)) for b in range(num_bins)]
  return np.sum(fixed[:, None] >= np.asarray(edges), axis=1) - 1


def gaps(p, y, num_bins):
  index = bins_of(p, num_bins)
  return [abs(p[index == b].mean() - y[index == b].mean()) for b in range(num_bins) if (index == b).any()]


def ece(p, y, num_bins):
  index, total = bins_of(p, num_bins), 0.0
  for b in range(num_bins):
    inside = index == b
    if inside.any():
      total += inside.sum() / len(p) * abs(p[inside].mean() - y[inside].mean())
  return total


def dice(a, b):
  a, b = np.asarray(a, bool), np.asarray(b, bool)
  return 2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else 1.0


def cross_entropy(p, y, epsilon):
  p = np.clip(p, epsilon, 1 - epsilon)
  return -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))


def krippendorff_alpha(units):
  """1 - observed / expected disagreement, over all pairs of values within a unit and over all values (nominal)."""
  units = [list(unit) for unit in units if len(unit) >= 2]
  values = [value for unit in units for value in unit]
  observed = sum(sum(a != b for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units) / len(
    values
  )
  expected = sum(a != b for a, b in itertools.permutations(values, 2)) / (len(values) * (len(values) - 1))
  return 1 - observed / expected


def fleiss_kappa(units):
  """Share of agreeing pairs per unit, against that of two votes drawn from all."""
  units = [list(unit) for unit in units if len(unit) >= 2]
  agreeing = [np.mean([a == b for a, b in itertools.permutations(unit, 2)]) for unit in units]
  p = np.mean([value for unit in units for value in unit])
  chance = p**2 + (1 - p) ** 2
  return (np.mean(agreeing) - chance) / (1 - chance)
