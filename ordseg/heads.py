"""Heads: from the network's outputs to the distribution over the levels 0..R.

Adding a head is one function to log-probabilities and one line in `HEADS`. Every head yields `log_level_probs`, so
every read-out, metric and picture works for each.
"""

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ordseg.types import Array
from ordseg.validate import check_choice

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
    ordinal: whether the head can tell the levels apart; False for baselines with one probability per pixel.
  """

  name: str
  num_outputs: Callable[[int], int]
  log_level_probs: Callable[[Array, int], Array]
  init_bias: Callable[[np.ndarray], np.ndarray]
  ordinal: bool = True


def predict(head: Head, logits: Array, num_raters: int) -> Prediction:
  """Turns network outputs [B, H, W, K] into a `Prediction` for a panel of `num_raters`."""
  chex.assert_axis_dimension(logits, -1, head.num_outputs(num_raters))
  logits = logits.astype(jnp.float32)
  return Prediction(logits=logits, log_level_probs=head.log_level_probs(logits, num_raters))


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
  none, all_ = jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)
  # Always LOG_ZERO, but not a constant: XLA would spend seconds of compilation on folding constants of this size.
  between = jnp.broadcast_to(jnp.minimum(none, LOG_ZERO), (*logits.shape[:-1], num_raters - 1))
  return jnp.concatenate([none, between, all_], axis=-1)


def _sigmoid_bias(level_freqs: np.ndarray) -> np.ndarray:
  num_raters = len(level_freqs) - 1
  mean = float(np.sum(level_freqs * np.arange(num_raters + 1)) / num_raters)
  return np.asarray([np.log(mean) - np.log1p(-mean)], np.float32)


HEADS: dict[str, Head] = {
  head.name: head
  for head in (
    Head("softmax", lambda R: R + 1, _softmax, _softmax_bias),
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
