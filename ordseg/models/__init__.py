"""Networks. Adding one is a module with a flax class and one line in `MODELS`."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ordseg.models import layers
from ordseg.models.unet import UNet
from ordseg.types import ArrayLike, Params
from ordseg.validate import InputError, check_choice

MODELS: dict[str, type[nn.Module]] = {"unet": UNet}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

_MIN_VALUES = {"width": 1, "depth": 1, "blocks_per_level": 1}
_OUTPUT = "output"  # the last layer of every network; `set_output_bias` relies on the name


def check(model_config: Mapping[str, Any]) -> None:
  """Checks the fields of ``config.model`` that the networks read (the head is checked by `heads.get_head`).

  Raises:
    InputError: an unknown model, norm or dtype, or a size or probability out of range.
  """
  check_choice(model_config["name"], MODELS, field="config.model.name")
  check_choice(model_config["norm"], layers.NORMS, field="config.model.norm")
  check_choice(model_config["dtype"], DTYPES, field="config.model.dtype")
  for field, low in _MIN_VALUES.items():
    value = model_config[field]
    if not (isinstance(value, int) and value >= low):
      raise InputError(f"config.model.{field}={value!r} must be an integer >= {low}.")
  if not 0 <= model_config["dropout"] < 1:
    raise InputError(f"config.model.dropout={model_config['dropout']!r} must be a probability in [0, 1).")


def get_model(model_config: Mapping[str, Any], *, num_outputs: int, num_constants: int = 0) -> nn.Module:
  """Builds the network of ``config.model``.

  Args:
    model_config: fields name, width, depth, blocks_per_level, norm, dropout, dtype (see `UNet`).
    num_outputs: K, the channels its head needs (`heads.Head.num_outputs`).
    num_constants: how many of them no pixel can change (`heads.Head.num_constants`).

  Returns:
    A flax module: ``apply({"params": params}, x, is_training=..., rngs={"dropout": key})`` maps [B, H, W, C] to
    float32 logits [B, H, W, K]. `params` is its only collection; the rng is needed only with dropout in training.

  Raises:
    InputError: see `check`.
  """
  check(model_config)
  return MODELS[model_config["name"]](
    num_outputs=num_outputs,
    num_constants=num_constants,
    width=model_config["width"],
    depth=model_config["depth"],
    blocks_per_level=model_config["blocks_per_level"],
    norm=model_config["norm"],
    dropout=model_config["dropout"],
    dtype=DTYPES[model_config["dtype"]],
  )


def set_output_bias(params: Params, bias: ArrayLike) -> Params:
  """Returns `params` with the bias of the output layer replaced.

  Args:
    params: the ``params`` collection of any network of `MODELS`; left unchanged.
    bias: [K], what the untrained network should output on average (`heads.Head.init_bias`).

  Raises:
    InputError: `bias` does not have one value per output.
  """
  old = params[_OUTPUT]["bias"]
  if np.shape(bias) != old.shape:
    raise InputError(f"output bias of shape {np.shape(bias)} does not fit a network with {old.shape[0]} outputs.")
  return {**params, _OUTPUT: {**params[_OUTPUT], "bias": jnp.asarray(bias, old.dtype)}}
