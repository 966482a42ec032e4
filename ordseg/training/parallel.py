"""Devices and processes. The only file that names pmap, collectives or jax.distributed.

A global batch is cut over the processes by the input pipeline, and over the devices of each process here. The state is
one plain pytree, replicated over the devices of each process.
"""

import contextlib
import math
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ordseg import errors, rng
from ordseg.config import Parallel
from ordseg.errors import InputError
from ordseg.training import peers, xla_guard
from ordseg.training.state import TrainState
from ordseg.training.step import Metrics, Sums
from ordseg.types import Array, Batch, Params, PRNGKey

AXIS_NAME = "batch"
_SECONDS_FOR_OTHERS = 2.0

T = TypeVar("T")
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]

# Number of processes as the launchers state it, to each process they start. SLURM_STEP_NUM_TASKS is there only under
# srun: in the batch script itself nobody else is coming.
_LAUNCHER_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "JAX_NUM_PROCESSES")


def setup(section: Parallel) -> None:
  """Connects the processes of a cluster and sees to right sums; call it before anything touches a device.

  Runs `jax.distributed.initialize` where srun (SLURM), mpirun (Open MPI), a TPU pod or JAX_NUM_PROCESSES says that
  there are several processes, and leaves a single process alone. JAX then finds the coordinator by itself, or takes it
  from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID. Over CPUs the collectives are gloo, JAX's default.

  Args:
    section: ``config.parallel``. Where not all processes are there in time, this one ends with exit status 2.

  Raises:
    InputError: ``distributed`` is set, or a launcher was seen, but number or addresses of the processes are unknown.
  """
  xla_guard.guard()
  _connect(section)
  xla_guard.check()


def _connect(section: Parallel) -> None:
  if jax.distributed.is_initialized() or not (section.distributed or cluster_detected()):
    return
  given = {}
  for argument, variable in (("num_processes", "JAX_NUM_PROCESSES"), ("process_id", "JAX_PROCESS_ID")):
    if variable in os.environ:
      given[argument] = _int_variable(variable)
  address = os.environ.get("JAX_COORDINATOR_ADDRESS", "the address that the launcher gives")
  count = next((os.environ[name] for name in reversed(_LAUNCHER_SIZES) if os.environ.get(name)), "all")
  try:
    with peers.waiting_for(f"{count} processes at {address}", seconds=section.connect_seconds):
      jax.distributed.initialize(
        **given,
        initialization_timeout=math.ceil(section.connect_seconds) + 60,  # ours comes first, and says more
        heartbeat_timeout_seconds=math.ceil(section.heartbeat_seconds),
      )
  except (ValueError, TypeError) as error:
    raise InputError(
      "config.parallel.distributed is set or a cluster was detected, but JAX lacks number or addresses of the processes"
      f" ({error}). Start them with srun or mpirun, or set JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and"
      " JAX_PROCESS_ID for each."
    ) from error
  if jax.process_count() > 1:
    peers.explain_aborts(peers.lost_line(jax.process_index(), jax.process_count()), status=1)
    errors.leave_with(_leave)


def _leave(status: int) -> None:
  """Ends this process of several at once: at the usual end of a program JAX waits for the others, which wait for us."""
  if is_first_process():
    time.sleep(_SECONDS_FOR_OTHERS)  # with it goes the coordinator, and with that whoever has not ended yet
  os._exit(status)


@contextlib.contextmanager
def together() -> Iterator[None]:
  """For work in which the processes meet: where one of them is lost, the others end with one line that says so."""
  try:
    yield
  except Exception as error:
    if jax.process_count() == 1 or not peers.is_lost(error):
      raise
    raise InputError(peers.lost_line(jax.process_index(), jax.process_count()).removeprefix("error: ")) from error


def cluster_detected(environ: Mapping[str, str] = os.environ) -> bool:
  """Returns whether a launcher says that this is one of several processes."""
  sizes = [environ.get(name, "") for name in _LAUNCHER_SIZES]
  on_tpu_pod = "," in environ.get("TPU_WORKER_HOSTNAMES", "")
  return on_tpu_pod or any(size.isdigit() and int(size) > 1 for size in sizes)


def _int_variable(name: str) -> int:
  value = os.environ[name]
  if not value.isdigit():
    raise InputError(f"environment variable {name}={value!r} must be an integer >= 0.")
  return int(value)


def process_index() -> int:
  """Returns which process this is, 0 for the first."""
  return jax.process_index()


def process_count() -> int:
  """Returns the number of processes."""
  return jax.process_count()


def is_first_process() -> bool:
  """Returns whether this process writes logs and reports."""
  return jax.process_index() == 0


def check_divisible(batch_size: int, num_parts: int, *, field: str, parts: str) -> None:
  """Checks that a global batch can be cut evenly.

  Args:
    batch_size: over all processes.
    num_parts: how many equal parts are needed.
    field: where the size came from (``config.train.batch_size``).
    parts: what the parts are (``devices``).

  Raises:
    InputError: with the nearest sizes that can.
  """
  if batch_size % num_parts:
    below = batch_size // num_parts * num_parts
    nearest = " or ".join(str(size) for size in (below, below + num_parts) if size > 0)
    raise InputError(f"{field}={batch_size} must be a multiple of the {num_parts} {parts}: use {nearest}.")


