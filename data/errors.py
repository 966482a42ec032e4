"""The error of this package. It knows nothing of `ordseg`: builders work wherever TFDS does."""

import difflib
from collections.abc import Iterable


class DataError(ValueError):
  """A data set cannot be built or read as asked: one line that names the file or field and what was expected."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
  """Returns `` Did you mean 'x'?`` for the choice nearest to `name`, or an empty string when none is near."""
  near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
  return f" Did you mean '{near[0]}'?" if near else ""
