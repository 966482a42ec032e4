"""What a layout gives: cases, and the names by which it finds them."""

import dataclasses
import fnmatch
import pathlib
from collections.abc import Sequence

from ordseg import image_io
from ordseg.errors import InputError
from ordseg.image_io import Found

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Case:
  """One image with its masks.

  Attributes:
    key: unique name: the path of the image without its suffix, relative to the folder of the images, in NFC.
    image: the file, or the DICOM series.
    masks: rater -> mask file; a rater who is not there is missing.
    group: what must not be cut by a split; '' where the layout does not say.
    split: '' where the layout does not say.
  """

  key: str
  image: pathlib.Path
  masks: dict[str, pathlib.Path]
  group: str = ""
  split: str = ""


@dataclasses.dataclass(frozen=True)
class Names:
  """Where a layout keeps what.

  Attributes:
    option_prefix: what the settings of the other fields begin with for the user, in errors.
    layout, images, raters, rater_pattern, image_pattern, image_suffix, mask_prefix, mask_suffix, label, manifest: see
      docs/own_data.md.
  """

  layout: str = "auto"
  images: str = "images"
  raters: str = "raters"
  rater_pattern: str = "*"
  image_pattern: str = ""
  image_suffix: str = ""
  mask_prefix: str = ""
  mask_suffix: str = ""
  label: str = ""
  manifest: str = "manifest.csv"
  option_prefix: str = "builder_args."

  def option(self, field: str) -> str:
    """Returns a field as the user sets it: ``builder_args.label``."""
    return self.option_prefix + field

  def also(self, field: str) -> str:
    """Returns a further one in the same sentence: ``.label`` after ``builder_args.images``, else as `option`."""
    return f".{field}" if self.option_prefix.endswith(".") else self.option(field)

  def is_image(self, name: str, default: str) -> bool:
    """Returns whether a name without suffix is an image's, by `image_pattern` or a layout's own pattern."""
    return fnmatch.fnmatchcase(name.casefold(), (self.image_pattern or default).casefold())


def listed(folder: pathlib.Path, left_out: list[pathlib.Path], *, one_by_one: bool = False) -> list[Found]:
  """Lists the images below a folder; what is none is added to `left_out`.

  Raises:
    InputError: two of one name.
  """
  images, others = image_io.find(folder, one_by_one=one_by_one)
  left_out += others
  found: dict[str, pathlib.Path] = {}
  for image in images:
    if image.key in found:
      raise InputError(f"{image.path}: two files are named {image.key!r}; the other is {found[image.key]}.")
    found[image.key] = image.path
  return images


def folders(root: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folders in a folder, sorted, less what file managers leave behind."""
  return sorted(path for path in root.iterdir() if path.is_dir() and not image_io.is_rubbish(path))


def named(root: pathlib.Path, name: str) -> pathlib.Path:
  """Returns a file or folder of this name, in whichever Unicode form it is written on the disk."""
  if (root / name).exists() or not (root / name).parent.is_dir():
    return root / name
  wanted = image_io.plain(pathlib.PurePath(name).name)
  same = (path for path in (root / name).parent.iterdir() if image_io.plain(path.name) == wanted)
  return next(same, root / name)


def not_read(path: pathlib.Path) -> str:
  """Returns why a file that is named like an image or a mask is none, and the way out."""
  kind = f"of the kind {image_io.suffix(path)!r}" if image_io.suffix(path) else "without a suffix that are no DICOM"
  return f"files {kind} are not read. Convert it to NIfTI, PNG or TIFF, or take it out of the folder."


def listing(folder: pathlib.Path) -> str:
  """Returns the first names in a folder."""
  return shortened(sorted(path.name + "/" * path.is_dir() for path in folder.iterdir()))


def shortened(names: Sequence[object], count: int = 6) -> str:
  """Returns the first names, with commas between."""
  return ", ".join(map(str, names[:count])) + (", ..." if len(names) > count else "") or "nothing"
