"""The masks of one case in memory: every rater's, on one grid, and the pixels that count."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from ordseg import image_io
from ordseg.case_files.mask_sets import Rated
from ordseg.case_files.nnunet import Labels
from ordseg.case_files.structures import Structure
from ordseg.errors import InputError
from ordseg.image_io import ImageFile, masks, placement

_SETTING = "--marked={}"
_MASKS = placement.Called("mask", "the image or first mask")
_REGION = placement.Called("region", "the mask or image")
_FULL = 255  # of masks that were saved as pictures


@dataclasses.dataclass(frozen=True)
class Marks:
  """The masks of a case.

  Attributes:
    reference: the image, or the first rater's mask: the grid.
    of: structure -> [D, H, W, R] uint8 of 0 and 1; 0 of raters who are missing.
    valid: [R] bool.
    ignored: [D, H, W] bool, pixels that a label file says nobody judged; None where there are none.
  """

  reference: ImageFile
  of: dict[str, np.ndarray]
  valid: np.ndarray
  ignored: np.ndarray | None


def read(
  case: Rated, raters: Sequence[str], structures: Sequence[Structure], marked: str, labels: Labels | None
) -> Marks:
  """Reads the masks of a case.

  Args:
    case: with at least one.
    raters: the panel, in the order of R.
    structures: which are asked for.
    marked: what counts as marked where a structure has no numbers of its own.
    labels: of the dataset.json beside the masks.

  Raises:
    InputError: damaged, on another grid, or values that do not say what is marked; names the file.
  """
  first = next(rater for rater in raters if rater in case.masks)
  reference = image_io.read(case.image if case.image is not None else case.masks[first])
  if reference.page_affines is not None:
    raise InputError(
      f"{reference.path}: a segmentation object leaves empty pages out and does not give the grid; name the images "
      "(--images)."
    )
  shape = reference.pages.shape[:3]
  out = {one.name: np.zeros((*shape, len(raters)), np.uint8) for one in structures}
  ignored = None
  for r, rater in enumerate(raters):
    if rater not in case.masks:
      continue
    file = image_io.read_stored(case.masks[rater])
    for one in structures:
      marks = _marks(file, one, marked, labels)
      out[one.name][..., r] = _on(marks, file, reference, _MASKS)
    if labels is not None and labels.ignore is not None:
      own = _on(_numbers(file) == labels.ignore, file, reference, _MASKS)
      ignored = own if ignored is None else ignored | own
  valid = np.asarray([rater in case.masks for rater in raters])
  return Marks(reference, out, valid, ignored if ignored is not None and ignored.any() else None)


def read_region(path: pathlib.Path, reference: ImageFile) -> np.ndarray:
  """Reads the pixels that count, [D, H, W] bool; everything beside 0, or what two colours say.

  Raises:
    InputError: damaged, another grid, or no pixel counts.
  """
  file = image_io.read_marks(path)
  region = placement.matched(file, reference, called=_REGION).pages[..., 0] > 0
  if not region.any():
    raise InputError(f"{path}: the region leaves no pixel; take the case out, or correct it.")
  return region


def _on(marks: np.ndarray, file: ImageFile, reference: ImageFile, called: placement.Called) -> np.ndarray:
  plain = dataclasses.replace(file, pages=marks[..., None], alpha=None, indices=None, palette=None)
  return placement.matched(plain, reference, called=called).pages[..., 0]


def _marks(file: ImageFile, structure: Structure, marked: str, labels: Labels | None) -> np.ndarray:
  if not structure.values:
    return masks.to_marks(file, image_io.parse_rule(marked), setting=_SETTING)
  numbers = _numbers(file)
  found = np.unique(numbers)
  if len(found) <= 2 and found[-1] == _FULL and _FULL not in structure.values:
    raise InputError(
      f"{file.path}: holds {_FULL}, and the class {structure.name!r} is number {structure.values[0]}: a mask of one "
      "structure, not a label file of several."
    )
  if labels is not None:
    known = {0, *(number for one in labels.values.values() for number in one)}
    known |= set() if labels.ignore is None else {labels.ignore}
    strange = sorted(set(found.tolist()) - known)
    if strange:
      raise InputError(f"{file.path}: holds the label {strange[0]:g}, which {labels.path} does not name.")
  return np.isin(numbers, structure.values).astype(np.uint8)


def _numbers(file: ImageFile) -> np.ndarray:
  """Returns the labels of a file [D, H, W]; of a palette its numbers."""
  if file.indices is not None:
    return file.indices
  if file.pages.shape[-1] != 1:
    raise InputError(f"{file.path}: a label file has one channel, found {file.pages.shape[-1]}.")
  values = masks.settled(file.pages[..., 0], file.path)
  if values.dtype.kind == "f" and (values != np.rint(values)).any():
    raise InputError(f"{file.path}: a label file holds whole numbers; found fractions.")
  return values
