"""Which files to predict."""

import glob
import pathlib

from ordseg.image_io import DICOMS, SUFFIXES, stem, suffix
from ordseg.validate import InputError


def find_inputs(text: str) -> dict[str, pathlib.Path]:
  """Lists images.

  Args:
    text: a file, a folder, or a pattern such as ``scans/*.nii.gz``. A folder with DICOM files in it is one series; any
      other folder gives its images and the series in its sub-folders, however deep.

  Returns:
    Name -> file, or folder of a series, sorted; the name is the path from the folder on, without suffix, so that no two
    results meet.

  Raises:
    InputError: there is nothing.
  """
  path = pathlib.Path(text).expanduser()
  if path.is_dir() and not _is_series(path):
    root, found = path, list(_below(path))
  elif path.exists():
    root, found = path.parent, [path]
  else:
    found = [pathlib.Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (patterns may be absolute)
    root = pathlib.Path(_common(found)) if found else path
  if not found:
    raise InputError(f"--input={text}: there is no image. Known formats: {', '.join(SUFFIXES)}.")
  names: dict[str, pathlib.Path] = {}
  for file in found:
    inner = file.relative_to(root)
    name = (inner if file.is_dir() else inner.with_name(stem(file))).as_posix()
    if name in ("", ".") or name in names:  # a.png beside a.tif
      name = inner.as_posix() if inner.name else file.name
    names[name] = file
  return names


def _is_series(folder: pathlib.Path) -> bool:
  return any(suffix(path) in DICOMS for path in folder.iterdir() if path.is_file())


def _below(folder: pathlib.Path) -> list[pathlib.Path]:
  found: list[pathlib.Path] = []
  for path in sorted(folder.iterdir()):
    if path.name.startswith(".") or path.name == "__MACOSX":
      continue
    if path.is_dir():
      found += [path] if _is_series(path) else _below(path)
    elif suffix(path).endswith(SUFFIXES):
      found.append(path)
  return found


def _common(paths: list[pathlib.Path]) -> pathlib.Path:
  parents = [set(path.parents) for path in paths]
  return max(set.intersection(*parents), key=lambda path: len(path.parts))
