"""Finds the images and each rater's mask in a folder, in any of three layouts. Opens no image."""

import csv
import dataclasses
import hashlib
import itertools
import pathlib
import re
from collections.abc import Iterable, Iterator

from data.errors import DataError, did_you_mean
from ordseg.image_io import DICOMS, stem, suffix
from ordseg.image_io import SUFFIXES as KNOWN

LAYOUTS = ("auto", "raters", "cases", "manifest")
SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
_SPLIT_NAMES |= {"val": "validation", "dev": "validation", "test": "test", "testing": "test"}
_OWN_COLUMNS = ("image", "id", "group", "split")


@dataclasses.dataclass(frozen=True)
class Case:
  """One image with its masks.

  Attributes:
    key: unique name: the path of the image without its suffix, relative to the folder of the images.
    image: the file, or the folder of a DICOM series.
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
  """Where a layout keeps what; the fields of `FolderConfig` of the same names."""

  layout: str = "auto"
  images: str = "images"
  raters: str = "raters"
  rater_pattern: str = "*"
  mask_suffix: str = ""
  manifest: str = "manifest.csv"


def find_cases(root: pathlib.Path, names: Names) -> list[Case]:
  """Lists the images of a folder with their masks, sorted by key.

  Args:
    root: the user's folder.
    names: layout and names of folders and files.

  Raises:
    DataError: no known layout, two images of one name, a mask without an image, an image that is not there.
  """
  layout = _detect(root, names) if names.layout == "auto" else names.layout
  find = {"raters": _by_rater, "cases": _by_case, "manifest": _by_manifest}[layout]
  cases = sorted(find(root, names), key=lambda case: case.key)
  if not cases:
    raise DataError(f"{root}: there is no image in it. Known formats: {', '.join(KNOWN)}.")
  if not any(case.masks for case in cases):
    raise DataError(f"{root}: {len(cases)} images, but no rater's mask beside them.")
  for before, case in itertools.pairwise(cases):
    if before.key == case.key:
      raise DataError(f"{case.image}: two images are named {case.key!r}; the other is {before.image}.")
  return cases


def signature(root: pathlib.Path, cases: Iterable[Case]) -> str:
  """Returns a short code of the files in use: names and sizes of the images, and the bytes of the masks, because
  masks get corrected in place."""
  digest = hashlib.sha256()
  for case in cases:
    files = sorted(case.image.iterdir()) if case.image.is_dir() else [case.image]
    sizes = [f"{path.relative_to(root).as_posix()} {path.stat().st_size}" for path in files if path.is_file()]
    digest.update("\n".join([case.key, case.group, case.split, *sizes]).encode())
    for rater, path in sorted(case.masks.items()):
      digest.update(f"\n{rater} ".encode() + hashlib.sha256(path.read_bytes()).digest())
  return digest.hexdigest()[:16]


def _detect(root: pathlib.Path, names: Names) -> str:
  if (root / names.manifest).is_file():
    return "manifest"
  if (root / names.images).is_dir() and (root / names.raters).is_dir():
    return "raters"
  if any(next(_files_named(case, "image"), None) for case in _folders(root)):
    return "cases"
  raise DataError(
    f"{root}: expected {names.images}/ and {names.raters}/<rater>/ in it, or <case>/image.* with <case>/*rater*, or "
    f"{names.manifest}; found {_listing(root)}. See docs/own_data.md."
  )


def _by_rater(root: pathlib.Path, names: Names) -> Iterator[Case]:
  """``images/*`` with ``raters/<rater>/*``, matched by path without suffix."""
  image_dir, rater_dir = root / names.images, root / names.raters
  for folder in (image_dir, rater_dir):
    if not folder.is_dir():
      raise DataError(f"{folder}: there is no such folder. {root} holds {_listing(root)}.")
  images = dict(_unique(image_dir))
  raters = [path for path in _folders(rater_dir) if path.match(names.rater_pattern)]
  if not raters:
    raise DataError(
      f"{rater_dir}: expected one folder per rater, named {names.rater_pattern}; found {_listing(rater_dir)}."
    )
  masks: dict[str, dict[str, pathlib.Path]] = {key: {} for key in images}
  for rater in raters:
    for name, path in _unique(rater):
      key = name.removesuffix(names.mask_suffix)
      if key not in images:
        raise DataError(
          f"{path}: a mask without its image; expected {image_dir / key}.* .{did_you_mean(key, images)}"
          f" Does the mask's name end otherwise than the image's? Then set builder_args.mask_suffix."
        )
      masks[key][rater.name] = path
    if not any(rater.name in found for found in masks.values()):
      raise DataError(f"{rater}: holds no mask.")
  for key, path in images.items():
    yield Case(key, path, masks[key])


def _by_case(root: pathlib.Path, names: Names) -> Iterator[Case]:
  """``<case>/image.*`` with ``<case>/*rater*``; a rater is the mask's name without suffix."""
  pattern = names.rater_pattern if names.rater_pattern != "*" else "*rater*"
  for folder in _folders(root):
    images = list(_files_named(folder, "image"))
    if len(images) != 1:
      found = ", ".join(path.name for path in images) or _listing(folder)
      raise DataError(f"{folder}: expected one image.* in it, found {found}.")
    masks = {key: path for key, path in _unique(folder) if path != images[0] and path.match(pattern)}
    strange = [path for key, path in _unique(folder) if path != images[0] and key not in masks]
    if strange:
      raise DataError(f"{strange[0]}: is neither image.* nor named {pattern}.")
    yield Case(folder.name, images[0], masks, group=folder.name)


def _by_manifest(root: pathlib.Path, names: Names) -> Iterator[Case]:
  """A CSV file: image, one column per rater, and id, group, split where wanted; an empty cell is a missing rater."""
  path = root / names.manifest
  if not path.is_file():
    raise DataError(f"{path}: there is no such manifest. {root} holds {_listing(root)}.")
  try:
    with path.open(newline="", encoding="utf-8-sig") as file:
      reader = csv.DictReader(file, strict=True)
      columns = list(reader.fieldnames or [])
      rows = list(enumerate(reader, start=2))
  except (csv.Error, UnicodeDecodeError) as error:
    raise DataError(f"{path}: is no CSV file in UTF-8 ({error}).") from error
  raters = [name for name in columns if name not in _OWN_COLUMNS]
  if "image" not in columns or not raters or len(set(columns)) < len(columns) or "" in columns:
    raise DataError(
      f"{path}: expected the columns image and one per rater (and id, group, split where wanted), "
      f"found {', '.join(map(repr, columns)) or 'none'}."
    )
  for line, row in rows:
    where = f"{path}, line {line}"
    if None in row or None in row.values():
      raise DataError(f"{where}: expected {len(columns)} cells, as in the first line.")
    image = _listed(path.parent, row["image"], where, "image")
    masks = {r: _listed(path.parent, row[r], where, r) for r in raters if row[r].strip()}
    key = row.get("id", "").strip() or stem(pathlib.Path(row["image"].strip()))
    split = row.get("split", "").strip().lower()
    if split and split not in _SPLIT_NAMES:
      raise DataError(f"{where}: split {split!r} is unknown; expected train, validation or test, or nothing.")
    yield Case(key, image, masks, row.get("group", "").strip(), _SPLIT_NAMES.get(split, ""))


def _listed(folder: pathlib.Path, name: str, where: str, column: str) -> pathlib.Path:
  if not name.strip():
    raise DataError(f"{where}: the column {column!r} is empty.")
  path = folder / name.strip()
  if not path.exists():
    raise DataError(f"{where}: the column {column!r} names {path}, which is not there.")
  return path


def _unique(folder: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
  """Lists (key, file) of the images below a folder, sorted; a folder of DICOM files counts as one image."""
  found: dict[str, pathlib.Path] = {}
  for path in _images_below(folder):
    key = path.relative_to(folder).parent.joinpath(path.name if path.is_dir() else stem(path)).as_posix()
    if key in found:
      raise DataError(f"{path}: two files are named {key!r}; the other is {found[key]}.")
    found[key] = path
  return list(found.items())


def _images_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  for path in sorted(folder.iterdir()):
    if path.name.startswith((".", "__MACOSX")) or path.name in ("Thumbs.db", "desktop.ini"):
      continue
    if path.is_dir():
      if any(suffix(inner) in DICOMS for inner in path.iterdir()):
        yield path
      else:
        yield from _images_below(path)
    elif suffix(path) in KNOWN or suffix(path).endswith(KNOWN):
      yield path


def _files_named(folder: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
  for key, path in _unique(folder):
    if key == name:
      yield path


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
  skipped = re.compile(r"\.|__MACOSX")
  return sorted(path for path in root.iterdir() if path.is_dir() and not skipped.match(path.name))


def _listing(folder: pathlib.Path) -> str:
  names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
  return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") or "nothing"
