"""Made-up data whose true calibration errors are known, for benchmarks/coverage.py.

Pixels are of finitely many types. A type has a share of all pixels, a log-odds of being marked, and the probability
that each model gives it. Every image (and every patient) adds a normal effect to all log-odds, so its pixels err
together; the log-odds are solved for so that the marginal probability of a mark is known exactly. Counts of pixels and
marks per type are multinomial and binomial, so images need not be drawn pixel by pixel.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import special

from ordseg.metrics import GapBins
from ordseg.metrics.calibration import BinSums

K = 15  # bins
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(48)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
OFFSETS, ANSWERED = np.asarray([-0.6, -0.2, 0.2, 0.6]), np.asarray([1.0, 0.8, 0.5, 0.3])  # of four raters
LEVELS = 3  # raters of a level ECE


@dataclasses.dataclass(frozen=True)
class World:
  """A population of pixels.

  Attributes:
    share: [T] of each type.
    truth: [R, T] probability that rater r marks it, over all images.
    logit: [R, T] the log-odds in an image without an effect.
    probs: [M, rows, T] of M models; rows are levels, else 1.
    sd: of the effect of an image.
    answered: [R] how often a rater answers.
    levels: whether rows are "at least j of 3".
  """

  share: np.ndarray
  truth: np.ndarray
  logit: np.ndarray
  probs: np.ndarray
  sd: float
  answered: np.ndarray
  levels: bool = False


def grid(phantom: bool, per_bin: int = 4) -> tuple[np.ndarray, np.ndarray]:
  """Returns probabilities and shares of types: Beta(.5, .5), or 88 % of it near 0."""
  edges = np.arange(K * per_bin + 1) / (K * per_bin)
  below = 2 / np.pi * np.arcsin(np.sqrt(edges))  # its distribution function
  middle = np.sin(np.pi / 4 * (below[1:] + below[:-1])) ** 2
  share = np.diff(below)
  if phantom:
    middle, share = np.append(middle, 0.004), np.append(0.12 * share, 0.88)
  return middle, share


def marginal(logit: np.ndarray, sd: float) -> np.ndarray:
  """Mean of the logistic function over the effect."""
  return special.expit(logit[..., None] + sd * _NODES) @ _NODE_WEIGHTS


def solved(truth: np.ndarray, sd: float) -> np.ndarray:
  """Returns the log-odds whose marginal probability is `truth`."""
  low, high = np.full(truth.shape, -40.0), np.full(truth.shape, 40.0)
  for _ in range(60):
    middle = (low + high) / 2
    above = marginal(middle, sd) > truth
    low, high = np.where(above, low, middle), np.where(above, middle, high)
  return (low + high) / 2


def root(excess: Callable[[float], float]) -> float:
  """Returns where a function that rises from below 0 at 1 is 0, by halving 1 to 20."""
  low, high = 1.0, 20.0
  for _ in range(60):
    middle = (low + high) / 2
    low, high = (low, middle) if excess(middle) > 0 else (middle, high)
  return (low + high) / 2


def one_hot(prob: np.ndarray) -> np.ndarray:
  """[T] -> [T, K]."""
  return np.eye(K)[np.minimum((prob * K).astype(int), K - 1)]


def true_gaps(world: World, model: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns D and C per pixel of an endless data set, [rows, K]: rows are levels, or raters."""
  prob, gaps, counts = world.probs[model], [], []
  if world.levels:
    votes = special.expit(world.logit[0][:, None] + world.sd * _NODES)
    labels = [at_least(votes, j) @ _NODE_WEIGHTS for j in range(1, LEVELS + 1)]
    weights = [1.0] * LEVELS
    rows = list(prob)
  else:
    labels, weights, rows = list(world.truth), list(world.answered), [prob[0]] * len(world.truth)
  for label, weight, p in zip(labels, weights, rows, strict=True):
    bins = one_hot(p)
    gaps.append(weight * (world.share * (p - label)) @ bins)
    counts.append(weight * world.share @ bins)
  return np.stack(gaps), np.stack(counts)


def at_least(votes: np.ndarray, j: int) -> np.ndarray:
  """Probability of j or more of `LEVELS` marks."""
  each = [special.comb(LEVELS, c) * votes**c * (1 - votes) ** (LEVELS - c) for c in range(j, LEVELS + 1)]
  return np.sum(each, axis=0)


