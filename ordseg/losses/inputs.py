"""What every loss does first with its arrays, and the types of its arguments."""

# pyright: reportUnknownMemberType=false

import jax.numpy as jnp
from jaxtyping import Float, Integer

from ordseg import ordinal
from ordseg.errors import InputError
from ordseg.ordinal import NumValid
from ordseg.types import Array, ArrayLike

LogProbs = Float[ArrayLike, "*b L"]
Votes = Integer[ArrayLike, "*b"]
Values = Float[Array, "*b"]
Weight = Float[ArrayLike, "*b"]


def as_arrays(log_probs: LogProbs, votes: Votes, num_valid: NumValid | None) -> tuple[Array, Array, Array]:
  """Returns log_probs, votes and n as JAX arrays whose shapes fit.

  Args:
    log_probs: log-probabilities of the levels 0..R of a full panel, in the last axis.
    votes: c, one for each pixel of `log_probs`.
    num_valid: n, see `ordinal.as_num_valid`; None: all R.

  Raises:
    InputError: the shapes do not fit, which numpy's rules might hide by repeating what is missing.

  >>> as_arrays(jnp.zeros((8, 8, 4)), jnp.zeros((8, 8), jnp.int32), None)[2]
  Array(3, dtype=int32)
  """
  if log_probs.shape[:-1] != votes.shape:
    raise InputError(f"votes have the shape {votes.shape}; log_probs {log_probs.shape} need {log_probs.shape[:-1]}.")
  return (
    jnp.asarray(log_probs),
    jnp.asarray(votes),
    ordinal.as_num_valid(num_valid, votes.shape, log_probs.shape[-1] - 1),
  )


def as_weight(weight: Weight | None, votes: Votes) -> Values:
  """Returns 1 where a pixel counts, as float32 in the shape of `votes`; None: everywhere.

  >>> as_weight(None, jnp.zeros((2,), jnp.int32))
  Array([1., 1.], dtype=float32)
  """
  if weight is None:
    return jnp.ones(votes.shape, jnp.float32)
  if weight.shape != votes.shape:
    raise InputError(f"weight has the shape {weight.shape}; the votes {votes.shape}: they must be equal.")
  return jnp.asarray(weight, jnp.float32)
