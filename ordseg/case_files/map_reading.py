"""Reads one map as it is stored: an image of any format, or a NumPy array. Pickles are never opened."""

import dataclasses
import pathlib
import zipfile

import numpy as np

from ordseg import image_io, records
from ordseg.case_files import nnunet
from ordseg.case_files.cases import shortened
from ordseg.errors import InputError
from ordseg.image_io import ImageFile, bounds

_PICKLES = "Pickled objects are never opened, as they can run code: store plain arrays."


@dataclasses.dataclass(frozen=True)
class Stored:
  """A map as its file has it.

  Attributes:
    path: the file.
    values: pages [D, H, W, C] of an image; an array's own shape otherwise.
    image: the image, with its place; None of arrays.
    key: of an npz file.
  """

  path: pathlib.Path
  values: np.ndarray
  image: ImageFile | None = None
  key: str = ""


def read(path: pathlib.Path, *, key: str = "") -> Stored:
  """Reads a map.

  Args:
    path: the file.
    key: which array of an npz file; '' = the only one, or nnU-Net's.

  Raises:
    InputError: damaged, several arrays, colours, or values that are no real numbers; names the file.
  """
  kind = image_io.suffix(path)
  if kind == ".npz":
    name, values = _archive(path, key)
    return Stored(path, _numbers(path, values), key=name)
  if kind == ".npy":
    return Stored(path, _numbers(path, _array(path)))
  image = image_io.read(path)
  pages = image.pages
  if pages.shape[-1] == 3 and pages.dtype.kind == "u":  # a grey picture that was stored as colours
    if (pages == pages[..., :1]).all():
      pages = pages[..., :1]
    elif image.header is None and image.affine is None:
      raise InputError(
        f"{path}: is a picture in colours; a map is grey, or has its channels in a file of another kind."
      )
  image = dataclasses.replace(image, pages=_numbers(path, pages))
  return Stored(path, image.pages, image)


def _array(path: pathlib.Path) -> np.ndarray:
  try:
    return np.load(path, allow_pickle=False)
  except Exception as error:  # of damaged headers numpy raises several types
    reason = " ".join(str(error).split())
    raise InputError(
      f"{path} cannot be read as an array, it may be damaged or cut short: {reason}. {_PICKLES}"
    ) from error


def _archive(path: pathlib.Path, key: str) -> tuple[str, np.ndarray]:
  _check_size(path)
  arrays = records.read_npz(path, _PICKLES)
  if not arrays:
    raise InputError(f"{path}: holds no array.")
  wanted = key or (next(iter(arrays)) if len(arrays) == 1 else nnunet.KEY)
  if wanted not in arrays:
    found = shortened(sorted(arrays))
    raise InputError(f"{path}: holds several arrays or none of that name ({found}): name the map's with --key=.")
  if wanted == nnunet.OLD_KEY and not key:
    raise InputError(
      f"{path}: is of nnU-Net v1 (key {nnunet.OLD_KEY}), which crops its maps and keeps the place in a pickle alone. "
      f"Predict with version 2, or, if they are not cropped, say --key={nnunet.OLD_KEY}."
    )
  return wanted, arrays[wanted]


def _check_size(path: pathlib.Path) -> None:
  try:
    with zipfile.ZipFile(path) as archive:
      parts = archive.infolist()
  except (OSError, zipfile.BadZipFile):  # whoever reads it says what is wrong
    return
  needed = sum(part.file_size for part in parts)
  bounds.check(path, needed, sum(part.compress_size for part in parts), ratio=bounds.DEFLATE)


def _numbers(path: pathlib.Path, values: np.ndarray) -> np.ndarray:
  if values.dtype.kind not in "buif" or not values.size:
    what = "nothing" if not values.size else f"values of type {values.dtype}"
    raise InputError(f"{path}: holds {what}; expected a map of real numbers.")
  if values.dtype.kind == "f":
    strange = np.count_nonzero(~np.isfinite(values))
    if strange:
      raise InputError(
        f"{path}: holds {strange} values that are not finite (NaN or infinity), which are no probabilities. Mend what "
        "wrote it, or take the case out (--missing=skip)."
      )
  return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
