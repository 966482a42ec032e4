"""Reading examples: the schema and its checks, threads that read ahead, stacking."""

import collections
import concurrent.futures
import dataclasses
import itertools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from ordseg.types import Config
from ordseg.validate import InputError, did_you_mean

Example = Mapping[str, Any]
T = TypeVar("T")
_FIELDS = ("id", "image", "rater_masks", "rater_valid")


class Source(Protocol):
  """Random access to examples; reading from several threads at once must be safe."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: Any, /) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Panel:
  """What all examples of a source share.

  Attributes:
    num_channels: C.
    num_raters: R.
  """

  num_channels: int
  num_raters: int

  def check(self, example: Example) -> None:
    """Raises InputError where the example breaks the schema or differs from the first one."""
    for name, expected in (("image", self.num_channels), ("rater_masks", self.num_raters)):
      if (found := _num_channels(example, name)) != expected:
        raise InputError(f"{name} has {found} channels where the first example has {expected}.")
    image, masks = np.shape(example["image"]), np.asarray(example["rater_masks"])
    if image[:2] != masks.shape[:2]:
      raise InputError(f"image has {image[0]} x {image[1]} pixels, rater_masks {masks.shape[0]} x {masks.shape[1]}.")
    if masks.dtype.kind not in "uib" or masks.max() > 1 or (masks.dtype.kind == "i" and masks.min() < 0):
      raise InputError(f"rater_masks must hold integers in {{0, 1}}; got {masks.dtype} up to {masks.max()}.")
    valid = np.asarray(example["rater_valid"])
    if valid.shape != (self.num_raters,) or not ((valid == 0) | (valid == 1)).all():
      raise InputError(f"rater_valid must be {self.num_raters} values in {{0, 1}}, got {valid.tolist()}.")


def _num_channels(example: Example, name: str) -> int:
  shape = np.shape(example[name])
  if len(shape) != 3 or 0 in shape:
    raise InputError(f"{name} must have three axes, none of them empty, got shape {shape}.")
  return shape[2]


def read_panel(source: Source) -> Panel:
  """Reads the first example.

  Raises:
    InputError: the source is empty, or its first example breaks the schema.
  """
  if not len(source):
    raise InputError("the data set holds no examples.")
  return read(source, 0, lambda e: Panel(_num_channels(e, "image"), _num_channels(e, "rater_masks")))


def image_info(source: Source) -> dict[str, Any]:
  """Returns dtype and spacing (mm along H and W, 0 = unknown) of the first image."""
  example = source[0]
  spacing = np.asarray(example.get("spacing", (0.0, 0.0)), np.float64)
  return {"dtype": str(np.asarray(example["image"]).dtype), "spacing": [round(mm, 6) for mm in spacing.tolist()]}


def read(source: Source, index: int, convert: Callable[[Example], T]) -> T:
  """Returns convert(source[index]); an InputError gets the example's id in front."""
  example = source[index]
  try:
    for name in _FIELDS:
      if name not in example:
        raise InputError(f"field {name!r} is missing.{did_you_mean(name, example)}")
    return convert(example)
  except InputError as error:
    name = as_text(example["id"]) if "id" in example else f"number {index}"
    raise InputError(f"example {name}: {error}") from error


def read_ahead(
  source: Source, indices: Iterable[int], convert: Callable[[Example], T], num_threads: int
) -> Iterator[T]:
  """Yields convert(source[i]) in the order of `indices`, read by threads at most 2 * num_threads examples ahead."""
  indices = iter(indices)
  num_threads = max(1, num_threads)
  with concurrent.futures.ThreadPoolExecutor(num_threads, thread_name_prefix="read") as pool:

    def submit(index: int) -> concurrent.futures.Future[T]:
      return pool.submit(read, source, index, convert)

    pending = collections.deque(map(submit, itertools.islice(indices, 2 * num_threads)))
    try:
      while pending:
        result = pending.popleft().result()
        pending.extend(map(submit, itertools.islice(indices, 1)))
        yield result
    finally:
      pool.shutdown(wait=False, cancel_futures=True)


def stack(examples: Iterable[Mapping[str, np.ndarray]], size: int) -> dict[str, np.ndarray]:
  """Stacks `size` equal examples along a new first axis, each as it comes: still in the cache, and free right after."""
  out: dict[str, np.ndarray] = {}
  for k, example in enumerate(examples):
    for name, array in example.items():
      if not k:
        out[name] = np.empty((size, *array.shape), array.dtype)
      out[name][k] = array
  return out


def as_text(value: Any) -> str:
  """Returns text given as str, bytes or a numpy scalar of either."""
  value = value.item() if isinstance(value, np.ndarray | np.generic) else value
  return value.decode() if isinstance(value, bytes) else str(value)


def as_uint8(values: Any) -> np.ndarray:
  """Returns 0/1 values of any dtype as uint8; no copy where they are."""
  return np.asarray(values).astype(np.uint8, copy=False)


def plain(config: Config) -> Config:
  """Returns a section without ConfigDict's lookups, which cost as much as some transforms."""
  return types.SimpleNamespace(**config)


def check_share(process_index: int, process_count: int) -> None:
  """Raises ValueError unless 0 <= process_index < process_count."""
  if not 0 <= process_index < process_count:
    raise ValueError(f"process_index={process_index} must be in [0, process_count={process_count}).")
