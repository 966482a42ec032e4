"""From rater masks to ordered targets, and from level probabilities to read-outs (docs/method.md, sections 1, 2 and 5).

A read-out is the probability of some event "enough raters marked this pixel". Each one is a weighted sum of the level
probabilities with weights in [0, 1], which is why `read_out_weights`, `foreground_prob` and `foreground_logit` serve
the majority, the mean vote, every "at least j", and all of these for a panel with missing raters.
"""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ordseg.types import Array, ArrayLike
from ordseg.validate import InputError

READ_OUTS = ("majority", "mean_vote")


@struct.dataclass
class OrdinalTarget:
  """What the raters said of a batch.

  Attributes:
    vote_counts: [B, H, W] int32, raters that marked the pixel, 0..n.
    num_valid: [B] int32, n: raters that answered.
    weight: [B, H, W] float32 in {0, 1}: 1 where the pixel counts and at least one rater answered.
    rater_masks: [B, H, W, R] as given; entries of missing raters mean nothing.
    rater_valid: [B, R] as given.
    label_weights: [B, R + 1] float32 or None: log-odds of an estimated truth, w_0 + sum_r vote_r w_r.
  """

  vote_counts: Array
  num_valid: Array
  weight: Array
  rater_masks: Array
  rater_valid: Array
  label_weights: Array | None = None

  @property
  def num_raters(self) -> int:
    """R, the size of a full panel."""
    return self.rater_masks.shape[-1]

  @property
  def mean_vote(self) -> Array:
    """[B, H, W] float32: c / n, and 0 where nobody answered (weight 0 there)."""
    return mean_vote(self.vote_counts, self.num_valid)

  @property
  def majority(self) -> Array:
    """[B, H, W] float32 in {0, 1}: 1 where c >= n / 2."""
    return majority_label(self.vote_counts, self.num_valid).astype(jnp.float32)

  @property
  def weighted_label(self) -> Array:
    """[B, H, W] float32 in [0, 1]: the estimated truth of `label_weights`."""
    assert self.label_weights is not None
    votes = self.rater_masks.astype(jnp.float32) * self.rater_valid.astype(jnp.float32)[:, None, None, :]
    slopes = self.label_weights[:, None, None, 1:]
    return jax.nn.sigmoid(self.label_weights[:, None, None, 0] + jnp.sum(votes * slopes, axis=-1))


def encode(
  rater_masks: ArrayLike,
  rater_valid: ArrayLike,
  mask: ArrayLike | None = None,
  label_weights: ArrayLike | None = None,
) -> OrdinalTarget:
  """Encodes rater masks as an ordinal target.

  Args:
    rater_masks: [B, H, W, R], 0 or 1.
    rater_valid: [B, R], 1 where the rater answered. A missing rater is missing: whatever its mask holds is ignored.
    mask: [B, H, W], 1 where the pixel counts; all pixels by default.
    label_weights: see `OrdinalTarget`.

  Returns:
    The target; see `OrdinalTarget`.
  """
  chex.assert_rank([rater_masks, rater_valid], [4, 2])
  counts = vote_counts(rater_masks, rater_valid)
  num_valid = jnp.sum(jnp.asarray(rater_valid, jnp.int32), axis=-1)
  weight = jnp.broadcast_to((num_valid > 0)[:, None, None], counts.shape).astype(jnp.float32)
  if mask is not None:
    weight = weight * jnp.asarray(mask, jnp.float32)
  return OrdinalTarget(
    vote_counts=counts,
    num_valid=num_valid,
    weight=weight,
    rater_masks=jnp.asarray(rater_masks),
    rater_valid=jnp.asarray(rater_valid),
    label_weights=None if label_weights is None else jnp.asarray(label_weights),
  )


def vote_counts(rater_masks: ArrayLike, rater_valid: ArrayLike) -> Array:
  """Counts the votes of the raters that answered: c = sum_r valid_r mask_r.

  Args:
    rater_masks: [B, H, W, R], 0 or 1.
    rater_valid: [B, R], 0 or 1.

  Returns:
    [B, H, W] int32.
  """
  valid = jnp.asarray(rater_valid, jnp.int32)[:, None, None, :]
  return jnp.sum(jnp.asarray(rater_masks, jnp.int32) * valid, axis=-1)


def _per_image(x: Array, like: Array) -> Array:
  """[B] -> [B, 1, ..] with the rank of `like`."""
  return x.reshape(x.shape + (1,) * (like.ndim - x.ndim))


def mean_vote(vote_counts: Array, num_valid: Array) -> Array:
  """Returns m = c / n as float32, and 0 where n = 0. Shapes: [B, H, W] and [B]."""
  n = jnp.maximum(num_valid, 1).astype(jnp.float32)
  return vote_counts.astype(jnp.float32) / _per_image(n, vote_counts)


def majority_label(vote_counts: Array, num_valid: Array) -> Array:
  """Returns the boolean c >= n / 2; a tie counts as foreground. Shapes: [B, H, W] and [B]."""
  return 2 * vote_counts >= _per_image(num_valid, vote_counts)


def target_cdf(vote_counts: Array, num_levels: int) -> Array:
  """Returns F_j = 1[c <= j], j = 0..L-1, as float32 [..., L]; the last entry is 1."""
  levels = jnp.arange(num_levels).reshape((1,) * vote_counts.ndim + (num_levels,))
  return (vote_counts[..., None] <= levels).astype(jnp.float32)


def level_cdf(level_probs: Array) -> Array:
  """Returns P_j = sum_{k <= j} p_k over the last axis, [..., L]; the last entry is 1 by construction."""
  cdf = jnp.cumsum(level_probs[..., :-1], axis=-1)
  return jnp.concatenate([jnp.minimum(cdf, 1.0), jnp.ones_like(level_probs[..., :1])], axis=-1)


def level_tail(level_probs: Array) -> Array:
  """Returns the `at_least_j` read-outs P(c >= j), j = 1..R, [..., L] -> [..., R]; nested: never increasing in j."""
  return jnp.minimum(jnp.flip(jnp.cumsum(jnp.flip(level_probs, -1), axis=-1), -1)[..., 1:], 1.0)


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
  return jnp.clip(jnp.sum(level_probs * _align(weights, level_probs), axis=-1), 0.0, 1.0)


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
  w = _align(weights, z)
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


def _align(weights: ArrayLike, like: Array) -> Array:
  w = jnp.asarray(weights, jnp.float32)
  if w.ndim == 1:
    return w.reshape((1,) * (like.ndim - 1) + w.shape)
  return w.reshape(w.shape[:1] + (1,) * (like.ndim - 2) + w.shape[1:])


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
  columns = [log_weighted_sum(log_probs, _align(matrices[:, :, c], log_probs)) for c in range(log_probs.shape[-1])]
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
