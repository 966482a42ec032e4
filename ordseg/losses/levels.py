"""Losses of the distribution over the levels. With missing raters the prediction is thinned to those who answered."""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp

from ordseg import ordinal
from ordseg.losses.inputs import LogProbs, Values, Votes, as_arrays
from ordseg.losses.registry import register
from ordseg.ordinal import NumValid
from ordseg.settings import Setting
from ordseg.types import Array

DIVISORS = ("levels", "thresholds", "none")


def cdf_gaps(log_probs: Array, votes: Array, num_valid: Array) -> Array:
  """Returns Q_j - F_j of the thinned prediction, [*b, L]; 0 for j >= n.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel, in the last axis.
    votes: c, in 0..n.
    num_valid: n; a number, or the leading axes of `votes`.

  >>> [round(float(x), 3) for x in cdf_gaps(jnp.log(jnp.asarray([0.3, 0.3, 0.4])), jnp.asarray(2), jnp.asarray(2))]
  [0.3, 0.6, 0.0]
  """
  cdf = ordinal.thinned_cdf(jnp.exp(log_probs), num_valid)
  return cdf - ordinal.target_cdf(votes, cdf.shape[-1])


def divided(score: Values, num_valid: Array, divisor: str) -> Values:
  """Returns a sum over the levels divided by n + 1, n or 1; where n = 0, by 1.

  Args:
    score: one sum for each pixel.
    num_valid: n; a number, or the leading axes of `score`.
    divisor: ``levels``, ``thresholds`` or ``none``.

  >>> divided(jnp.asarray([6.0]), jnp.asarray(2), "levels")
  Array([2.], dtype=float32)
  """
  if divisor == "none":
    return score
  terms = jnp.maximum(num_valid + 1 if divisor == "levels" else num_valid, 1)
  return score / ordinal.spread(terms.astype(jnp.float32), score.shape, name="num_valid")


@register(
  "rps",
  levels=True,
  proper=True,
  summary="RPS alone",
  divisor=Setting("what the sum is divided by: levels n + 1, thresholds n, none 1", choices=DIVISORS),
)
def rps(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None, *, divisor: str = "levels") -> Values:
  """Ranked Probability Score: sum_{j=0..n} (P_j - F_j)^2 / divisor (Epstein 1969), of the prediction thinned to n.

  Where n < R raters answered, the full-panel prediction is thinned to n raters first (hypergeometric), so that the
  score stays strictly proper for what was observed and nothing is imputed.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel, in the last axis.
    votes: c, in 0..n, one for each pixel.
    num_valid: n; one number, or the leading axes of `votes` that it varies over, such as [B] for [B, H, W]. None: all
      R answered.
    divisor: ``levels`` n + 1 (the paper's, as a public re-implementation has it), ``thresholds`` n (then one rater
      gives the Brier score), or ``none`` 1.

  Returns:
    One value for each pixel, float32; 0 where n = 0.

  Both of two raters marked the pixel, P = (.3, .6, 1): (.3² + .6²) / 2.

  >>> round(float(rps(jnp.log(jnp.asarray([0.3, 0.3, 0.4])), jnp.asarray(2), divisor="thresholds")), 4)
  0.225
  """
  log_probs, votes, n = as_arrays(log_probs, votes, num_valid)
  return divided(jnp.sum(jnp.square(cdf_gaps(log_probs, votes, n)), axis=-1), n, divisor)


@register(
  "squared_emd",
  levels=True,
  proper=True,
  summary="the squared earth mover's distance (Hou et al., 2016): the same sum as `rps`, by another name",
)
def squared_emd(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None) -> Values:
  """Squared earth mover's distance between the cumulative distributions (Hou, Yu, Samaras, 2016).

  For a target that is one level it is the RPS with the divisor ``levels``; here under the name its users look for. For
  the arguments see `rps`.

  >>> round(float(squared_emd(jnp.log(jnp.asarray([0.3, 0.3, 0.4])), jnp.asarray(2))), 4)
  0.15
  """
  return rps(log_probs, votes, num_valid, divisor="levels")


@register(
  "nll",
  levels=True,
  proper=True,
  summary="−log q_c: nominal cross-entropy with softmax, else the head's own likelihood",
)
def nll(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None) -> Values:
  """-log q_c of the observed count, in nats.

  With the softmax head nominal cross-entropy on the count, which ignores the order of the levels; with the other heads
  their own likelihood (CORN's, binomial, beta-binomial). For the arguments see `rps`.

  >>> round(float(jnp.exp(-nll(jnp.log(jnp.asarray([0.3, 0.3, 0.4])), jnp.asarray(2)))), 3)
  0.4
  """
  log_probs, votes, n = as_arrays(log_probs, votes, num_valid)
  return -ordinal.thinned_log_prob_of(log_probs, votes, n)


@register(
  "sord",
  levels=True,
  summary="cross-entropy against exp(−|k − c|), normalised (Díaz, Marathe, 2019)",
  sord_scale=Setting("decay of the softened levels, per level of distance", ge=0),
)
def sord(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None, *, sord_scale: float = 1.0) -> Values:
  """Cross-entropy against levels softened by distance: t_k ~ exp(-scale |k - c|), k = 0..n (Diaz, Marathe, 2019).

  Not proper: it is least for an unsure prediction even where all raters agree. For the first three arguments see `rps`.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel.
    votes: c, in 0..n.
    num_valid: n; None: all R answered.
    sord_scale: decay per level of distance, >= 0; at 0 every level is as right as any other.

  >>> round(float(sord(jnp.log(jnp.asarray([0.25, 0.25, 0.5])), jnp.asarray(2), sord_scale=0.0)), 3)  # (5 / 3) log 2
  1.155
  """
  log_probs, votes, n = as_arrays(log_probs, votes, num_valid)
  levels = jnp.arange(log_probs.shape[-1]).reshape((1,) * votes.ndim + (-1,))
  distance = jnp.abs(levels - votes[..., None]).astype(jnp.float32)
  possible = levels <= ordinal.spread(n, votes.shape, name="num_valid")[..., None]
  soft = jax.nn.softmax(jnp.where(possible, -sord_scale * distance, -jnp.inf), axis=-1)
  log_q = ordinal.thinned_log_probs(log_probs, n)
  return -jnp.sum(jnp.where(possible, soft * log_q, 0.0), axis=-1)
