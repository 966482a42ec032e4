"""Puts DICOM planes in the order of their places, and says where the stack lies."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import placement
from ordseg.image_io.dicom_planes import Plane

_SAME = 1e-4  # mm: closer planes lie at the same place
_EVEN = 0.01  # of a step: what rounded positions explain
_UNEVEN = 0.05  # of a step: more is a gap
_ROUNDING = 0.005  # mm
_TURN = 1e-3  # of a unit vector


@dataclasses.dataclass(frozen=True)
class Stack:
  """Planes as one image.

  Attributes:
    order: which plane each page is.
    affine: [4, 4], voxel (column, row, page) to mm in RAS; None = unknown.
    spacing: mm along pages, rows, columns; 0 = unknown.
    notes: on what was odd.
  """

  order: list[int]
  affine: np.ndarray | None
  spacing: tuple[float, float, float]
  notes: tuple[str, ...] = ()


def stacked(path: pathlib.Path, planes: Sequence[Plane], *, allow_gaps: bool = False) -> Stack:
  """Orders planes along their normal.

  The pages ascend along the normal (row x column); frames of one file that descend steadily keep their order, and the
  affine points the other way.

  Args:
    path: file or folder, for errors.
    planes: The planes of one file, or of several.
    allow_gaps: takes unequal distances; the steps of the affine are then their mean, so that first and last page lie
      where they were measured.

  Raises:
    InputError: planes that are no stack: other orientation or spacing, two at one place, several times, echoes or
      stacks, sideways jumps, unequal distances; names the odd one.
  """
  notes = tuple(dict.fromkeys(note for plane in planes for note in plane.notes))
  first = planes[0]
  if len(planes) == 1:
    affine = affine_of(first)
    return Stack([0], affine, (first.depth, *first.spacing), notes)
  if not any(plane.is_placed for plane in planes) and all(plane.file == first.file for plane in planes):
    notes = (
      *(note for note in notes if "place in space" not in note),
      f"its {len(planes)} frames have no place in space",
    )
    return Stack(list(range(len(planes))), None, (first.depth, *first.spacing), notes)
  _check_alike(path, planes)
  positions = np.stack([plane.at for plane in planes])  # [D, 3]
  row, column = np.median([plane.axes for plane in planes], axis=0)
  order = _order(path, planes, positions @ np.cross(row, column))
  step, gap_notes = _step(path, [planes[k] for k in order], positions[order], allow_gaps=allow_gaps)
  start = planes[order[0]]
  if not all(start.spacing):
    return Stack(order, None, (float(np.linalg.norm(step)), *start.spacing), (*notes, *gap_notes))
  affine = affine_of(start, step)
  assert affine is not None
  return Stack(order, affine, placement.spacing_of(affine), (*notes, *gap_notes))


def affine_of(plane: Plane, step: np.ndarray | None = None) -> np.ndarray | None:
  """Returns the affine [4, 4] (RAS) of a stack that begins with a plane, or None where its place or spacing is unknown.

  DICOM PS3.3 equation C.7.6.2.1-1.

  Args:
    plane: the first.
    step: [3] mm (LPS) to the next; None is its own depth, or 1 mm, along the normal.
  """
  if not plane.is_placed or not all(plane.spacing):
    return None
  lps = np.eye(4)
  lps[:3, 0] = plane.axes[0] * plane.spacing[1]
  lps[:3, 1] = plane.axes[1] * plane.spacing[0]
  lps[:3, 2] = plane.normal * (plane.depth or 1.0) if step is None else step
  lps[:3, 3] = plane.at
  return placement.to_ras(lps)


def _check_alike(path: pathlib.Path, planes: Sequence[Plane]) -> None:
  for plane in planes:
    if not plane.is_placed:
      raise InputError(
        f"{path}: {plane.name} has no valid ImagePositionPatient and ImageOrientationPatient; its place among "
        f"{len(planes)} is unknown."
      )
  for keyword in ("StackID", "TemporalPositionIndex", "EffectiveEchoTime", "DiffusionBValue"):
    found = sorted({plane.variants.get(keyword, "none") for plane in planes})
    if len(found) > 1:
      shown = ", ".join(found[:6]) + (", ..." if len(found) > 6 else "")
      raise InputError(f"{path}: its frames are of several kinds: {keyword} {shown}; store each as a file of its own.")
  turns = np.stack([plane.axes for plane in planes]).reshape(len(planes), 6)
  _check_odd(path, planes, turns, _TURN, "is oriented otherwise (a localizer?)")
  sizes = np.asarray([plane.spacing for plane in planes])
  _check_odd(path, planes, sizes, 1e-3 * max(float(np.median(sizes)), 1e-3), "has another PixelSpacing")


def _check_odd(path: pathlib.Path, planes: Sequence[Plane], values: np.ndarray, tolerance: float, what: str) -> None:
  common = max(values.tolist(), key=lambda one: int((np.abs(values - one).max(axis=1) <= tolerance).sum()))
  off = np.abs(values - np.asarray(common)).max(axis=1)
  if off.max() > tolerance:
    odd = [planes[k].name for k in np.flatnonzero(off > tolerance).tolist()]
    more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
    raise InputError(f"{path}: {odd[0]}{more} {what} than the other slices. One image is one stack; take it out.")


def _order(path: pathlib.Path, planes: Sequence[Plane], places: np.ndarray) -> list[int]:
  steps = np.diff(places)
  if planes[0].file == planes[-1].file and (steps < -_SAME).all():
    return list(range(len(planes)))
  order = np.argsort(places, kind="stable")
  close = np.flatnonzero(np.diff(places[order]) < _SAME)
  if len(close):
    one, other = (planes[int(order[int(close[0]) + k])] for k in range(2))
    keys = [key for key in one.variants if one.variants[key] != other.variants.get(key)]
    shown = "; ".join(f"{key} {one.variants[key]} and {other.variants.get(key)}" for key in keys)
    raise InputError(
      f"{path}: {one.name} and {other.name} lie at the same place{f' ({shown})' if shown else ''}"
      f"{f'; {len(close)} pairs do' if len(close) > 1 else ''}. One image is one stack of slices; take the "
      "others out."
    )
  return order.tolist()


def _step(
  path: pathlib.Path, planes: Sequence[Plane], positions: np.ndarray, *, allow_gaps: bool
) -> tuple[np.ndarray, list[str]]:
  """Returns the step [3] (LPS, mm) from page to page, and notes."""
  count = len(planes)
  step = (positions[-1] - positions[0]) / (count - 1)
  normal = planes[0].normal
  off = positions - (positions[0] + np.arange(count)[:, None] * step)
  along = np.abs(off @ normal)
  length = abs(float(step @ normal))
  gaps = np.abs(np.diff(positions @ normal))
  notes = []
  if along.max() > _UNEVEN * length + _ROUNDING:
    wide = int(np.argmax(gaps))
    said = f"slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart"
    if not allow_gaps:
      raise InputError(
        f"{path}: its {said}, most between {planes[wide].name} and {planes[wide + 1].name}; one may be missing. Add "
        "it, or allow gaps (ordseg predict --allow_gaps; in a data set builder_args.allow_gaps=True)."
      )
    notes.append(f"{said}; the map has them {length:.4g} mm apart, up to {along.max():.3g} mm from their places")
  elif along.max() > _EVEN * length + 1e-3:
    notes.append(f"slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart, read as {length:.4g} mm")
  line = (positions - positions[0]) @ normal / float(step @ normal)  # in steps, gaps or not
  across = positions - positions[0] - line[:, None] * step
  worst = int(np.argmax(np.linalg.norm(across, axis=1)))
  if np.linalg.norm(across[worst]) > _UNEVEN * length + _ROUNDING:
    raise InputError(
      f"{path}: {planes[worst].name} lies {np.linalg.norm(across[worst]):.3g} mm beside the line of the other slices; "
      "they are no stack."
    )
  tilt = float(np.degrees(np.arccos(min(1.0, length / float(np.linalg.norm(step))))))
  if tilt > 0.1:
    notes.append(f"slices drift sideways (the gantry was tilted by {tilt:.3g} degrees); so does the map")
  return step, notes
