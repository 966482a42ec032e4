"""The error of this package: one line that names the file or field and what was expected."""

from ordseg.errors import InputError as DataError
from ordseg.errors import did_you_mean, raise_all

__all__ = ["DataError", "did_you_mean", "raise_all"]
