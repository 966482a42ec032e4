"""DICOM files and series through pydicom."""

import pathlib
import warnings
from typing import TYPE_CHECKING

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import dicom_files, dicom_pixels, dicom_planes, dicom_segments, dicom_stacks
from ordseg.image_io.dicom_planes import Plane
from ordseg.image_io.image_file import ImageFile

if TYPE_CHECKING:
  from pydicom import Dataset


def read(path: pathlib.Path, *, allow_gaps: bool = False) -> ImageFile:
  """Reads a file, or the folder of one series, its slices or frames in the order of their places; folder /
  SeriesInstanceUID where it holds several.

  Args:
    path: a file of one or several frames, or a folder; of a segmentation object (SEG) its segments.
    allow_gaps: takes a series whose slices are not equally spaced; see `dicom_stacks.stacked`.

  Raises:
    InputError: see `dicom_files.open_files`, `dicom_pixels` and `dicom_stacks.stacked`.
  """
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what pydicom warns of is checked here, or does not touch pixels and place
    slices, notes = dicom_files.open_files(path)
    if any(dicom_segments.is_segmentation(data) for _, data in slices):
      if len(slices) > 1:
        raise InputError(f"{path}: holds {len(slices)} objects, segmentations among them; expected one file.")
      return dicom_segments.read(*slices[0])
    _check_alike(path, slices)
    planes, pages = [], []
    for file, data in slices:
      frames, places, more = _one(file, data, alone=len(slices) == 1)
      if pages and frames.shape[1:] != pages[0].shape[1:]:
        raise InputError(f"{path}: {_odd_size(slices)}; take it out.")
      planes += places
      pages.append(frames)
      notes += more
  stack = dicom_stacks.stacked(path, planes, allow_gaps=allow_gaps)
  header = [slices[k][1] for k in stack.order] if len(slices) > 1 else [slices[0][1]]
  notes = list(dict.fromkeys([*notes, *stack.notes]))
  return ImageFile(path, _ordered(pages, stack.order), stack.spacing, stack.affine, header=header, notes=tuple(notes))


def _one(file: pathlib.Path, data: "Dataset", *, alone: bool) -> tuple[np.ndarray, list[Plane], list[str]]:
  count = dicom_pixels.num_frames(file, data)
  if count > 1 and not alone:
    raise InputError(f"{file}: holds {count} frames; expected it alone, not among other files of a series.")
  stored = dicom_pixels.read_stored(file, data)  # first: it compares NumberOfFrames with the bytes
  places = dicom_planes.planes_of(file, data, count)
  values, notes = dicom_pixels.to_values(file, data, stored)
  for keyword in dicom_files.PIXELS:
    if keyword in data:
      delattr(data, keyword)  # writers need the rest; the pixels are in memory once
  return values, places, notes


def _ordered(pages: list[np.ndarray], order: list[int]) -> np.ndarray:
  if len(pages) == 1:
    return pages[0] if order == list(range(len(order))) else pages[0][order]
  dtype = np.result_type(*{page.dtype for page in pages})  # slices scaled by fractions and by whole numbers
  return np.concatenate([pages[k] for k in order], dtype=dtype, casting="same_kind")


def _check_alike(path: pathlib.Path, slices: list[dicom_files.Slice]) -> None:
  """Slices of several patients (bad anonymization gives them one UID), or of both polarities, are no volume."""
  patients = [f"PatientID {data.get('PatientID') or 'empty'}" for _, data in slices]
  colours = [str(data.get("PhotometricInterpretation") or "") for _, data in slices]
  kinds = [kind if kind == "MONOCHROME1" else "another PhotometricInterpretation" for kind in colours]
  for names in (patients, kinds):
    common = max(names, key=names.count)
    odd = next((k for k, one in enumerate(names) if one != common), None)
    if odd is not None:
      raise InputError(f"{path}: {slices[odd][0].name} has {names[odd]}, most slices {common}; take it out.")


def _odd_size(slices: list[dicom_files.Slice]) -> str:
  sizes = [f"{data.Rows} x {data.Columns} pixels of {data.SamplesPerPixel} samples" for _, data in slices]
  common = max(sizes, key=sizes.count)
  odd = next(k for k, size in enumerate(sizes) if size != common)
  return f"{slices[odd][0].name} is {sizes[odd]}, the other slices {common}"
