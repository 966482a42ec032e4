"""Reads the CT series of LIDC-IDRI: the heads of all its DICOM files, the pixels of those that are asked for."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
import pydicom.errors

from data.errors import DataError
from ordseg import image_io

_FIELDS = ("SeriesInstanceUID", "SOPInstanceUID", "ImagePositionPatient", "Rows", "Columns", "PixelSpacing")
_SAME_PLACE = 0.1  # mm; the XML files give z with one or two decimals


@dataclasses.dataclass(frozen=True)
class Series:
  """A CT series.

  Attributes:
    folder: the folder that holds the files.
    uid: the SeriesInstanceUID.
    paths: one file per z, from low to high.
    z: position of each file along the axis, in mm.
    index: SOPInstanceUID -> index into `paths`. Where two files lie at one z, both have it; the one with the lower
      InstanceNumber is in `paths`.
    shape: height and width in pixels.
    spacing: mm per pixel along H and W.
  """

  folder: pathlib.Path
  uid: str
  paths: list[pathlib.Path]
  z: np.ndarray
  index: dict[str, int]
  shape: tuple[int, int]
  spacing: tuple[float, float]

  def find(self, sop_uid: str, z: float) -> int | None:
    """Returns the slice of a SOP UID, else the one at z (mm); None where there is neither."""
    if sop_uid in self.index:
      return self.index[sop_uid]
    nearest = int(np.abs(self.z - z).argmin())
    return nearest if abs(self.z[nearest] - z) <= _SAME_PLACE else None

  def image(self, index: int) -> np.ndarray:
    """Reads a slice.

    Returns:
      [H, W, 1] int16, HU.

    Raises:
      DataError: damaged, or values that are no HU; names the file.
    """
    path = self.paths[index]
    values = np.rint(image_io.read(path).pages[0])
    limits = np.iinfo(np.int16)
    if values.shape != (*self.shape, 1) or not (limits.min <= values.min() and values.max() <= limits.max):
      raise DataError(f"{path}: expected Hounsfield units, found {values.min():g} to {values.max():g}.")
    return values.astype(np.int16)


def folders(patient: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
  """Lists the folders below that of a patient that hold DICOM files, with the names of those, sorted."""
  for folder, _, names in sorted(os.walk(patient)):
    names = sorted(n for n in names if n.lower().endswith(".dcm") and not n.startswith("."))
    if names:
      yield pathlib.Path(folder), names


def read(folder: pathlib.Path, names: list[str]) -> Series | None:
  """Reads the heads of a folder's DICOM files.

  Args:
    folder: the folder of one series.
    names: the names of the files in it.

  Returns:
    The series; None where it is no CT: some patients have chest radiographs as well.

  Raises:
    DataError: damaged, a field is missing, or files of several series or sizes; names the file.
  """
  if _head(folder / names[0], ("Modality",)).get("Modality", "CT") != "CT":
    return None
  heads = [(folder / name, _head(folder / name, (*_FIELDS, "InstanceNumber"))) for name in names]
  first = heads[0][1]
  for path, head in heads:
    for field in _FIELDS:
      if head.get(field) is None:
        raise DataError(f"{path}: the DICOM file has no {field}.")
    for field in ("SeriesInstanceUID", "Rows", "Columns"):
      if head[field].value != first[field].value:
        raise DataError(f"{path}: {field} is {head[field].value}, in {heads[0][0]} it is {first[field].value}.")
  heads.sort(key=lambda head: (float(head[1].ImagePositionPatient[2]), int(head[1].get("InstanceNumber") or 0)))
  paths: list[pathlib.Path] = []
  z: list[float] = []
  index: dict[str, int] = {}
  for path, head in heads:
    place = float(head.ImagePositionPatient[2])
    if not z or place - z[-1] > 1e-3:
      paths.append(path)
      z.append(place)
    index[str(head.SOPInstanceUID)] = len(z) - 1
  spacing = (float(first.PixelSpacing[0]), float(first.PixelSpacing[1]))
  return Series(
    folder, str(first.SeriesInstanceUID), paths, np.asarray(z), index, (int(first.Rows), int(first.Columns)), spacing
  )


def _head(path: pathlib.Path, fields: tuple[str, ...]) -> Any:
  try:
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(fields))
  except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError) as error:
    raise DataError(f"{path}: is no whole DICOM file ({' '.join(str(error).split())}).") from error
