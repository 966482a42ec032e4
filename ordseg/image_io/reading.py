"""Reads one image file or DICOM series. The reader's own words for what is wrong become one `InputError`."""

import pathlib

import numpy as np

from ordseg.image_io import dicoms, formats, niftis, pictures, tiffs
from ordseg.image_io.image_file import ImageFile
from ordseg.image_io.masks import to_binary
from ordseg.validate import InputError


def read(path: pathlib.Path) -> ImageFile:
  """Reads an image of any known format.

  Args:
    path: a file, a folder that holds one DICOM series, or folder / SeriesInstanceUID for one of several.

  Raises:
    InputError: no file, unknown format, damaged file; names the file.
  """
  path = pathlib.Path(path)
  folder, series = formats.folder_and_series(path)
  if not folder.exists():
    raise InputError(f"{path}: there is no such file.")
  kind = formats.suffix(path)
  try:
    if series or path.is_dir() or formats.is_dicom(path):
      return dicoms.read(path)
    if kind in formats.NIFTIS:
      return niftis.read(path)
    if kind.endswith(formats.TIFFS):
      return tiffs.read(path)
    if kind in (*formats.PICTURES, ".ppm.gz"):
      return pictures.read(path)
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


def _is_grey(image: np.ndarray) -> bool:
  return bool((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all())
