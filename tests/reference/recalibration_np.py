"""The recalibration maps written from their formulas in float64, pixel by pixel where that is plainest."""

import numpy as np
import scipy.optimize
import scipy.special


def temperature(p, t):
  q = p ** (1 / t)
  return q / q.sum(-1, keepdims=True)


def vector(p, scale, bias):
  q = p ** np.asarray(scale) * np.exp(bias)
  return q / q.sum(-1, keepdims=True)


def cutpoints(p, shift, slope=1.0):
  """P(>= k) = sigmoid(z_k); the gaps z_k - z_{k+1} = softplus(x_{k+1}) keep their order."""
  tail = np.flip(np.cumsum(np.flip(p, -1), -1), -1)[..., 1:]
  z = slope * (np.log(tail) - np.log1p(-tail))
  gaps = z[..., :-1] - z[..., 1:]
  x = np.log(np.expm1(gaps)) + shift[1:]
  first = z[..., :1] + shift[0]
  moved = np.concatenate([first, first - np.cumsum(np.log1p(np.exp(x)), -1)], -1)
  at_least = scipy.special.expit(moved)
  ones, zeros = np.ones_like(at_least[..., :1]), np.zeros_like(at_least[..., :1])
  return -np.diff(np.concatenate([ones, at_least, zeros], -1), axis=-1)


def mean_vote(p):
  return p @ (np.arange(p.shape[-1]) / (p.shape[-1] - 1))


def tilted(p, mean):
  """The distribution [L] nearest to p in relative entropy with this mean vote: a root by bisection."""
  k = np.arange(len(p))

  def at(rate):
    with np.errstate(divide="ignore"):
      q = np.log(p) + rate * k
    q = np.exp(q - q.max())
    return q / q.sum()

  rate = scipy.optimize.brentq(lambda r: mean_vote(at(r)) - mean, -500, 500, xtol=1e-14, rtol=1e-14)
  return at(rate)


def objective(p, votes, num_valid, weight, loss):
  """Weighted mean over pixels of the loss of p [N, L] thinned to n."""
  R = p.shape[-1] - 1
  total = 0.0
  for row, c, n, w in zip(p, votes, num_valid, weight, strict=True):
    q = np.array([
      sum(row[lv] * scipy.special.comb(lv, v) * scipy.special.comb(R - lv, n - v) for lv in range(R + 1))
      / scipy.special.comb(R, n)
      for v in range(n + 1)
    ])  # fmt: skip
    if loss == "nll":
      total += w * -np.log(q[c])
    else:
      total += w * np.square(np.cumsum(q) - (np.arange(n + 1) >= c)).sum() / (n + 1)
  return total / np.sum(weight)
