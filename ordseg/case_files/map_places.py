"""A stored map on the grid of its masks, as probabilities by channel."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from ordseg import image_io
from ordseg.case_files import map_axes, resampling
from ordseg.case_files.map_axes import CALLED
from ordseg.case_files.map_reading import Stored
from ordseg.case_files.nnunet import Labels
from ordseg.errors import InputError
from ordseg.image_io import ImageFile, placement

Decode = Callable[[np.ndarray], np.ndarray]  # stored numbers [C, ..] to probabilities [C, ..]
_NO_PLACE = " An array has no place in space and cannot be interpolated (--resample): store it as NIfTI."


@dataclasses.dataclass(frozen=True)
class OnGrid:
  """A map where its masks are.

  Attributes:
    probs: [C, D, H, W].
    axes: of an array without a place, as it was taken; '' where the file says it.
    notes: how it got there.
  """

  probs: np.ndarray
  axes: str = ""
  notes: tuple[str, ...] = ()


def on_grid(
  stored: Stored,
  reference: ImageFile,
  decode: Decode,
  *,
  beside: pathlib.Path | None = None,
  labels: Labels | None = None,
  axes: str = "",
  resample: bool | None = False,
) -> OnGrid:
  """Places a map.

  Args:
    stored: the map.
    reference: an image or mask of the case.
    decode: says what the numbers mean.
    beside: the label map of the same prediction.
    labels: what dataset.json says of channels.
    axes: `Options.map_axes`.
    resample: takes another grid; None: of numbers that have nothing between them, as those of classes.

  Raises:
    InputError: another grid, or a shape that fits several; names both files and the way out.
  """
  notes: tuple[str, ...] = ()
  if stored.image is None and beside is not None:
    image, turned = map_axes.as_labelled(stored, image_io.read_stored(beside), labels)
    notes = (turned,) if turned else ()
  elif stored.image is None:
    try:
      values, found = map_axes.arranged(stored, reference, axes)
    except InputError as error:
      raise InputError(f"{error}{_NO_PLACE if resample else ''}") from None
    return OnGrid(decode(values), found, (_by_shape(found),))
  else:
    image = stored.image
  try:
    values, found = _matched(image, reference, axes)
  except InputError as error:
    if not resample:
      way_out = (
        "Label maps are not interpolated." if resample is None else "With --resample it is interpolated to that grid."
      )
      raise InputError(f"{error} {way_out}") from None
    own = dataclasses.replace(image, pages=np.moveaxis(decode(np.moveaxis(image.pages, -1, 0)), 0, -1))
    values = np.moveaxis(resampling.resampled(own, reference), -1, 0)
    return OnGrid(values, "", (*notes, "interpolated to the grid of the masks (--resample)"))
  shape_alone = (_by_shape(found),) if found else ()
  return OnGrid(decode(values), found, (*notes, *shape_alone))


def _by_shape(axes: str) -> str:
  return f"placed by its shape alone, axes {axes}: the file does not say where it lies"


def _matched(image: ImageFile, reference: ImageFile, axes: str) -> tuple[np.ndarray, str]:
  """Returns [C, D, H, W], and the axes where only the shape decided."""
  has_place = image.affine is not None or image.page_affines is not None
  if has_place and reference.affine is not None:
    return np.moveaxis(_in_space(image, reference), -1, 0), ""
  grid = reference.pages.shape[:3]
  is_native = image.pages.shape[:3] == grid
  is_lone = has_place != (reference.affine is not None)  # one knows its place, the other only its shape
  if image.page_affines is not None or (is_native and not axes and not (is_lone and grid[0] > 1)):
    return np.moveaxis(placement.matched(image, reference, called=CALLED).pages, -1, 0), ""
  values, found = map_axes.arranged(Stored(image.path, image.pages, image), reference, axes)
  return values, found


def _in_space(image: ImageFile, reference: ImageFile) -> np.ndarray:
  """Returns pages [D, H, W, C]; of arrays that were saved with channels first, the other axes are space."""
  try:
    return placement.matched(image, reference, called=CALLED).pages
  except InputError as error:
    if image.affine is None or image.pages.shape[-1] == 1:
      raise
    turned = dataclasses.replace(image, pages=image.pages.transpose(3, 0, 1, 2))  # from voxels (channel, x, y, z)
    try:
      return placement.matched(turned, reference, called=CALLED).pages
    except InputError:
      raise error from None
