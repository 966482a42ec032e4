"""The ranked ignorance score: a logarithmic score that knows the order of the levels."""

# pyright: reportUnknownMemberType=false

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ordseg import ordinal
from ordseg.errors import InputError
from ordseg.losses.inputs import LogProbs, Values, Votes, as_arrays
from ordseg.losses.registry import register
from ordseg.ordinal import NumValid
from ordseg.settings import Setting


def parse_weights(text: str) -> tuple[float, ...]:
  """Reads ``config.loss.threshold_weights``; '' gives ().

  Raises:
    ValueError: something in it is no finite number > 0.

  >>> parse_weights("1,2,2,1")
  (1.0, 2.0, 2.0, 1.0)
  """
  values = tuple(float(number) for number in text.split(",")) if text else ()
  if not all(value > 0 and math.isfinite(value) for value in values):
    raise ValueError(text)
  return values


def _expected(text: str) -> str:
  try:
    parse_weights(text)
  except ValueError:
    return "numbers > 0 with commas between, such as '1,2,2,1', or ''"
  return ""


@register(
  "ranked_ignorance",
  levels=True,
  proper=True,
  summary='mean over j = 1..n of the log score of "at least j": a logarithmic RPS (below)',
  threshold_weights=Setting(
    "weights of 'at least 1' .. 'at least R', such as '1,2,2,1'; '' is all alike", check=_expected
  ),
)
def ranked_ignorance(
  log_probs: LogProbs, votes: Votes, num_valid: NumValid | None = None, *, threshold_weights: str = ""
) -> Values:
  """Mean over j = 1..n of the binary log score of "at least j votes", of the prediction thinned to n.

      -sum_j w_j (1[c >= j] log P(c >= j) + 1[c < j] log P(c < j)) / sum_j w_j

  The ranked version of the ignorance score (Toedter and Ahrens, Mon. Weather Rev. 140, 2012,
  doi 10.1175/MWR-D-11-00266.1), in nats. Strictly proper for weights > 0. As the RPS it asks each threshold, so a miss
  by one level costs less than one by three; unlike it, its gradient does not vanish where the network is confidently
  wrong. docs/method.md, section 4, has its bridges to the RPS and to soft BCE.

  Each term is softplus of the threshold's logit, a difference of two log-sum-exps, signed by the outcome: exact for a
  probability of 1 - 1e-30 as for one of 1e-30.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel, in the last axis.
    votes: c, in 0..n, one for each pixel.
    num_valid: n; one number, or the leading axes of `votes` that it varies over. None: all R answered.
    threshold_weights: one number > 0 per threshold j = 1..R, with commas between; '' weighs all alike. Where n < R
      raters answered, threshold j has the weight at the share j / n of the panel, linear between those given.

  Returns:
    One value for each pixel, float32, >= 0, and 0 where n = 0.

  Raises:
    InputError: the weights are not R numbers > 0.

  Both of two raters marked the pixel: -(log .7 + log .4) / 2.

  >>> round(float(ranked_ignorance(jnp.log(jnp.asarray([0.3, 0.3, 0.4])), jnp.asarray(2))), 4)
  0.6365
  """
  log_probs, votes, n = as_arrays(log_probs, votes, num_valid)
  num_raters = log_probs.shape[-1] - 1
  reach = jnp.asarray(_reach_table(num_raters))[n]  # [*n, j, L]
  weights = jnp.asarray(_weight_table(num_raters, threshold_weights))[n]  # [*n, j]
  total = jnp.zeros(votes.shape, jnp.float32)
  for j in range(num_raters):
    logit = ordinal.foreground_logit(log_probs, reach[..., j, :])
    term = jax.nn.softplus(jnp.where(votes > j, -logit, logit))
    total += ordinal.spread(weights[..., j], votes.shape, name="num_valid") * term
  return total


@functools.cache
def _reach_table(num_raters: int) -> np.ndarray:
  """[n, j - 1, l] float32: P(c >= j | l, n). For j > n, which weigh nothing, any row with a finite logit."""
  tails = np.flip(np.cumsum(np.flip(ordinal.thinning_matrices(num_raters), -1), -1), -1)[..., 1:]
  reach = np.moveaxis(tails, -1, 1).astype(np.float32)  # rounds 1 - 1e-16 to 1
  thresholds = np.arange(1, num_raters + 1)
  asked = thresholds <= np.arange(num_raters + 1)[:, None]
  return np.where(asked[..., None], reach, reach[num_raters, :1])


def _weight_table(num_raters: int, threshold_weights: str) -> np.ndarray:
  """[n, j - 1] float32, each row sums to 1 over j = 1..n, that of n = 0 to 0."""
  if expected := _expected(threshold_weights):
    raise InputError(f"threshold_weights={threshold_weights!r} must be {expected}.")
  given = parse_weights(threshold_weights) or (1.0,) * num_raters
  if len(given) != num_raters:
    raise InputError(
      f"config.loss.threshold_weights={threshold_weights!r} has {len(given)} numbers; the panel has {num_raters} "
      f"raters, so it takes one for each of 'at least 1' .. 'at least {num_raters}'."
    )
  shares = np.arange(1, num_raters + 1) / num_raters
  table = np.zeros((num_raters + 1, num_raters))
  for n in range(1, num_raters + 1):
    row = np.interp(np.arange(1, n + 1) / n, shares, given)
    table[n, :n] = row / row.sum()
  return table.astype(np.float32)
