"""Slow numpy oracles for binless, top-label, nested-mask and outline scores, each from its published formula."""

import itertools
import math

import numpy as np


def cell(p):
  """A name that rises with the float32 p, the same for two of them where docs/metrics.md says they share a cell."""
  p = float(np.float32(p))
  if p < 0.5:
    return (0, *_distance_cell(p))
  return (1, *(-x for x in _distance_cell(1 - p)))


def _distance_cell(s):
  """2**-12 wide from 1/64 on, 16 cells per octave below; 0 is alone."""
  if s >= 2.0**-6:
    return 1, math.floor((s - 2.0**-6) * 4096)
  mantissa, exponent = math.frexp(s)
  return (exponent, math.floor((mantissa - 0.5) * 32)) if s else (-10_000, 0)


def equal_mass_ece(p, y, num_bins):
  """Cells in order, each whole in the bin that its middle pair falls into."""
  order = sorted(range(len(p)), key=lambda i: p[i])
  bins, before = {}, 0
  for _, members in itertools.groupby(order, key=lambda i: cell(p[i])):
    inside = list(members)
    bins.setdefault(int((before + len(inside) / 2) / len(p) * num_bins), []).extend(inside)
    before += len(inside)
  gaps = [abs(sum(float(p[i]) - y[i] for i in inside)) for inside in bins.values()]
  return sum(gaps) / len(p)


def smooth_ece_at(p, y, bandwidth, points=2500):
  """Integral of |mean of K(t, p_i) (p_i - y_i)| for the Gaussian reflected at 0 and 1, by the midpoint rule."""
  t = (np.arange(points) + 0.5) / points
  smoothed = np.zeros(points)
  places, index = np.unique(p, return_inverse=True)
  residual = np.bincount(index, p - y) / len(p)
  for shift in (-2, 0, 2):
    for sign in (-1, 1):
      distance = t[:, None] - (sign * places[None] + shift)
      smoothed += np.exp(-0.5 * (distance / bandwidth) ** 2) @ residual
  return np.abs(smoothed).sum() / points / (bandwidth * np.sqrt(2 * np.pi))


def top_label(p, y):
  """Confidence of the more probable label (a tie is foreground), and whether it is the rater's."""
  classes = np.stack([1 - p, p], -1)
  label = np.where(p >= 0.5, 1, 0)
  return np.take_along_axis(classes, label[..., None], -1)[..., 0], (label == y).astype(float)


def curvas_ece(p, raters, num_bins=50):
  """One case: sum over bins of n_b / n |accuracy - confidence|, mean over the raters [n] who answered."""
  scores = []
  for y in raters:
    confidence, correct = top_label(p, y)
    total = 0.0
    for b in range(num_bins):
      inside = (confidence >= b / num_bins) & ((confidence < (b + 1) / num_bins) | (b == num_bins - 1))
      if inside.any():
        total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    scores.append(total)
  return np.mean(scores)


def nested_masks(level_probs):
  """[..., L] -> the R masks "at least j with a probability of 1/2 or more"."""
  return [level_probs[..., j:].sum(-1) >= 0.5 for j in range(1, level_probs.shape[-1])]


def ged(samples, raters):
  """2 E d(S, Y) - E d(S, S') - E d(Y, Y') with d = 1 - IoU."""

  def distance(a, b):
    return 1 - (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0

  def mean(xs, ys):
    return np.mean([distance(x, y) for x in xs for y in ys])

  return 2 * mean(samples, raters) - mean(samples, samples) - mean(raters, raters)


def ncc(samples, raters):
  """Baumgartner et al.: correlation of E_s CE(mean, s) with E_s CE(y, s), mean over raters y; CE by its logarithms."""

  def cross_entropy(truth, s):
    return -(truth * np.log(s + 1e-12) + (1 - truth) * np.log(1 - s + 1e-12))

  stack = np.asarray(samples, np.float64)
  spread = np.mean([cross_entropy(stack.mean(0), s) for s in stack], axis=0)
  scores = []
  for y in raters:
    error = np.mean([cross_entropy(y, s) for s in stack], axis=0)
    if np.ptp(error) > 1e-9:
      scores.append(np.corrcoef(spread, error)[0, 1] if np.ptp(spread) > 1e-9 else 0.0)
  return np.mean(scores) if scores else np.nan


def outline(mask):
  """Coordinates of the pixels of a mask with one of four neighbours outside it, or outside the image."""
  padded = np.pad(mask, 1)
  inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
  return np.argwhere(mask & ~inner)


def outline_distances(a, b, spacing):
  """From each pixel of the outline of a to the nearest of that of b."""
  return np.min(np.linalg.norm((outline(a)[:, None] - outline(b)[None]) * spacing, axis=-1), axis=1)
