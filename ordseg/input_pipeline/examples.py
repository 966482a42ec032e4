"""Reading examples: the schema and its checks, threads that read ahead, stacking."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from ordseg.errors import InputError, did_you_mean
from ordseg.types import Panel

Example = Mapping[str, Any]
T = TypeVar("T")
_PANEL_WORDS = {
  "image has {} axes of pixels": "num_axes",
  "rater_masks has {} classes": "num_classes",
  "image has {} channels": "num_channels",
  "rater_masks has {} channels": "num_raters",
}
_FIELDS = ("id", "image", "rater_masks", "rater_valid")


class Source(Protocol):
  """Random access to examples; reading from several threads at once must be safe."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: object, /) -> Any: ...


def check(example: Example, panel: Panel) -> None:
  """Raises InputError where the example breaks the schema or differs from the first one."""
  found = _panel(example)
  for what, name in _PANEL_WORDS.items():
    if getattr(found, name) != getattr(panel, name):
      raise InputError(f"{what.format(getattr(found, name))} where the first example has {getattr(panel, name)}.")
  image, masks = np.shape(example["image"])[:-1], np.asarray(example["rater_masks"])
  if image != masks.shape[: panel.num_axes]:
    sizes = [" x ".join(map(str, size)) for size in (image, masks.shape[: panel.num_axes])]
    raise InputError(f"image has {sizes[0]} pixels, rater_masks {sizes[1]}.")
  if masks.dtype.kind not in "uib" or masks.max() > 1 or (masks.dtype.kind == "i" and masks.min() < 0):
    raise InputError(f"rater_masks must hold integers in {{0, 1}}; got {masks.dtype} up to {masks.max()}.")
  pixels = np.asarray(example["image"])
  if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
    raise InputError(f"image holds {np.size(pixels) - np.isfinite(pixels).sum()} values that are NaN or infinite.")
  valid = np.asarray(example["rater_valid"])
  if valid.shape != masks.shape[panel.num_axes :] or not ((valid == 0) | (valid == 1)).all():
    wanted = " x ".join(map(str, masks.shape[panel.num_axes :]))
    raise InputError(f"rater_valid must be {wanted} values in {{0, 1}}, got {valid.tolist()}.")


def _panel(example: Example) -> Panel:
  image, masks = np.shape(example["image"]), np.shape(example["rater_masks"])
  if len(image) not in (3, 4) or 0 in image:
    raise InputError(f"image must have three axes, four for a volume, none of them empty, got shape {image}.")
  if len(masks) not in (len(image), len(image) + 1) or 0 in masks:
    raise InputError(
      f"rater_masks must have {len(image)} axes, one more with several classes, none of them empty, got shape {masks}."
    )
  classes = masks[-2] if len(masks) > len(image) else 1
  if classes == 1 and len(masks) > len(image):
    raise InputError(f"rater_masks of shape {masks} have an axis for one class: leave it out.")
  return Panel(num_channels=image[-1], num_raters=masks[-1], num_axes=len(image) - 1, num_classes=classes)


def read_panel(source: Source) -> Panel:
  """Reads the first example.

  Raises:
    InputError: the source is empty, or its first example breaks the schema.
  """
  if not len(source):
    raise InputError("the data set holds no examples.")
  return read(source, 0, _panel)


def image_info(source: Source) -> dict[str, Any]:
  """Returns dtype and spacing (mm along (D,) H and W, 0 = unknown) of the first image."""
  example = source[0]
  spacing = np.asarray(example.get("spacing", np.zeros(np.ndim(example["image"]) - 1)), np.float64)
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


def as_text(value: object) -> str:
  """Returns text given as str, bytes or a numpy scalar of either."""
  value = value.item() if isinstance(value, np.ndarray | np.generic) else value
  return value.decode() if isinstance(value, bytes) else str(value)


def as_uint8(values: object) -> np.ndarray:
  """Returns 0/1 values of any dtype as uint8; no copy where they are."""
  return np.asarray(values).astype(np.uint8, copy=False)


def check_share(process_index: int, process_count: int) -> None:
  """Raises ValueError unless 0 <= process_index < process_count."""
  if not 0 <= process_index < process_count:
    raise ValueError(f"process_index={process_index} must be in [0, process_count={process_count}).")
