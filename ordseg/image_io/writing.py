"""Writes maps where their image lies: pages of a TIFF, voxels of a NIfTI file with its affine, pictures."""

import pathlib
from typing import Any

import numpy as np
import PIL.Image

from ordseg import files
from ordseg.errors import InputError
from ordseg.image_io import formats
from ordseg.image_io.image_file import ImageFile

PRECISIONS = ("float32", "uint16")


def suffix_for(image: ImageFile, *, is_large: bool = False) -> str:
  """Returns the suffix of maps of an image: its own kind; NIfTI for DICOM; TIFF for pictures too large for PNG."""
  kind = formats.suffix(image.path)
  if isinstance(image.header, list) or kind in formats.NIFTIS:  # a list: DICOM
    return ".nii.gz"
  if kind.endswith(formats.TIFFS) or len(image.pages) > 1 or is_large:
    return ".tif"
  return ".png"


def write_map(path: pathlib.Path, values: np.ndarray, image: ImageFile, *, precision: str = "float32") -> None:
  """Writes a map in the geometry of its image; replaces what is there at once.

  Args:
    path: its suffix decides the format: see `suffix_for`.
    values: [D, H, W], the pages in the order of `image.pages`; probabilities in [0, 1], masks as uint8, or counts.
    image: what it is a map of.
    precision: of floats: ``float32``, or ``uint16``, where 65535 stands for 1 (PNG always takes that).

  Raises:
    InputError: the place cannot be written to.
  """
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = formats.suffix(path)
    with files.replacing(path) as part:
      if kind == ".nii.gz":
        _write_nifti(part, _stored(values, precision), image)
      elif kind == ".tif":
        write_tiff(part, _stored(values, precision))
      else:
        PIL.Image.fromarray(_stored(values[0], "uint16")).save(part, format="PNG")
  except OSError as error:
    raise InputError(f"{path}: cannot be written ({error}).") from error


def _stored(values: np.ndarray, precision: str) -> np.ndarray:
  if values.dtype.kind != "f" or precision == "float32":
    return values.astype(np.float32) if values.dtype.kind == "f" else values
  return np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16)


def write_tiff(path: pathlib.Path, values: np.ndarray) -> None:
  """Writes [D, H, W] as the pages of a TIFF, BigTIFF where it must be."""
  import tifffile

  values = values[0] if len(values) == 1 else values
  tifffile.imwrite(path, values, photometric="minisblack", compression="deflate", bigtiff=values.nbytes > 2**31)


def _write_nifti(path: pathlib.Path, values: np.ndarray, image: ImageFile) -> None:
  """Writes [D, H, W] with a header of its own: the image's scale, window, intent or extensions would lie of a map."""
  import nibabel

  voxels = values.transpose(2, 1, 0)
  kind: Any = nibabel.Nifti2Image if max(voxels.shape) > np.iinfo(np.int16).max else nibabel.Nifti1Image
  out = kind(voxels, image.affine, dtype=values.dtype)
  out.header.set_xyzt_units("mm")
  if image.affine is None:  # codes of 0: unknown; a pixdim of 1 is what readers take for "no size"
    out.header.set_zooms([mm or 1.0 for mm in image.spacing[::-1]])
  else:
    code = _place_code(image)
    out.set_sform(image.affine, code)
    out.set_qform(image.affine, code if _is_rigid(image.affine) else 0)  # a qform cannot say sheared
  nibabel.save(out, path)


def _place_code(image: ImageFile) -> int:
  """Returns what the place refers to (nifti1.h): as in the image's own header; 1, the scanner, for DICOM."""
  if image.header is None or isinstance(image.header, list):
    return 1
  return int(image.header["sform_code"]) or int(image.header["qform_code"]) or 1


def _is_rigid(affine: np.ndarray) -> bool:
  """Returns whether the axes stand at right angles."""
  axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
  return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 1e-5)
