"""Losses that look at a pixel's 3 x 3 neighbourhood: the last two axes are those of one image."""

# pyright: reportUnknownMemberType=false

import jax.numpy as jnp
from jaxtyping import Float

from ordseg.errors import InputError
from ordseg.losses.binary import binary_cross_entropy, majority_pair
from ordseg.losses.inputs import LogProbs, Values, Votes, Weight, as_weight
from ordseg.losses.registry import register
from ordseg.ordinal import NumValid
from ordseg.settings import Setting
from ordseg.types import Array


def neighbourhood_mean(values: Values, weight: Values, kernel: Float[Array, "3 3"]) -> Values:
  """Returns the weighted mean over each pixel's 3 x 3 neighbourhood; pixels outside, or of weight 0, take no part.

  Args:
    values: [.., H, W].
    weight: The weight of each pixel, in the same shape.
    kernel: The weight of each neighbour.

  Raises:
    InputError: there are not two axes.

  >>> round(float(neighbourhood_mean(jnp.asarray([[1.0, 0.0, 0.0]]), jnp.ones((1, 3)), jnp.ones((3, 3)))[0, 0]), 3)
  0.5
  """
  if values.ndim < 2:
    raise InputError(
      f"a loss that looks at neighbours needs images [.., H, W], not pixels of the shape {values.shape}."
    )

  def spread(x: Array) -> Array:
    padded = jnp.pad(x, ((0, 0),) * (x.ndim - 2) + ((1, 1), (1, 1)))
    h, w = x.shape[-2:]
    parts = (kernel[i, j] * padded[..., i : i + h, j : j + w] for i in range(3) for j in range(3))
    return sum(parts, jnp.zeros_like(x))

  return spread(values * weight) / jnp.maximum(spread(weight), 1e-6)


def svls_kernel(sigma: float) -> Float[Array, "3 3"]:
  """Returns a Gaussian around, and a centre that weighs as much as all its neighbours.

  >>> kernel = svls_kernel(1.0)
  >>> round(float((kernel[1, 1] / kernel.sum())), 3)
  0.5
  """
  offsets = jnp.asarray([-1.0, 0.0, 1.0])
  row = jnp.exp(-0.5 * jnp.square(offsets / sigma))
  around = jnp.outer(row, row).at[1, 1].set(0.0)
  return around.at[1, 1].set(jnp.sum(around))


@register(
  "svls",
  for_volumes=False,
  summary="BCE against labels blurred 3 × 3 near outlines (Islam, Glocker, 2021)",
  svls_sigma=Setting("standard deviation of the 3 × 3 Gaussian, pixels", ge=1e-3),
)
def svls(
  log_probs: LogProbs,
  votes: Votes,
  num_valid: NumValid | None = None,
  weight: Weight | None = None,
  *,
  svls_sigma: float = 1.0,
) -> Values:
  """Spatially varying label smoothing: labels blurred near outlines only, 3 x 3 (Islam, Glocker, 2021).

  At the image's edge the mean is over the pixels that are there, where the authors repeat the edge.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel, [.., H, W, L].
    votes: c, in 0..n, [.., H, W].
    num_valid: n; one number, or the leading axes of `votes` that it varies over. None: all R answered.
    weight: 1 where a pixel counts, 0 where it is nobody's neighbour; None: all count.
    svls_sigma: standard deviation of the Gaussian, pixels.

  Where all agree nothing is blurred, and it is the cross-entropy, here log 2:

  >>> round(float(svls(jnp.log(jnp.asarray([[[0.5, 0.25, 0.25]] * 2])), jnp.asarray([[2, 2]]))[0, 0]), 3)
  0.693
  """
  z, label = majority_pair(log_probs, votes, num_valid)
  return binary_cross_entropy(z, neighbourhood_mean(label, as_weight(weight, votes), svls_kernel(svls_sigma)))


@register(
  "nacl",
  for_volumes=False,
  summary="BCE + penalty · mean over the two classes of |τ_k − z_k|, τ their shares in the 3 × 3 neighbourhood; with "
  "what is common to both logits at its best, ½ |z − (τ₁ − τ₀)| (Murugesan et al., 2023)",
)
def nacl(
  log_probs: LogProbs,
  votes: Votes,
  num_valid: NumValid | None = None,
  weight: Weight | None = None,
  *,
  penalty: float = 0.1,
) -> Values:
  """Cross-entropy + penalty mean_k |tau_k - z_k|: logits held near the classes' shares tau in the 3 x 3 neighbourhood
  (Murugesan et al., 2023).

  The authors' network has a logit for each of the two classes, and the cross-entropy sees their difference z alone.
  What is common to both is free, and at its best the penalty is |z - (tau_1 - tau_0)| / 2, by the triangle inequality:
  that is what the one logit of a read-out is charged here. Logits tied to -z / 2 and z / 2 would feel no z within 1 of
  tau_1 - tau_0. For the first four arguments see `svls`.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel, [.., H, W, L].
    votes: c, in 0..n, [.., H, W].
    num_valid: n; None: all R answered.
    weight: 1 where a pixel counts; None: all count.
    penalty: weight of the term on the logits.

  z = 0 where all neighbours are foreground: log 2 + |0 - 1| / 2.

  >>> round(float(nacl(jnp.log(jnp.asarray([[[0.5, 0.25, 0.25]] * 2])), jnp.asarray([[2, 2]]), penalty=1.0)[0, 0]), 3)
  1.193
  """
  z, label = majority_pair(log_probs, votes, num_valid)
  share = neighbourhood_mean(label, as_weight(weight, votes), jnp.ones((3, 3)))
  return binary_cross_entropy(z, label) + penalty * jnp.abs(z - (2.0 * share - 1.0)) / 2
