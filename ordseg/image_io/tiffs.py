"""TIFF files and stacks through tifffile."""

import pathlib

import numpy as np

from ordseg.image_io.image_file import ImageFile
from ordseg.validate import InputError


def read(path: pathlib.Path) -> ImageFile:
  """Reads the pages of a TIFF file."""
  import tifffile

  with tifffile.TiffFile(path) as file:
    series = file.series[0]
    values, axes = series.asarray(), series.axes
  sizes = dict(zip(axes, values.shape, strict=True))
  channel = "S" if "S" in sizes else "C" if "C" in sizes else ""
  deep = [axis for axis in axes if axis not in ("Y", "X", channel) and sizes[axis] > 1]
  if "Y" not in sizes or "X" not in sizes or len(deep) > 1:
    raise InputError(
      f"{path}: a TIFF of axes {axes} {values.shape} is not read; expected pages of [H, W] or [H, W, C]."
    )
  order = [*(a for a in axes if a not in ("Y", "X", channel)), "Y", "X", *([channel] if channel else [])]
  values = values.transpose([axes.index(axis) for axis in order])
  values = values.reshape(-1, sizes["Y"], sizes["X"], sizes[channel] if channel else 1)
  if channel == "S" and values.shape[-1] in (2, 4):
    values = values[..., :-1]  # transparency
  return ImageFile(path, values.astype(np.uint8) if values.dtype == np.bool_ else values)
