"""From stored intensities to what the network sees: one function for training, evaluation and prediction."""

import dataclasses

import numpy as np

from ordseg.config import Preprocess
from ordseg.errors import InputError


@dataclasses.dataclass(frozen=True)
class Scaling:
  """How the intensities of one image are scaled; the same for every part of it.

  Attributes:
    offset: subtracted, [C] or [1].
    factor: multiplied after that, [C] or [1].
    shift: added last.
    clip: whether the result is held in [-1, 1].
  """

  offset: tuple[float, ...]
  factor: tuple[float, ...]
  shift: float
  clip: bool

  def apply(self, image: np.ndarray) -> np.ndarray:
    """Scales an image or a part of it, [H, W, C] of the dtype it was fitted to; returns a new float32 array."""
    if len(self.offset) > 1 or not self.clip:
      out = (image.astype(np.float64) - np.asarray(self.offset)) * np.asarray(self.factor) + self.shift
      return out.astype(np.float32)
    # Float32 arithmetic: exact for 8 and 16 bits; wider types give up digits that the result cannot hold anyway.
    out = np.subtract(image, np.float32(next(iter(self.offset))), dtype=np.float32, casting="unsafe")
    out *= np.float32(next(iter(self.factor)))
    out += np.float32(self.shift)
    return np.clip(out, -1, 1, out=out)


def fit(image: np.ndarray, preprocess_config: Preprocess) -> Scaling:
  """Finds the scaling of one whole image.

  | intensity  | result |
  |---|---|
  | range      | [low, high] -> [-1, 1]; values outside are clipped |
  | percentile | the same, with the image's own percentiles `low` and `high`, taken over all channels |
  | zscore     | mean 0 and standard deviation 1 in each channel |

  A constant image (or channel, for zscore) becomes 0 where its own statistics would divide by zero.

  Args:
    image: [H, W, C], or a volume [D, H, W, C], any real dtype, not empty. Whole: statistics of a crop would depend on
      the crop.
    preprocess_config: the section of the config.

  Raises:
    InputError: another rank or dtype, an empty image, or a NaN or infinity in it.
  """
  _check_image(image)
  if preprocess_config.intensity == "zscore":
    return _zscore(image)
  low, high = preprocess_config.low, preprocess_config.high
  if preprocess_config.intensity == "percentile":
    low, high = np.percentile(image, [low, high])
  if high <= low:
    return Scaling(offset=(0.0,), factor=(0.0,), shift=0.0, clip=True)
  return Scaling(offset=(float(low),), factor=(2 / (float(high) - float(low)),), shift=-1.0, clip=True)


def prepare_image(image: np.ndarray, preprocess_config: Preprocess) -> np.ndarray:
  """Scales one whole image or volume, float32 of the same shape, a new array; arguments and errors as of `fit`."""
  image = np.asarray(image)
  return fit(image, preprocess_config).apply(image)


def _check_image(image: np.ndarray) -> None:
  if image.ndim not in (3, 4) or not image.size:
    raise InputError(f"image must be [H, W, C] or [D, H, W, C] and not empty, got shape {image.shape}.")
  if image.dtype.kind not in "uif":
    raise InputError(f"image must hold integers or floats, got dtype {image.dtype}.")
  if image.dtype.kind == "f" and not np.isfinite(image).all():
    raise InputError(f"image holds {np.count_nonzero(~np.isfinite(image))} values that are NaN or infinite.")


def _zscore(image: np.ndarray) -> Scaling:
  planes = np.moveaxis(image, -1, 0).astype(np.float64, order="C")  # numpy reduces over the last axes far faster
  axes = tuple(range(1, planes.ndim))
  mean, std = planes.mean(axis=axes), planes.std(axis=axes)
  is_constant = std <= 1e-7 * np.abs(mean)  # the deviations are rounding errors
  factor = np.where(is_constant, 0.0, 1 / np.where(is_constant, 1.0, std))
  return Scaling(offset=tuple(mean.tolist()), factor=tuple(factor.tolist()), shift=0.0, clip=False)
