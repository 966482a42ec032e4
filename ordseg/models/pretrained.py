"""Encoder weights from a user's file: a state dict of torchvision or timm, as safetensors or as PyTorch saves it.

Nothing in the file is executed. A safetensors file is read by its own library and cannot hold code. A .pth file is
a pickle, and is read only by ``torch.load(weights_only=True)``, which refuses all but tensors, where PyTorch is there.
"""

import importlib
import pathlib
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ordseg.errors import InputError
from ordseg.models import resnet
from ordseg.types import Params

TORCH_SUFFIXES = (".pth", ".pt")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES)

_FIELD = "config.model.encoder_weights"
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_UNUSED = re.compile(r"fc\.|.*\.num_batches_tracked$")  # the classifier, and how long the statistics were averaged
_STEM = ("conv1", "kernel")

Weights = dict[str, np.ndarray]


def expected_suffix(path: str) -> str:
  """Returns '' where the name of a file tells a format of `SUFFIXES`, or is ''; else what was expected."""
  if not path or pathlib.PurePath(path).suffix in SUFFIXES:
    return ""
  return f"a file that ends in {', '.join(SUFFIXES)}, or '' for random weights"


def read_encoder(path: str, encoder: str, *, num_channels: int) -> Params:
  """Reads the parameters of an encoder with `frozen_batch` norm.

  The file must hold exactly the encoder and may hold a classifier ``fc``. Its first convolution, of three channels, is
  adapted to another number C by giving each channel the mean of the three kernels times 3 / C: what the network makes
  of a grey image is then the same however often its one channel is repeated. For C = 1 that is their sum, timm's rule;
  for C > 3 timm repeats red, green and blue instead, which says nothing of other kinds of channels. A file whose first
  convolution has C channels already is taken as it is.

  Args:
    path: ends in one of `SUFFIXES`.
    encoder: a key of `resnet.ENCODERS`.
    num_channels: C of the images.

  Returns:
    Nested dicts of float32 numpy arrays, the ``encoder`` of the network's parameters.

  Raises:
    InputError: the file cannot be read without running code, or is of another network; one line.
  """
  if expected := expected_suffix(path):
    raise InputError(f"{_FIELD}={path!r} must be {expected}.")
  file = pathlib.Path(path).expanduser()
  if not file.is_file():
    raise InputError(f"{_FIELD}={path!r}: there is no such file.")
  weights = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
  shapes = resnet.parameter_shapes(encoder, resnet.FROZEN_BATCH, num_channels)
  _check_names(weights, {torch_name(p) for p in shapes}, encoder, file)
  params: dict[str, Any] = {}
  for parameter, shape in shapes.items():
    value = _convert(weights[torch_name(parameter)], parameter, shape, file)
    here = params
    for name in parameter[:-1]:
      here = here.setdefault(name, {})
    here[parameter[-1]] = value
  return params


def torch_name(parameter: tuple[str, ...]) -> str:
  """Returns PyTorch's name: ('layer1_0', 'norm1', 'mean') -> 'layer1.0.bn1.running_mean'."""
  *modules, leaf = parameter
  name = re.sub(r"(layer\d)_", r"\1.", ".".join(modules))
  name = name.replace("downsample_conv", "downsample.0").replace("downsample_norm", "downsample.1")
  return f"{name.replace('norm', 'bn')}.{_LEAVES[leaf]}"


def _read_safetensors(file: pathlib.Path) -> Weights:
  try:
    return safetensors.numpy.load_file(file)
  except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
    raise InputError(f"{_FIELD}: {file} is no safetensors file that can be read: {_first_line(error)}.") from None


def _read_torch(file: pathlib.Path) -> Weights:
  try:
    torch: Any = importlib.import_module("torch")
  except ImportError:
    raise InputError(
      f"{_FIELD}: {file} can only be read where PyTorch is installed. Convert it once where it is: python -c"
      ' "import torch, safetensors.torch as s; s.save_file(torch.load(IN, weights_only=True), OUT)",'
      " with OUT ending in .safetensors."
    ) from None
  try:
    with warnings.catch_warnings(action="ignore"):  # of odd pickles; they are refused below
      loaded = torch.load(file, map_location="cpu", weights_only=True)
  except Exception as error:  # whatever a damaged or hostile file makes PyTorch raise, it is the file that is wrong
    raise InputError(
      f"{_FIELD}: {file} is no plain state dict; PyTorch refuses to read it without running code from it"
      f" ({type(error).__name__})."
    ) from None
  if not (isinstance(loaded, Mapping) and all(isinstance(value, torch.Tensor) for value in loaded.values())):
    raise InputError(
      f"{_FIELD}: {file} must hold a dict of name -> tensor, as model.state_dict() returns it; found a"
      f" {type(loaded).__name__}{_entries(loaded)}."
    )
  return {str(name): value.detach().to(torch.float32).numpy() for name, value in loaded.items()}


def _entries(loaded: object) -> str:
  names = [str(name) for name in loaded] if isinstance(loaded, Mapping) else []
  return f" with the entries {', '.join(names[:4])}" if names else ""


def _first_line(error: Exception) -> str:
  return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _check_names(weights: Weights, expected: set[str], encoder: str, file: pathlib.Path) -> None:
  found = {name for name in weights if not _UNUSED.match(name)}
  problems = [
    f"{len(names)} {what}, such as {min(names)}"
    for what, names in (("missing", expected - found), ("too many", found - expected))
    if names
  ]
  if problems:
    raise InputError(
      f"{_FIELD}: {file} does not hold a {encoder} under the names torchvision and timm use: {'; '.join(problems)}."
    )


def _convert(value: np.ndarray, parameter: tuple[str, ...], shape: tuple[int, ...], file: pathlib.Path) -> np.ndarray:
  value = np.asarray(value, np.float32)
  if parameter[-1] == "kernel" and value.ndim == 4:
    value = value.transpose(2, 3, 1, 0)  # [out, in, H, W] -> [H, W, in, out]
  if parameter == _STEM and value.ndim == 4 and value.shape[2] == 3 != shape[2]:
    value = np.repeat(value.mean(axis=2, keepdims=True) * (3 / shape[2]), shape[2], axis=2)
  if value.shape != shape:
    raise InputError(
      f"{_FIELD}: {torch_name(parameter)} in {file} has shape {value.shape}, expected {shape} (kernels as [H, W, in,"
      " out]): it is of another network."
    )
  if not np.isfinite(value).all() or (parameter[-1] == "var" and value.min() < 0):
    raise InputError(f"{_FIELD}: {torch_name(parameter)} in {file} holds values that are not finite or not possible.")
  return np.ascontiguousarray(value)
