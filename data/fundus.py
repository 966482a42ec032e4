"""Crops of fundus photographs around the optic disc, found in the photograph alone: no mask decides what is seen."""

import cv2
import numpy as np

from data.errors import DataError

_SMOOTHING = 0.02  # of the shorter side: standard deviation of the blur that finds the bright disc


def check_crop(crop: float) -> None:
  """Checks the setting of a builder.

  Raises:
    DataError: not a share.
  """
  if not 0 <= crop <= 1:
    raise DataError(f"config.data.builder_args.crop={crop} must be in [0, 1].")


def view(image: np.ndarray, crop: float) -> tuple[slice, slice]:
  """Returns the rows and columns to keep of an image [H, W, 3]: a square around the disc, or all where `crop` is 0."""
  if not crop:
    return slice(0, image.shape[0]), slice(0, image.shape[1])
  return crop_around(find_disc(image), image.shape[:2], crop)


def find_disc(image: np.ndarray) -> tuple[int, int]:
  """Returns the row and column of the brightest region of a fundus photograph, the usual place of the optic disc.

  Red and green are averaged and blurred over a few hundredths of the image; the brightest pixel wins.
  """
  blurred = cv2.GaussianBlur(image[..., :2].astype(np.float32).mean(-1), (0, 0), _SMOOTHING * min(image.shape[:2]))
  row, column = np.unravel_index(int(np.argmax(blurred)), blurred.shape)
  return int(row), int(column)


def crop_around(centre: tuple[int, int], size: tuple[int, ...], share: float) -> tuple[slice, slice]:
  """Returns the square of `share` of the shorter side around `centre`, moved inside the image."""
  side = max(1, round(share * min(size)))
  starts = [min(max(c - side // 2, 0), n - side) for c, n in zip(centre, size, strict=True)]
  return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)
