"""Losses of a whole image: overlap, and calibration within the image.

Each has one value per image, which is returned at each of its pixels: summed over valid pixels and divided once, as all
losses are, an image counts by the number of its valid pixels. Besides what all losses take, they want to know

  weight: 1 where a pixel counts, in the shape of `votes`; None: all count.
  axes: those of `votes` that are one image; (-2, -1), height and width, unless said otherwise: of a volume
    (-3, -2, -1). Training gives them all axes that one panel rated (`OrdinalTarget.axes`).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ordseg import ordinal
from ordseg.errors import InputError
from ordseg.losses.binary import binary_cross_entropy, majority_pair
from ordseg.losses.inputs import LogProbs, Values, Votes, Weight, as_arrays, as_weight
from ordseg.losses.registry import register
from ordseg.metrics import calibration
from ordseg.ordinal import NumValid
from ordseg.settings import Setting
from ordseg.types import Array

IMAGE_AXES = (-2, -1)
_SMOOTH = 1.0  # pixels, so that an image without foreground has a loss, and a gradient


def image_sum(x: Array, weight: Values, axes: Sequence[int]) -> Array:
  """Sums x over the valid pixels of each image; the summed axes stay, of length 1.

  Args:
    x: Values in the shape of `weight`, or with further axes behind it.
    weight: 1 where a pixel counts.
    axes: those of `weight` that are one image.

  Raises:
    InputError: `weight` has no such axes.

  >>> image_sum(jnp.asarray([[1.0, 2.0], [3.0, 4.0]]), jnp.asarray([[1.0, 1.0], [0.0, 1.0]]), (-2, -1))
  Array([[7.]], dtype=float32)
  """
  if any(not -weight.ndim <= axis < weight.ndim for axis in axes):
    raise InputError(
      f"the loss is one of whole images, with the axes {tuple(axes)}, but the pixels have the shape {weight.shape}: "
      "give `axes`."
    )
  w = weight.reshape(weight.shape + (1,) * (x.ndim - weight.ndim))
  return jnp.sum(x * w, axis=tuple(axis % weight.ndim for axis in axes), keepdims=True)


def _dice(logit: Values, label: Values, weight: Values, axes: Sequence[int]) -> Values:
  prob = jax.nn.sigmoid(logit)
  overlap, size = image_sum(prob * label, weight, axes), image_sum(prob + label, weight, axes)
  return jnp.broadcast_to(1.0 - (2.0 * overlap + _SMOOTH) / (size + _SMOOTH), weight.shape)


def dice(
  log_probs: LogProbs,
  votes: Votes,
  num_valid: NumValid | None = None,
  weight: Weight | None = None,
  axes: Sequence[int] = IMAGE_AXES,
) -> Values:
  """1 - (2 sum p y + 1) / (sum p + sum y + 1) of the `majority` read-out and label (Milletari et al., 2016, without
  squares). Not proper: it pushes probabilities towards 0 and 1.

  Two pixels, p = (1/2, 1/2), y = (1, 0): 1 - (2 · 1/2 + 1) / (1 + 1 + 1).

  >>> round(float(dice(jnp.log(jnp.asarray([[[0.5, 0.25, 0.25]] * 2])), jnp.asarray([[2, 0]]))[0, 0]), 3)
  0.333
  """
  return _dice(*majority_pair(log_probs, votes, num_valid), as_weight(weight, votes), axes)


@register("bce_dice", summary="BCE + Dice loss, both on the majority: the usual default of segmentation libraries")
def bce_dice(
  log_probs: LogProbs,
  votes: Votes,
  num_valid: NumValid | None = None,
  weight: Weight | None = None,
  axes: Sequence[int] = IMAGE_AXES,
) -> Values:
  """Cross-entropy + Dice loss, both on the majority: the usual default of segmentation libraries.

  The images of `dice`: log 2 + 1/3.

  >>> round(float(bce_dice(jnp.log(jnp.asarray([[[0.5, 0.25, 0.25]] * 2])), jnp.asarray([[2, 0]]))[0, 0]), 3)
  1.026
  """
  z, label = majority_pair(log_probs, votes, num_valid)
  return binary_cross_entropy(z, label) + _dice(z, label, as_weight(weight, votes), axes)


@register("dml", summary="Dice semimetric of `mean_vote` against m (Wang et al., 2023)")
def dml(
  log_probs: LogProbs,
  votes: Votes,
  num_valid: NumValid | None = None,
  weight: Weight | None = None,
  axes: Sequence[int] = IMAGE_AXES,
) -> Values:
  """Dice semimetric loss: 1 - (|p| + |m| - |p - m| + 1) / (|p| + |m| + 1) with L1 norms (Wang et al., 2023).

  Of the `mean_vote` read-out against the share of votes. Unlike sum p y it is least at p = m when m is soft.

  >>> round(float(dml(jnp.log(jnp.asarray([[[0.25, 0.5, 0.25]] * 2])), jnp.asarray([[1, 1]]))[0, 0]), 3)
  0.0
  """
  log_probs, votes, n = as_arrays(log_probs, votes, num_valid)
  w = as_weight(weight, votes)
  prob, share = ordinal.read_out(jnp.exp(log_probs), "mean_vote"), ordinal.mean_vote(votes, n)
  size, apart = image_sum(prob + share, w, axes), image_sum(jnp.abs(prob - share), w, axes)
  return jnp.broadcast_to(1.0 - (size - apart + _SMOOTH) / (size + _SMOOTH), w.shape)


@register(
  "bce_ml1_ace",
  summary="BCE + Dice + calibration error within the image (Barfoot et al., 2024, who weigh the three alike)",
  ace_weight=Setting("weight of the calibration error", ge=0),
  ace_bins=Setting("bins of the calibration error, of equal width", ge=1, le=255),
  dice_weight=Setting("weight of the Dice term; 0 leaves it out", ge=0),
)
def bce_ml1_ace(
  log_probs: LogProbs,
  votes: Votes,
  num_valid: NumValid | None = None,
  weight: Weight | None = None,
  axes: Sequence[int] = IMAGE_AXES,
  *,
  ace_weight: float = 1.0,
  ace_bins: int = 20,
  dice_weight: float = 1.0,
) -> Values:
  """Cross-entropy + Dice loss + marginal L1 average calibration error of the image (Barfoot et al., 2024).

  The authors add the three with equal weights. The calibration error is the mean over non-empty bins of
  |mean p - mean y|, foreground and background, whose terms are equal for two classes. Its gradient flows through the
  mean of p; which bin a pixel is in has none.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel, in the last axis.
    votes: c, in 0..n, one for each pixel.
    num_valid: n; one number, or the leading axes of `votes` that it varies over. None: all R answered.
    weight: 1 where a pixel counts; None: all count.
    axes: those of `votes` that are one image.
    ace_weight: weight of the calibration error, >= 0.
    ace_bins: number of bins of equal width, 1..255.
    dice_weight: weight of `dice`, >= 0; 0 leaves it out.

  Returns:
    One value for each pixel, float32.

  Two pixels of probability 1/2, both foreground: log 2 + |1/2 - 1|.

  >>> half = jnp.log(jnp.asarray([[[0.5, 0.25, 0.25]] * 2]))
  >>> round(float(bce_ml1_ace(half, jnp.asarray([[2, 2]]), dice_weight=0.0)[0, 0]), 3)
  1.193
  """
  z, label = majority_pair(log_probs, votes, num_valid)
  w, prob = as_weight(weight, votes), jax.nn.sigmoid(z)
  member = jax.nn.one_hot(calibration.bin_of(jax.lax.stop_gradient(prob), ace_bins), ace_bins)
  count = image_sum(member, w, axes)
  gap = jnp.abs(image_sum(member * (prob - label)[..., None], w, axes))
  per_bin = gap / jnp.maximum(count, 1.0)
  per_image = jnp.sum(per_bin, axis=-1) / jnp.maximum(jnp.sum(count > 0, axis=-1), 1)
  total = binary_cross_entropy(z, label) + ace_weight * jnp.broadcast_to(per_image, w.shape)
  return total + dice_weight * _dice(z, label, w, axes) if dice_weight else total
