"""State dicts as torchvision writes them, with weights drawn from the names of the entries."""

import functools
import zlib

import numpy as np

from ordseg.models import resnet


def names(encoder):
  """torchvision's names and shapes without the classifier, written down here and not taken from `pretrained`."""
  entries = {"conv1.weight": (64, 3, 7, 7), **norm_names("bn1", 64)}
  inputs = 64
  counts = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}[encoder]
  for stage, count in enumerate(counts, 1):
    channels = 32 * 2**stage
    for number in range(count):
      prefix = f"layer{stage}.{number}"
      if encoder == "resnet50":
        plan = [(channels, inputs, 1, 1), (channels, channels, 3, 3), (4 * channels, channels, 1, 1)]
      else:
        plan = [(channels, inputs, 3, 3), (channels, channels, 3, 3)]
      for layer, shape in enumerate(plan, 1):
        entries |= {f"{prefix}.conv{layer}.weight": shape, **norm_names(f"{prefix}.bn{layer}", shape[0])}
      outputs = plan[-1][0]
      if number == 0 and (stage > 1 or inputs != outputs):
        entries |= {f"{prefix}.downsample.0.weight": (outputs, inputs, 1, 1)}
        entries |= norm_names(f"{prefix}.downsample.1", outputs)
      inputs = outputs
  return entries


def norm_names(prefix, channels):
  fields = ("weight", "bias", "running_mean", "running_var")
  return {f"{prefix}.{field}": (channels,) for field in fields} | {f"{prefix}.num_batches_tracked": ()}


@functools.cache
def state_dict(encoder):
  """name -> array, the classifier included; do not change."""
  out = {name: draw(name, shape) for name, shape in names(encoder).items()}
  outputs = 512 * resnet.ENCODERS[encoder].expansion
  return out | {"fc.weight": draw("fc.weight", (1000, outputs)), "fc.bias": draw("fc.bias", (1000,))}


def draw(name, shape):
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  if name.endswith("num_batches_tracked"):
    return np.asarray(7, np.int64)
  if len(shape) == 4:
    return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
  if name.endswith("running_var"):
    return rng.uniform(0.5, 2, shape).astype(np.float32)
  if name.endswith("weight") and len(shape) == 1:
    return rng.uniform(0.5, 1, shape).astype(np.float32)
  return rng.normal(0, 0.2, shape).astype(np.float32)
