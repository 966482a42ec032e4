"""Reads one image file or DICOM series. The reader's own words for what is wrong become one `InputError`."""

import dataclasses
import gzip
import io
import pathlib
import warnings
from typing import Any

import numpy as np
import PIL.Image

from ordseg.image_io import formats
from ordseg.validate import InputError

# Pillow refuses pictures of more than 179 million pixels as "bombs"; microscopes make larger ones.
_MAX_PIXELS = 20_000 * 20_000 * 4
_Slice = tuple[pathlib.Path, Any]  # a DICOM file and its data set
_PICTURE_MODES = {"1": np.bool_, "L": np.uint8, "RGB": np.uint8, "I;16": np.uint16, "I": np.int32, "F": np.float32}


@dataclasses.dataclass(frozen=True)
class ImageFile:
  """What an image file holds.

  Attributes:
    path: the file, or the folder of a DICOM series.
    pages: [D, H, W, C], dtype as stored (after rescaling, where the format has one).
    spacing: mm along D, H, W; 0 = unknown.
    header: what a writer of the same format needs to give the geometry back: the nibabel header and affine, or the
      pydicom data sets in the order of the pages; None for pictures.
  """

  path: pathlib.Path
  pages: np.ndarray
  spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
  header: Any = None


def read(path: pathlib.Path) -> ImageFile:
  """Reads an image of any known format.

  Args:
    path: a file, or a folder that holds one DICOM series.

  Raises:
    InputError: no file, unknown format, damaged file; names the file.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise InputError(f"{path}: there is no such file.")
  kind = formats.suffix(path)
  try:
    if path.is_dir() or kind in formats.DICOMS:
      return _read_dicom(path)
    if kind in formats.NIFTIS:
      return _read_nifti(path)
    if kind.endswith(formats.TIFFS):
      return _read_tiff(path)
    if kind in (*formats.PICTURES, ".ppm.gz"):
      return ImageFile(path, _read_pillow(path)[None])
  except InputError:
    raise
  except Exception as error:  # each library has its own kinds
    reason = " ".join(str(error).split()) or type(error).__name__
    raise InputError(f"{path}: cannot be read as an image, it may be damaged or truncated ({reason}).") from error
  raise InputError(f"{path}: unknown image format {kind!r}. Known: {', '.join(formats.SUFFIXES)}.")


def read_picture(path: pathlib.Path, *, num_channels: int | None = None) -> np.ndarray:
  """Reads a file that holds one page.

  Args:
    path: the file.
    num_channels: C that is expected; None takes any. A grey picture stored with three equal channels counts as grey
      where 1 is asked for.

  Returns:
    [H, W, C], dtype as stored.

  Raises:
    InputError: as `read`; several pages, or another number of channels.
  """
  pages = read(path).pages
  if len(pages) != 1:
    raise InputError(f"{path}: expected one picture, found {len(pages)} pages.")
  image = pages[0]
  if num_channels == 1 and image.shape[-1] == 3 and _is_grey(image):
    image = image[..., :1]
  if num_channels is not None and image.shape[-1] != num_channels:
    raise InputError(f"{path}: expected {num_channels} channels, found {image.shape[-1]}.")
  return image


def read_mask(path: pathlib.Path, *, threshold: float | None = None, foreground: float | None = None) -> np.ndarray:
  """Reads a binary mask that is stored as a picture of one page; see `to_binary`.

  Returns:
    [H, W] uint8, 0 or 1.
  """
  return to_binary(read_picture(path, num_channels=1)[..., 0], path, threshold=threshold, foreground=foreground)


def to_binary(
  values: np.ndarray, path: pathlib.Path, *, threshold: float | None = None, foreground: float | None = None
) -> np.ndarray:
  """Turns stored mask values into 0 and 1.

  Args:
    values: any shape.
    path: where they come from, for the error.
    threshold: values >= threshold are marked.
    foreground: values equal to it are marked, all others must be 0. With neither, the mask must hold 0 and one other
      value at most (0/1, 0/255, ...); that other value is marked.

  Returns:
    uint8, same shape.

  Raises:
    InputError: unexpected values; names some.
  """
  if threshold is not None:
    return (values >= threshold).astype(np.uint8)
  found = np.unique(values)
  others = found[found != 0]
  allowed = others[:1] if foreground is None else np.asarray([foreground])
  strange = np.setdiff1d(others, allowed)
  if len(strange) or not np.all(np.isfinite(found)):
    wanted = "0 and one other value" if foreground is None else f"0 and {foreground:g}"
    shown = ", ".join(f"{value:g}" for value in found[:6].astype(float))
    more = ", ..." if len(found) > 6 else ""
    raise InputError(f"{path}: a mask holds {wanted}; found {shown}{more}. A grey mask needs a threshold.")
  return (values != 0).astype(np.uint8)


def _is_grey(image: np.ndarray) -> bool:
  return bool((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all())


def _read_pillow(path: pathlib.Path) -> np.ndarray:
  file: Any = io.BytesIO(gzip.decompress(path.read_bytes())) if path.suffix.lower() == ".gz" else path
  limit = PIL.Image.MAX_IMAGE_PIXELS
  PIL.Image.MAX_IMAGE_PIXELS = _MAX_PIXELS
  try:
    with PIL.Image.open(file) as image:
      frames = getattr(image, "n_frames", 1)
      if frames > 1:
        raise InputError(f"{path}: an animation of {frames} frames is no image.")
      if image.mode == "P":
        image = image.convert("RGB" if image.palette and image.palette.mode.startswith("RGB") else "L")
      elif image.mode in ("LA", "RGBA"):
        image = image.convert(image.mode[:-1])  # a screen's transparency says nothing of the tissue
      if image.mode not in _PICTURE_MODES:
        raise InputError(f"{path}: pictures of mode {image.mode!r} are not read; store it as grey or RGB.")
      values = np.asarray(image).astype(_PICTURE_MODES[image.mode])
  finally:
    PIL.Image.MAX_IMAGE_PIXELS = limit
  if values.dtype == np.bool_:
    values = values.astype(np.uint8)
  return values.reshape(*values.shape[:2], -1)


def _read_tiff(path: pathlib.Path) -> ImageFile:
  import tifffile

  with tifffile.TiffFile(path) as file:
    series = file.series[0]
    values, axes = series.asarray(), series.axes
  sizes = dict(zip(axes, values.shape, strict=True))
  channel = "S" if "S" in sizes else "C" if "C" in sizes else ""
  deep = [axis for axis in axes if axis not in ("Y", "X", channel) and sizes[axis] > 1]
  if "Y" not in sizes or "X" not in sizes or len(deep) > 1:
    raise InputError(
      f"{path}: a TIFF of axes {axes} {values.shape} is not read; expected pages of [H, W] or [H, W, C]."
    )
  order = [*(a for a in axes if a not in ("Y", "X", channel)), "Y", "X", *([channel] if channel else [])]
  values = values.transpose([axes.index(axis) for axis in order])
  values = values.reshape(-1, sizes["Y"], sizes["X"], sizes[channel] if channel else 1)
  if channel == "S" and values.shape[-1] in (2, 4):
    values = values[..., :-1]  # transparency
  return ImageFile(path, values.astype(np.uint8) if values.dtype == np.bool_ else values)


def _read_nifti(path: pathlib.Path) -> ImageFile:
  import nibabel

  image: Any = nibabel.load(path)
  if not 2 <= image.ndim <= 4:
    raise InputError(f"{path}: a NIfTI image of {image.ndim} axes is not read; expected 3, or 4 with channels last.")
  stored = image.header.get_data_dtype()
  slope, inter = image.header.get_slope_inter()
  plain = slope in (None, 1.0) and inter in (None, 0.0)
  values = np.asarray(image.dataobj) if plain else image.get_fdata(dtype=np.float32)
  if plain and stored.kind in "iu":
    values = values.astype(stored.newbyteorder("="))
  values = values.reshape(*values.shape, *[1] * (4 - values.ndim)).transpose(2, 1, 0, 3)
  zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]] + [0.0]
  spacing = (zooms[2], zooms[1], zooms[0])
  return ImageFile(path, values, spacing, header=(image.header, image.affine))


def _read_dicom(path: pathlib.Path) -> ImageFile:
  import pydicom
  import pydicom.errors

  files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
  slices = []
  for file in files:
    try:
      slices.append((file, pydicom.dcmread(file)))
    except pydicom.errors.InvalidDicomError:
      if not path.is_dir():
        raise InputError(f"{file}: is no DICOM file.") from None
  slices = [(file, data) for file, data in slices if "PixelData" in data]
  if not slices:
    raise InputError(f"{path}: holds no DICOM image.")
  series = {str(data.get("SeriesInstanceUID", "")) for _, data in slices}
  if len(series) > 1:
    raise InputError(f"{path}: holds {len(series)} DICOM series; expected one per folder.")
  ordered, gap = _along_normal(path, slices)
  pages = np.concatenate([_dicom_pages(file, data) for file, data in ordered])
  spacing = [float(x) for x in ordered[0][1].get("PixelSpacing", (0.0, 0.0))]
  return ImageFile(path, pages, (gap, spacing[0], spacing[1]), header=[data for _, data in ordered])


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
