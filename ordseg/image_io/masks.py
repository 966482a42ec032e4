"""Stored values of a mask as 0 and 1."""

import pathlib

import numpy as np

from ordseg.validate import InputError


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
