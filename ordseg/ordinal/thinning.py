"""What a panel of which n of R raters answered would say: thinned level probabilities (docs/method.md, section 2)."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ordseg.ordinal.read_outs import align, log_weighted_sum, read_out_weights
from ordseg.types import Array


@functools.cache
def thinning_matrices(num_raters: int) -> np.ndarray:
  """Returns P(c | l, n): the votes c among n raters drawn without replacement from R of whom l marked the pixel.

  The hypergeometric distribution C(l, c) C(R - l, n - c) / C(R, n). The row of n = R is the identity.

  Args:
    num_raters: R.

  Returns:
    [R + 1, L, L] float64, indexed by n, l, c; entries with c > n are 0.
  """
  R = num_raters
  out = np.zeros((R + 1, R + 1, R + 1))
  for n in range(R + 1):
    for level in range(R + 1):
      for c in range(max(0, n - (R - level)), min(n, level) + 1):
        out[n, level, c] = math.comb(level, c) * math.comb(R - level, n - c) / math.comb(R, n)
  out.setflags(write=False)
  return out


def thinned_probs(level_probs: Array, num_valid: Array) -> Array:
  """Thins a full-panel prediction to the raters that answered: q_c = sum_l p_l P(c | l, n).

  Args:
    level_probs: [B, ..., L].
    num_valid: [B], n.

  Returns:
    [B, ..., L]; entries with c > n are 0. For n = R it is `level_probs`.
  """
  matrices = jnp.asarray(thinning_matrices(level_probs.shape[-1] - 1), jnp.float32)
  return jnp.einsum("b...l,blc->b...c", level_probs, matrices[num_valid], precision=jax.lax.Precision.HIGHEST)


def thinned_log_probs(log_probs: Array, num_valid: Array) -> Array:
  """Returns log q_c of the thinned prediction, stable where q_c rounds to 0.

  Args:
    log_probs: [B, ..., L] log-probabilities of the levels of a full panel.
    num_valid: [B], n.

  Returns:
    [B, ..., L]; entries with c > n mean nothing, but are finite.
  """
  matrices = jnp.asarray(thinning_matrices(log_probs.shape[-1] - 1), jnp.float32)[num_valid]  # [B, l, c]
  possible = matrices.sum(axis=1, keepdims=True) > 0
  matrices = jnp.where(possible, matrices, 1.0)
  columns = [log_weighted_sum(log_probs, align(matrices[:, :, c], log_probs)) for c in range(log_probs.shape[-1])]
  return jnp.stack(columns, axis=-1)


def thinned_log_prob_of(log_probs: Array, vote_counts: Array, num_valid: Array) -> Array:
  """Returns log q_c at the observed c: one entry of `thinned_log_probs`, at the price of one.

  Args:
    log_probs: [B, ..., L] log-probabilities of the levels of a full panel.
    vote_counts: [B, ...] int, c in 0..n.
    num_valid: [B], n.

  Returns:
    [B, ...]; 0 where n = 0.
  """
  num_levels = log_probs.shape[-1]
  matrices = jnp.asarray(thinning_matrices(num_levels - 1), jnp.float32)[num_valid]
  observed = jax.nn.one_hot(vote_counts, num_levels)
  weights = jnp.einsum("b...c,blc->b...l", observed, matrices, precision=jax.lax.Precision.HIGHEST)
  return log_weighted_sum(log_probs, weights)


def thinned_cdf(level_probs: Array, num_valid: Array) -> Array:
  """Returns Q_j = P(c <= j) of the thinned prediction; `level_cdf` where all raters answered.

  Args:
    level_probs: [B, ..., L].
    num_valid: [B], n.

  Returns:
    [B, ..., L]; entries with j >= n are 1 up to rounding.
  """
  cumulative = np.cumsum(thinning_matrices(level_probs.shape[-1] - 1), axis=-1)
  matrices = jnp.asarray(cumulative, jnp.float32)
  return jnp.einsum("b...l,blj->b...j", level_probs, matrices[num_valid], precision=jax.lax.Precision.HIGHEST)


def thinned_majority_weights(num_valid: Array, num_raters: int) -> Array:
  """Returns, per image, the read-out weights of "at least half of the n raters who answered".

  w_l = P(c >= n / 2 | l, n); for n = R the 0/1 weights of ``majority``. Images with n = 0 get those of n = 1, so that
  the logit stays finite (their weight in the loss is 0).

  Args:
    num_valid: [B], n.
    num_raters: R.

  Returns:
    [B, L] float32.
  """
  return jnp.asarray(_thinned_majority_table(num_raters), jnp.float32)[jnp.maximum(num_valid, 1)]


@functools.cache
def _thinned_majority_table(num_raters: int) -> np.ndarray:
  """[R + 1, L] float64, P(c >= n / 2 | l, n) by n and l; row 0 means nothing."""
  counts, n = np.arange(num_raters + 1), np.arange(num_raters + 1)[:, None]
  table = np.clip(np.sum(thinning_matrices(num_raters) * (2 * counts >= n)[:, None, :], axis=-1), 0.0, 1.0)
  table.setflags(write=False)
  return table


def thinned_weights(read_out: str, num_valid: Array, num_raters: int) -> Array:
  """Returns, per image, the weights of the read-out that is scored against the votes of n raters.

  That of ``mean_vote`` is the same for every n; ``majority`` becomes "half of the n or more", as their majority is what
  it is scored against: a tie counts as foreground on both sides.

  Args:
    read_out: one of `READ_OUTS`.
    num_valid: [B], n.
    num_raters: R.

  Returns:
    [B, L] float32.
  """
  if read_out == "majority":
    return thinned_majority_weights(num_valid, num_raters)
  return jnp.broadcast_to(jnp.asarray(read_out_weights(read_out, num_raters)), (*num_valid.shape, num_raters + 1))
