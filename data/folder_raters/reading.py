"""Reads one case into examples: pages of a volume, tiles of a page."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from data import tiles
from data.common import Example
from data.errors import DataError
from data.folder_raters import dtypes
from ordseg import image_io
from ordseg.case_files.layouts import Case
from ordseg.image_io import ImageFile, placement
from ordseg.image_io.masks import Rule

SLICE_AXES = ("z", "y", "x")
KEEP = ("all", "marked")
MARKED = "--config.data.builder_args.marked={}"


def check_rule(marked: str) -> Rule:
  """Checks the setting that says which mask values mean "marked", and returns it parsed.

  Raises:
    DataError: neither ``binary`` nor a comparison such as ``>=128``.
  """
  try:
    return image_io.parse_rule(marked)
  except DataError as error:
    raise DataError(f"config.data.builder_args.marked={error}") from None


def read_image(path: pathlib.Path, *, num_channels: int, slice_axis: str, allow_gaps: bool = False) -> ImageFile:
  """Reads an image as pages.

  Args:
    path: the file, or the folder of a DICOM series.
    num_channels: C; a grey picture stored with three equal channels counts as grey. 0 takes what is there, grey if
      it can.
    slice_axis: the axis of a volume that the pages run along.
    allow_gaps: see `image_io.read`.

  Returns:
    pages [D, H, W, C]; spacing in the same order.

  Raises:
    DataError: damaged file, another number of channels, or values that are no numbers; names the file.
  """
  file = image_io.read(path, allow_gaps=allow_gaps)
  pages = file.pages
  if num_channels in (0, 1) and pages.shape[-1] == 3 and (pages == pages[..., :1]).all():
    pages = pages[..., :1]
  if num_channels and pages.shape[-1] != num_channels:
    raise DataError(
      f"{path}: expected {num_channels} channels, as in the first image, found {pages.shape[-1]}. Store all alike; if "
      f"the first is a colour picture that shows greys only, set builder_args.num_channels={pages.shape[-1]}."
    )
  if pages.dtype.kind == "f" and not np.isfinite(pages).all():
    strange = np.count_nonzero(~np.isfinite(pages))
    raise DataError(
      f"{path}: holds values that are not finite: {strange} of {pages.size} (NaN or infinity). Replace them by what "
      "the background is, or leave the image out."
    )
  return placement.transposed(dataclasses.replace(file, pages=pages), _order(slice_axis))


def _order(slice_axis: str) -> list[int]:
  axis = SLICE_AXES.index(slice_axis)
  return [axis, *(k for k in range(3) if k != axis)]


def read_mask(path: pathlib.Path, image: ImageFile, *, marked: str, slice_axis: str) -> np.ndarray:
  """Reads one rater's mask of an image.

  Args:
    path: the file.
    image: what `read_image` returned.
    marked: see `check_rule`.
    slice_axis: as for the image.

  Returns:
    [D, H, W] uint8, 0 or 1.

  Raises:
    DataError: damaged file, another size or place than the image's, or values and colours that do not say what is
      marked; names the file.
  """
  file = image_io.read_marks(path, check_rule(marked), setting=MARKED)
  return placement.matched(file, image, _order(slice_axis)).pages[..., 0]


def read_case(
  case: Case,
  *,
  raters: Sequence[str],
  num_channels: int,
  dtype: np.dtype,
  marked: str,
  slice_axis: str,
  keep: str,
  tile_size: int,
  spacing: float,
  allow_gaps: bool = False,
  notes: dict[str, list[pathlib.Path]] | None = None,
) -> Iterator[Example]:
  """Yields the examples of one image, which is the only one in memory.

  Args:
    case: image, masks, and its group.
    raters: the panel, in the order of the columns.
    num_channels: C.
    dtype: of the records.
    marked: see `check_rule`.
    slice_axis: see `read_image`.
    keep: ``all`` pages, or those that some rater ``marked``; of a volume.
    tile_size: pixels; 0 is the whole page.
    spacing: mm per pixel where the file does not say; 0 = unknown.
    allow_gaps: see `read_image`.
    notes: gets the image under each note on how it was read (`ImageFile.notes`).

  Raises:
    DataError: names the file.
  """
  image = read_image(case.image, num_channels=num_channels, slice_axis=slice_axis, allow_gaps=allow_gaps)
  if notes is not None:
    for note in image.notes:
      notes.setdefault(note, []).append(case.image)
  image = dataclasses.replace(image, pages=dtypes.convert(image.pages, dtype, case.image))
  masks = np.zeros((*image.pages.shape[:3], len(raters)), np.uint8)
  for r, rater in enumerate(raters):
    if rater in case.masks:
      masks[..., r] = read_mask(case.masks[rater], image, marked=marked, slice_axis=slice_axis)
  valid = np.asarray([rater in case.masks for rater in raters])
  num_pages, height, width = (masks.shape[k] for k in range(3))
  for page in range(num_pages):
    if keep == "marked" and num_pages > 1 and not masks[page].any():
      continue
    where = f"{case.key}/z{page:04d}" if num_pages > 1 else case.key
    for name, (y, x) in tiles.boxes(height, width, tile_size):
      yield {
        "id": where + name,
        "group": case.group,
        "image": np.ascontiguousarray(image.pages[page, y, x]),
        "rater_masks": np.ascontiguousarray(masks[page, y, x]),
        "rater_valid": valid,
        "spacing": np.asarray([mm or spacing for mm in image.spacing[1:]], np.float32),
      }
