"""DICOM segmentation objects (SEG, PS3.3 A.51) as masks."""

import pathlib
from typing import TYPE_CHECKING

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import dicom_pixels, dicom_planes, dicom_stacks
from ordseg.image_io.dicom_planes import group
from ordseg.image_io.image_file import ImageFile

if TYPE_CHECKING:
  from pydicom import Dataset

_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # segmentation, label map segmentation
_SAME = 1e-3  # mm


def is_segmentation(data: "Dataset") -> bool:
  """Returns whether a data set is a segmentation object."""
  return str(data.get("SOPClassUID") or "") in _CLASSES


def read(file: pathlib.Path, data: "Dataset") -> ImageFile:
  """Reads the segments of an object.

  Returns:
    pages [D, H, W, 1], one for each place that frames lie at, with `page_affines`; empty places are left out of such
    objects. One binary segment is 0 and 1, several are their numbers; fractional ones are float32 in [0, 1], a channel
    each.

  Raises:
    InputError: binary segments that overlap, frames without a place, two frames of a segment in one place.
  """
  frames = dicom_pixels.read_stored(file, data)[..., 0]
  planes = dicom_planes.planes_of(file, data, len(frames))
  affines = [dicom_stacks.affine_of(plane) for plane in planes]
  if any(affine is None for affine in affines):
    raise InputError(f"{file}: frames of this segmentation do not say where they lie.")
  kind = str(data.get("SegmentationType") or "")
  labels = {int(item.SegmentNumber): str(item.get("SegmentLabel") or "") for item in data.get("SegmentSequence") or []}
  labels.pop(0, None)  # a label map may describe its background
  if kind == "LABELMAP":
    values = np.where(frames > 0, 1, 0).astype(np.uint8) if len(labels) == 1 else frames
    numbers = [0] * len(frames)
  else:
    numbers = [_segment(file, data, k, labels) for k in range(len(frames))]
    values = _marked(file, data, frames, numbers, kind, several=len(labels) > 1)
  if kind == "FRACTIONAL" and len(labels) > 1:
    places, pages = _in_channels(file, values, planes, numbers, list(labels))
  else:
    places, pages = _merged(file, values, planes, numbers)
    pages = pages[..., None]
  shown = ", ".join(f"{number} {label}".strip() for number, label in labels.items())
  notes = (f"a segmentation object, segments: {shown}",)
  kept = np.stack([affines[k] for k in places])  # type: ignore[arg-type]
  first = planes[places[0]]
  spacing = (first.depth, *first.spacing)
  return ImageFile(file, pages, spacing, page_affines=kept, header=[data], notes=notes)


def _segment(file: pathlib.Path, data: "Dataset", frame: int, labels: dict[int, str]) -> int:
  item = group(data, frame, "SegmentIdentificationSequence")
  found = 0 if item is None else int(item.get("ReferencedSegmentNumber") or 0)
  if found not in labels:
    raise InputError(f"{file}: frame {frame + 1} belongs to no segment that the object describes.")
  return found


def _marked(
  file: pathlib.Path, data: "Dataset", frames: np.ndarray, numbers: list[int], kind: str, *, several: bool
) -> np.ndarray:
  if kind == "BINARY":
    values = np.asarray(numbers if several else [1] * len(numbers))[:, None, None]
    return frames.astype(np.min_scalar_type(int(values.max()))) * values.astype(np.min_scalar_type(int(values.max())))
  if kind != "FRACTIONAL":
    raise InputError(
      f"{file}: SegmentationType {kind or 'absent'} is not read; expected BINARY, FRACTIONAL or LABELMAP."
    )
  top = dicom_planes.integer(file, data, "MaximumFractionalValue")
  if top < 1 or frames.max() > top:
    raise InputError(f"{file}: MaximumFractionalValue is {top}, and values go to {frames.max()}.")
  return (frames / np.float32(top)).astype(np.float32)


def _in_channels(
  file: pathlib.Path, values: np.ndarray, planes: list[dicom_planes.Plane], numbers: list[int], segments: list[int]
) -> tuple[list[int], np.ndarray]:
  """Gives each segment a channel; returns a frame of each place, and pages [D, H, W, C], 0 where a segment has none."""
  along = [float(plane.at @ planes[0].normal) for plane in planes]
  places: list[int] = []
  page_of: dict[tuple[int, int], int] = {}
  for k in np.argsort(along, kind="stable").tolist():
    if not places or along[k] - along[places[-1]] > _SAME:
      places.append(k)
    if page_of.setdefault((len(places) - 1, numbers[k]), k) != k:
      raise InputError(f"{file}: segment {numbers[k]} has two frames in one place.")
  pages = np.zeros((len(places), *values.shape[1:], len(segments)), values.dtype)
  for (page, number), k in page_of.items():
    pages[page, ..., segments.index(number)] = values[k]
  return places, pages


def _merged(
  file: pathlib.Path, values: np.ndarray, planes: list[dicom_planes.Plane], numbers: list[int]
) -> tuple[list[int], np.ndarray]:
  """Puts the frames of one place together; returns a frame of each place, and pages [D, H, W]."""
  along = [float(plane.at @ planes[0].normal) for plane in planes]
  places: list[int] = []
  pages: list[np.ndarray] = []
  for k in np.argsort(along, kind="stable").tolist():
    if not places or along[k] - along[places[-1]] > _SAME:
      places.append(k)
      pages.append(values[k].copy())
      continue
    if ((pages[-1] > 0) & (values[k] > 0)).any():
      both = sorted({numbers[places[-1]], numbers[k]})
      raise InputError(f"{file}: segments overlap (of {both}); a mask is one. Store each in a file of its own.")
    pages[-1] = np.maximum(pages[-1], values[k])
  return places, np.stack(pages)
