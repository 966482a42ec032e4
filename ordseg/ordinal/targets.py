"""From rater masks to ordered targets (docs/method.md, section 1)."""

import chex
import jax
import jax.numpy as jnp
from flax import struct

from ordseg.types import Array, ArrayLike


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
