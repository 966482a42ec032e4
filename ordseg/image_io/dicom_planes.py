"""Where DICOM slices and frames lie: position, orientation and spacing, whichever place they are stored at."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ordseg.errors import InputError

if TYPE_CHECKING:
  from pydicom import Dataset

# What else may tell frames of one file apart, each with the sequence it lies in (PS3.3 C.7.6.16, C.8.13.5).
_VARIANTS = (
  ("FrameContentSequence", "StackID"),
  ("FrameContentSequence", "TemporalPositionIndex"),
  ("MREchoSequence", "EffectiveEchoTime"),
  ("MRDiffusionSequence", "DiffusionBValue"),
)
# The same of single-frame files.
_FILE_VARIANTS = ("EchoTime", "TemporalPositionIdentifier", "DiffusionBValue", "AcquisitionNumber", "ImageType")
# PixelSpacing is in the patient; these two are at the detector, or on the film.
_OTHER_SPACINGS = {
  "ImagerPixelSpacing": "pixel sizes are those at the detector (ImagerPixelSpacing), the patient's are smaller",
  "NominalScannedPixelSpacing": "pixel sizes are those on the scanned film (NominalScannedPixelSpacing)",
}


@dataclasses.dataclass(frozen=True)
class Plane:
  """One slice or frame.

  Attributes:
    file: where it is stored.
    frame: counted from 0 in its file.
    position: [3] mm (LPS) of the centre of the first pixel; None = unknown.
    orientation: [2, 3] unit vectors along a row and along a column; None = unknown.
    spacing: mm between rows and between columns; 0 = unknown.
    depth: mm to the next slice: SpacingBetweenSlices, else SliceThickness, else 0 = unknown.
    variants: what else tells it from other frames, keyword -> value.
    notes: on what was odd.
  """

  file: pathlib.Path
  frame: int
  position: np.ndarray | None
  orientation: np.ndarray | None
  spacing: tuple[float, float]
  depth: float
  variants: dict[str, str] = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()

  @property
  def is_placed(self) -> bool:
    """Whether position and orientation are known."""
    return self.position is not None and self.orientation is not None

  @property
  def at(self) -> np.ndarray:
    """The position of a plane that is placed."""
    assert self.position is not None
    return self.position

  @property
  def axes(self) -> np.ndarray:
    """The orientation of a plane that is placed."""
    assert self.orientation is not None
    return self.orientation

  @property
  def normal(self) -> np.ndarray:
    """[3] unit vector: row x column."""
    return np.cross(self.axes[0], self.axes[1])

  @property
  def name(self) -> str:
    """The file, and which frame of it where it holds several."""
    return self.file.name if self.frame < 0 else f"frame {self.frame + 1}"


def integer(file: pathlib.Path, data: "Dataset", keyword: str, default: int | None = None) -> int:
  """Returns a whole number of a data set.

  Raises:
    InputError: absent or empty, with no default, or no whole number.
  """
  value = data.get(keyword)
  if value is None or value == "":
    if default is None:
      raise InputError(f"{file}: {keyword} is absent or empty; it may be damaged.")
    return default
  try:
    return int(value)
  except (TypeError, ValueError) as error:
    raise InputError(f"{file}: {keyword} is {value!r}, expected a whole number.") from error


def numbers(data: "Dataset | None", keyword: str, count: int) -> np.ndarray | None:
  """Returns `count` finite numbers of a data set; None where it or they are absent, empty, or something else."""
  value = data.get(keyword) if data is not None else None
  if value is None or isinstance(value, str | bytes):
    return None
  try:
    found = np.asarray(value, np.float64).reshape(-1)
  except (TypeError, ValueError):
    return None
  return found if len(found) == count and np.isfinite(found).all() else None


def number(data: "Dataset | None", keyword: str) -> float | None:
  """Returns a finite number of a data set, or None."""
  found = numbers(data, keyword, 1)
  return None if found is None else float(found[0])


def group(data: "Dataset", frame: int, sequence: str) -> "Dataset | None":
  """Returns a functional group of a frame: its own, else the shared one, else None (PS3.3 C.7.6.16)."""
  for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
    items = data.get(groups) or []
    found = items[index].get(sequence) if index < len(items) else None
    if found:
      return found[0]
  return None


def has_groups(data: "Dataset") -> bool:
  """Returns whether a data set is multi-frame with functional groups ("enhanced")."""
  return bool(data.get("SharedFunctionalGroupsSequence") or data.get("PerFrameFunctionalGroupsSequence"))


def planes_of(file: pathlib.Path, data: "Dataset", num_frames: int) -> list[Plane]:
  """Returns the planes of a data set, in the order of its frames.

  Raises:
    InputError: a whole-slide image, whose frames are tiles; fewer places than frames.
  """
  if "TotalPixelMatrixRows" in data:
    raise InputError(f"{file}: a whole-slide image, whose frames are tiles, is not read; convert it to TIFF.")
  if has_groups(data):
    have = len(data.get("PerFrameFunctionalGroupsSequence") or [])
    if have != num_frames and num_frames > 1:
      raise InputError(f"{file}: says {num_frames} frames, and has places (functional groups) of {have}.")
    return [_from_groups(file, data, k) for k in range(num_frames)]
  plane = _plane(file, -1 if num_frames == 1 else 0, data, data, data)
  if num_frames == 1:
    return [dataclasses.replace(plane, variants=_variants((key, data.get(key)) for key in _FILE_VARIANTS))]
  offsets = numbers(data, "GridFrameOffsetVector", num_frames)  # RT dose (PS3.3 C.8.8.3)
  if not plane.is_placed or offsets is None or offsets[0] != 0:
    return [dataclasses.replace(plane, frame=k, position=None) for k in range(num_frames)]
  return [dataclasses.replace(plane, frame=k, position=plane.at + z * plane.normal) for k, z in enumerate(offsets)]


def _from_groups(file: pathlib.Path, data: "Dataset", frame: int) -> Plane:
  position, orientation = (group(data, frame, f"Plane{what}Sequence") for what in ("Position", "Orientation"))
  plane = _plane(file, frame, position, orientation, group(data, frame, "PixelMeasuresSequence"))
  found = ((key, (group(data, frame, sequence) or {}).get(key)) for sequence, key in _VARIANTS)
  return dataclasses.replace(plane, variants=_variants(found))


def _variants(found: Iterable[tuple[str, object]]) -> dict[str, str]:
  return {key: str(value) for key, value in found if value not in (None, "")}


def _plane(
  file: pathlib.Path, frame: int, position: "Dataset | None", orientation: "Dataset | None", measures: "Dataset | None"
) -> Plane:
  spacing, notes = _pixel_spacing(measures)
  place = numbers(position, "ImagePositionPatient", 3)
  turn = _orientation(orientation)
  depth = number(measures, "SpacingBetweenSlices") or number(measures, "SliceThickness") or 0.0
  if place is None or turn is None:
    missing = [
      key for key, value in (("ImagePositionPatient", place), ("ImageOrientationPatient", turn)) if value is None
    ]
    notes.append(f"its place in space is unknown ({' and '.join(missing)} absent, empty or invalid)")
  return Plane(file, frame, place, turn, spacing, abs(depth), notes=tuple(notes))


def _pixel_spacing(measures: "Dataset | None") -> tuple[tuple[float, float], list[str]]:
  for keyword in ("PixelSpacing", *_OTHER_SPACINGS):
    found = numbers(measures, keyword, 2)
    if found is not None and found.min() > 0:
      note = _OTHER_SPACINGS.get(keyword)
      return (float(found[0]), float(found[1])), [note] if note else []
  return (0.0, 0.0), ["its pixel size is unknown (PixelSpacing absent, empty or invalid)"]


def _orientation(item: "Dataset | None") -> np.ndarray | None:
  found = numbers(item, "ImageOrientationPatient", 6)
  if found is None:
    return None
  axes = found.reshape(2, 3)
  lengths = np.linalg.norm(axes, axis=1)
  if np.abs(lengths - 1).max() > 0.01 or abs(float(axes[0] @ axes[1])) > 0.01 or not math.isfinite(lengths.sum()):
    return None
  return axes / lengths[:, None]
