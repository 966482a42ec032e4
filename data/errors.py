"""The error of this package: one line that names the file or field and what was expected."""

from ordseg.validate import InputError as DataError
from ordseg.validate import did_you_mean

__all__ = ["DataError", "did_you_mean"]
