"""The error of this package: one line that names the file or field and what was expected."""

from collections.abc import Sequence

from ordseg.errors import InputError as DataError
from ordseg.errors import did_you_mean

__all__ = ["DataError", "did_you_mean", "raise_all"]

SHOWN = 20  # problems, one a line


def raise_all(problems: Sequence[str], headline: str) -> None:
  """Raises one error for all that was found wrong; returns where that is nothing.

  Args:
    problems: one line each; one alone is the whole error.
    headline: of several: what they have in common.
  """
  lines = list(dict.fromkeys(problems))
  if len(lines) == 1:
    raise DataError(lines[0])
  if lines:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise DataError("\n  ".join([f"{len(lines)} {headline.removesuffix('.')}:", *lines[:SHOWN], *more]))
