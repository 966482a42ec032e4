"""From rater masks to ordered targets (docs/method.md, section 1)."""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Bool, Float, Integer, Num

from ordseg.errors import InputError
from ordseg.ordinal.read_outs import align
from ordseg.ordinal.shapes import NumValid, spread
from ordseg.types import Array, ArrayLike


@struct.dataclass
class OrdinalTarget:
  """What the raters said, of pixels of any leading shape [*b]: [B, H, W] in training.

  Losses name the attributes that they want as their arguments (`losses.LossSpec`).

  Attributes:
    votes: [*b] int32, raters that marked the pixel, 0..n.
    num_valid: int32, n: raters that answered; a number, or the leading axes of `votes` that it varies over, as [B].
    weight: [*b] float32 in {0, 1}: 1 where the pixel counts and at least one rater answered.
    rater_masks: [*b, R] as given; entries of missing raters mean nothing.
    rater_valid: [R] after the axes of `num_valid`, as given.
    label_weights: [R + 1] after the axes of `num_valid`, float32, or None: log-odds of an estimated truth,
      w_0 + sum_r vote_r w_r.
  """

  votes: Array
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
  def axes(self) -> tuple[int, ...]:
    """The axes of one image, which one panel rated: those of `votes` that `num_valid` has not."""
    return tuple(range(self.num_valid.ndim, self.votes.ndim))

  @property
  def mean_vote(self) -> Array:
    """[*b] float32: c / n, and 0 where nobody answered (weight 0 there)."""
    return mean_vote(self.votes, self.num_valid)

  @property
  def majority(self) -> Array:
    """[*b] float32 in {0, 1}: 1 where c >= n / 2."""
    return majority_label(self.votes, self.num_valid).astype(jnp.float32)

  @property
  def estimated_label(self) -> Array:
    """[*b] float32 in [0, 1]: the estimated truth of `label_weights`; InputError where there are none."""
    if self.label_weights is None:
      raise InputError(
        "the loss needs the raters' weights of an estimated truth (label_weights), which these batches lack."
      )
    votes = self.rater_masks.astype(jnp.float32) * align(self.rater_valid, self.rater_masks)
    slopes = align(self.label_weights[..., 1:], votes)
    intercept = spread(self.label_weights[..., 0], self.votes.shape, name="label_weights")
    return jax.nn.sigmoid(intercept + jnp.sum(votes * slopes, axis=-1))


def encode(
  rater_masks: Num[ArrayLike, "*b R"] | Bool[ArrayLike, "*b R"],
  rater_valid: Num[ArrayLike, "*n R"] | Bool[ArrayLike, "*n R"] | None = None,
  mask: Num[ArrayLike, "*b"] | Bool[ArrayLike, "*b"] | None = None,
  label_weights: Float[ArrayLike, "*n _"] | None = None,
) -> OrdinalTarget:
  """Encodes rater masks as an ordinal target.

  Args:
    rater_masks: 0 or 1 for each rater, in the last axis; any axes before it.
    rater_valid: 1 where the rater answered. [R] where the same raters answered everywhere, or with the leading axes of
      `rater_masks` that it varies over: [B, R] for images [B, H, W, R]. None: all answered. A missing rater is missing:
      whatever its mask holds is ignored.
    mask: 1 where the pixel counts; all pixels by default.
    label_weights: log-odds of an estimated truth, with the axes of `rater_valid` but R + 1 long; see `OrdinalTarget`.

  Returns:
    The target; see `OrdinalTarget`.

  Raises:
    InputError: shapes do not fit, or a mask has values besides 0 and 1. Values are looked at in numpy arrays only.

  Two of three raters marked the first pixel, one the second; the third rater did not answer, so n is 2:

  >>> target = encode(jnp.asarray([[1, 1, 0], [0, 1, 1]]), jnp.asarray([1, 1, 0]))
  >>> target.votes, target.num_valid
  (Array([2, 1], dtype=int32), Array(2, dtype=int32))
  """
  for name, x in (("rater_masks", rater_masks), ("rater_valid", rater_valid)):
    if isinstance(x, np.ndarray) and not np.all((x == 0) | (x == 1)):
      raise InputError(f"{name} has values besides 0 and 1, up to {x.max()}: give 1 where the rater marked the pixel.")
  masks = jnp.asarray(rater_masks)
  valid = jnp.ones(masks.shape[-1:], jnp.uint8) if rater_valid is None else jnp.asarray(rater_valid)
  votes = count_votes(masks, valid)
  num_valid = jnp.sum(valid.astype(jnp.int32), axis=-1)
  weight = jnp.broadcast_to(spread(num_valid > 0, votes.shape, name="rater_valid"), votes.shape).astype(jnp.float32)
  if mask is not None:
    if mask.shape != votes.shape:
      raise InputError(f"mask has the shape {mask.shape}; rater_masks {masks.shape} need {votes.shape}.")
    weight = weight * jnp.asarray(mask, jnp.float32)
  weights = None if label_weights is None else jnp.asarray(label_weights)
  if weights is not None and weights.shape != (*num_valid.shape, masks.shape[-1] + 1):
    raise InputError(
      f"label_weights have the shape {weights.shape}; expected {(*num_valid.shape, masks.shape[-1] + 1)}."
    )
  return OrdinalTarget(
    votes=votes,
    num_valid=num_valid,
    weight=weight,
    rater_masks=masks,
    rater_valid=valid,
    label_weights=weights,
  )


