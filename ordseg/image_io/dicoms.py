"""DICOM files and series through pydicom."""

import pathlib
import warnings
from typing import Any

import numpy as np

from ordseg.image_io import formats
from ordseg.image_io.image_file import ImageFile
from ordseg.validate import InputError

_Slice = tuple[pathlib.Path, Any]  # a DICOM file and its data set


def read(path: pathlib.Path) -> ImageFile:
  """Reads a file, or the folder of one series, its slices in the order of their places; folder / SeriesInstanceUID
  where it holds several."""
  import pydicom
  import pydicom.errors

  folder, wanted = formats.folder_and_series(path)
  files = sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else [path]
  slices = []
  for file in files:
    try:
      slices.append((file, pydicom.dcmread(file)))
    except pydicom.errors.InvalidDicomError:
      if not folder.is_dir():
        raise InputError(f"{file}: is no DICOM file.") from None
  slices = [(file, data) for file, data in slices if "PixelData" in data]
  if wanted:
    slices = [(file, data) for file, data in slices if str(data.get("SeriesInstanceUID", "")) == wanted]
  if not slices:
    raise InputError(f"{path}: holds no DICOM image.")
  series = {str(data.get("SeriesInstanceUID", "")) for _, data in slices}
  if len(series) > 1:
    raise InputError(
      f"{path}: holds {len(series)} DICOM series; name one, as {path}/SeriesInstanceUID: "
      f"{', '.join(sorted(series)[:5])}."
    )
  ordered, gap = _along_normal(path, slices)
  pages = np.concatenate([_dicom_pages(file, data) for file, data in ordered])
  spacing = [float(x) for x in ordered[0][1].get("PixelSpacing", (0.0, 0.0))]
  sizes = (gap, spacing[0], spacing[1])
  header = [data for _, data in ordered]
  return ImageFile(path, pages, sizes, affine=_affine(header, sizes), header=header)


def _along_normal(
  path: pathlib.Path, slices: list[tuple[pathlib.Path, Any]]
) -> tuple[list[tuple[pathlib.Path, Any]], float]:
  """Sorts slices by their position along the normal of the first one; returns them and the mm between two."""
  first = slices[0][1]
  if len(slices) == 1:
    return slices, float(first.get("SpacingBetweenSlices", first.get("SliceThickness", 0.0)) or 0.0)
  for file, data in slices:
    if "ImagePositionPatient" not in data or "ImageOrientationPatient" not in data:
      raise InputError(f"{file}: has no ImagePositionPatient and ImageOrientationPatient; its place is unknown.")
    if not np.allclose(data.ImageOrientationPatient, first.ImageOrientationPatient, atol=1e-4):
      raise InputError(f"{file}: is oriented otherwise than the other slices of {path}.")
    if (data.Rows, data.Columns) != (first.Rows, first.Columns):
      raise InputError(f"{file}: is {data.Rows} x {data.Columns} pixels, others {first.Rows} x {first.Columns}.")
  row, column = np.reshape(np.asarray(first.ImageOrientationPatient, np.float64), (2, 3))
  normal = np.cross(row, column)
  places = [float(np.dot(normal, np.asarray(data.ImagePositionPatient, np.float64))) for _, data in slices]
  order = np.argsort(places, kind="stable")
  gaps = np.diff(np.asarray(places)[order])
  if np.any(gaps < 1e-4):
    raise InputError(f"{path}: two slices lie at the same place.")
  if np.ptp(gaps) > 0.01 * float(np.median(gaps)) + 1e-3:
    warnings.warn(f"{path}: the slices are not equally spaced ({gaps.min():g} to {gaps.max():g} mm).", stacklevel=4)
  return [slices[i] for i in order], float(np.median(gaps))


def _dicom_pages(file: pathlib.Path, data: Any) -> np.ndarray:
  """Returns [D, H, W, C]: modality values (HU for CT), float32 only where slope or intercept are fractions."""
  values = data.pixel_array
  colour = int(data.get("SamplesPerPixel", 1))
  frames = int(data.get("NumberOfFrames", 1) or 1)
  values = values.reshape(frames, data.Rows, data.Columns, colour)
  if data.get("PhotometricInterpretation") == "MONOCHROME1":
    raise InputError(
      f"{file}: PhotometricInterpretation MONOCHROME1 (bright means dark) is not read; convert it first."
    )
  slope, intercept = float(data.get("RescaleSlope", 1) or 1), float(data.get("RescaleIntercept", 0) or 0)
  if (slope, intercept) == (1.0, 0.0):
    return values
  scaled = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
  if slope.is_integer() and intercept.is_integer() and np.abs(scaled).max() < 2**15:
    return scaled.astype(np.int16)
  return scaled


def _affine(slices: list[Any], spacing: tuple[float, float, float]) -> np.ndarray:
  """Returns [4, 4] float64, from voxel (column, row, page) to mm in NIfTI's axes.

  DICOM's x and y point left and back (LPS), NIfTI's right and front: their rows change sign (DICOM PS3.3 C.7.6.2.1.1).

  Args:
    slices: pydicom data sets in the order of the pages.
    spacing: mm along pages, rows, columns.
  """
  first, last = slices[0], slices[-1]
  affine = np.eye(4)
  if "ImageOrientationPatient" not in first or "ImagePositionPatient" not in first:
    affine[:3, :3] = np.diag([spacing[2] or 1.0, spacing[1] or 1.0, spacing[0] or 1.0])
    return affine
  along_row, along_column = np.reshape(np.asarray(first.ImageOrientationPatient, np.float64), (2, 3))
  start, end = (np.asarray(data.ImagePositionPatient, np.float64) for data in (first, last))
  step = (end - start) / (len(slices) - 1) if len(slices) > 1 else np.cross(along_row, along_column) * (spacing[0] or 1)
  affine[:3, 0] = along_row * spacing[2]
  affine[:3, 1] = along_column * spacing[1]
  affine[:3, 2] = step
  affine[:3, 3] = start
  affine[:2] *= -1
  return affine
