"""Stored numbers times slope plus intercept, in a type that loses nothing."""

import numpy as np

from ordseg.errors import InputError

_WHOLE = (np.int16, np.int32, np.int64)


def rescaled(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
  """Returns ``slope * values + intercept``.

  Args:
    values: [D, ...] integers or floats.
    slope: not 0.
    intercept: added after.

  Returns:
    `values` themselves where slope and intercept are 1 and 0; the smallest signed integers from int16 on that hold
    the result where both are whole and the values integers; else float32 where neighbouring stored values stay
    apart in it, float64 where not.

  Raises:
    InputError: slope or intercept are no numbers to scale with, or the result is beyond float64.
  """
  if not np.isfinite([slope, intercept]).all() or slope == 0:
    raise InputError(f"values cannot be scaled by slope {slope:g} and intercept {intercept:g}")
  if (slope, intercept) == (1.0, 0.0) or not values.size:
    return values
  if values.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
    out = _whole(values, int(slope), int(intercept))
    if out is not None:
      return out
  dtype = np.float64 if values.dtype == np.float64 else _float_for(values, slope, intercept)
  out = np.empty(values.shape, dtype)
  with np.errstate(over="ignore", invalid="ignore"):
    for k, page in enumerate(values):  # by page: float64 of all at once takes eight bytes a voxel
      out[k] = page.astype(np.float64) * slope + intercept
      if not np.isfinite(out[k]).all() and np.isfinite(page).all():
        raise InputError(f"slope {slope:g} and intercept {intercept:g} take the values beyond {np.dtype(dtype).name}")
  return out


def _whole(values: np.ndarray, slope: int, intercept: int) -> np.ndarray | None:
  ends = [int(values.min()), int(values.max())]
  needed = [*ends, slope, intercept, *(slope * end for end in ends), *(slope * end + intercept for end in ends)]
  for dtype in _WHOLE:
    limits = np.iinfo(dtype)
    if limits.min <= min(needed) and max(needed) <= limits.max:
      out = values.astype(dtype)
      if slope != 1:
        out *= dtype(slope)
      if intercept:
        out += dtype(intercept)
      return out
  return None


def _float_for(values: np.ndarray, slope: float, intercept: float) -> type:
  """float32, unless its steps at the largest value are coarser than half of what one stored step makes."""
  if values.dtype.kind == "f":
    return np.float32
  largest = max(abs(float(end) * slope + intercept) for end in (values.min(), values.max()))
  fits = largest < float(np.finfo(np.float32).max) and float(np.spacing(np.float32(largest))) <= abs(slope) / 2
  return np.float32 if fits else np.float64
