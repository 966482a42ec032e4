"""What a training needs of the machine's memory, by the shapes alone: what cannot fit is refused before it is tried."""

import functools
import math
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ordseg.config import Config
from ordseg.errors import InputError
from ordseg.training.learner import Learner
from ordseg.types import Panel

_KEPT = ("conv_general_dilated", "dot_general")  # whose results the backward pass needs, whatever a compiler does
_CGROUP = pathlib.Path("/sys/fs/cgroup/memory.max")


def num_bytes(tree: object) -> int:
  """Returns the size of a pytree of arrays or shapes."""
  return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def activation_bytes(function: Callable[..., Any], *args: Any) -> int:
  """Returns what the results of all convolutions and matrix products of a function take together.

  Args:
    function: traced, not run.
    *args: pytrees of arrays or `jax.ShapeDtypeStruct`.
  """
  jaxpr = jax.make_jaxpr(function)(*args)
  return sum(num_bytes([v.aval for v in eqn.outvars]) for eqn in _equations(jaxpr) if eqn.primitive.name in _KEPT)


def _equations(jaxpr: Any) -> Iterator[Any]:
  for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
    yield eqn
    for value in eqn.params.values():
      for inner in value if isinstance(value, tuple | list) else (value,):
        if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
          yield from _equations(inner)


def available_bytes() -> int:
  """Returns the memory that this process's devices have: a GPU's own, else that of the machine or its container."""
  stats = jax.local_devices()[0].memory_stats() or {}
  if "bytes_limit" in stats:
    return int(stats["bytes_limit"])
  machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  try:
    return min(machine, int(_CGROUP.read_text()))
  except (OSError, ValueError):  # no container, or one without a limit ("max")
    return machine


def check_training(config: Config, learner: Learner, panel: Panel) -> None:
  """Refuses a training that cannot fit: state, gradients and what the backward pass needs of a batch.

  It is the least that is needed; what comes near it may still be refused by the machine.

  Raises:
    InputError: says how much is needed and there, and which settings to lower.
  """
  on_host = jax.local_devices()[0].platform == "cpu"  # its devices share one memory
  batch_size = config.train.batch_size // (jax.process_count() if on_host else jax.device_count())
  available = available_bytes()
  try:
    state = learner.template()
    image = jax.ShapeDtypeStruct((batch_size, *config.data.crop_size, panel.num_channels), np.float32)
    # Of each convolution both its result and what a norm and a nonlinearity make of it are kept.
    in_training = functools.partial(learner.model.log_level_probs, dropout_key=jax.random.key(0))
    activations = 2 * activation_bytes(in_training, state.params, image)
    ahead = num_bytes(image) * (config.data.prefetch_batches + 1) if on_host else 0
    parts = [num_bytes(state) + num_bytes(state.params), activations + ahead]
  except (OverflowError, MemoryError):  # of shapes whose size no 64-bit number holds
    parts = [2**63, 0]
  if sum(parts) <= available:
    return
  raise InputError(
    f"this training needs {_size(sum(parts))} of memory or more ({_size(parts[0])} for parameters, gradients and"
    f" optimiser, {_size(parts[1])} for the {batch_size} examples that are at work at once), and there are"
    f" {_size(available)}. Lower config.model.width (now {config.model.width}), config.model.depth (now"
    f" {config.model.depth}), config.train.batch_size (now {config.train.batch_size}) or config.data.crop_size (now"
    f" {tuple(config.data.crop_size)})."
  )


def _size(num: int) -> str:
  return f"{num / 1e9:,.1f} GB" if num < 2**63 else "more than 9,000,000,000 GB"
