"""Losses of the distribution over the levels. With missing raters the prediction is thinned to those who answered."""

import jax
import jax.numpy as jnp

from ordseg import ordinal
from ordseg.heads import Prediction
from ordseg.ordinal import OrdinalTarget
from ordseg.types import Array

DIVISORS = ("levels", "thresholds", "none")


def _cdf_difference(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Q_j - F_j, [B, H, W, L]; 0 for j >= n."""
  cdf = ordinal.thinned_cdf(prediction.level_probs, target.num_valid)
  return cdf - ordinal.target_cdf(target.vote_counts, cdf.shape[-1])


def _divided(score: Array, target: OrdinalTarget, divisor: str) -> Array:
  """`score` [B, H, W] over n + 1, n or 1."""
  if divisor == "none":
    return score
  terms = jnp.maximum(target.num_valid + 1 if divisor == "levels" else target.num_valid, 1)
  return score / terms.astype(jnp.float32)[:, None, None]


def rps(prediction: Prediction, target: OrdinalTarget, *, divisor: str = "levels") -> Array:
  """Ranked Probability Score: sum_{j=0..n} (P_j - F_j)^2 / divisor (Epstein 1969), of the prediction thinned to n.

  Where n < R raters answered, the full-panel prediction is thinned to n raters first (hypergeometric), so that the
  score stays strictly proper for what was observed and nothing is imputed.

  Args:
    prediction: any head's.
    target: [B, H, W].
    divisor: ``levels`` n + 1 (the paper's, as a public re-implementation has it), ``thresholds`` n (then one rater
      gives the Brier score), or ``none`` 1.

  Returns:
    [B, H, W] float32, 0 where n = 0.
  """
  return _divided(jnp.sum(jnp.square(_cdf_difference(prediction, target)), axis=-1), target, divisor)


def squared_emd(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Squared earth mover's distance between the cumulative distributions (Hou, Yu, Samaras, 2016).

  For a target that is one level it is the RPS with the divisor ``levels``; here under the name its users look for.
  """
  return rps(prediction, target, divisor="levels")


def nll(prediction: Prediction, target: OrdinalTarget) -> Array:
  """-log q_c of the observed count, in nats: with the softmax head nominal cross-entropy on the count, which ignores
  the order of the levels; with the other heads their own likelihood (CORN's, binomial, beta-binomial)."""
  return -ordinal.thinned_log_prob_of(prediction.log_level_probs, target.vote_counts, target.num_valid)


def sord(prediction: Prediction, target: OrdinalTarget, *, sord_scale: float = 1.0) -> Array:
  """Cross-entropy against levels softened by distance: t_k ~ exp(-scale |k - c|), k = 0..n (Diaz, Marathe, 2019).

  Not proper: even a certain panel is told to be unsure.
  """
  num_levels = prediction.log_level_probs.shape[-1]
  levels = jnp.arange(num_levels).reshape(1, 1, 1, -1)
  distance = jnp.abs(levels - target.vote_counts[..., None]).astype(jnp.float32)
  possible = levels <= target.num_valid[:, None, None, None]
  soft = jax.nn.softmax(jnp.where(possible, -sord_scale * distance, -jnp.inf), axis=-1)
  log_q = ordinal.thinned_log_probs(prediction.log_level_probs, target.num_valid)
  return -jnp.sum(jnp.where(possible, soft * log_q, 0.0), axis=-1)


def w1(prediction: Prediction, target: OrdinalTarget, *, divisor: str = "levels") -> Array:
  """Wasserstein-1 distance sum_j |P_j - F_j| / divisor: a negative control.

  Not proper: it is least where all mass lies at the median level.
  """
  return _divided(jnp.sum(jnp.abs(_cdf_difference(prediction, target)), axis=-1), target, divisor)


def sa_rps(prediction: Prediction, target: OrdinalTarget, *, divisor: str = "levels") -> Array:
  """Squared absolute RPS, the square of `w1` (Galdran, 2023): a negative control. Not proper."""
  return jnp.square(w1(prediction, target, divisor=divisor))
