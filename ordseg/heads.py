"""Heads: from the network's outputs to the distribution over the levels 0..R.

Adding a head is one function to log-probabilities and one line in `HEADS`. Every head yields `log_level_probs`, so
every read-out, metric and picture works for each. docs/method.md, section 3, compares them.
"""

import dataclasses
import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ordseg.errors import check_choice
from ordseg.types import Array

# Stands for log 0. Finite, so that 0 * log 0 and its gradient stay 0; exp of it is exactly 0.
LOG_ZERO = -1e9


@struct.dataclass
class Prediction:
  """What the network says of a batch.

  Attributes:
    logits: [B, H, W, K] float32, the head's raw outputs.
    log_level_probs: [B, H, W, L] float32, log-probabilities of the levels 0..R.
  """

  logits: Array
  log_level_probs: Array

  @property
  def level_probs(self) -> Array:
    """[B, H, W, L] float32, sums to 1."""
    return jnp.exp(self.log_level_probs)


@dataclasses.dataclass(frozen=True)
class Head:
  """One way of writing a distribution over levels.

  Attributes:
    name: its key in `HEADS`.
    num_outputs: R -> K, the channels the network must produce.
    log_level_probs: (logits [..., K], R) -> [..., L] float32.
    init_bias: (level_freqs [L], float64, positive, sums to 1) -> [K] float32: the output bias under which the
      untrained network predicts the level frequencies of the training set.
    num_constants: R -> how many of the K outputs, the last ones, are learned constants that no pixel can change.
    ordinal: whether the head can tell the levels apart; False for baselines with one probability per pixel.
  """

  name: str
  num_outputs: Callable[[int], int]
  log_level_probs: Callable[[Array, int], Array]
  init_bias: Callable[[np.ndarray], np.ndarray]
  num_constants: Callable[[int], int] = lambda _: 0
  ordinal: bool = True


def predict(head: Head, logits: Array, num_raters: int) -> Prediction:
  """Turns network outputs [B, H, W, K] into a `Prediction` for a panel of `num_raters`."""
  chex.assert_axis_dimension(logits, -1, head.num_outputs(num_raters))
  logits = logits.astype(jnp.float32)
  return Prediction(logits=logits, log_level_probs=head.log_level_probs(logits, num_raters))


def log_sigmoid(x: Array) -> Array:
  """As `jax.nn.log_sigmoid`, but spelt out: converters to ONNX know that one as log(sigmoid(x)), -inf below -17."""
  return -jax.nn.softplus(-x)


def _softmax(logits: Array, num_raters: int) -> Array:
  del num_raters
  return jax.nn.log_softmax(logits, axis=-1)


def _softmax_bias(level_freqs: np.ndarray) -> np.ndarray:
  log_freqs = np.log(level_freqs)
  return (log_freqs - log_freqs.mean()).astype(np.float32)


def _sigmoid(logits: Array, num_raters: int) -> Array:
  """One probability per pixel, read as a panel that agrees: level R with p, level 0 with 1 - p, nothing between.

  Under this reading `majority`, `mean_vote` and every `at_least_j` equal p, as a binary model means it.
  """
  none, all_ = log_sigmoid(-logits), log_sigmoid(logits)
  # Always LOG_ZERO, but not a constant: XLA would spend seconds of compilation on folding constants of this size.
  between = jnp.broadcast_to(jnp.minimum(none, LOG_ZERO), (*logits.shape[:-1], num_raters - 1))
  return jnp.concatenate([none, between, all_], axis=-1)


def _sigmoid_bias(level_freqs: np.ndarray) -> np.ndarray:
  num_raters = len(level_freqs) - 1
  mean = float(np.sum(level_freqs * np.arange(num_raters + 1)) / num_raters)
  return np.asarray([np.log(mean) - np.log1p(-mean)], np.float32)


def _cumulative(logits: Array, num_raters: int) -> Array:
  """P(level >= j) = sigmoid(z_j), j = 1..R, z_1 = x_1, z_{j+1} = z_j - softplus(x_{j+1}): always ordered.

  p_k = sigmoid(z_k) - sigmoid(z_{k+1}) = sigmoid(z_k) sigmoid(-z_{k+1}) (1 - exp(z_{k+1} - z_k)), whose last factor is
  sigmoid(x_{k+1}) exactly, so nothing cancels.
  """
  del num_raters
  first, gaps = logits[..., :1], logits[..., 1:]
  z = jnp.concatenate([first, first - jnp.cumsum(jax.nn.softplus(gaps), axis=-1)], axis=-1)
  above, below = log_sigmoid(z), log_sigmoid(-z)
  between = above[..., :-1] + below[..., 1:] + log_sigmoid(gaps)
  return jnp.concatenate([below[..., :1], between, above[..., -1:]], axis=-1)


def _tail(level_freqs: np.ndarray) -> np.ndarray:
  """P(level >= j), j = 1..R."""
  return np.cumsum(level_freqs[::-1])[::-1][1:]


def _logit(prob: np.ndarray) -> np.ndarray:
  return np.log(prob) - np.log1p(-prob)


def _cumulative_bias(level_freqs: np.ndarray) -> np.ndarray:
  z = _logit(_tail(level_freqs))
  gaps = z[:-1] - z[1:]
  inverse_softplus = gaps + np.log(-np.expm1(-gaps))
  return np.concatenate([z[:1], inverse_softplus]).astype(np.float32)


