"""Networks. Adding one is a module with a flax class and one line in `MODELS`.

The attributes of the class that ``config.model`` has are the fields the network reads, and their defaults are those of
configs/default.py: a field that the chosen network does not read must be left there.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ordseg.errors import InputError, check_choice
from ordseg.models import layers, pretrained, resnet
from ordseg.models.resnet_fpn import ResNetFPN
from ordseg.models.resnet_unet import ResNetUNet
from ordseg.models.unet import UNet
from ordseg.models.unet3d import UNet3D
from ordseg.types import ArrayLike, Params

MODELS: dict[str, type[nn.Module]] = {
  "unet": UNet,
  "unet3d": UNet3D,
  "resnet_fpn": ResNetFPN,
  "resnet_unet": ResNetUNet,
}
_OF_VOLUMES = ("unet3d",)
_RESNET_STRIDE = 32
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

_MIN_VALUES = {"width": 1, "depth": 1, "blocks_per_level": 1, "flat_levels": 0}
_OUTPUT = "output"  # the last layer of every network; `set_output_bias` relies on the name
_ENCODER = "encoder"  # where a network with an encoder has its parameters
_BUILT = (
  "num_outputs",
  "num_constants",
  "num_classes",
  "parent",
  "name",
)  # attributes that no field of ``config.model`` sets


def _fields(name: str) -> dict[str, Any]:
  """Returns the fields of ``config.model`` that a network reads, with their defaults."""
  return {f.name: f.default for f in dataclasses.fields(MODELS[name]) if f.name not in _BUILT}


def check(model_config: Mapping[str, Any]) -> None:
  """Checks the fields of ``config.model`` that the networks read (the head is checked by `heads.get_head`).

  Raises:
    InputError: an unknown model, norm, dtype or encoder, a size or probability out of range, weights in a file of an
      unknown format, a norm that does not fit the network, or a field changed that the network does not read.
  """
  check_choice(model_config["name"], MODELS, field="config.model.name")
  check_choice(model_config["norm"], layers.NORMS, field="config.model.norm")
  check_choice(model_config["dtype"], DTYPES, field="config.model.dtype")
  for field, low in _MIN_VALUES.items():
    value = model_config.get(field, low)
    if not (isinstance(value, int) and value >= low):
      raise InputError(f"config.model.{field}={value!r} must be an integer >= {low}.")
  if not 0 <= model_config["dropout"] < 1:
    raise InputError(f"config.model.dropout={model_config['dropout']!r} must be a probability in [0, 1).")
  _check_unread(model_config)
  if _ENCODER in _fields(model_config["name"]):
    _check_encoder(model_config)


def _check_unread(model_config: Mapping[str, Any]) -> None:
  name = model_config["name"]
  own = _fields(name)
  for other in MODELS:
    for field, default in _fields(other).items():
      if field not in own and model_config.get(field, default) != default:
        raise InputError(
          f"config.model.{field}={model_config[field]!r} has no effect on config.model.name={name!r}, only on"
          f" {', '.join(m for m in MODELS if field in _fields(m))}: leave it at {default!r}."
        )


def _check_encoder(model_config: Mapping[str, Any]) -> None:
  check_choice(model_config["encoder"], resnet.ENCODERS, field="config.model.encoder")
  pretrained.check_suffix(model_config["encoder_weights"])
  if model_config["norm"] == "none":
    raise InputError(
      f"config.model.norm='none' does not fit config.model.name={model_config['name']!r}: without a norm the sums of"
      " its residual blocks grow with depth. Use 'group' or 'instance'."
    )


def num_axes(model_config: Mapping[str, Any]) -> int:
  """Returns 2 for a network of images [B, H, W, C], 3 for one of volumes [B, D, H, W, C]."""
  return 3 if model_config["name"] in _OF_VOLUMES else 2


def size_multiples(model_config: Mapping[str, Any]) -> tuple[int, ...]:
  """Returns how often the network halves each axis, as the factor: (H, W), or (D, H, W) for volumes."""
  if "resnet" in model_config["name"]:
    return (_RESNET_STRIDE, _RESNET_STRIDE)
  steps = model_config["depth"] - 1
  within = 2**steps
  if num_axes(model_config) == 2:
    return (within, within)
  return (2 ** max(steps - model_config.get("flat_levels", 0), 0), within, within)


def get_model(
  model_config: Mapping[str, Any], *, num_outputs: int, num_constants: int = 0, num_classes: int = 1
) -> nn.Module:
  """Builds the network of ``config.model``.

  Args:
    model_config: the field name and those that the network reads (see the classes of `MODELS`).
    num_outputs: K, the channels its head needs (`heads.Head.num_outputs`).
    num_constants: how many of them no pixel can change (`heads.Head.num_constants`).
    num_classes: structures that are segmented side by side, each with K outputs.

  Returns:
    A flax module: ``apply({"params": params}, x, is_training=..., rngs={"dropout": key})`` maps [B, H, W, C],
    or volumes [B, D, H, W, C], to float32 logits [.., num_classes K]. `params` is its only collection; the rng is
    needed only with dropout in training.

  Raises:
    InputError: see `check`.
  """
  check(model_config)
  fields = {field: model_config.get(field, default) for field, default in _fields(model_config["name"]).items()}
  fields["dtype"] = DTYPES[fields["dtype"]]
  built = {"num_outputs": num_outputs, "num_constants": num_constants, "num_classes": num_classes}
  return MODELS[model_config["name"]](**built, **fields)


def read_encoder(model_config: Mapping[str, Any], *, num_channels: int) -> Params | None:
  """Reads the encoder's parameters from ``config.model.encoder_weights``; see `pretrained.read_encoder`.

  Args:
    model_config: as for `get_model`.
    num_channels: C of the images.

  Returns:
    Nested dicts of float32 arrays, or None where the config names no file.

  Raises:
    InputError: the file is missing, unreadable, or of another network.
  """
  if not model_config.get("encoder_weights"):
    return None
  return pretrained.read_encoder(model_config["encoder_weights"], model_config["encoder"], num_channels=num_channels)


def set_encoder(params: Params, encoder: Params) -> Params:
  """Returns `params` with those of the encoder replaced by what `read_encoder` returned; leaves `params` unchanged."""
  return {**params, _ENCODER: jax.tree.map(jnp.asarray, encoder)}


def set_output_bias(params: Params, bias: ArrayLike) -> Params:
  """Returns `params` with the bias of the output layer replaced.

  Args:
    params: the ``params`` collection of any network of `MODELS`; left unchanged.
    bias: [K], what the untrained network should output on average (`heads.Head.init_bias`), class after class.

  Raises:
    InputError: `bias` does not have one value per output.
  """
  old = params[_OUTPUT]["bias"]
  if np.shape(bias) != old.shape:
    raise InputError(f"output bias of shape {np.shape(bias)} does not fit a network with {old.shape[0]} outputs.")
  return {**params, _OUTPUT: {**params[_OUTPUT], "bias": jnp.asarray(bias, old.dtype)}}
