"""Networks. Adding one is a module with a flax class and one line in `NETWORKS`.

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

from ordseg.errors import InputError
from ordseg.models import layers, pretrained, resnet
from ordseg.models.resnet_fpn import ResNetFPN
from ordseg.models.resnet_unet import ResNetUNet
from ordseg.models.unet import UNet
from ordseg.models.unet3d import UNet3D
from ordseg.settings import Registry, Setting
from ordseg.types import ArrayLike, Params

_ALL: dict[str, type[nn.Module]] = {
  "unet": UNet,
  "unet3d": UNet3D,
  "resnet_fpn": ResNetFPN,
  "resnet_unet": ResNetUNet,
}
_OF_VOLUMES = ("unet3d",)
_RESNET_STRIDE = 32
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

_OUTPUT = "output"  # the last layer of every network; `set_output_bias` relies on the name
_ENCODER = "encoder"  # where a network with an encoder has its parameters
_BUILT = (
  "num_outputs",
  "num_constants",
  "num_classes",
  "parent",
  "name",
)  # attributes that no field of ``config.model`` sets


_SETTINGS = {
  "width": Setting(
    "channels of the finest level; doubled at each further one; resnet_fpn: 8, 16 times it", ge=1, le=16384
  ),
  "depth": Setting("levels of resolution", ge=1, le=12),
  "flat_levels": Setting("finest levels that treat slices apart, for slices farther apart than pixels", ge=0),
  "blocks_per_level": Setting("3x3 convolutions per level, each way", ge=1, le=64),
  "norm": Setting("none is for unet; an encoder with weights has frozen batch norm", choices=layers.NORMS),
  "dropout": Setting("probability", ge=0, lt=1),
  "dtype": Setting("of the computation; parameters and logits are float32", choices=DTYPES),
  "encoder": Setting("the network that encodes", choices=resnet.ENCODERS),
  "encoder_weights": Setting(
    ".safetensors or .pth state dict of torchvision or timm; '' is random",
    check=lambda path: pretrained.check_suffix(path) or "",
  ),
}


def _fields(module: type[nn.Module]) -> dict[str, Any]:
  """Returns the fields of ``config.model`` that a network reads, with their defaults."""
  found = {f.name: f.default for f in dataclasses.fields(module) if f.name not in _BUILT}
  return {**found, "dtype": "float32"}


NETWORKS: Registry[type[nn.Module]] = Registry("config.model.name")
for _name, _module in _ALL.items():
  NETWORKS.add(_name, _module, defaults=_fields(_module), settings={key: _SETTINGS[key] for key in _fields(_module)})


def _settings(model_config: Mapping[str, Any]) -> dict[str, Any]:
  values = {key: value for key, value in model_config.items() if key not in ("name", "head")}
  return NETWORKS.choose(model_config["name"], values)


def check(model_config: Mapping[str, Any]) -> None:
  """Checks the fields of ``config.model`` that the networks read (the head is checked by `heads.get_head`).

  Raises:
    InputError: an unknown model, norm, dtype or encoder, a size or probability out of range, weights in a file of an
      unknown format, a norm that does not fit the network, or a field changed that the network does not read.
  """
  settings = _settings(model_config)
  if _ENCODER in settings and settings["norm"] == "none":
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
    model_config: the field name and those that the network reads (see the classes of `NETWORKS`).
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
  fields = _settings(model_config)
  fields["dtype"] = DTYPES[fields["dtype"]]
  built = {"num_outputs": num_outputs, "num_constants": num_constants, "num_classes": num_classes}
  return NETWORKS[model_config["name"]](**built, **fields)


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
    params: the ``params`` collection of any network of `NETWORKS`; left unchanged.
    bias: [K], what the untrained network should output on average (`heads.Head.init_bias`), class after class.

  Raises:
    InputError: `bias` does not have one value per output.
  """
  old = params[_OUTPUT]["bias"]
  if np.shape(bias) != old.shape:
    raise InputError(f"output bias of shape {np.shape(bias)} does not fit a network with {old.shape[0]} outputs.")
  return {**params, _OUTPUT: {**params[_OUTPUT], "bias": jnp.asarray(bias, old.dtype)}}
