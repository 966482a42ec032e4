"""What a panel of which n of R raters answered would say: thinned level probabilities (docs/method.md, section 2).

Everywhere n, `num_valid`, is one number, or has the leading axes of the probabilities that it varies over.
"""

# pyright: reportUnknownMemberType=false

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from ordseg.ordinal.read_outs import align, log_weighted_sum, read_out_weights
from ordseg.ordinal.shapes import NumValid, as_num_valid
from ordseg.types import Array, ArrayLike

_LEADING = "abdefghijk"  # letters of the axes that n varies over


@functools.cache
def thinning_matrices(num_raters: int) -> Float[np.ndarray, "N L L"]:
  """Returns P(c | l, n): the votes c among n raters drawn without replacement from R of whom l marked the pixel.

  The hypergeometric distribution C(l, c) C(R - l, n - c) / C(R, n). The row of n = R is the identity.

  Args:
    num_raters: R.

  Returns:
    [R + 1, L, L] float64, indexed by n, l, c; entries with c > n are 0.

  One of two raters marked the pixel; ask one of the two:

  >>> thinning_matrices(2)[1, 1]
  array([0.5, 0.5, 0. ])
  """
  R = num_raters
  out = np.zeros((R + 1, R + 1, R + 1))
  for n in range(R + 1):
    for level in range(R + 1):
      for c in range(max(0, n - (R - level)), min(n, level) + 1):
        out[n, level, c] = math.comb(level, c) * math.comb(R - level, n - c) / math.comb(R, n)
  out.setflags(write=False)
  return out


def thin(level_probs: Float[ArrayLike, "*b L"], num_valid: NumValid) -> Float[Array, "*b L"]:
  """Thins a full-panel prediction to the raters that answered: q_c = sum_l p_l P(c | l, n).

  Args:
    level_probs: Probabilities of the levels 0..R of a full panel.
    num_valid: n, in 0..R.

  Returns:
    The same shape; entries with c > n are 0. For n = R it is `level_probs`.

  Raises:
    InputError: `num_valid` has other axes, or is out of range.

  >>> thin(jnp.asarray([0.2, 0.4, 0.4]), 1)
  Array([0.4, 0.6, 0. ], dtype=float32)
  """
  return _apply(thinning_matrices(level_probs.shape[-1] - 1), level_probs, num_valid)


def thinned_log_probs(log_probs: Float[ArrayLike, "*b L"], num_valid: NumValid) -> Float[Array, "*b L"]:
  """Returns log q_c of the thinned prediction, stable where q_c rounds to 0.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel.
    num_valid: n, in 0..R.

  Returns:
    The same shape; entries with c > n mean nothing, but are finite.

  >>> [round(float(x), 3) for x in jnp.exp(thinned_log_probs(jnp.log(jnp.asarray([0.2, 0.4, 0.4])), 1))[:2]]
  [0.4, 0.6]
  """
  log_probs = jnp.asarray(log_probs)
  matrices = _matrices(thinning_matrices(log_probs.shape[-1] - 1), log_probs, num_valid)
  possible = matrices.sum(axis=-2, keepdims=True) > 0
  matrices = jnp.where(possible, matrices, 1.0)
  columns = [log_weighted_sum(log_probs, align(matrices[..., c], log_probs)) for c in range(log_probs.shape[-1])]
  return jnp.stack(columns, axis=-1)


def thinned_log_prob_of(
  log_probs: Float[ArrayLike, "*b L"], votes: Integer[ArrayLike, "*b"], num_valid: NumValid
) -> Float[Array, "*b"]:
  """Returns log q_c at the observed c: one entry of `thinned_log_probs`, at the price of one.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel.
    votes: the observed c, in 0..n.
    num_valid: n, in 0..R.

  Returns:
    0 where n = 0.

  >>> round(float(jnp.exp(thinned_log_prob_of(jnp.log(jnp.asarray([0.2, 0.4, 0.4])), jnp.asarray(1), 1))), 3)
  0.6
  """
  log_probs = jnp.asarray(log_probs)
  num_levels = log_probs.shape[-1]
  matrices = _matrices(thinning_matrices(num_levels - 1), log_probs, num_valid)
  observed = jax.nn.one_hot(votes, num_levels)
  lead = _LEADING[: matrices.ndim - 2]
  formula = f"{lead}...c,{lead}lc->{lead}...l"
  weights = jnp.einsum(formula, observed, matrices, precision=jax.lax.Precision.HIGHEST)
  return log_weighted_sum(log_probs, weights)


