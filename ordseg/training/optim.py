"""Optimisers and learning rates, as explicit optax chains of the fields of ``config.optim``."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ordseg.errors import InputError, check_choice
from ordseg.types import Array, ArrayLike, Params

Schedule = Callable[[Any], Array]  # step, counted from 0 -> learning rate, float32

SCHEDULES = ("constant", "cosine")

# field -> (is right, what was expected)
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
  "learning_rate": (lambda x: x > 0, "> 0"),
  "warmup_steps": (lambda x: x >= 0, ">= 0"),
  "final_lr_fraction": (lambda x: 0 <= x <= 1, "in [0, 1]"),
  "weight_decay": (lambda x: x >= 0, ">= 0"),
  "b1": (lambda x: 0 <= x < 1, "in [0, 1)"),
  "b2": (lambda x: 0 <= x < 1, "in [0, 1)"),
  "clip_norm": (lambda x: x >= 0, ">= 0 (0 is off)"),
  "ema_decay": (lambda x: 0 <= x < 1, "in [0, 1) (0 is off)"),
}


def check(optim_config: Mapping[str, Any]) -> None:
  """Checks the fields of ``config.optim``.

  Raises:
    InputError: an unknown name or schedule, or a number out of range.
  """
  check_choice(optim_config["name"], OPTIMIZERS, field="config.optim.name")
  check_choice(optim_config["schedule"], SCHEDULES, field="config.optim.schedule")
  for field, (is_right, expected) in _RULES.items():
    value = optim_config[field]
    if not is_right(value):
      raise InputError(f"config.optim.{field}={value!r} must be {expected}.")


def get_schedule(optim_config: Mapping[str, Any], num_steps: int) -> Schedule:
  """Returns the learning rate as a function of the step.

  For `warmup_steps` steps it rises linearly, and the step after takes the peak: peak (t + 1) / (warmup_steps + 1). No
  step has rate 0. Then it stays (constant), or falls along half a cosine that would reach
  peak * final_lr_fraction at t = num_steps.

  Args:
    optim_config: the fields learning_rate (the peak), schedule, warmup_steps and final_lr_fraction.
    num_steps: steps of the whole training.

  Raises:
    InputError: see `check`.
  """
  check(optim_config)
  peak, warmup_steps = float(optim_config["learning_rate"]), int(optim_config["warmup_steps"])
  final = float(optim_config["final_lr_fraction"]) if optim_config["schedule"] == "cosine" else 1.0

  def learning_rate(step: ArrayLike | int) -> Array:
    t = jnp.asarray(step, jnp.float32)
    rise = jnp.minimum((t + 1.0) / (warmup_steps + 1.0), 1.0)
    progress = jnp.clip((t - warmup_steps) / max(num_steps - warmup_steps, 1), 0.0, 1.0)
    fall = final + (1.0 - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    return peak * rise * fall

  return learning_rate


def get_tx(optim_config: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
  """Builds the optimiser: clip the global norm, precondition, decay the weights, scale by the learning rate.

  Weight decay is decoupled (Loshchilov and Hutter, 2019) and leaves biases and norm scales alone.

  Args:
    optim_config: the fields of ``config.optim``; see configs/default.py.
    num_steps: steps of the whole training, for the schedule.

  Returns:
    A transformation whose updates are to be added to the parameters; it needs the parameters for the weight decay.

  Raises:
    InputError: see `check`.
  """
  check(optim_config)
  parts = [OPTIMIZERS[optim_config["name"]](optim_config)]
  if optim_config["clip_norm"] > 0:
    parts.insert(0, optax.clip_by_global_norm(optim_config["clip_norm"]))
  if optim_config["weight_decay"] > 0:
    parts.append(optax.add_decayed_weights(optim_config["weight_decay"], mask=decay_mask))
  parts.append(optax.scale_by_learning_rate(get_schedule(optim_config, num_steps)))
  return optax.chain(*parts)


def decay_mask(params: Params) -> Params:
  """Returns True for every weight, False for every bias and norm scale: those have one axis, or none."""
  return jax.tree.map(lambda p: jnp.ndim(p) > 1, params)


def _adamw(optim_config: Mapping[str, Any]) -> optax.GradientTransformation:
  return optax.scale_by_adam(b1=optim_config["b1"], b2=optim_config["b2"], eps=1e-8)


def _sgd(optim_config: Mapping[str, Any]) -> optax.GradientTransformation:
  return optax.trace(decay=optim_config["b1"])


# Adding an optimiser is one function of ``config.optim`` to the preconditioner, and one line here.
OPTIMIZERS: dict[str, Callable[[Mapping[str, Any]], optax.GradientTransformation]] = {"adamw": _adamw, "sgd": _sgd}
