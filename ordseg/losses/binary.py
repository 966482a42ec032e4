"""Losses of one foreground probability: cross-entropies, and penalties on top of them.

Unless their text says otherwise they act on the `majority` read-out, thinned to the raters who answered, and on the
majority of these raters; any head serves.
"""

import jax
import jax.numpy as jnp

from ordseg import ordinal
from ordseg.errors import InputError
from ordseg.heads import Prediction
from ordseg.ordinal import OrdinalTarget
from ordseg.types import Array


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
  """Element-wise cross-entropy of Bernoulli(sigmoid(logits)) against labels in [0, 1], in nats; any equal shapes."""
  return jax.nn.softplus(logits) - labels * logits


def majority_logit(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Returns the logit of the `majority` read-out, thinned to the raters that answered; [B, H, W]."""
  weights = ordinal.thinned_majority_weights(target.num_valid, target.num_raters)
  return ordinal.foreground_logit(prediction.log_level_probs, weights)


def bce_majority(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Cross-entropy of the `majority` read-out, thinned to the raters that answered, against 1[c >= n / 2]."""
  return binary_cross_entropy(majority_logit(prediction, target), target.majority)


def bce_mean_vote(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Cross-entropy of the `mean_vote` read-out against the share of votes m (soft labels); thinning keeps the mean."""
  weights = ordinal.read_out_weights("mean_vote", target.num_raters)
  return binary_cross_entropy(ordinal.foreground_logit(prediction.log_level_probs, weights), target.mean_vote)


def bce_staple(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Cross-entropy of the `majority` read-out against the STAPLE estimate of the truth (Warfield, Zou, Wells, 2004).

  The raters' weights are estimated from the whole image, before cropping (`staple.label_weights`).
  """
  if target.label_weights is None:
    raise InputError("config.loss.name='bce_staple' needs the raters' weights, which these batches do not carry.")
  return binary_cross_entropy(majority_logit(prediction, target), target.weighted_label)


def label_smoothing(prediction: Prediction, target: OrdinalTarget, *, smoothing: float = 0.1) -> Array:
  """Cross-entropy against (1 - s) y + s / 2 (Szegedy et al., 2016)."""
  labels = (1.0 - smoothing) * target.majority + smoothing / 2
  return binary_cross_entropy(majority_logit(prediction, target), labels)


def focal(prediction: Prediction, target: OrdinalTarget, *, gamma: float = 3.0) -> Array:
  """-(1 - p_y)^gamma log p_y (Lin et al., 2017; gamma 3 as in Mukhoti et al., 2020, who use it to calibrate)."""
  z = majority_logit(prediction, target)
  signed = jnp.where(target.majority > 0, z, -z)  # p_y = sigmoid(signed)
  return jnp.exp(gamma * jax.nn.log_sigmoid(-signed)) * jax.nn.softplus(-signed)


def _neighbours(values: Array, weight: Array, kernel: Array) -> Array:
  """Weighted mean over the 3 x 3 neighbourhood of [B, H, W]; pixels outside, or of weight 0, take no part."""

  def spread(x: Array) -> Array:
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1)))
    h, w = x.shape[1:]
    return sum((kernel[i, j] * padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)), jnp.zeros_like(x))

  return spread(values * weight) / jnp.maximum(spread(weight), 1e-6)


def _svls_kernel(sigma: float) -> Array:
  """[3, 3]: Gaussian around, and a centre that weighs as much as all its neighbours."""
  offsets = jnp.asarray([-1.0, 0.0, 1.0])
  row = jnp.exp(-0.5 * jnp.square(offsets / sigma))
  around = jnp.outer(row, row).at[1, 1].set(0.0)
  return around.at[1, 1].set(jnp.sum(around))


def svls(prediction: Prediction, target: OrdinalTarget, *, svls_sigma: float = 1.0) -> Array:
  """Spatially varying label smoothing: labels blurred near outlines only, 3 x 3 (Islam, Glocker, 2021).

  At the image's edge the mean is over the pixels that are there, where the authors repeat the edge.
  """
  labels = _neighbours(target.majority, target.weight, _svls_kernel(svls_sigma))
  return binary_cross_entropy(majority_logit(prediction, target), labels)


def mbls(prediction: Prediction, target: OrdinalTarget, *, margin: float = 10.0, penalty: float = 0.1) -> Array:
  """Cross-entropy + penalty mean_k max(0, max_j z_j - z_k - margin): margin-based label smoothing (Liu et al., 2022).

  Of two classes whose logits differ by z the larger one is at distance 0 from itself, the other one at |z|: the mean,
  which is the authors', is half of max(0, |z| - margin).
  """
  z = majority_logit(prediction, target)
  return binary_cross_entropy(z, target.majority) + penalty * jax.nn.relu(jnp.abs(z) - margin) / 2


def nacl(prediction: Prediction, target: OrdinalTarget, *, penalty: float = 0.1) -> Array:
  """Cross-entropy + penalty mean_k |tau_k - z_k|: logits held near the classes' shares tau in the 3 x 3 neighbourhood
  (Murugesan et al., 2023).

  The authors' network has a logit for each of the two classes, and the cross-entropy sees their difference z alone.
  What is common to both is free, and at its best the penalty is |z - (tau_1 - tau_0)| / 2, by the triangle inequality:
  that is what the one logit of a read-out is charged here. Logits tied to -z / 2 and z / 2 would feel no z within 1 of
  tau_1 - tau_0.
  """
  z = majority_logit(prediction, target)
  share = _neighbours(target.majority, target.weight, jnp.ones((3, 3)))
  return binary_cross_entropy(z, target.majority) + penalty * jnp.abs(z - (2.0 * share - 1.0)) / 2
