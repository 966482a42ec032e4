"""NIfTI volumes: nibabel reads the header, `nifti_data` the voxels, whole or not at all."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import formats, nifti_data, placement
from ordseg.image_io.image_file import ImageFile
from ordseg.image_io.scaling import rescaled

_UNITS = {"mm": 1.0, "micron": 1e-3, "meter": 1e3, "unknown": 1.0}  # in mm; without a unit everybody means mm


def read(path: pathlib.Path) -> ImageFile:
  """Reads a volume.

  Returns:
    pages [D, H, W, C] from voxels (column, row, page), (column, row, page, channel) or, as ITK writes vectors,
    (column, row, page, 1, channel). Values are scaled by scl_slope and scl_inter, see `scaling.rescaled`.

  Raises:
    InputError: no NIfTI file, cut short or damaged, of a type or number of axes that is not read, or with a geometry
      that contradicts itself.
  """
  import nibabel
  from nibabel.filebasedimages import ImageFileError

  if formats.suffix(path) in formats.NIFTI_DATA:
    header = path.with_name(f"{formats.stem(path)}.hdr{'.gz' if path.suffix.lower() == '.gz' else ''}")
    if not header.is_file():
      raise InputError(f"{path}: holds voxels without their header {header.name}, which is not beside it.")
    return dataclasses.replace(read(header), path=path)
  raw = nifti_data.read_header(path)
  with _quiet():
    try:
      image: Any = nibabel.load(path)
    except ImageFileError as error:
      nifti_data.check_stream(path)
      raise InputError(f"{path}: is no NIfTI file, or its header is damaged.{_misnamed(path, raw)}") from error
    if not isinstance(image, nibabel.Nifti1Pair):  # Nifti1Image, Nifti2Pair and Nifti2Image are kinds of it
      kind = type(image).__name__.removesuffix("Image")
      raise InputError(f"{path}: is {kind}, which does not say where left and right are; convert it to NIfTI.")
    values = nifti_data.read_voxels(path, image)
    stored: Any = image.dataobj
    slope, intercept = stored.slope, stored.inter
    affine, spacing, notes = _place(path, image, raw)
  if raw is not None and np.isinf([raw["scl_slope"], raw["scl_inter"]]).any():
    raise InputError(f"{path}: its slope or intercept (scl_slope, scl_inter) is infinite; the header may be damaged.")
  values, alpha, more = _pages(path, values)
  try:
    values = rescaled(_native(values), float(slope), float(intercept))
  except InputError as error:
    raise InputError(f"{path}: {error} (scl_slope, scl_inter).") from error
  return ImageFile(path, values, spacing, affine=affine, header=image.header, notes=(*more, *notes), alpha=alpha)


def _misnamed(path: pathlib.Path, raw: object) -> str:
  """Returns what to do where the name says packed and the content plain, or the other way round."""
  if raw is None:
    return ""
  name, is_gz = path.name, path.suffix.lower() == ".gz"
  return (
    f" It is not packed by gzip, as its name says: rename it to {name[:-3]}."
    if is_gz
    else f" It is packed by gzip: rename it to {name}.gz."
  )


def stored_dtype(path: pathlib.Path) -> np.dtype | None:
  """Returns the type of the values that `read` gives, by the header; None where only the values tell."""
  import nibabel

  with _quiet():
    image: Any = nibabel.load(path)
  kind, stored = image.get_data_dtype(), image.dataobj
  is_plain = (float(stored.slope), float(stored.inter)) == (1.0, 0.0)
  is_kept = (kind.kind == "f" and kind.itemsize <= 8) or (kind.kind in "iu" and kind.itemsize < 8)  # see `_native`
  return kind.newbyteorder("=") if is_plain and is_kept else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps nibabel's own log lines from stderr; what they are about is in our notes and errors."""
  from nibabel import imageglobals

  before, imageglobals.logger.disabled = imageglobals.logger.disabled, True
  try:
    yield
  finally:
    imageglobals.logger.disabled = before


def _native(values: np.ndarray) -> np.ndarray:
  """Integers and floats in the machine's byte order; 64 bits only where the numbers need them."""
  kind = values.dtype
  if kind.kind in "iu" and kind.itemsize == 8:
    fits = not values.size or (int(values.min()) >= -(2**31) and int(values.max()) < 2**31)
    return values.astype(np.int32 if fits else kind.newbyteorder("="))
  if kind.kind == "f" and kind.itemsize > 8:
    return values.astype(np.float64)
  return values.astype(kind.newbyteorder("="), copy=False)


