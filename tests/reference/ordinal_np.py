"""Slow numpy oracles for targets, read-outs and losses, one pixel at a time, written from docs/method.md."""

import math

import numpy as np


def thin(p, n):
  """q_c = sum_l p_l C(l,c) C(R-l,n-c) / C(R,n)."""
  R = len(p) - 1
  q = np.zeros(n + 1)
  for c in range(n + 1):
    for level in range(R + 1):
      if c <= level and n - c <= R - level:
        q[c] += p[level] * math.comb(level, c) * math.comb(R - level, n - c) / math.comb(R, n)
  return q


def rps(p, c, n, divisor="levels"):
  q = thin(p, n)
  total = 0.0
  for j in range(n + 1):
    total += (sum(q[: j + 1]) - float(c <= j)) ** 2
  return total / {"levels": n + 1, "thresholds": n, "none": 1}[divisor]


def bce(prob, label):
  return -(label * math.log(prob) + (1 - label) * math.log(1 - prob))


def majority_prob(p, n):
  q = thin(p, n)
  return sum(q[c] for c in range(n + 1) if 2 * c >= n)


def mean_vote_prob(p):
  R = len(p) - 1
  return sum(level / R * p[level] for level in range(R + 1))


def hybrid(p, c, n, alpha=0.8):
  return bce(majority_prob(p, n), float(2 * c >= n)) + alpha * rps(p, c, n)


def ranked_ignorance(p, c, n, weights=None):
  """Mean over j = 1..n of the log score of "at least j"; `weights` (j = 1..R) are read off at the shares j / n."""
  q, R = thin(p, n), len(p) - 1
  given = [1.0] * R if weights is None else weights
  total, norm = 0.0, 0.0
  for j in range(1, n + 1):
    place = R * j / n - 1  # between the thresholds int(place) + 1 and int(place) + 2 of the full panel
    low = min(int(place), R - 1)
    high = min(low + 1, R - 1)
    w = given[low] + (place - low) * (given[high] - given[low])
    total += w * bce(sum(q[j:]), float(c >= j))
    norm += w
  return total / norm
