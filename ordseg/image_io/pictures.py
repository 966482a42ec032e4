"""Pictures through Pillow: PNG, JPEG, BMP, GIF, PPM."""

import gzip
import io
import pathlib
from typing import Any

import numpy as np
import PIL.Image

from ordseg.image_io.image_file import ImageFile
from ordseg.validate import InputError

# Pillow refuses pictures of more than 179 million pixels as "bombs"; microscopes make larger ones.
_MAX_PIXELS = 20_000 * 20_000 * 4
_MODES = {"1": np.bool_, "L": np.uint8, "RGB": np.uint8, "I;16": np.uint16, "I": np.int32, "F": np.float32}


def read(path: pathlib.Path) -> ImageFile:
  """Reads a picture of one frame."""
  file: Any = io.BytesIO(gzip.decompress(path.read_bytes())) if path.suffix.lower() == ".gz" else path
  limit = PIL.Image.MAX_IMAGE_PIXELS
  PIL.Image.MAX_IMAGE_PIXELS = _MAX_PIXELS
  try:
    with PIL.Image.open(file) as image:
      frames = getattr(image, "n_frames", 1)
      if frames > 1:
        raise InputError(f"{path}: an animation of {frames} frames is no image.")
      if image.mode == "P":
        image = image.convert("RGB" if image.palette and image.palette.mode.startswith("RGB") else "L")
      elif image.mode in ("LA", "RGBA"):
        image = image.convert(image.mode[:-1])  # a screen's transparency says nothing of the tissue
      if image.mode not in _MODES:
        raise InputError(f"{path}: pictures of mode {image.mode!r} are not read; store it as grey or RGB.")
      values = np.asarray(image).astype(_MODES[image.mode])
  finally:
    PIL.Image.MAX_IMAGE_PIXELS = limit
  if values.dtype == np.bool_:
    values = values.astype(np.uint8)
  return ImageFile(path, values.reshape(1, *values.shape[:2], -1))