def _pages(path: pathlib.Path, values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
  """Orders voxels [X, Y, Z, ...] as pages [D, H, W, C]; returns them, transparency [D, H, W] or None, and notes."""
  if values.dtype.names:  # RGB24 and RGBA32
    values = _colours(path, values)
    alpha = values[..., 3].transpose(2, 1, 0) if values.shape[-1] == 4 else None
    return values[..., :3].transpose(2, 1, 0, 3), alpha, []
  notes = []
  shape = list(values.shape)
  if len(shape) == 5 and shape[3] == 1:
    del shape[3]
  while len(shape) > 4 and shape[-1] == 1:
    del shape[-1]
  if not 2 <= len(shape) <= 4:
    raise InputError(
      f"{path}: a NIfTI image of {' x '.join(map(str, values.shape))} voxels is not read; expected up to 3 axes, and "
      "channels as the fourth, or the fifth of a vector image. Store each time or direction in a file of its own."
    )
  if len(shape) == 4 and shape[3] > 1:
    notes.append(f"the fourth axis ({shape[3]}) is taken as channels")
  values = values.reshape([*shape, *[1] * (4 - len(shape))], order="F")
  return values.transpose(2, 1, 0, 3), None, notes


def _colours(path: pathlib.Path, values: np.ndarray) -> np.ndarray:
  """[X, Y, Z, 3 or 4] of voxels that are structures of bytes."""
  if values.ndim > 3 and max(values.shape[3:]) > 1:
    raise InputError(f"{path}: colours with more than three axes {values.shape} are not read.")
  shape = [*values.shape[:3], *[1] * (3 - values.ndim)]
  return np.stack([values[name].reshape(shape, order="F") for name in values.dtype.names or ()], axis=-1)


def _place(path: pathlib.Path, image: Any, raw: Any) -> tuple[np.ndarray | None, tuple[float, float, float], list[str]]:
  """Returns affine, spacing and notes.

  The sform where its code is above 0, else the qform, else the place is unknown, as nibabel's and ITK's readers choose.
  """
  header, notes = image.header, []
  unit, scale = _unit(header)
  if scale != 1.0:
    notes.append(f"lengths are stored in {unit}, read as mm")
  elif unit not in _UNITS:
    notes.append(f"the unit of lengths ({unit}) is unknown, taken as mm")
  stored = header["pixdim"] if raw is None else raw["pixdim"]
  zooms = [abs(float(zoom)) * scale for zoom in stored[1 : 1 + min(image.ndim, 3)]]
  zooms += [0.0] * (3 - len(zooms))
  known = [zoom if np.isfinite(zoom) else 0.0 for zoom in zooms]
  if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
    notes.append("the header does not place it in space (sform and qform codes are 0)")
    return None, (known[2], known[1], known[0]), notes
  form = "sform" if int(header["sform_code"]) > 0 else "qform"
  affine = np.array(header.get_sform() if form == "sform" else _qform(path, header), np.float64)
  affine[:3] *= scale
  thin = image.ndim < 3 or image.shape[2] == 1
  if thin and np.isfinite(affine[:, 3]).all() and not _has_length(affine[:3, 2]):
    affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])  # one page has no step to the next
    affine[:3, 2] /= np.linalg.norm(affine[:3, 2]) or 1.0
  needed = known[:2] if thin else known
  if not placement.is_usable(affine) or (form == "qform" and not all(needed)):
    raise InputError(
      f"{path}: its {form} does not place voxels in space (zero, singular or not a number). Correct it, or set sform "
      "and qform codes to 0 to use the image without a place."
    )
  spacing = placement.spacing_of(affine)
  if thin and not known[2]:
    spacing = (0.0, *spacing[1:])
  if any(a and b and abs(a - b) > 0.01 * b for a, b in zip(known[::-1], spacing, strict=True)):
    shown = [" x ".join(f"{mm:.4g}" for mm in sizes) for sizes in (spacing[::-1], known)]
    notes.append(f"voxels are {shown[0]} mm by the {form}, which is used, and {shown[1]} mm by pixdim")
  return affine, spacing, notes


def _has_length(step: np.ndarray) -> bool:
  """Returns whether a column of an affine has a length."""
  return bool(np.isfinite(step).all() and np.linalg.norm(step) > 0)


def _unit(header: Any) -> tuple[str, float]:
  try:
    unit = header.get_xyzt_units()[0]
  except KeyError:
    unit = f"code {int(header['xyzt_units']) % 8}"
  return unit, _UNITS.get(unit, 1.0)


def _qform(path: pathlib.Path, header: Any) -> np.ndarray:
  try:
    return header.get_qform()
  except Exception as error:  # a quaternion that is none, or pixdim that is not positive: nibabel has several kinds
    raise InputError(f"{path}: its qform does not place voxels in space ({error}). Correct it.") from error
