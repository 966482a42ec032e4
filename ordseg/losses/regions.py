"""Losses of a whole image: overlap, and calibration within the image.

Each has one value per image, which is returned at each of its pixels: summed over valid pixels and divided once, as all
losses are, an image counts by the number of its valid pixels.
"""

import jax
import jax.numpy as jnp

from ordseg import ordinal
from ordseg.heads import Prediction
from ordseg.losses.binary import bce_majority, majority_logit
from ordseg.metrics import calibration
from ordseg.ordinal import OrdinalTarget
from ordseg.types import Array

_SMOOTH = 1.0  # pixels, so that an image without foreground has a loss, and a gradient


def _total(x: Array, target: OrdinalTarget) -> Array:
  """[B, H, W] -> [B, 1, 1], valid pixels only."""
  return jnp.sum(x * target.weight, axis=(1, 2), keepdims=True)


def _spread(per_image: Array, target: OrdinalTarget) -> Array:
  return jnp.broadcast_to(per_image, target.weight.shape)


def dice(prediction: Prediction, target: OrdinalTarget) -> Array:
  """1 - (2 sum p y + 1) / (sum p + sum y + 1) of the `majority` read-out and label (Milletari et al., 2016, without
  squares). Not proper: it pushes probabilities towards 0 and 1."""
  prob, label = jax.nn.sigmoid(majority_logit(prediction, target)), target.majority
  overlap, size = _total(prob * label, target), _total(prob + label, target)
  return _spread(1.0 - (2.0 * overlap + _SMOOTH) / (size + _SMOOTH), target)


def bce_dice(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Cross-entropy + Dice loss, both on the majority: the usual default of segmentation libraries."""
  return bce_majority(prediction, target) + dice(prediction, target)


def dml(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Dice semimetric loss: 1 - (|p| + |m| - |p - m| + 1) / (|p| + |m| + 1) with L1 norms (Wang et al., 2023).

  Of the `mean_vote` read-out against the share of votes. Unlike sum p y it is least at p = m when m is soft.
  """
  prob, votes = ordinal.read_out(prediction.level_probs, "mean_vote"), target.mean_vote
  size, apart = _total(prob + votes, target), _total(jnp.abs(prob - votes), target)
  return _spread(1.0 - (size - apart + _SMOOTH) / (size + _SMOOTH), target)


def bce_ml1_ace(
  prediction: Prediction,
  target: OrdinalTarget,
  *,
  ace_weight: float = 1.0,
  ace_bins: int = 20,
  dice_weight: float = 1.0,
) -> Array:
  """Cross-entropy + Dice loss + marginal L1 average calibration error of the image (Barfoot et al., 2024).

  The authors add the three with equal weights. The calibration error is the mean over non-empty bins of
  |mean p - mean y|, foreground and background, whose terms are equal for two classes. Its gradient flows through the
  mean of p; which bin a pixel is in has none.

  Args:
    prediction: any head's.
    target: [B, H, W].
    ace_weight: of the calibration error, >= 0.
    ace_bins: of equal width, 1..255.
    dice_weight: of `dice`, >= 0; 0 leaves it out.

  Returns:
    [B, H, W] float32.
  """
  prob = jax.nn.sigmoid(majority_logit(prediction, target))
  index = calibration.bin_of(jax.lax.stop_gradient(prob), ace_bins)
  member = jax.nn.one_hot(index, ace_bins) * target.weight[..., None]
  count = jnp.sum(member, axis=(1, 2))
  gap = jnp.abs(jnp.sum(member * (prob - target.majority)[..., None], axis=(1, 2)))
  per_bin = gap / jnp.maximum(count, 1.0)
  per_image = jnp.sum(per_bin, axis=-1) / jnp.maximum(jnp.sum(count > 0, axis=-1), 1)
  total = bce_majority(prediction, target) + ace_weight * _spread(per_image[:, None, None], target)
  return total + dice_weight * dice(prediction, target) if dice_weight else total