def true_error(world: World, model: int, metric: str) -> float:
  """Returns the error of an endless data set, in closed form."""
  gap, count = true_gaps(world, model)
  if metric not in ("rater_mean", "rater_pooled", "level_ece"):
    gap, count = gap.sum(0, keepdims=True), count.sum(0, keepdims=True)
  if metric in ("ace", "mce"):
    each = np.abs(gap[count > 0] / count[count > 0])
    return float(each.mean() if metric == "ace" else each.max())
  if metric in ("level_ece", "rater_mean"):
    return float((np.abs(gap).sum(1) / count.sum(1)).mean())
  return float(np.abs(gap).sum() / count.sum())


# --- Models -----------------------------------------------------------------------------------------------------------


def sharper(prob: np.ndarray, by: float) -> np.ndarray:
  """Multiplies log-odds, which leaves 1/2 where it is."""
  return special.expit(by * special.logit(prob))


def shifted(prob: np.ndarray, by: float | np.ndarray) -> np.ndarray:
  """Adds to log-odds."""
  return special.expit(special.logit(prob) + by)


@dataclasses.dataclass(frozen=True)
class Images:
  """Drawn images: sums per image, and the unit of each.

  Attributes:
    counts: [I, T] pixels.
    marks: [I, R, T] marked by each rater; of levels [I, LEVELS, T], by at least j.
    valid: [I, R] whether the rater answered.
    groups: [I], '' for images that are units themselves.
  """

  counts: np.ndarray
  marks: np.ndarray
  valid: np.ndarray
  groups: list[str]


def draw(world: World, num_units: int, pixels: int, units: str, random: np.random.Generator) -> Images:
  """Draws images.

  Args:
    world: their population.
    num_units: images, or patients of 1 to 20 pictures whose effects are half the patient's in variance.
    pixels: of an image.
    units: 'images', 'patients', or 'lognormal' for images of very different sizes.
    random: draws.
  """
  pictures = random.integers(1, 21, num_units) if units == "patients" else np.ones(num_units, int)
  owner = np.repeat(np.arange(num_units), pictures)
  effect = random.normal(size=len(owner))
  if units == "patients":
    effect = np.sqrt(0.5) * (effect + random.normal(size=num_units)[owner])
  size = np.full(len(owner), pixels)
  if units == "lognormal":
    size = np.maximum(1, (pixels * random.lognormal(-0.5, 1.0, len(owner))).astype(int))
  counts = random.multinomial(size, world.share / world.share.sum())
  votes = special.expit(world.logit + world.sd * effect[:, None, None])  # [I, R, T]
  valid = random.random((len(owner), len(world.answered))) < world.answered
  if world.levels:
    numbers = np.stack([special.comb(LEVELS, c) * votes[:, 0] ** c * (1 - votes[:, 0]) ** (LEVELS - c)
                        for c in range(LEVELS + 1)], -1)  # fmt: skip
    by_votes = random.multinomial(counts, numbers / numbers.sum(-1, keepdims=True))  # [I, T, L]
    marks = np.flip(np.cumsum(np.flip(by_votes, -1), -1), -1)[..., 1:].swapaxes(1, 2)
  else:
    marks = random.binomial(counts[:, None] * valid[..., None], votes)
  groups = [f"patient {k}" for k in owner] if units == "patients" else [""] * len(owner)
  return Images(counts, marks, valid, groups)


def bins_of(world: World, images: Images, model: int, metric: str) -> GapBins:
  """Returns the product's bins of a metric, as its evaluation would hold them."""
  prob = world.probs[model]
  if world.levels:
    parts = [(images.counts, images.marks[:, j], prob[j]) for j in range(LEVELS)]
  else:
    asked = images.counts[:, None] * images.valid[..., None]
    parts = [(asked[:, r], images.marks[:, r], prob[0]) for r in range(asked.shape[1])]
  sums = [np.stack(x, 1) for x in zip(*(_binned(*part) for part in parts), strict=True)]
  bins = BinSums(*sums)
  if metric in ("level_ece", "rater_mean"):
    return GapBins(bins, "rows")
  if metric == "rater_pooled":
    return GapBins(bins, "pooled")
  weighting = {"ace": "bins", "mce": "worst"}.get(metric, "pooled")
  return GapBins(bins.pooled(1), weighting)


def _binned(counts: np.ndarray, marks: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  bins = one_hot(prob)
  return counts @ bins, counts @ (prob[:, None] * bins), marks @ bins
