"""Negative controls: scores of the levels that look like the RPS and are not proper."""

import jax.numpy as jnp

from ordseg.losses.inputs import LogProbs, Values, Votes, as_arrays
from ordseg.losses.levels import cdf_gaps, divided
from ordseg.losses.registry import register
from ordseg.ordinal import NumValid


@register("w1", levels=True, summary="Σ|P_j − F_j|: a negative control")
def w1(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None, *, divisor: str = "levels") -> Values:
  """Wasserstein-1 distance sum_j |P_j - F_j| / divisor: a negative control.

  Not proper: it is least where all mass lies at the median level. For the arguments see `losses.rps`.

  >>> round(float(w1(jnp.log(jnp.asarray([0.3, 0.3, 0.4])), jnp.asarray(2), divisor="none")), 3)
  0.9
  """
  log_probs, votes, n = as_arrays(log_probs, votes, num_valid)
  return divided(jnp.sum(jnp.abs(cdf_gaps(log_probs, votes, n)), axis=-1), n, divisor)


@register("sa_rps", levels=True, summary="the square of `w1` (Galdran, 2023): a negative control")
def sa_rps(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None, *, divisor: str = "levels") -> Values:
  """Squared absolute RPS, the square of `w1` (Galdran, 2023): a negative control. Not proper.

  >>> round(float(sa_rps(jnp.log(jnp.asarray([0.3, 0.3, 0.4])), jnp.asarray(2), divisor="none")), 3)
  0.81
  """
  return jnp.square(w1(log_probs, votes, num_valid, divisor=divisor))
