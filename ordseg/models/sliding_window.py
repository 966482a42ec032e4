"""Prediction of images and volumes of any size, window by window, in memory that does not grow with their first axis.

Windows overlap; where they do, their predictions are averaged under Gaussian weights that are largest in the middle of
a window, for near its border a network sees less of the surroundings. Windows never leave the image, so the only border
the network meets is the image's own, as in training.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from ordseg.errors import InputError
from ordseg.models.ensembles import LevelPredictFn

_SIGMA_SHARE = 0.125  # of the window's side: standard deviation of the weights, as MONAI and nnU-Net have it
_SMALLEST_WEIGHT = 1e-3
Span = tuple[int, int]  # start and stop along an axis


@dataclasses.dataclass(frozen=True)
class Windows:
  """How an image is covered.

  Attributes:
    size: pixels a side; 0 takes the whole image at once.
    slices: of a volume's window; 0 takes all of them.
    overlap: share of a window that the next one covers again, in [0, 1).
    batch_size: windows at once.
    multiples: windows begin at multiples of these, along (H, W) or (D, H, W), or of one number along all. A network
      that halves an axis d times is equivariant to shifts by 2**d along it only.
    margin: pixels at a window's inner borders that do not count at all. At least the radius of the network's receptive
      field makes the result that of the whole image, for a network without statistics over the image.
  """

  size: int = 512
  overlap: float = 0.25
  batch_size: int = 4
  multiples: tuple[int, ...] = (1,)
  margin: int = 0
  slices: int = 0

  def __post_init__(self) -> None:
    if not 0 <= self.overlap < 1:
      raise InputError(f"overlap={self.overlap} must be in [0, 1).")
    if min(self.size, self.slices, self.margin) < 0 or self.batch_size < 1 or min(self.multiples) < 1:
      raise InputError("size, slices and margin must be >= 0, batch_size and multiples >= 1.")
    for name, size, multiple in (
      ("size", self.size, self.multiples[-1]),
      ("slices", self.slices, self.multiples[0]),
    ):
      if size and size <= 2 * self.margin + multiple:
        raise InputError(f"{name}={size} must exceed 2 margin + multiple = {2 * self.margin + multiple}.")

  def sizes(self, num_axes: int) -> tuple[int, ...]:
    """Returns the window's length along each axis of an image (2) or a volume (3); 0 is all of it."""
    return (self.slices, self.size, self.size)[3 - num_axes :]

  def spans(self, shape: tuple[int, ...]) -> list[list[Span]]:
    """Returns the windows along each axis of an image or a volume of this shape."""
    multiples = self.multiples if len(self.multiples) > 1 else self.multiples * len(shape)
    axes = zip(shape, self.sizes(len(shape)), multiples, strict=True)
    return [spans(length, size, multiple, self.overlap, self.margin) for length, size, multiple in axes]

  def hold(self, shape: tuple[int, ...]) -> bool:
    """Returns whether one window holds an image or a volume of this shape whole."""
    return all(len(axis) == 1 for axis in self.spans(shape))


