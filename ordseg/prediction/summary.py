"""summary.csv, and what the terminal says of a row."""

import csv
import errno
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ordseg import files
from ordseg.errors import InputError

_SIZES: tuple[str, ...] = ("size", "size_low", "size_high", "size_expected", "unit")
_COLUMNS: tuple[str, ...] = ("file", "class", "status", "pages", "height", "width", *_SIZES, "seconds", "message")
# What the next file would meet too: the place for the maps is full, or cannot be written to any more.
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def write(output: pathlib.Path, rows: Sequence[Mapping[str, object]]) -> None:
  """Writes summary.csv; replaces its predecessor at once.

  Raises:
    InputError: it cannot be written.
  """
  text = io.StringIO()
  writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  try:
    files.write_text(output / "summary.csv", text.getvalue())
  except OSError as error:
    raise InputError(f"--output={output}: summary.csv cannot be written ({error.strerror or error}).") from error


def said(row: Mapping[str, Any]) -> str:
  """Returns what there is to say of a row, one line."""
  if row["status"] != "ok":
    return row["message"]
  size = f"{number(row['size'])} {row['unit']} ({number(row['size_low'])} to {number(row['size_high'])})"
  return f"{size}; {row['message']}" if row["message"] else size


def number(value: float) -> str:
  """Returns a size for people, three digits or all that stand before the point: 23,820; 14.3; 0.00214."""
  if abs(value) >= 100 or float(value).is_integer():
    return f"{value:,.0f}"
  digits = 2
  while abs(value) < 10 ** (2 - digits) and digits < 12:
    digits += 1
  return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def explained(path: pathlib.Path, error: Exception) -> str:
  """Returns one line on why a file could not be predicted."""
  text = " ".join(str(error).split())
  if isinstance(error, InputError):
    return text
  if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
    return f"{path}: not enough memory; a smaller --window, --window_slices or --batch_size takes less."
  return f"{path}: cannot be predicted ({type(error).__name__}: {text or 'without a word'})."


def fatal(error: BaseException | None) -> OSError | None:
  """Returns the error, of those that caused this one, that would meet every other file as well; None where none is."""
  while error is not None:
    if isinstance(error, OSError) and error.errno in _FATAL:
      return error
    error = error.__cause__ or error.__context__
  return None
