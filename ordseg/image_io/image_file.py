"""What reading an image file gives."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from ordseg.errors import InputError


class OtherFormatError(InputError):
  """A picture that is a TIFF whatever its name says, or the other way round."""


def damaged(path: pathlib.Path, what: str) -> InputError:
  """Returns the error of a file that is not whole: what was found, one clause."""
  return InputError(f"{path}: cannot be read as an image: {what}.")


@dataclasses.dataclass(frozen=True)
class ImageFile:
  """What an image file holds.

  Attributes:
    path: the file, or the folder of a DICOM series.
    pages: [D, H, W, C], dtype as stored (after rescaling, where the format has one).
    spacing: mm along D, H, W; 0 = unknown.
    affine: [4, 4] float64, from voxel (column, row, page) to mm in RAS (x to the right, y to the front, z up), as
      NIfTI has it; None where the format does not place its pixels in space.
    page_affines: [D, 4, 4] where each page has a place of its own and the places between and beyond them hold nothing,
      as in a DICOM segmentation object, which leaves empty frames out; None elsewhere.
    header: what a writer of the same format needs to give the geometry back: the nibabel header and affine, or the
      pydicom data sets in the order of the pages; None for pictures.
    notes: what a user should know of how the file was read ("turned upright as its EXIF orientation says"), one short
      clause each; they go into the summary of a prediction.
    alpha: [D, H, W], what the file says of transparency (0 = nothing is seen); no part of `pages`; None where it says
      nothing.
    indices: [D, H, W], where the file stores the numbers of colours in a palette; `pages` holds the colours.
    palette: [n, 3], the colours of `indices`, of the dtype of `pages`.
  """

  path: pathlib.Path
  pages: np.ndarray
  spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
  affine: np.ndarray | None = None
  page_affines: np.ndarray | None = None
  header: Any = None
  notes: tuple[str, ...] = ()
  alpha: np.ndarray | None = None
  indices: np.ndarray | None = None
  palette: np.ndarray | None = None


def as_image(file: ImageFile) -> ImageFile:
  """Returns the file as a network sees it: without transparency and palette, which only a mask may need."""
  if file.alpha is None and file.indices is None:
    return file
  notes = file.notes
  if file.alpha is not None and (file.alpha != file.alpha.flat[0]).any():
    notes = (*notes, "its transparency, which varies, was left out")
  return dataclasses.replace(file, notes=notes, alpha=None, indices=None, palette=None)
