"""Arrays of any leading shape: which panel rated what.

Targets, thinning and losses take [*b, L] and [*b]: pixels, an image, a volume, with or without axes before them. How
many raters answered, n, is one number, or has the leading axes of those that it varies over: [B] for images [B, H, W].
"""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer

from ordseg.errors import InputError
from ordseg.types import Array, ArrayLike

NumValid = Integer[ArrayLike, "..."] | int


def spread(x: ArrayLike, shape: tuple[int, ...], *, name: str) -> Array:
  """Gives x axes of length 1 at the end, so that it broadcasts against arrays of a shape that begins as its own does.

  Args:
    x: a number, or an array with the leading axes of `shape`.
    shape: what it will be combined with.
    name: what a message calls x.

  Raises:
    InputError: x has other axes.

  >>> spread(jnp.asarray([3, 4]), (2, 5, 5), name="num_valid").shape
  (2, 1, 1)
  """
  x = jnp.asarray(x)
  if x.shape != shape[: x.ndim]:
    raise InputError(
      f"{name} has the shape {x.shape}, but belongs to arrays {shape}: give one number, or their leading axes, such as "
      f"{shape[:1]}."
    )
  return x.reshape(x.shape + (1,) * (len(shape) - x.ndim))


def as_num_valid(num_valid: NumValid | None, shape: tuple[int, ...], num_raters: int) -> Integer[Array, "..."]:
  """Returns n as an array that fits votes of that shape.

  Args:
    num_valid: how many raters answered; None: all.
    shape: [*b], of the votes.
    num_raters: R.

  Raises:
    InputError: it has axes that the votes have not, or numbers outside 0..R, as far as those are known before the
      program runs: a traced array is not looked at.

  >>> as_num_valid(None, (2, 8, 8), 5)
  Array(5, dtype=int32)
  """
  if num_valid is None:
    return jnp.asarray(num_raters, jnp.int32)
  if not isinstance(num_valid, jax.Array) and not np.all((np.asarray(num_valid) >= 0) & (num_valid <= num_raters)):
    raise InputError(f"num_valid={num_valid} must be in 0..{num_raters}: the levels are those of {num_raters} raters.")
  n = jnp.asarray(num_valid)
  spread(n, shape, name="num_valid")
  return n
