"""A map on the grid of its masks, by linear interpolation; only where the user asks for it."""

import numpy as np
import scipy.ndimage

from ordseg.errors import InputError
from ordseg.image_io import ImageFile

_EDGE = 0.5 + 1e-3  # voxels: half of one lies outside the outermost centres


def resampled(image: ImageFile, reference: ImageFile) -> np.ndarray:
  """Interpolates.

  Args:
    image: pages [D, H, W, C].
    reference: with the pages and, where both have one, the place that is wanted; without, the edges of both are taken
      for the same.

  Returns:
    [D, H, W, C] on the reference's grid, float32 or float64.

  Raises:
    InputError: the map does not cover the reference.
  """
  steps = _steps(image, reference)
  shape = reference.pages.shape[:3]
  far = np.asarray([(x, y, z, 1) for x in (0, shape[2] - 1) for y in (0, shape[1] - 1) for z in (0, shape[0] - 1)])
  places = (far @ steps.T)[:, :3]
  sizes = np.asarray(image.pages.shape[2::-1])
  if (places < -_EDGE).any() or (places > sizes - 1 + _EDGE).any():
    raise InputError(f"{image.path}: --resample: the map does not cover the grid of {reference.path}.")
  flip = np.eye(4)[[2, 1, 0, 3]]  # from (column, row, page) to (page, row, column)
  matrix = flip @ steps @ flip
  dtype = np.float64 if image.pages.dtype == np.float64 else np.float32
  out = [
    scipy.ndimage.affine_transform(channel.astype(dtype), matrix, output_shape=shape, order=1, mode="nearest")
    for channel in np.moveaxis(image.pages, -1, 0)
  ]
  return np.stack(out, axis=-1)


def _steps(image: ImageFile, reference: ImageFile) -> np.ndarray:
  """Returns [4, 4] from the reference's voxels (column, row, page) to the map's."""
  if image.affine is not None and reference.affine is not None:
    return np.linalg.solve(image.affine, reference.affine)
  if (image.affine is None) != (reference.affine is None):
    raise InputError(
      f"{image.path}: --resample needs a place in space in the map and in {reference.path}, or in neither."
    )
  out = np.eye(4)
  for axis, (have, want) in enumerate(zip(image.pages.shape[2::-1], reference.pages.shape[2::-1], strict=True)):
    out[axis, axis] = have / want
    out[axis, 3] = (have / want - 1) / 2
  return out