def per_process_batch_size(batch_size: int, *, field: str = "config.train.batch_size") -> int:
  """Returns a process's share of a global training batch, which must divide by the number of all devices.

  Raises:
    InputError: it does not; names the nearest sizes that do.
  """
  check_divisible(batch_size, jax.device_count(), field=field, parts="devices")
  return batch_size // jax.process_count()


def _local_sharding(*axes: str | None) -> NamedSharding:
  return NamedSharding(Mesh(np.asarray(jax.local_devices()), (AXIS_NAME,)), PartitionSpec(*axes))


def replicate(tree: T) -> T:
  """Copies a pytree of arrays to each device of this process.

  The copy is private: on CPU a device array may share the memory of the numpy array it came from, and a train step
  donates its state.
  """
  sharding = _local_sharding()
  return jax.tree.map(lambda x: jax.device_put(np.array(x, copy=True), sharding), tree)


def to_host(tree: T) -> T:
  """Copies a pytree of arrays to numpy; scalars become 0-d arrays. The copy outlives donation."""
  return jax.tree.map(lambda x: np.array(x, copy=True), jax.device_get(tree))


def shard_batch(batch: Batch) -> dict[str, Array]:
  """Cuts this process's share of a batch over its devices: numpy [B, ...] -> device arrays [D, B / D, ...]."""
  num_devices, sharding = jax.local_device_count(), _local_sharding(AXIS_NAME)

  def put(x: object) -> Array:
    x = np.asarray(x)
    return jax.device_put(x.reshape(num_devices, -1, *x.shape[1:]), sharding)

  return {name: put(x) for name, x in batch.items()}


def make_train_step(
  local_gradients: Callable[[Params, Batch, PRNGKey], Sums],
  apply_update: Callable[[TrainState, Sums], tuple[TrainState, Metrics]],
  *,
  key: PRNGKey,
) -> TrainStep:
  """Joins the two halves of a step over all devices of all processes.

  Args:
    local_gradients: `step.local_gradients` with its static arguments bound.
    apply_update: `step.apply_update` with its static arguments bound.
    key: The run's random key, from which each step and replica gets its own.

  Returns:
    (state, batch from `shard_batch`) -> (new state, metrics). The state given is donated: it must not be used again.
    State and metrics are the same on every device and come back unstacked.
  """
  dropout_key = rng.stream(key, "dropout")

  def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    step_key = rng.at_step(dropout_key, state.step, replica=jax.lax.axis_index(AXIS_NAME))
    sums = local_gradients(state.params, batch, step_key)
    return apply_update(state, jax.lax.psum(sums, AXIS_NAME))

  return jax.pmap(train_step, axis_name=AXIS_NAME, in_axes=(None, 0), out_axes=None, donate_argnums=(0,))


def make_predict_step(predict: Callable[[T, Array], Array]) -> Callable[[T, np.ndarray], np.ndarray]:
  """Spreads a prediction over the devices of this process; processes need not call it equally often.

  Args:
    predict: (params, images [B, H, W, C]) -> [B, ...], image by image; params is any pytree.

  Returns:
    (params, numpy images [B, H, W, C]) -> numpy [B, ...]. Any B: the last image is repeated up to a multiple of the
    devices, and the surplus is cut off again.
  """
  p_predict = jax.pmap(predict, axis_name=AXIS_NAME, in_axes=(None, 0), devices=jax.local_devices())

  def predict_step(params: T, images: np.ndarray) -> np.ndarray:
    num_images = len(images)
    surplus = -num_images % jax.local_device_count()
    images = np.concatenate([images, np.repeat(images[-1:], surplus, axis=0)]) if surplus else images
    out = np.asarray(p_predict(params, shard_batch({"image": images})["image"]))
    return out.reshape(-1, *out.shape[2:])[:num_images]

  return predict_step


def any_process(flag: bool) -> bool:
  """Returns whether `flag` is true on any process; all of them must ask."""
  return any(gather_objects(flag))


def gather_across_processes(tree: T) -> T:
  """Concatenates the processes' arrays along their first axis, in the order of the processes.

  Args:
    tree: a pytree of numpy arrays of any dtype, text included; the first axes may differ in length. All processes must
      call, with the same structure.

  Returns:
    The same pytree of numpy arrays, on every process.
  """
  return jax.tree.map(lambda *parts: np.concatenate(parts), *gather_objects(tree))


def gather_objects(value: T) -> list[T]:
  """Returns the value that each process gave, in the order of the processes. All processes must call."""
  if jax.process_count() == 1:
    return [value]
  # As pickles: as arrays JAX would cut 64-bit numbers to 32, and refuse text and differing lengths.
  data = np.frombuffer(pickle.dumps(value), np.uint8)
  sizes = multihost_utils.process_allgather(np.asarray(data.size, np.int32))
  padded = np.zeros(int(sizes.max()), np.uint8)
  padded[: data.size] = data
  rows = multihost_utils.process_allgather(padded)
  return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def first_process_first(function: Callable[[], T]) -> T:
  """Calls a function on the first process, and on the others once that has succeeded.

  Returns:
    What the function returned on this process.

  Raises:
    InputError: on the other processes, where it failed on the first.
  """
  if jax.process_count() == 1:
    return function()
  if is_first_process():
    try:
      value = function()
    except BaseException:
      gather_objects(False)
      raise
    gather_objects(True)
    return value
  if not gather_objects(True)[0]:
    raise InputError("the first process stopped; its own message says why.")
  return function()
