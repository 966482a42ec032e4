"""Packages that come with an extra of ordseg: which one, and the one line where they are missing.

pyproject.toml says what each extra holds; it is read from the installed package, not repeated here.
"""

import importlib.metadata
import re
from collections.abc import Iterable, Mapping

from ordseg.errors import InputError

_OTHER_NAMES = {"PIL": "pillow", "absl": "absl-py", "cv2": "opencv-python-headless", "orbax": "orbax-checkpoint"}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+).*;.*\bextra == ['\"](?P<extra>[\w-]+)['\"]")


def table() -> Mapping[str, list[str]]:
  """Returns extra -> its distributions, by their canonical names; empty where ordseg runs without being installed."""
  found: dict[str, list[str]] = {}
  try:
    requirements = importlib.metadata.requires("ordseg") or []
  except importlib.metadata.PackageNotFoundError:
    requirements = []
  for text in requirements:
    if match := _REQUIREMENT.match(text):
      found.setdefault(match["extra"], []).append(canonical(match["name"]))
  return found


def require(what: str, names: Iterable[str]) -> None:
  """Checks that what extras hold is installed.

  Args:
    what: needs them, for the message.
    names: of the extras.

  Raises:
    InputError: packages are missing; with what to install.
  """
  names, known = list(names), table()
  missing = [package for name in names for package in known.get(name, ()) if not _is_installed(package)]
  if missing:
    raise InputError(f"{what} needs {', '.join(dict.fromkeys(missing))}: pip install 'ordseg[{','.join(names)}]'")


def explain(error: ImportError, what: str) -> str:
  """Returns one line that names the extra that a missing module comes with; '' where it is none of an extra."""
  module = (error.name or "").split(".")[0]
  package = canonical(module)
  extra = next((name for name, packages in table().items() if package in packages), None)
  return f"{what} needs {package}: pip install 'ordseg[{extra}]'" if extra and module else ""


def canonical(name: str) -> str:
  """Returns the distribution's canonical name of a top-level module, or of a distribution."""
  name = _OTHER_NAMES.get(name, name)
  return re.sub(r"[-_.]+", "-", name).lower()


def _is_installed(package: str) -> bool:
  try:
    importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return False
  return True
