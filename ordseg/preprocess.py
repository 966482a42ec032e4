"""From stored intensities to what the network sees: one function for training, evaluation and prediction."""

import numpy as np

from ordseg.types import Config
from ordseg.validate import InputError, check_choice

INTENSITIES = ("range", "zscore", "percentile")


def check(config: Config) -> None:
  """Checks the `preprocess` section of a config.

  Raises:
    InputError: a field is out of range; the message names it.
  """
  check_choice(config.intensity, INTENSITIES, field="config.preprocess.intensity")
  if config.intensity == "zscore":
    return
  low, high = float(config.low), float(config.high)
  given = f"config.preprocess.low={low:g} and high={high:g}"
  if not (np.isfinite(low) and np.isfinite(high) and low < high):
    raise InputError(f"{given} must be finite, with low < high.")
  if config.intensity == "percentile" and not 0 <= low < high <= 100:
    raise InputError(f"{given} are percentiles with intensity='percentile' and must lie in [0, 100].")


def prepare_image(image: np.ndarray, preprocess_config: Config) -> np.ndarray:
  """Scales the intensities of one whole image.

  | intensity  | result |
  |---|---|
  | range      | [low, high] -> [-1, 1]; values outside are clipped |
  | percentile | the same, with the image's own percentiles `low` and `high`, taken over all channels |
  | zscore     | mean 0 and standard deviation 1 in each channel |

  A constant image (or channel, for zscore) becomes 0 where its own statistics would divide by zero.

  Args:
    image: [H, W, C], any real dtype, not empty. Whole: statistics of a crop would depend on the crop.
    preprocess_config: the fields `intensity`, `low`, `high`; see configs/default.py.

  Returns:
    [H, W, C] float32, a new array.

  Raises:
    InputError: another rank or dtype, an empty image, or a NaN or infinity in it.
  """
  image = np.asarray(image)
  _check_image(image)
  if preprocess_config.intensity == "zscore":
    return _zscore(image)
  if preprocess_config.intensity == "percentile":
    low, high = np.percentile(image, [preprocess_config.low, preprocess_config.high])
  elif preprocess_config.intensity == "range":
    low, high = preprocess_config.low, preprocess_config.high
  else:
    check_choice(preprocess_config.intensity, INTENSITIES, field="config.preprocess.intensity")
  return _to_unit_range(image, float(low), float(high))


def _check_image(image: np.ndarray) -> None:
  if image.ndim != 3 or not image.size:
    raise InputError(f"image must be [H, W, C] and not empty, got shape {image.shape}.")
  if image.dtype.kind not in "uif":
    raise InputError(f"image must hold integers or floats, got dtype {image.dtype}.")
  if image.dtype.kind == "f" and not np.isfinite(image).all():
    raise InputError(f"image holds {np.count_nonzero(~np.isfinite(image))} values that are NaN or infinite.")


def _to_unit_range(image: np.ndarray, low: float, high: float) -> np.ndarray:
  if high <= low:
    return np.zeros(image.shape, np.float32)
  # Float32 arithmetic: exact for 8 and 16 bits; wider types give up digits that the result cannot hold anyway.
  out = np.subtract(image, np.float32(low), dtype=np.float32, casting="unsafe")
  out *= np.float32(2 / (high - low))
  out -= np.float32(1)
  return np.clip(out, -1, 1, out=out)


def _zscore(image: np.ndarray) -> np.ndarray:
  planes = np.moveaxis(image, -1, 0).astype(np.float64, order="C")  # numpy reduces over the last axes far faster
  mean, std = planes.mean(axis=(1, 2), keepdims=True), planes.std(axis=(1, 2), keepdims=True)
  is_constant = std <= 1e-7 * np.abs(mean)  # the deviations are rounding errors
  planes = np.where(is_constant, 0.0, (planes - mean) / np.where(is_constant, 1.0, std))
  return np.moveaxis(planes, 0, -1).astype(np.float32, order="C")
