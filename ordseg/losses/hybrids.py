"""The paper's hybrid and its relatives."""

from ordseg.heads import Prediction
from ordseg.losses.binary import bce_majority, bce_mean_vote
from ordseg.losses.levels import rps
from ordseg.losses.regions import dml
from ordseg.ordinal import OrdinalTarget
from ordseg.types import Array

BINARY_TERMS = ("majority", "mean_vote")


def rps_bce(
  prediction: Prediction,
  target: OrdinalTarget,
  *,
  alpha: float = 0.8,
  divisor: str = "levels",
  binary_term: str = "majority",
) -> Array:
  """The paper's hybrid: BCE + alpha RPS.

  RPS alone is strictly proper, but its gradient vanishes where the network is confidently wrong; the binary term
  repairs that.

  Args:
    prediction: any ordinal head's.
    target: [B, H, W].
    alpha: weight of the RPS, >= 0.
    divisor: see `rps`.
    binary_term: the read-out the cross-entropy is taken of: ``majority`` (the paper's) or ``mean_vote``.

  Returns:
    [B, H, W] float32.
  """
  binary = bce_majority if binary_term == "majority" else bce_mean_vote
  return binary(prediction, target) + alpha * rps(prediction, target, divisor=divisor)


def rps_bce_dml(
  prediction: Prediction,
  target: OrdinalTarget,
  *,
  alpha: float = 0.8,
  divisor: str = "levels",
  binary_term: str = "majority",
  dml_weight: float = 1.0,
) -> Array:
  """`rps_bce` + dml_weight x `dml`: the hybrid with an overlap term that agrees with soft labels."""
  hybrid = rps_bce(prediction, target, alpha=alpha, divisor=divisor, binary_term=binary_term)
  return hybrid + dml_weight * dml(prediction, target)