def spans(length: int, size: int, multiple: int, overlap: float, margin: int = 0) -> list[Span]:
  """Returns the (start, stop) of the windows along one axis: sorted, inside the axis, covering it.

  All are `size` long but the last, which ends with the axis and may be longer by less than `multiple`.
  """
  if not size or length <= size:  # the whole axis
    return [(0, length)]
  step = size - 2 * margin - int((size - 2 * margin) * overlap)
  step = max(step // multiple, 1) * multiple
  last = (length - size) // multiple * multiple
  starts = [*range(0, last, step), last]
  return [(start, start + size) for start in starts[:-1]] + [(last, length)]


def predict_rows(
  predict: LevelPredictFn,
  image: np.ndarray,
  windows: Windows,
  *,
  prepare: Callable[[np.ndarray], np.ndarray] = lambda crop: crop,
  progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
  """Yields the prediction from top to bottom, or first slice to last, in parts that no later window touches.

  Args:
    predict: (images [B, h, w, C]) -> level_probs [B, h, w, L]; volumes have an axis more, several classes one before L.
    image: [H, W, C] or [D, H, W, C], anything that slices like an array; only windows of it are read.
    windows: how to cover it.
    prepare: Makes what the network sees of a window as stored.
    progress: called with (windows done, windows in all).

  Yields:
    (rows, level_probs [rows, W, L] float32, which sum to 1), or (slices, level_probs [slices, H, W, L]).
  """
  shape = image.shape[:-1]
  rows, *others = windows.spans(shape)
  columns = sorted(itertools.product(*others), key=_shape)  # equal shapes together
  done, total = 0, len(rows) * len(columns)
  strip, weight = None, None  # of the rows from `top` on
  for k, (top, bottom) in enumerate(rows):
    for batch in _batches(columns, windows.batch_size):
      boxes = [tuple(slice(*span) for span in column) for column in batch]
      crops = [prepare(np.asarray(image[(slice(top, bottom), *box)])) for box in boxes]
      probs = _predict(predict, np.stack(crops), windows.batch_size if len(columns) > 1 else 1)
      if strip is None or weight is None:
        strip = np.zeros((0, *shape[1:], *probs.shape[len(shape) + 1 :]), np.float32)
        weight = np.zeros((0, *shape[1:]), np.float32)
      strip, weight = _grown(strip, bottom - top), _grown(weight, bottom - top)
      for column, box, found in zip(batch, boxes, probs, strict=True):
        importance = _importance(((top, bottom), *column), shape, windows.margin)
        strip[(slice(None), *box)] += found * _like(importance, found)
        weight[(slice(None), *box)] += importance
      done += len(batch)
      if progress is not None:
        progress(done, total)
    assert strip is not None and weight is not None
    final = (rows[k + 1][0] if k + 1 < len(rows) else bottom) - top
    yield slice(top, top + final), strip[:final] / _like(weight[:final], strip)
    strip, weight = strip[final:], weight[final:]


def predict_image(
  predict: LevelPredictFn, image: np.ndarray, windows: Windows, **kwargs: Callable[..., np.ndarray]
) -> np.ndarray:
  """Returns the prediction of a whole image or volume, [.., L] float32; arguments as of `predict_rows`."""
  return np.concatenate([strip for _, strip in predict_rows(predict, image, windows, **kwargs)])  # type: ignore[arg-type]


def windowed(predict: LevelPredictFn, windows: Windows) -> LevelPredictFn:
  """Returns `predict` for images or volumes [B, .., C] of any size: in windows where they are larger than one."""

  def predict_all(images: np.ndarray) -> np.ndarray:
    if windows.hold(images.shape[1:-1]):
      return predict(images)
    return np.stack([predict_image(predict, image, windows) for image in images])

  return predict_all


def _shape(column: tuple[Span, ...]) -> tuple[int, ...]:
  return tuple(stop - start for start, stop in column)


def _batches(columns: list[tuple[Span, ...]], size: int) -> Iterator[list[tuple[Span, ...]]]:
  """Batches of windows of equal shape."""
  for _, group in itertools.groupby(columns, key=_shape):
    same = list(group)
    yield from (same[k : k + size] for k in range(0, len(same), size))


def _predict(predict: LevelPredictFn, crops: np.ndarray, batch_size: int) -> np.ndarray:
  """Predicts a batch of windows; a short one is filled up, so that one program serves all."""
  short = batch_size - len(crops)
  padded = np.concatenate([crops, np.repeat(crops[-1:], short, axis=0)]) if short > 0 else crops
  return predict(padded)[: len(crops)]


def _like(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Adds axes of length 1 to weights until they divide `values`."""
  return weight.reshape(*weight.shape, *(1,) * (values.ndim - weight.ndim))


def _grown(array: np.ndarray, rows: int) -> np.ndarray:
  missing = rows - len(array)
  return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) if missing > 0 else array


def _importance(window: tuple[Span, ...], shape: tuple[int, ...], margin: int) -> np.ndarray:
  """Weights of a window, [h, w] or [d, h, w], given its spans and the shape of the whole."""
  profiles = [_profile(*span, length, margin) for span, length in zip(window, shape, strict=True)]
  return functools.reduce(np.multiply.outer, profiles)


def _profile(start: int, stop: int, length: int, margin: int) -> np.ndarray:
  size = stop - start
  offset = (np.arange(size) - (size - 1) / 2) / (_SIGMA_SHARE * size)
  weights = np.maximum(np.exp(-0.5 * offset**2), _SMALLEST_WEIGHT)
  if margin and start > 0:
    weights[:margin] = 0
  if margin and stop < length:
    weights[size - margin :] = 0
  return weights.astype(np.float32)
