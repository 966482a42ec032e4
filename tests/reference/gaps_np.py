"""Intervals of sums of absolute gaps, one unit and one resample at a time, from the formulas of docs/statistics.md."""

import math

import numpy as np
from scipy import stats


def folded(g, s):
  """E |N(g, s)|."""
  if not s > 0:
    return g
  return s * math.sqrt(2 / math.pi) * math.exp(-((g / s) ** 2) / 2) + g * (1 - 2 * stats.norm.cdf(-g / s))


class GapError:
  """An error sum_b |D_b| / M_b of units with D and C [U, J]; M is what divides a gap, as sums over units [U, J]."""

  def __init__(self, D, C, M, drawn):
    self.U, self.J = D.shape
    self.D, self.C, self.M = D, C, M
    total = [sum(D[i, j] for i in range(self.U)) for j in range(self.J)]
    whole = [sum(M[i, j] for i in range(self.U)) or 1.0 for j in range(self.J)]
    self.whole = whole
    self.g = [t / m for t, m in zip(total, whole, strict=True)]
    self.raw = sum(abs(g) for g in self.g)
    self.influence = [[(D[i, j] - self.g[j] * M[i, j]) / whole[j] for j in range(self.J)] for i in range(self.U)]
    self.residual = [[self._residual(i, j) / whole[j] for j in range(self.J)] for i in range(self.U)]
    self.drawn = drawn
    self.samples = [self.in_resample(w) for w in drawn]
    self.noise = [
      sum(abs(sum((w[i] - 1) * self.residual[i][j] for i in range(self.U))) for j in range(self.J)) for w in drawn
    ]
    self.n = sum(1 for i in range(self.U) if C[i].sum() > 0)

  def _residual(self, i, j):
    count = self.C[:, j].sum()
    if count == 0:
      return 0.0
    if self.C[i, j] == count:
      return self.D[i, j]
    rest = self.D[i, j] - self.D[:, j].sum() / count * self.C[i, j]
    return rest / math.sqrt(1 - self.C[i, j] / count)

  def in_resample(self, w):
    out = 0.0
    for j in range(self.J):
      m = sum(w[i] * self.M[i, j] for i in range(self.U))
      out += abs(sum(w[i] * self.D[i, j] for i in range(self.U))) / m if m else 0.0
    return out

  @property
  def corrected(self):
    return max(0.0, 2 * self.raw - np.mean(self.samples))

  def linear(self):
    return [sum(np.sign(self.g[j]) * self.influence[i][j] for j in range(self.J)) for i in range(self.U)]

  def sd(self):
    return max(np.std(self.samples), math.sqrt(sum(x * x for x in self.linear())))

  def total_noise(self):
    return [sum(row) for row in self.residual]

  def along(self, noise):
    size = math.sqrt(sum(x * x for x in noise)) or 1.0
    return [sum(self.residual[i][j] * noise[i] for i in range(self.U)) / size for j in range(self.J)]

  def moved(self, direction, step):
    return sum(abs(g + step * v) for g, v in zip(self.g, direction, strict=True)) - self.raw

  def is_beyond_noise(self, confidence):
    share = (1 + sum(x >= self.raw for x in self.noise)) / (1 + len(self.noise))
    return share < (1 - confidence) / 2

  def bias(self):
    bias = 0.0
    for j in range(self.J):
      s = math.sqrt(sum(self.residual[i][j] ** 2 for i in range(self.U)))
      g = max(abs(self.g[j]) - s, 0)
      bias += folded(g, s) - g
    return bias

  def ends(self, confidence):
    t = quantile(self.n, confidence)
    bias = self.bias()
    drift = math.sqrt(sum(sum(row) ** 2 for row in self.residual))
    curved = max(self.moved(self.along(self.total_noise()), z) for z in steps(t))
    if self.is_beyond_noise(confidence):
      return max(0.0, min(self.corrected, self.raw - bias) - t * self.sd()), self.corrected + max(t * self.sd(), curved)
    return 0.0, self.corrected + max(t * max(self.sd(), drift), curved)


def quantile(n, confidence):
  return stats.t.ppf((1 + confidence) / 2, n - 1) * math.sqrt(n / (n - 1))


def steps(t):
  return [sign * 0.1 * k for k in range(1000) if 0.1 * k < t for sign in (-1, 1)]


def difference(a, b, confidence):
  """The interval of the error of a minus that of b."""
  d = a.corrected - b.corrected
  sd = np.std([x - y for x, y in zip(a.samples, b.samples, strict=True)])
  sd = max(sd, math.sqrt(sum((x - y) ** 2 for x, y in zip(a.linear(), b.linear(), strict=True))))
  t = quantile(min(a.n, b.n), confidence)
  common = [x + y for x, y in zip(a.total_noise(), b.total_noise(), strict=True)]
  curved = [a.moved(a.along(common), z) - b.moved(b.along(common), z) for z in steps(t)]
  below, above = (math.sqrt((t * sd) ** 2 + max(0.0, x.corrected - x.raw + x.bias()) ** 2) for x in (a, b))
  low, high = d - max(below, -min(curved)), d + max(above, max(curved))
  if not a.is_beyond_noise(confidence):
    low = min(low - a.corrected, -b.ends(confidence)[1])
  if not b.is_beyond_noise(confidence):
    high = max(high + b.corrected, a.ends(confidence)[1])
  apart = ApartError(a, b)
  most = max(apart.ends(confidence)[1], abs(d))
  return max(low, -most), min(high, most)


class ApartError(GapError):
  """The signed gaps of two methods, subtracted."""

  def __init__(self, a, b):  # pyright: ignore[reportMissingSuperCall]
    self.U, self.J, self.n = a.U, a.J, min(a.n, b.n)
    self.g = [x - y for x, y in zip(a.g, b.g, strict=True)]
    self.raw = sum(abs(g) for g in self.g)
    pairs = zip(a.influence, b.influence, strict=True), zip(a.residual, b.residual, strict=True)
    self.influence, self.residual = ([[x - y for x, y in zip(*p, strict=True)] for p in both] for both in pairs)
    self.samples, self.noise = [], []
    for w in a.drawn:
      moved = [sum(w[i] * self.influence[i][j] for i in range(self.U)) for j in range(self.J)]
      self.samples.append(sum(abs(g + x) for g, x in zip(self.g, moved, strict=True)))
      still = [sum((w[i] - 1) * self.residual[i][j] for i in range(self.U)) for j in range(self.J)]
      self.noise.append(sum(abs(x) for x in still))
