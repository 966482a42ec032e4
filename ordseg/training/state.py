"""The training state: one plain pytree, never stacked over devices."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ordseg.types import Array, Params


@struct.dataclass
class TrainState:
  """What training changes.

  Attributes:
    step: int32 scalar, batches consumed so far.
    params: the network's parameters.
    opt_state: the optimiser's state.
    ema_params: exponential moving average of `params`, or None when it is off.
  """

  step: Array
  params: Params
  opt_state: Any
  ema_params: Params | None = None

  @property
  def eval_params(self) -> Params:
    """The parameters to evaluate with: the average where there is one."""
    return self.params if self.ema_params is None else self.ema_params


def create(params: Params, tx: optax.GradientTransformation, *, with_ema: bool) -> TrainState:
  """Returns the state at step 0.

  Args:
    params: initial parameters.
    tx: the optimiser.
    with_ema: whether to keep an average. It gets its own copy: two leaves on one buffer cannot both be donated.
  """
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=tx.init(params),
    ema_params=jax.tree.map(jnp.copy, params) if with_ema else None,
  )
