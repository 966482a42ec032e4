"""The paper's hybrid and its relatives."""

from collections.abc import Sequence

from ordseg.losses.binary import bce_majority, bce_mean_vote
from ordseg.losses.inputs import LogProbs, Values, Votes, Weight
from ordseg.losses.levels import rps
from ordseg.losses.regions import IMAGE_AXES, dml
from ordseg.losses.registry import register
from ordseg.ordinal import NumValid
from ordseg.settings import Setting

BINARY_TERMS = ("majority", "mean_vote")


@register(
  "rps_bce",
  levels=True,
  proper=True,
  summary="BCE(`majority`) + α RPS, the paper's hybrid; `binary_term=mean_vote` takes BCE against m instead",
  alpha=Setting("weight of the RPS", ge=0),
  binary_term=Setting("read-out of the cross-entropy", choices=BINARY_TERMS),
)
def rps_bce(
  log_probs: LogProbs,
  votes: Votes,
  num_valid: NumValid | None = None,
  *,
  alpha: float = 0.8,
  divisor: str = "levels",
  binary_term: str = "majority",
) -> Values:
  """The paper's hybrid: BCE + alpha RPS.

  RPS alone is strictly proper, but its gradient vanishes where the network is confidently wrong; the binary term
  repairs that.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel, in the last axis.
    votes: c, in 0..n, one for each pixel.
    num_valid: n; one number, or the leading axes of `votes` that it varies over, such as [B] for [B, H, W]. None: all
      R answered.
    alpha: weight of the RPS, >= 0.
    divisor: what the RPS is divided by; see `rps`.
    binary_term: the read-out the cross-entropy is taken of: ``majority`` (the paper's) or ``mean_vote``.

  Returns:
    One value for each pixel, float32.

  Both of two raters marked the pixel; -log .7 + 2 · (.3² + .6²) / 3:

  >>> import jax.numpy as jnp
  >>> round(float(rps_bce(jnp.log(jnp.asarray([0.3, 0.3, 0.4])), jnp.asarray(2), alpha=2.0)), 4)
  0.6567
  """
  binary = bce_majority if binary_term == "majority" else bce_mean_vote
  return binary(log_probs, votes, num_valid) + alpha * rps(log_probs, votes, num_valid, divisor=divisor)


@register(
  "rps_bce_dml",
  levels=True,
  summary="`rps_bce` + `dml_weight` × `dml`: an overlap term that agrees with soft labels",
  dml_weight=Setting("weight of the Dice semimetric", ge=0),
)
def rps_bce_dml(
  log_probs: LogProbs,
  votes: Votes,
  num_valid: NumValid | None = None,
  weight: Weight | None = None,
  axes: Sequence[int] = IMAGE_AXES,
  *,
  alpha: float = 0.8,
  divisor: str = "levels",
  binary_term: str = "majority",
  dml_weight: float = 1.0,
) -> Values:
  """`rps_bce` + dml_weight x `dml`: the hybrid with an overlap term that agrees with soft labels.

  For the arguments see these two.

  >>> import jax.numpy as jnp
  >>> even = jnp.log(jnp.asarray([[[0.25, 0.5, 0.25]]]))  # as the one rater of two has it: dml is 0
  >>> bool(rps_bce_dml(even, jnp.asarray([[1]])) == rps_bce(even, jnp.asarray([[1]])))
  True
  """
  hybrid = rps_bce(log_probs, votes, num_valid, alpha=alpha, divisor=divisor, binary_term=binary_term)
  return hybrid + dml_weight * dml(log_probs, votes, num_valid, weight, axes)