def thinned_cdf(level_probs: Float[ArrayLike, "*b L"], num_valid: NumValid) -> Float[Array, "*b L"]:
  """Returns Q_j = P(c <= j) of the thinned prediction; `level_cdf` where all raters answered.

  Args:
    level_probs: Probabilities of the levels 0..R of a full panel.
    num_valid: n, in 0..R.

  Returns:
    The same shape; entries with j >= n are 1 up to rounding.

  >>> thinned_cdf(jnp.asarray([0.25, 0.5, 0.25]), 1)
  Array([0.5, 1. , 1. ], dtype=float32)
  """
  return _apply(np.cumsum(thinning_matrices(level_probs.shape[-1] - 1), axis=-1), level_probs, num_valid)


def thinned_majority_weights(num_valid: NumValid, num_raters: int) -> Float[Array, "*n L"]:
  """Returns, for each panel, the read-out weights of "at least half of the n raters who answered".

  w_l = P(c >= n / 2 | l, n); for n = R the 0/1 weights of ``majority``. Panels with n = 0 get those of n = 1, so that
  the logit stays finite (their weight in the loss is 0).

  Args:
    num_valid: n, in 0..R, of any shape.
    num_raters: R.

  >>> thinned_majority_weights(1, 4)
  Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
  """
  return jnp.asarray(_thinned_majority_table(num_raters), jnp.float32)[jnp.maximum(jnp.asarray(num_valid), 1)]


@functools.cache
def _thinned_majority_table(num_raters: int) -> np.ndarray:
  """[R + 1, L] float64, P(c >= n / 2 | l, n) by n and l; row 0 means nothing."""
  counts, n = np.arange(num_raters + 1), np.arange(num_raters + 1)[:, None]
  table = np.clip(np.sum(thinning_matrices(num_raters) * (2 * counts >= n)[:, None, :], axis=-1), 0.0, 1.0)
  table.setflags(write=False)
  return table


def thinned_weights(read_out: str, num_valid: NumValid, num_raters: int) -> Float[Array, "*n L"]:
  """Returns, for each panel, the weights of the read-out that is scored against the votes of n raters.

  That of ``mean_vote`` is the same for every n; ``majority`` becomes "half of the n or more", as their majority is what
  it is scored against: a tie counts as foreground on both sides.

  Args:
    read_out: one of `READ_OUTS`.
    num_valid: n, in 0..R, of any shape.
    num_raters: R.

  >>> thinned_weights("mean_vote", 1, 4)
  Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
  """
  if read_out == "majority":
    return thinned_majority_weights(num_valid, num_raters)
  weights = jnp.asarray(read_out_weights(read_out, num_raters))
  return jnp.broadcast_to(weights, (*np.shape(num_valid), num_raters + 1))


def _matrices(tables: np.ndarray, like: ArrayLike, num_valid: NumValid) -> Array:
  """The table of each n, [*n, L, L] float32."""
  n = as_num_valid(num_valid, like.shape[:-1], like.shape[-1] - 1)
  return jnp.asarray(tables, jnp.float32)[n]


def _apply(tables: np.ndarray, level_probs: ArrayLike, num_valid: NumValid) -> Array:
  """sum_l p_l T(l, c | n), [*b, L]."""
  matrices = _matrices(tables, level_probs, num_valid)
  lead = _LEADING[: matrices.ndim - 2]
  formula = f"{lead}...l,{lead}lc->{lead}...c"
  return jnp.einsum(formula, jnp.asarray(level_probs), matrices, precision=jax.lax.Precision.HIGHEST)
