"""Prediction of images of any size, window by window, in memory that does not grow with their height.

Windows overlap; where they do, their predictions are averaged under Gaussian weights that are largest in the middle of
a window, for near its border a network sees less of the surroundings. Windows never leave the image, so the only border
the network meets is the image's own, as in training.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from ordseg.ensembles import LevelPredictFn
from ordseg.types import Config
from ordseg.validate import InputError

_SIGMA_SHARE = 0.125  # of the window's side: standard deviation of the weights, as MONAI and nnU-Net have it
_SMALLEST_WEIGHT = 1e-3


@dataclasses.dataclass(frozen=True)
class Windows:
  """How an image is covered.

  Attributes:
    size: pixels a side; 0 takes the whole image at once.
    overlap: share of a window that the next one covers again, in [0, 1).
    batch_size: windows at once.
    multiple: windows begin at multiples of this. A network that halves the image d times is equivariant to shifts by
      2**d pixels only.
    margin: pixels at a window's inner borders that do not count at all. At least the radius of the network's receptive
      field makes the result that of the whole image, for a network without statistics over the image.
  """

  size: int = 512
  overlap: float = 0.25
  batch_size: int = 4
  multiple: int = 1
  margin: int = 0

  def __post_init__(self) -> None:
    if not 0 <= self.overlap < 1:
      raise InputError(f"overlap={self.overlap} must be in [0, 1).")
    if self.size < 0 or self.batch_size < 1 or self.multiple < 1 or self.margin < 0:
      raise InputError("size and margin must be >= 0, batch_size and multiple >= 1.")
    if self.size and self.size <= 2 * self.margin + self.multiple:
      raise InputError(f"size={self.size} must exceed 2 margin + multiple = {2 * self.margin + self.multiple}.")


def spans(length: int, windows: Windows) -> list[tuple[int, int]]:
  """Returns the (start, stop) of the windows along one axis: sorted, inside the axis, covering it.

  All are `windows.size` long but the last, which ends with the axis and may be longer by less than `multiple`.
  """
  if not windows.size or length <= windows.size:  # the whole axis
    return [(0, length)]
  step = windows.size - 2 * windows.margin - int((windows.size - 2 * windows.margin) * windows.overlap)
  step = max(step // windows.multiple, 1) * windows.multiple
  last = (length - windows.size) // windows.multiple * windows.multiple
  starts = [*range(0, last, step), last]
  return [(start, start + windows.size) for start in starts[:-1]] + [(last, length)]


def predict_rows(
  predict: LevelPredictFn,
  image: np.ndarray,
  windows: Windows,
  *,
  prepare: Callable[[np.ndarray], np.ndarray] = lambda crop: crop,
  progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
  """Yields the prediction from top to bottom, in strips that no later window touches.

  Args:
    predict: (images [B, h, w, C]) -> level_probs [B, h, w, L].
    image: [H, W, C], anything that slices like an array; only windows of it are read.
    windows: how to cover it.
    prepare: from a window as stored to what the network sees.
    progress: called with (windows done, windows in all).

  Yields:
    (rows, level_probs [rows, W, L] float32, which sum to 1).
  """
  height, width = image.shape[:2]
  rows, columns = spans(height, windows), spans(width, windows)
  done, total = 0, len(rows) * len(columns)
  strip, weight = None, None  # of the rows from `top` on
  for k, (top, bottom) in enumerate(rows):
    for batch in _batches(columns, windows.batch_size):
      crops = [prepare(np.asarray(image[top:bottom, left:right])) for left, right in batch]
      probs = _predict(predict, np.stack(crops), windows.batch_size if len(columns) > 1 else 1)
      if strip is None or weight is None:
        strip, weight = _empty(bottom - top, width, probs.shape[-1])
      strip, weight = _grown(strip, bottom - top), _grown(weight, bottom - top)
      for (left, right), found in zip(batch, probs, strict=True):
        importance = _importance((top, bottom, height), (left, right, width), windows.margin)
        strip[:, left:right] += found * importance[..., None]
        weight[:, left:right] += importance
      done += len(batch)
      if progress is not None:
        progress(done, total)
    assert strip is not None and weight is not None
    final = (rows[k + 1][0] if k + 1 < len(rows) else bottom) - top
    yield slice(top, top + final), strip[:final] / weight[:final, :, None]
    strip, weight = strip[final:], weight[final:]


def predict_image(
  predict: LevelPredictFn, image: np.ndarray, windows: Windows, **kwargs: Callable[..., np.ndarray]
) -> np.ndarray:
  """Returns the prediction of a whole image, [H, W, L] float32; arguments as of `predict_rows`."""
  return np.concatenate([strip for _, strip in predict_rows(predict, image, windows, **kwargs)])  # type: ignore[arg-type]


def windowed(predict: LevelPredictFn, windows: Windows) -> LevelPredictFn:
  """Returns `predict` for images [B, H, W, C] of any size: in windows where they are larger than one."""

  def predict_all(images: np.ndarray) -> np.ndarray:
    if not windows.size or max(images.shape[1:3]) <= windows.size:
      return predict(images)
    return np.stack([predict_image(predict, image, windows) for image in images])

  return predict_all


def from_config(config: Config) -> Windows:
  """Returns the windows of ``config.eval``, aligned with what the network halves."""
  section = config.eval
  return Windows(
    size=section.get("window", 0), overlap=section.get("overlap", 0.25), multiple=2 ** (config.model.depth - 1)
  )


def _batches(columns: list[tuple[int, int]], size: int) -> Iterator[tuple[tuple[int, int], ...]]:
  """Batches of windows of equal width."""
  for _, group in itertools.groupby(columns, key=lambda span: span[1] - span[0]):
    same = list(group)
    yield from (tuple(same[k : k + size]) for k in range(0, len(same), size))


def _predict(predict: LevelPredictFn, crops: np.ndarray, batch_size: int) -> np.ndarray:
  """Predicts a batch of windows; a short one is filled up, so that one program serves all."""
  short = batch_size - len(crops)
  padded = np.concatenate([crops, np.repeat(crops[-1:], short, axis=0)]) if short > 0 else crops
  return predict(padded)[: len(crops)]


def _empty(rows: int, width: int, num_levels: int) -> tuple[np.ndarray, np.ndarray]:
  return np.zeros((rows, width, num_levels), np.float32), np.zeros((rows, width), np.float32)


def _grown(array: np.ndarray, rows: int) -> np.ndarray:
  missing = rows - len(array)
  return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) if missing > 0 else array


def _importance(vertical: tuple[int, int, int], horizontal: tuple[int, int, int], margin: int) -> np.ndarray:
  """Weights [h, w] of a window, given its (start, stop, length of the axis) both ways."""
  return np.multiply.outer(_profile(*vertical, margin), _profile(*horizontal, margin))


def _profile(start: int, stop: int, length: int, margin: int) -> np.ndarray:
  size = stop - start
  offset = (np.arange(size) - (size - 1) / 2) / (_SIGMA_SHARE * size)
  weights = np.maximum(np.exp(-0.5 * offset**2), _SMALLEST_WEIGHT)
  if margin and start > 0:
    weights[:margin] = 0
  if margin and stop < length:
    weights[size - margin :] = 0
  return weights.astype(np.float32)
