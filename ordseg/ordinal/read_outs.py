"""Read-outs: weighted sums of level probabilities, as probabilities and logits (docs/method.md, section 5)."""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
import numpy as np

from ordseg.errors import InputError
from ordseg.types import Array, ArrayLike

READ_OUTS = ("majority", "mean_vote")


def read_out_weights(read_out: str, num_raters: int) -> np.ndarray:
  """Returns the weights w of a read-out sum_l w_l p_l for a full panel.

  Args:
    read_out: ``majority``, ``mean_vote`` or ``at_least_j`` with j in 1..R.
    num_raters: R.

  Returns:
    [L] float32 in [0, 1].

  Raises:
    InputError: the read-out is unknown.
  """
  levels = np.arange(num_raters + 1)
  if read_out == "mean_vote":
    return (levels / num_raters).astype(np.float32)
  if read_out == "majority":
    return (2 * levels >= num_raters).astype(np.float32)
  prefix, _, j = read_out.rpartition("_")
  if prefix == "at_least" and j.isdigit() and 1 <= int(j) <= num_raters:
    return (levels >= int(j)).astype(np.float32)
  raise InputError(
    f"read-out {read_out!r} is unknown. Choices: majority, mean_vote, at_least_1 .. at_least_{num_raters}."
  )


def foreground_prob(level_probs: Array, weights: ArrayLike) -> Array:
  """Returns sum_l w_l p_l.

  Args:
    level_probs: [..., L].
    weights: [L], or [B, L] for weights that differ by image.

  Returns:
    [...] float32 in [0, 1].
  """
  return jnp.clip(jnp.sum(level_probs * align(weights, level_probs), axis=-1), 0.0, 1.0)


def foreground_logit(log_probs: Array, weights: ArrayLike) -> Array:
  """Returns the logit of sum_l w_l p_l, stable where that probability rounds to 0 or 1.

  Computed as logsumexp(z + log w) - logsumexp(z + log(1 - w)), which for the majority is the textbook
  logsumexp(z[t:]) - logsumexp(z[:t]), t = ceil(R / 2).

  Args:
    log_probs: [..., L] log-probabilities, or logits that differ from them by a constant.
    weights: [L] or [B, L], in [0, 1], neither all 0 nor all 1.

  Returns:
    [...] float32.
  """
  z = log_probs.astype(jnp.float32)
  z = z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))  # so that large shifts do not cancel below
  w = align(weights, z)
  return log_weighted_sum(z, w) - log_weighted_sum(z, 1.0 - w)


def log_weighted_sum(z: Array, w: Array) -> Array:
  """Returns log sum_l w_l exp(z_l) over the last axis, stable whatever z.

  Shifted by the largest z among the levels with w > 0, so that nothing underflows to 0.

  Args:
    z: [..., L].
    w: [..., L], of a shape that broadcasts; >= 0, somewhere > 0 at each place.
  """
  inside = w > 0
  shift = jax.lax.stop_gradient(jnp.max(jnp.where(inside, z, -jnp.inf), axis=-1, keepdims=True))
  total = jnp.sum(w * jnp.exp(jnp.where(inside, z - shift, 0.0)), axis=-1)
  return jnp.log(total) + shift[..., 0]


def align(weights: ArrayLike, like: ArrayLike) -> Array:
  """Returns weights, [L] or after leading axes of `like`, [B, L], as float32 that broadcasts against it, [B, H, W, L].

  >>> align(jnp.zeros((2, 4)), jnp.zeros((2, 8, 8, 4))).shape
  (2, 1, 1, 4)
  """
  w = jnp.asarray(weights, jnp.float32)
  return w.reshape(w.shape[:-1] + (1,) * (like.ndim - w.ndim) + w.shape[-1:])
