"""Moves the mean of a distribution over the levels and changes as little else as possible: exponential tilting.

p'_k ~ p_k exp(lambda k) is, of all distributions with the wanted mean, the nearest to p in relative entropy (Csiszar,
1975). Levels that cannot happen stay so, and the result is a distribution whatever the read-out asks for.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ordseg import ordinal
from ordseg.heads import LOG_ZERO
from ordseg.types import Array

_MAX_ITERATIONS = 50  # bisection alone would need some 35
_TOLERANCE = 4e-6  # of the log-odds, times max(1, |log-odds|): what float32 resolves


def mean_vote_logit(log_probs: Array) -> Array:
  """Returns the log-odds of the `mean_vote` read-out, [..., L] -> [...], in the dtype of `log_probs`.

  As `ordinal.foreground_logit`, without its shift: these are log-probabilities, and the search for a tilt, which calls
  this many times, ends where the last bits say.
  """
  weights = jnp.asarray(ordinal.read_out_weights("mean_vote", log_probs.shape[-1] - 1), log_probs.dtype)
  weights = weights.reshape((1,) * (log_probs.ndim - 1) + (-1,))
  return ordinal.log_weighted_sum(log_probs, weights) - ordinal.log_weighted_sum(log_probs, 1 - weights)


def tilt(log_probs: Array, wanted: Array) -> Array:
  """Tilts distributions so that their mean vote has the log-odds `wanted`.

  Solved by Newton's method on the log-odds, per pixel and within a bracket that always holds the solution; a step that
  leaves it, or gains too little, is replaced by halving it. A pixel that has converged is left alone, so that no pixel
  depends on the others it is computed with.

  Args:
    log_probs: [..., L] log-probabilities; at or below `LOG_ZERO` / 2 means impossible.
    wanted: [...] log-odds of the mean vote to reach. Where only one level is possible nothing can be done, and where
      the possible levels do not reach so far the mean comes as near as they allow.

  Returns:
    [..., L] log-probabilities; impossible levels have `LOG_ZERO`.
  """
  z = jax.nn.log_softmax(log_probs, axis=-1)
  possible = log_probs > LOG_ZERO / 2
  levels = jnp.arange(z.shape[-1], dtype=z.dtype).reshape((1,) * wanted.ndim + (-1,))
  # Counted from the wanted mean, so that the levels around it, which decide, are multiplied by small numbers.
  steps = levels - (z.shape[-1] - 1) * jax.nn.sigmoid(wanted)[..., None]

  def at(rate: Array) -> Array:
    return jnp.where(possible, z + rate[..., None] * steps, LOG_ZERO)

  depth = -jnp.min(jnp.where(possible, z, 0.0), axis=-1)
  bound = depth + jnp.abs(wanted) + 2.0 * jnp.log(float(z.shape[-1])) + 1.0
  rate = _solve(at, wanted, levels, bound)
  return jnp.where(possible, jax.nn.log_softmax(at(rate), axis=-1), LOG_ZERO)


def _solve(at: Callable[[Array], Array], wanted: Array, levels: Array, bound: Array) -> Array:
  """Returns the rates [...] in [-bound, bound] at which the mean vote of `at(rate)` has the log-odds `wanted`."""
  tolerance = _TOLERANCE * jnp.maximum(1.0, jnp.abs(wanted))

  def evaluate(rate: Array) -> tuple[Array, Array]:
    z = at(rate)
    gap = mean_vote_logit(z) - wanted
    probs = jax.nn.softmax(z, axis=-1)
    mean = jnp.sum(probs * levels, axis=-1, keepdims=True)
    top = levels.shape[-1] - 1
    below = jnp.sum(probs * levels, axis=-1) * jnp.sum(probs * (top - levels), axis=-1)  # R^2 m (1 - m)
    slope = top * jnp.sum(probs * jnp.square(levels - mean), axis=-1) / jnp.where(below > 0, below, 1.0)
    return gap, slope  # the slope of the log-odds: Var(k) / (R m (1 - m)), at most R

  def more(carry: tuple[Array, ...]) -> Array:
    number, *_, gap, _, _ = carry
    return (number < _MAX_ITERATIONS) & jnp.any(jnp.abs(gap) > tolerance)

  def improve(carry: tuple[Array, ...]) -> tuple[Array, ...]:
    number, rate, low, high, gap, slope, last = carry
    low, high = jnp.where(gap < 0, rate, low), jnp.where(gap < 0, high, rate)
    newton = rate - gap / jnp.where(slope > 0, slope, 1.0)
    slow = jnp.abs(2.0 * gap) > jnp.abs(last * slope)  # the step is not half of the one before
    safe = (newton > low) & (newton < high) & ~slow & (slope > 0)
    new = jnp.where(safe, newton, 0.5 * (low + high))
    done = jnp.abs(gap) <= tolerance
    moved = jnp.where(done, rate, new)
    new_gap, new_slope = evaluate(moved)
    return number + 1, moved, low, high, new_gap, new_slope, moved - rate

  start = jnp.zeros_like(wanted)
  carry = (jnp.asarray(0), start, -bound, bound, *evaluate(start), 2.0 * bound)
  return jax.lax.while_loop(more, improve, carry)[1]
