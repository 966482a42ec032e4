"""Reads one image file or DICOM series. The reader's own words for what is wrong become one `InputError`."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import dicoms, formats, masks, niftis, pictures, tiffs
from ordseg.image_io.image_file import ImageFile, OtherFormatError, as_image
from ordseg.image_io.masks import Rule


def read(path: pathlib.Path, *, allow_gaps: bool = False) -> ImageFile:
  """Reads an image of any known format.

  Args:
    path: a file, a folder that holds one DICOM series, or folder / SeriesInstanceUID for one of several.
    allow_gaps: takes a DICOM series whose slices are not equally spaced, which is refused otherwise; first and last
      page then lie where they were measured, and `notes` says how far off those between are.

  Returns:
    Without transparency and palette; a note says where transparency that varies was left out.

  Raises:
    InputError: no file, unknown format, damaged file; names the file.
  """
  return as_image(read_stored(path, allow_gaps=allow_gaps))


def read_stored(path: pathlib.Path, *, allow_gaps: bool = False) -> ImageFile:
  """Reads as `read` does, with the transparency and the palette of pictures, in which masks may lie."""
  path = pathlib.Path(path)
  if not formats.folder_and_series(path)[0].exists():
    raise InputError(f"{path}: there is no such file.")
  reader = _reader(path, allow_gaps=allow_gaps)
  try:
    try:
      return reader(path)
    except OtherFormatError:  # cameras and tools misname them
      return (pictures.read if reader is tiffs.read else tiffs.read)(path)
  except InputError:
    raise
  except Exception as error:  # each library has its own kinds
    raise _damaged(path, error) from error


def read_marks(path: pathlib.Path, rule: Rule = masks.BINARY, *, setting: str = "") -> ImageFile:
  """Reads a mask.

  Args:
    path: the file.
    rule: what counts as marked; see `masks.parse_rule`.
    setting: see `masks.to_marks`.

  Returns:
    pages [D, H, W, 1] uint8, 0 or 1, in their place.

  Raises:
    InputError: as `read` and `masks.to_marks`.
  """
  file = read_stored(path)
  marks = masks.to_marks(file, rule, setting=setting)
  return dataclasses.replace(file, pages=marks[..., None], alpha=None, indices=None, palette=None)


def stored_dtype(path: pathlib.Path) -> np.dtype | None:
  """Returns the type of the values that `read` gives, from the header of a file; None where only reading tells.

  Raises:
    InputError: a damaged header; names the file.
  """
  path = pathlib.Path(path)
  try:
    reader = _reader(path)
    if reader in (pictures.read, tiffs.read):
      with path.open("rb") as file:
        is_tiff = file.read(4) in tiffs.MAGIC
      return (tiffs if is_tiff else pictures).stored_dtype(path)
    return niftis.stored_dtype(path) if reader is niftis.read else None
  except InputError:
    raise
  except Exception as error:
    raise _damaged(path, error) from error


def _reader(path: pathlib.Path, *, allow_gaps: bool = False) -> Callable[[pathlib.Path], ImageFile]:
  kind = formats.suffix(path)
  if formats.folder_and_series(path)[1] or path.is_dir() or formats.is_dicom(path):
    return functools.partial(dicoms.read, allow_gaps=allow_gaps)
  if kind in formats.NIFTIS or kind in formats.NIFTI_DATA:
    return niftis.read
  if kind.endswith(formats.TIFFS):
    return tiffs.read
  if kind in (*formats.PICTURES, ".ppm.gz"):
    return pictures.read
  raise InputError(f"{path}: unknown image format {kind!r}. Known: {', '.join(formats.SUFFIXES)}.")


def _damaged(path: pathlib.Path, error: Exception) -> InputError:
  reason = " ".join(str(error).split()) or type(error).__name__
  return InputError(f"{path}: cannot be read as an image, it may be damaged or truncated ({reason}).")


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
  """Reads a binary mask that is stored as a picture of one page; see `masks.to_binary`.

  With neither threshold nor foreground, two colours and transparency are read too; see `masks.to_marks`.

  Returns:
    [H, W] uint8, 0 or 1.
  """
  if threshold is None and foreground is None:
    pages = read_marks(path).pages
    if len(pages) != 1:
      raise InputError(f"{path}: expected one picture, found {len(pages)} pages.")
    return pages[0, ..., 0]
  values = read_picture(path, num_channels=1)[..., 0]
  return masks.to_binary(values, path, threshold=threshold, foreground=foreground)


def _is_grey(image: np.ndarray) -> bool:
  return bool((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all())