def _corn(logits: Array, num_raters: int) -> Array:
  """P(level >= j + 1 | level >= j) = sigmoid(x_j), j = 0..R-1 (Shi, Cao, Raschka, 2023), multiplied up."""
  del num_raters
  up, stop = log_sigmoid(logits), log_sigmoid(-logits)
  reached = jnp.cumsum(up, axis=-1)  # log P(level >= j), j = 1..R
  first = stop[..., :1]
  return jnp.concatenate([first, reached[..., :-1] + stop[..., 1:], reached[..., -1:]], axis=-1)


def _corn_bias(level_freqs: np.ndarray) -> np.ndarray:
  at_least = np.concatenate([[1.0], _tail(level_freqs)])
  return _logit(at_least[1:] / at_least[:-1]).astype(np.float32)


def _as_last_axis(values: list[float], like: Array) -> Array:
  """[N] -> [1, .., N] with the rank of `like`."""
  return jnp.asarray(values, jnp.float32).reshape((1,) * (like.ndim - 1) + (-1,))


def _log_binomials(num_raters: int, like: Array) -> Array:
  """log C(R, k), k = 0..R."""
  return _as_last_axis([math.log(math.comb(num_raters, k)) for k in range(num_raters + 1)], like)


def _binomial(logits: Array, num_raters: int) -> Array:
  """R raters who mark the pixel independently, each with probability sigmoid(x)."""
  k = _as_last_axis([*range(num_raters + 1)], logits)
  marked, unmarked = log_sigmoid(logits), log_sigmoid(-logits)
  return _log_binomials(num_raters, logits) + k * marked + (num_raters - k) * unmarked


_MAX_LOG_ODDS = 12.0  # of the raters' correlation: beyond it nothing changes any more in float32


def _beta_binomial(logits: Array, num_raters: int) -> Array:
  """Raters who share a random probability: Beta with mean mu = sigmoid(x_1) and correlation rho = sigmoid(x_2).

  p_k = C(R, k) prod_{i<k} (mu + i t) prod_{i<R-k} (1 - mu + i t) / prod_{i<R} (1 + i t) with
  t = rho / (1 - rho) = exp(x_2): the form without gamma functions, which loses no digits where rho is small. rho = 0 is
  the binomial head.
  """
  log_t = jnp.clip(logits[..., 1:2], -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
  steps = log_t + _as_last_axis([math.log(i) for i in range(1, num_raters)], log_t)  # log(i t), i = 1..R-1
  zero = jnp.zeros_like(log_t)

  def products(first: Array) -> Array:  # log prod_{i<k}, k = 0..R
    factors = jnp.concatenate([first, jnp.logaddexp(first, steps)], axis=-1)
    return jnp.concatenate([zero, jnp.cumsum(factors, axis=-1)], axis=-1)

  mu = logits[..., :1]
  marked, unmarked = products(log_sigmoid(mu)), products(log_sigmoid(-mu))
  log_probs = _log_binomials(num_raters, logits) + marked + jnp.flip(unmarked, axis=-1)
  return jax.nn.log_softmax(log_probs, axis=-1)  # the denominator, and the rounding of the sums


def _beta_binomial_bias(level_freqs: np.ndarray) -> np.ndarray:
  num_raters = len(level_freqs) - 1
  k = np.arange(num_raters + 1)
  mean = float(level_freqs @ k) / num_raters
  variance = float(level_freqs @ (k - mean * num_raters) ** 2)
  # The variance of a beta-binomial is R mu (1 - mu) (1 + (R - 1) rho).
  excess = variance / (num_raters * mean * (1 - mean)) - 1
  rho = np.clip(excess / max(num_raters - 1, 1), 0.01, 0.99)
  return _logit(np.asarray([mean, rho])).astype(np.float32)


HEADS: dict[str, Head] = {
  head.name: head
  for head in (
    Head("softmax", lambda R: R + 1, _softmax, _softmax_bias),
    Head("coral", lambda R: R, _cumulative, _cumulative_bias, num_constants=lambda R: R - 1),
    Head("cumulative", lambda R: R, _cumulative, _cumulative_bias),
    Head("corn", lambda R: R, _corn, _corn_bias),
    Head("binomial", lambda _: 1, _binomial, _sigmoid_bias),
    Head("beta_binomial", lambda _: 2, _beta_binomial, _beta_binomial_bias),
    Head("sigmoid", lambda _: 1, _sigmoid, _sigmoid_bias, ordinal=False),
  )
}


def get_head(name: str) -> Head:
  """Looks a head up.

  Raises:
    InputError: no head has that name.
  """
  check_choice(name, HEADS, field="config.model.head")
  return HEADS[name]


def smoothed_level_freqs(level_counts: np.ndarray, *, pseudo_count: float = 1.0) -> np.ndarray:
  """Turns pixel counts per level into frequencies, all positive.

  Args:
    level_counts: [L], pixels (or expected pixels) of each level in the training set.
    pseudo_count: added to each level, in pixels.

  Returns:
    [L] float64, sums to 1.
  """
  counts = np.asarray(level_counts, np.float64) + pseudo_count
  return counts / counts.sum()