def count_votes(
  rater_masks: Num[ArrayLike, "*b R"] | Bool[ArrayLike, "*b R"],
  rater_valid: Num[ArrayLike, "*n R"] | Bool[ArrayLike, "*n R"],
) -> Integer[Array, "*b"]:
  """Counts the votes of the raters that answered: c = sum_r valid_r mask_r.

  Args:
    rater_masks: 0 or 1 for each rater, in the last axis.
    rater_valid: 0 or 1; see `encode`.

  Raises:
    InputError: the shapes do not fit.

  >>> count_votes(jnp.asarray([1, 1, 0, 1]), jnp.asarray([1, 0, 1, 1]))
  Array(2, dtype=int32)
  """
  masks, valid = jnp.asarray(rater_masks, jnp.int32), jnp.asarray(rater_valid, jnp.int32)
  lead = valid.ndim - 1
  if valid.shape != (*masks.shape[:lead], *masks.shape[-1:]) or lead >= masks.ndim:
    raise InputError(
      f"rater_valid has the shape {valid.shape}, but rater_masks {masks.shape}: expected [R] = {masks.shape[-1:]}, or "
      "that after the leading axes that it varies over."
    )
  return jnp.sum(masks * valid.reshape(valid.shape[:lead] + (1,) * (masks.ndim - valid.ndim) + valid.shape[lead:]), -1)


def mean_vote(votes: Integer[ArrayLike, "*b"], num_valid: NumValid) -> Float[Array, "*b"]:
  """Returns m = c / n, and 0 where n = 0.

  Args:
    votes: c, in 0..n.
    num_valid: n; one number, or the leading axes of `votes`.

  >>> mean_vote(jnp.asarray([0, 1, 4]), 4)
  Array([0.  , 0.25, 1.  ], dtype=float32)
  """
  n = jnp.maximum(jnp.asarray(num_valid), 1).astype(jnp.float32)
  return jnp.asarray(votes, jnp.float32) / spread(n, votes.shape, name="num_valid")


def majority_label(votes: Integer[ArrayLike, "*b"], num_valid: NumValid) -> Bool[Array, "*b"]:
  """Returns c >= n / 2; a tie counts as foreground.

  Args:
    votes: c, in 0..n.
    num_valid: n; one number, or the leading axes of `votes`.

  >>> majority_label(jnp.asarray([1, 2, 3]), 4)
  Array([False,  True,  True], dtype=bool)
  """
  return 2 * jnp.asarray(votes) >= spread(jnp.asarray(num_valid), votes.shape, name="num_valid")


def target_cdf(votes: Integer[ArrayLike, "*b"], num_levels: int) -> Float[Array, "*b {num_levels}"]:
  """Returns F_j = 1[c <= j], j = 0..L-1; the last entry is 1.

  Args:
    votes: c, in 0..L-1.
    num_levels: L.

  >>> target_cdf(jnp.asarray(2), 4)
  Array([0., 0., 1., 1.], dtype=float32)
  """
  levels = jnp.arange(num_levels).reshape((1,) * votes.ndim + (num_levels,))
  return (jnp.asarray(votes)[..., None] <= levels).astype(jnp.float32)


def level_cdf(level_probs: Float[ArrayLike, "*b L"]) -> Float[Array, "*b L"]:
  """Returns P_j = sum_{k <= j} p_k; the last entry is 1 by construction.

  >>> level_cdf(jnp.asarray([0.25, 0.5, 0.25]))
  Array([0.25, 0.75, 1.  ], dtype=float32)
  """
  probs = jnp.asarray(level_probs)
  cdf = jnp.cumsum(probs[..., :-1], axis=-1)
  return jnp.concatenate([jnp.minimum(cdf, 1.0), jnp.ones_like(probs[..., :1])], axis=-1)


def level_tail(level_probs: Float[ArrayLike, "*b L"]) -> Float[Array, "*b R"]:
  """Returns the `at_least_j` read-outs P(c >= j), j = 1..R; nested: never increasing in j.

  >>> level_tail(jnp.asarray([0.25, 0.5, 0.25]))
  Array([0.75, 0.25], dtype=float32)
  """
  probs = jnp.asarray(level_probs)
  return jnp.minimum(jnp.flip(jnp.cumsum(jnp.flip(probs, -1), axis=-1), -1)[..., 1:], 1.0)
