"""Which files to predict."""

import glob
import pathlib
from collections.abc import Callable, Iterable

from ordseg import image_io
from ordseg.errors import InputError
from ordseg.image_io import SUFFIXES, Found


def find_inputs(
  text: str, *, output: pathlib.Path | None = None, say: Callable[[str], None] = lambda _: None
) -> dict[str, pathlib.Path]:
  """Lists images.

  Args:
    text: a file, a folder, a DICOMDIR, or a pattern such as ``scans/*.nii.gz``. A folder with DICOM files of one series
      is one image; any other folder gives its images and series, however deep. Of a folder laid out for training
      (docs/own_data.md) the images alone are taken, not the raters' masks.
    output: where maps go; what lies in it is no input, where it is a folder in the input's.
    say: takes a line about what was left out.

  Returns:
    Name -> file, folder of a DICOM series, or folder / SeriesInstanceUID where it holds several, sorted; the name is
    the path from the folder on, without suffix, so that no two results meet.

  Raises:
    InputError: there is nothing.
  """
  path = pathlib.Path(text).expanduser()
  path = path.parent if path.name.upper() == "DICOMDIR" else path
  if path.is_dir():
    found = _below(path, say)
  elif image_io.folder_and_series(path)[0].exists():
    found = [Found(image_io.plain(image_io.stem(path) if path.exists() else path.name), path)]
  else:
    found = _matching(path, say)
  if output is not None and output.resolve() != path.resolve() and path.is_dir():
    found = [image for image in found if not image.path.resolve().is_relative_to(output.resolve())]
  if not found and not path.exists() and not glob.has_magic(text):
    raise InputError(f"--input={text}: there is no such file or folder.")
  if not found:
    raise InputError(
      f"--input={text}: there is no image. Known formats: {', '.join(SUFFIXES)}, and DICOM files of any name."
    )
  names: dict[str, pathlib.Path] = {}
  for image in found:
    name = image.key or image_io.plain(image.path.resolve().name)
    if name in names:  # a.png beside a.tif
      name = name.rpartition("/")[0] + "/" * ("/" in name) + image.path.name
    names[name] = image.path
  return names


def _below(folder: pathlib.Path, say: Callable[[str], None]) -> list[Found]:
  """The images of a folder, less what it says to be masks."""
  found, others = image_io.find(folder)
  if (folder / "manifest.csv").is_file():
    say(f"{folder}: manifest.csv is not read here; where masks lie in this folder, name that of the images alone")
  if others:
    say(f"no images, left out: {_shortened(path.relative_to(folder) for path in others)}")
  kept, layout = _without_masks(folder, found)
  if len(kept) < len(found):
    masks = set(found) - set(kept)
    say(f"{folder}: {layout}; {len(kept)} images, {len(masks)} others are taken for masks and not predicted "
        f"({_shortened(sorted(mask.key for mask in masks))})")  # fmt: skip
  return kept


def _without_masks(folder: pathlib.Path, found: list[Found]) -> tuple[list[Found], str]:
  """Keeps the images of the layouts of docs/own_data.md, and says which it is."""
  kept = [image for image in found if not _is_below_raters(image.path, folder)]
  if len(kept) < len(found):
    return kept, "images/ beside raters/"
  if (folder / "derivatives").is_dir() and any(image.key.startswith("sub-") for image in found):
    kept = [image for image in found if image.key.startswith("sub-")]
    words = ("_mask", "_seg", "_dseg", "_roi")
    return [image for image in kept if not image.key.endswith(words)], "sub-*/ beside derivatives/"
  images = {image.key for image in found if image.key.rpartition("/")[2].casefold() == "image" and "/" in image.key}
  cases = {key.rpartition("/")[0] for key in images}
  kept = [
    image
    for image in found
    if image.key in images or not any(p.as_posix() in cases for p in pathlib.PurePosixPath(image.key).parents)
  ]
  return kept, "<case>/image.* beside masks"


def _is_below_raters(path: pathlib.Path, root: pathlib.Path) -> bool:
  """Returns whether a file lies in a folder ``raters`` with a folder ``images`` beside it."""
  parents = [parent for parent in path.parents if parent.is_relative_to(root) and parent != root]
  return any(parent.name == "raters" and (parent.parent / "images").is_dir() for parent in parents)


def _matching(pattern: pathlib.Path, say: Callable[[str], None]) -> list[Found]:
  """The files, and the images in the folders, that a pattern names."""
  paths = [pathlib.Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207 (patterns may be absolute)
  paths = [path for path in paths if not image_io.is_rubbish(path)]
  if not paths:
    return []
  root, found = _common(paths), []
  for path in paths:
    inner = image_io.plain(path.relative_to(root).as_posix())
    if path.is_dir():
      found += [Found(f"{inner}/{image.key}".strip("/"), image.path) for image in _below(path, say)]
    else:
      found.append(Found(image_io.plain(path.relative_to(root).with_name(image_io.stem(path)).as_posix()), path))
  return list({image.path: image for image in found}.values())  # ** names a folder and what is in it


def _shortened(names: Iterable[object], count: int = 5) -> str:
  listed = list(map(str, names))
  return ", ".join(listed[:count]) + (f" and {len(listed) - count} more" if len(listed) > count else "")


def _common(paths: list[pathlib.Path]) -> pathlib.Path:
  parents = [set(path.parents) for path in paths]
  return max(set.intersection(*parents), key=lambda path: len(path.parts))
