"""NIfTI volumes through nibabel."""

import pathlib
from typing import Any

import numpy as np

from ordseg.image_io.image_file import ImageFile
from ordseg.validate import InputError


def read(path: pathlib.Path) -> ImageFile:
  """Reads a volume."""
  import nibabel

  image: Any = nibabel.load(path)
  if not 2 <= image.ndim <= 4:
    raise InputError(f"{path}: a NIfTI image of {image.ndim} axes is not read; expected 3, or 4 with channels last.")
  stored = image.header.get_data_dtype()
  slope, inter = image.header.get_slope_inter()
  plain = slope in (None, 1.0) and inter in (None, 0.0)
  values = np.asarray(image.dataobj) if plain else image.get_fdata(dtype=np.float32)
  if plain and stored.kind in "iu":
    values = values.astype(stored.newbyteorder("="))
  values = values.reshape(*values.shape, *[1] * (4 - values.ndim)).transpose(2, 1, 0, 3)
  zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]] + [0.0]
  spacing = (zooms[2], zooms[1], zooms[0])
  return ImageFile(path, values, spacing, affine=np.asarray(image.affine, np.float64), header=image.header)
