"""Read-outs: weighted sums of level probabilities, as probabilities and logits (docs/method.md, section 5)."""

# pyright: reportUnknownMemberType=false

from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ordseg.errors import InputError
from ordseg.types import Array, ArrayLike

READ_OUTS = ("majority", "mean_vote")  # those that everything is scored by, in the order of every array's axis of them


def read_out_weights(read_out: str, num_raters: int) -> Float[np.ndarray, " L"]:
  """Returns the weights w of a read-out sum_l w_l p_l for a full panel.

  Args:
    read_out: ``majority``, ``mean_vote`` or ``at_least_j`` with j in 1..R.
    num_raters: R.

  Returns:
    [L] float32 in [0, 1].

  Raises:
    InputError: the read-out is unknown.

  >>> read_out_weights("mean_vote", 4)
  array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
  >>> read_out_weights("majority", 4)
  array([0., 0., 1., 1., 1.], dtype=float32)
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


@overload
def read_out(level_probs: Float[np.ndarray, "*b L"], weights: str | np.ndarray) -> Float[np.ndarray, "*b"]: ...


@overload
def read_out(level_probs: Float[Array, "*b L"], weights: str | ArrayLike) -> Float[Array, "*b"]: ...


def read_out(level_probs: ArrayLike, weights: str | ArrayLike) -> ArrayLike:
  """Returns the probability that a read-out stands for, sum_l w_l p_l.

  Args:
    level_probs: [..., L], numpy or JAX.
    weights: ``mean_vote``, ``majority`` or ``at_least_j`` (`read_out_weights`); or weights in [0, 1], [L], or after
      leading axes of `level_probs`, [B, L], as those of panels with missing raters are (`thinned_weights`).

  Returns:
    [...] in [0, 1], numpy from numpy and JAX from JAX, in the dtype of `level_probs`.

  Raises:
    InputError: the read-out is unknown.

  >>> p = np.array([[0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0]])
  >>> read_out(p, "mean_vote").round(3), read_out(p, "majority").round(3), read_out(p, "at_least_1").round(3)
  (array([0.667, 0.   ]), array([0.7, 0. ]), array([0.9, 0. ]))
  >>> read_out(jnp.asarray(p), np.array([0, 1, 0, 1])).round(3)
  Array([0.6, 0. ], dtype=float32)
  """
  if isinstance(weights, str):
    weights = read_out_weights(weights, level_probs.shape[-1] - 1)
  if isinstance(level_probs, np.ndarray):
    return np.clip(_weighted_sum(level_probs, np.asarray(weights)), 0, 1)
  return jnp.clip(jnp.sum(level_probs * align(weights, level_probs), axis=-1), 0.0, 1.0)


def _weighted_sum(level_probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Returns sum_l w_l p_l on the host, in the fastest way that fits the weights."""
  if weights.ndim > 1:
    shape = weights.shape[:-1] + (1,) * (level_probs.ndim - weights.ndim) + weights.shape[-1:]
    return np.sum(level_probs * weights.reshape(shape).astype(level_probs.dtype), axis=-1)
  first = int(np.argmax(weights > 0))
  if (weights[first:] == 1).all():  # "at least j": of all the levels, the upper ones are added and no other is read
    return level_probs[..., first:].sum(-1)
  return level_probs @ weights.astype(level_probs.dtype)


def foreground_logit(log_probs: Float[Array, "*b L"], weights: ArrayLike) -> Float[Array, "*b"]:
  """Returns the logit of sum_l w_l p_l, stable where that probability rounds to 0 or 1.

  Computed as logsumexp(z + log w) - logsumexp(z + log(1 - w)), which for the majority is the textbook
  logsumexp(z[t:]) - logsumexp(z[:t]), t = ceil(R / 2).

  Args:
    log_probs: [..., L] log-probabilities, or logits that differ from them by a constant.
    weights: [L] or [B, L], in [0, 1], neither all 0 nor all 1.

  Returns:
    [...] float32.

  >>> round(float(foreground_logit(jnp.log(jnp.array([0.4, 0.2, 0.4])), read_out_weights("majority", 2))), 3)
  0.405
  >>> foreground_logit(jnp.array([100.0, 0.0, 0.0]), read_out_weights("at_least_2", 2))
  Array(-100., dtype=float32)
  """
  z = log_probs.astype(jnp.float32)
  z = z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))  # so that large shifts do not cancel below
  w = align(weights, z)
  return log_weighted_sum(z, w) - log_weighted_sum(z, 1.0 - w)


def log_weighted_sum(z: Float[Array, "*b L"], w: Array) -> Float[Array, "*b"]:
  """Returns log sum_l w_l exp(z_l) over the last axis, stable whatever z.

  Shifted by the largest z among the levels with w > 0, so that nothing underflows to 0.

  Args:
    z: [..., L].
    w: [..., L], of a shape that broadcasts; >= 0, somewhere > 0 at each place.

  >>> log_weighted_sum(jnp.array([-1e4, -1e4, 0.0]), jnp.array([0.5, 0.5, 0.0]))
  Array(-10000., dtype=float32)
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
