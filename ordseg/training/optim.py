"""Optimisers and learning rates, as explicit optax chains of the fields of ``config.optim``."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ordseg.config import Optim
from ordseg.types import Array, ArrayLike, Params

Schedule = Callable[[Any], Array]  # step, counted from 0 -> learning rate, float32


def get_schedule(optim_config: Optim, num_steps: int) -> Schedule:
  """Returns the learning rate as a function of the step.

  For `warmup_steps` steps it rises linearly, and the step after takes the peak: peak (t + 1) / (warmup_steps + 1). No
  step has rate 0. Then it stays (constant), or falls along half a cosine that would reach
  peak * final_lr_fraction at t = num_steps.

  Args:
    optim_config: the fields learning_rate (the peak), schedule, warmup_steps and final_lr_fraction.
    num_steps: steps of the whole training.
  """
  peak, warmup_steps = float(optim_config.learning_rate), int(optim_config.warmup_steps)
  final = float(optim_config.final_lr_fraction) if optim_config.schedule == "cosine" else 1.0

  def learning_rate(step: ArrayLike | int) -> Array:
    t = jnp.asarray(step, jnp.float32)
    rise = jnp.minimum((t + 1.0) / (warmup_steps + 1.0), 1.0)
    progress = jnp.clip((t - warmup_steps) / max(num_steps - warmup_steps, 1), 0.0, 1.0)
    fall = final + (1.0 - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    return peak * rise * fall

  return learning_rate


def get_tx(optim_config: Optim, num_steps: int) -> optax.GradientTransformation:
  """Builds the optimiser: clip the global norm, precondition, decay the weights, scale by the learning rate.

  Weight decay is decoupled (Loshchilov and Hutter, 2019) and leaves biases and norm scales alone.

  Args:
    optim_config: the fields of ``config.optim``; see docs/configs.md.
    num_steps: steps of the whole training, for the schedule.

  Returns:
    A transformation whose updates are to be added to the parameters; it needs the parameters for the weight decay.
  """
  parts = [OPTIMIZERS[optim_config.name](optim_config)]
  if optim_config.clip_norm > 0:
    parts.insert(0, optax.clip_by_global_norm(optim_config.clip_norm))
  if optim_config.weight_decay > 0:
    parts.append(optax.add_decayed_weights(optim_config.weight_decay, mask=decay_mask))
  parts.append(optax.scale_by_learning_rate(get_schedule(optim_config, num_steps)))
  return optax.chain(*parts)


def decay_mask(params: Params) -> Params:
  """Returns True for every weight, False for every bias and norm scale: those have one axis, or none."""
  return jax.tree.map(lambda p: jnp.ndim(p) > 1, params)


def _adamw(optim_config: Optim) -> optax.GradientTransformation:
  return optax.scale_by_adam(b1=optim_config.b1, b2=optim_config.b2, eps=1e-8)


def _sgd(optim_config: Optim) -> optax.GradientTransformation:
  return optax.trace(decay=optim_config.b1)


# Adding an optimiser is one function of ``config.optim`` to the preconditioner, one line here and its name in
# `config.Optim`.
OPTIMIZERS: dict[str, Callable[[Optim], optax.GradientTransformation]] = {"adamw": _adamw, "sgd": _sgd}
