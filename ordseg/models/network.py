"""What all networks have in common, and the registry in which each puts itself."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import flax.linen as nn

from ordseg.models import layers
from ordseg.settings import Registry, field, setting_of
from ordseg.types import Array

DTYPES = ("float32", "bfloat16")
OUTPUT = "output"  # the last layer of every network, whose bias is set before training
_BUILT = ("num_outputs", "num_constants", "num_classes", "parent", "name")  # attributes that no config field sets
_NOT_SETTINGS = ("name", "head")  # fields of ``config.model`` beside the networks' settings
BLOCKS_PER_LEVEL = {  # of several networks, which `field` it
  "default": 2,
  "help": "unet, unet3d, resnet_unet: 3x3 convolutions per level, each way",
  "ge": 1,
  "le": 64,
}


class Segmenter(nn.Module):
  """The attributes that every network has; its own come beside them, each declared by `settings.field`.

  Attributes:
    num_outputs: K, channels of the logits of each class.
    num_constants: how many of them no pixel can change; see `layers.Output`.
    num_classes: structures that are segmented side by side; see `layers.Output`.
    width: channels of the finest level.
    norm: one of `layers.NORMS`.
    dropout: probability that a whole channel of an example is dropped.
    dtype: of the computation; parameters, statistics and logits are float32.
  """

  num_outputs: int
  num_constants: int = 0
  num_classes: int = 1
  width: int = field(
    16,
    help="channels of the finest level; doubled at each further one; resnet_fpn: 8 and 16 times it",
    ge=1,
    le=16384,
  )
  norm: str = field(
    "group",
    help="group, instance; unet also none; an encoder with weights has frozen batch norm",
    choices=layers.NORMS,
  )
  dropout: float = field(0.0, help="probability that a whole channel is dropped", ge=0, lt=1)
  dtype: str = field(
    "float32", help="of the computation: float32, bfloat16; parameters and logits are float32", choices=DTYPES
  )

  def __call__(self, x: Array, *, is_training: bool) -> Array:
    """Maps images to logits.

    Args:
      x: [B, H, W, C], any H and W >= 1; or volumes [B, D, H, W, C].
      is_training: whether dropout is active (then the rng ``dropout`` is needed unless its probability is 0).

    Returns:
      [B, H, W, num_classes K] float32, or [B, D, H, W, num_classes K].
    """
    raise NotImplementedError

  def drop(self, x: Array, name: str, *, is_training: bool) -> Array:
    """Drops whole channels of examples; to be called inside `__call__`."""
    pixels = tuple(range(1, x.ndim - 1))
    return nn.Dropout(self.dropout, broadcast_dims=pixels, name=name)(x, deterministic=not is_training)

  def output(self, x: Array) -> Array:
    """Returns the logits of features [B, .., D]; to be called inside `__call__`, as its last layer."""
    rows = x.reshape(x.shape[0], -1, *x.shape[-2:])  # of a volume; an image stays as it is
    logits = layers.Output(self.num_outputs, self.num_constants, self.num_classes, name=OUTPUT)(rows)
    return logits.reshape(*x.shape[:-1], -1)


@dataclasses.dataclass(frozen=True)
class Network:
  """An entry of `NETWORKS`.

  Attributes:
    module: the flax class; its attributes with a `Setting` are the fields of ``config.model`` that it reads.
    summary: one line for people.
    num_axes: 2 for a network of images [B, H, W, C], 3 for one of volumes [B, D, H, W, C].
    size_multiples: from its settings to how often it halves each axis, as the factor: (H, W), or (D, H, W).
    encoder: the layer whose parameters a file may give (``config.model.encoder_weights``); '' without one.
    check: raises InputError where its settings do not fit each other.
  """

  module: type[Segmenter]
  summary: str
  num_axes: int
  size_multiples: Callable[[Mapping[str, Any]], tuple[int, ...]]
  encoder: str
  check: Callable[[Mapping[str, Any]], None]


NETWORKS: Registry[Network] = Registry("config.model.name")
Module = TypeVar("Module", bound=type[Segmenter])


def register(
  name: str,
  *,
  summary: str,
  size_multiples: Callable[[Mapping[str, Any]], tuple[int, ...]],
  num_axes: int = 2,
  encoder: str = "",
  check: Callable[[Mapping[str, Any]], None] = lambda settings: None,  # noqa: ARG005
) -> Callable[[Module], Module]:
  """Returns a class decorator that puts a network into `NETWORKS`; arguments as of `Network`.

  What ``config.model`` can set of it, and to what, is read from the attributes of the class.
  """

  def add(module: Module) -> Module:
    own = [attribute for attribute in dataclasses.fields(module) if attribute.name not in _BUILT]
    NETWORKS.add(
      name,
      Network(module, summary, num_axes, size_multiples, encoder, check),
      defaults={a.name: inspect.Parameter.empty if a.default is dataclasses.MISSING else a.default for a in own},
      settings={a.name: setting for a in own if (setting := setting_of(a)) is not None},
    )
    return module

  return add


def chosen(model_config: Mapping[str, Any]) -> tuple[Network, dict[str, Any]]:
  """Returns the network that ``config.model`` names, and its settings, checked.

  Args:
    model_config: name and settings; what is left out has its default. The head is not looked at.

  Raises:
    InputError: an unknown network or field, a value out of range, a field changed that the network does not read, or
      settings that do not fit each other.
  """
  name = model_config["name"]
  values = {key: value for key, value in model_config.items() if key not in _NOT_SETTINGS}
  settings = NETWORKS.choose(name, values)
  network = NETWORKS[name]
  network.check(settings)
  return network, settings


def check(model_config: Mapping[str, object]) -> None:
  """Checks ``config.model`` but for its head; raises as `chosen`."""
  chosen(model_config)


def get_model(
  model_config: Mapping[str, object], *, num_outputs: int, num_constants: int = 0, num_classes: int = 1
) -> Segmenter:
  """Builds the network of ``config.model``; raises as `chosen`.

  Args:
    model_config: see `chosen`.
    num_outputs: K, the channels its head needs (`heads.Head.num_outputs`).
    num_constants: how many of them no pixel can change (`heads.Head.num_constants`).
    num_classes: structures that are segmented side by side, each with K outputs.
  """
  network, settings = chosen(model_config)
  return network.module(num_outputs=num_outputs, num_constants=num_constants, num_classes=num_classes, **settings)


def num_axes(model_config: Mapping[str, Any]) -> int:
  """Returns 2 where ``config.model`` names a network of images [B, H, W, C], 3 for volumes [B, D, H, W, C]."""
  return NETWORKS.find(model_config["name"]).num_axes


def size_multiples(model_config: Mapping[str, object]) -> tuple[int, ...]:
  """Returns how often the network halves each axis, as the factor: (H, W), or (D, H, W) for volumes."""
  network, settings = chosen(model_config)
  return network.size_multiples(settings)
