"""One type for the values of a whole data set, such that no file loses anything."""

import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from data.errors import DataError
from ordseg import image_io

RECORDS = ("uint8", "uint16", "int16", "float32")  # the types that records have, smallest first
_EXACT = 2**24  # up to here float32 has every whole number (24 bits of fraction, IEEE 754)


def common_dtype(paths: Iterable[pathlib.Path], read: Callable[[pathlib.Path], np.ndarray]) -> np.dtype:
  """Finds the smallest type of records that holds the images' values.

  Types are taken from the files' headers. A file is read where they do not tell, and where its type is wider than any
  of records, so that the values must decide.

  Args:
    paths: the images.
    read: gives the pixels of one.

  Raises:
    DataError: whole numbers that no type of records holds exactly; names the file.
  """
  needs: dict[np.dtype, pathlib.Path] = {}
  low, high = 0, 0
  for path in paths:
    dtype = image_io.stored_dtype(path)
    pages = read(path) if dtype is None or (dtype.kind in "iu" and dtype.itemsize > 2) else None
    if pages is not None:
      dtype = pages.dtype
    assert dtype is not None
    if dtype.kind in "iu" and dtype.itemsize > 2 and pages is not None:
      _check_exact(pages, path)
      low, high = min(low, int(pages.min(initial=0))), max(high, int(pages.max(initial=0)))
      continue
    needs.setdefault(np.dtype(np.float32) if dtype.kind == "f" else dtype, path)
  for name in RECORDS:
    if all(np.can_cast(dtype, name, "safe") for dtype in needs) and _holds(np.dtype(name), low, high):
      return np.dtype(name)
  raise AssertionError(f"float32 must hold {sorted(map(str, needs))}, {low} .. {high}")


def convert(pages: np.ndarray, dtype: np.dtype, path: pathlib.Path) -> np.ndarray:
  """Returns pages in the type of the records.

  Raises:
    DataError: a value would change by more than the rounding of float32; names the file.
  """
  if pages.dtype == dtype:
    return pages
  if dtype.kind == "f" and pages.dtype.kind == "f":
    with np.errstate(over="ignore"):
      out = pages.astype(dtype)
    is_kept = np.isfinite(out).all()
  else:
    with np.errstate(invalid="ignore"):
      out = pages.astype(dtype)
    is_kept = (out == pages).all() if dtype.kind != "f" else _is_exact(pages)
  if not is_kept:
    raise DataError(
      f"{path}: values of type {pages.dtype}, {pages.min()} to {pages.max()}, do not fit the {dtype} of the data set. "
      "Leave builder_args.dtype empty to have it found, or scale the image."
    )
  return out


def _holds(dtype: np.dtype, low: int, high: int) -> bool:
  return dtype.kind == "f" or (np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)


def _is_exact(pages: np.ndarray) -> bool:
  """Says whether float32 holds each of these whole numbers."""
  if pages.dtype.itemsize <= 2:
    return True
  low, high = int(pages.min(initial=0)), int(pages.max(initial=0))
  return low >= -_EXACT and high <= _EXACT


def _check_exact(pages: np.ndarray, path: pathlib.Path) -> None:
  if not _is_exact(pages):
    raise DataError(
      f"{path}: holds whole numbers from {pages.min()} to {pages.max()} ({pages.dtype}); records keep them as float32, "
      f"which is exact up to {_EXACT:,} alone. Scale the image, or store it as float32 if rounding does no harm."
    )
