"""Reading a benchmark's files: images with errors that name the file, and the split by group."""

import hashlib
import itertools
import pathlib
import re
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import PIL.Image

from data.errors import DataError
from ordseg.image_io import stem

Case = TypeVar("Case")
# Shares of the patients. The split of a patient depends on its name alone.
SPLIT_SHARES: Mapping[str, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}
# Where the distributor's own test set is kept and has no validation set beside it.
TRAIN_SHARES: Mapping[str, float] = {"train": 0.85, "validation": 0.15}
_RUBBISH = ("thumbs.db", "desktop.ini")  # that file managers leave behind


def read_grey(path: pathlib.Path) -> np.ndarray:
  """Reads an 8-bit grey image.

  Returns:
    [H, W] uint8.

  Raises:
    DataError: the file is missing, truncated, no image, or not 8-bit grey.
  """
  try:
    with PIL.Image.open(path) as image:
      if image.mode != "L":
        raise DataError(f"{path}: expected an 8-bit grey image, found mode {image.mode!r}.")
      return np.asarray(image)
  except FileNotFoundError:
    raise DataError(f"{path}: expected an 8-bit grey image, found no file.") from None
  except (OSError, SyntaxError) as error:  # PIL raises SyntaxError for a damaged PNG chunk
    raise DataError(f"{path}: cannot be read as an image, it may be truncated ({error}).") from None


def read_mask(path: pathlib.Path, *, foreground: int = 255) -> np.ndarray:
  """Reads a binary mask stored as an 8-bit grey image.

  Args:
    path: the file.
    foreground: the grey value that means "marked"; all else must be 0.

  Returns:
    [H, W] uint8, 0 or 1.

  Raises:
    DataError: as `read_grey`, or there are other values.
  """
  values = read_grey(path)
  marked = values == foreground
  if np.any(values[~marked]):
    other = sorted(set(np.unique(values).tolist()) - {0, foreground})
    raise DataError(f"{path}: a mask holds 0 and {foreground} only, found also {str(other[:5]).strip('[]')}.")
  return marked.astype(np.uint8)


def check_size(mask: np.ndarray, path: pathlib.Path, image: np.ndarray, image_path: pathlib.Path) -> None:
  """Checks that a mask has the size of its image; both [..., H, W] or the image [H, W, C].

  Raises:
    DataError: names both files; says so where the axes look swapped.
  """
  want = image.shape[: mask.ndim]
  if mask.shape != want:
    swapped = " The axes look swapped." if sorted(mask.shape) == sorted(want) else ""
    sizes = [" x ".join(map(str, shape)) for shape in (mask.shape, want)]
    raise DataError(f"{path}: the mask is {sizes[0]} pixels, its image {image_path} {sizes[1]}.{swapped}")


def check_not_inverted(mask: np.ndarray, path: pathlib.Path, *, hint: str = "the mask looks inverted") -> None:
  """Checks that what is marked is the smaller part of an image, where the benchmark's structure always is.

  Args:
    mask: array of 0 and 1.
    path: the file that the mask comes from.
    hint: says in the error what may be wrong.

  Raises:
    DataError: more than half of the pixels are marked.
  """
  if mask.mean() > 0.5:
    raise DataError(f"{path}: more than half of the pixels are marked; {hint}.")


def root_below(manual_dir: pathlib.Path, folders: Sequence[str], holds: str) -> pathlib.Path | None:
  """Returns the first of `manual_dir` and the folders in it in which the glob `holds` matches; None where none is.

  Args:
    manual_dir: the folder that the user named.
    folders: globs of the folders that archives unpack to, such as ``CURVAS`` or, for any depth, ``**``.
    holds: a glob, relative to the folder.
  """
  inside = (root for pattern in folders for root in sorted(manual_dir.glob(pattern)) if "__MACOSX" not in root.parts)
  return next((root for root in (manual_dir, *inside) if next(root.glob(holds), None)), None)


def folders(root: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folders in `root`, sorted, without hidden ones and those that macOS leaves in archives."""
  return sorted(path for path in root.glob("*/") if not path.name.startswith((".", "__MACOSX")))


def part_of_name(path: pathlib.Path, pattern: str, *, like: str) -> str:
  """Returns what the first parenthesis of a regular expression matches in a file's name: the patient, say.

  Args:
    path: the file.
    pattern: must match the whole name without its suffix.
    like: a right name, which the error shows.

  Raises:
    DataError: the name is another.
  """
  match = re.fullmatch(pattern, path.stem)
  if not match:
    raise DataError(f"{path}: expected a name like {like}.")
  return match[1]


def check_has_image(masks: Iterable[tuple[str, pathlib.Path]], images: Container[str], folder: pathlib.Path) -> None:
  """Refuses masks without their image.

  Args:
    masks: pairs of the name of its image and the mask.
    images: the names of the images.
    folder: the folder of the images, which the error shows.

  Raises:
    DataError: a mask has none; names the first of them.
  """
  for name, path in masks:
    if name not in images:
      raise DataError(f"{path}: a mask without its image in {folder}.")


def by_name(folder: pathlib.Path, pattern: str = "*") -> dict[str, pathlib.Path]:
  """Returns name without suffix -> file, for the files of a folder, sorted; hidden files and folders are left out.

  Raises:
    DataError: no such folder, or two files of one name.
  """
  if not folder.is_dir():
    raise DataError(f"{folder}: there is no such folder.")
  found: dict[str, pathlib.Path] = {}
  for path in sorted(folder.glob(pattern)):
    if path.name.startswith(".") or path.name.lower() in _RUBBISH or not path.is_file():
      continue
    other = found.setdefault(stem(path), path)
    if other != path:
      raise DataError(f"{path}: two files are named {stem(path)!r}; the other is {other}.")
  return found


def by_split(cases: Iterable[Case], split: Callable[[Case], str]) -> dict[str, list[Case]]:
  """Sorts cases into train, validation and test, each in the order given; a split that gets none is left out.

  Args:
    cases: anything, paths for example.
    split: returns the split of a case, by `split_of` or `split_groups` of its group.
  """
  found: dict[str, list[Case]] = {name: [] for name in SPLIT_SHARES}
  for case in cases:
    found[split(case)].append(case)
  return {name: chosen for name, chosen in found.items() if chosen}


def split_of(group: str, shares: Mapping[str, float] = SPLIT_SHARES) -> str:
  """Returns the split of a group (patient), from the SHA-256 of its name: the same whoever else is in the data set.

  Args:
    group: name of the patient.
    shares: split -> share of the groups; they sum to 1.
  """
  position = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
  limits = itertools.accumulate(shares.values())
  return next((split for split, limit in zip(shares, limits, strict=True) if position < limit), list(shares)[-1])


def split_groups(groups: Collection[str], shares: Mapping[str, float], *, seed: int = 0) -> dict[str, str]:
  """Divides groups by exact counts: what a small data set needs, where `split_of` may leave a split empty.

  The groups are ordered by the SHA-256 of their name and the seed, then cut. Every split with a share gets a group.

  Args:
    groups: the names of the groups.
    shares: split -> share of the groups; they sum to 1.
    seed: another number gives another division.

  Returns:
    Group -> split.

  Raises:
    DataError: fewer groups than splits.
  """
  wanted = [split for split, share in shares.items() if share > 0]
  if len(groups) < len(wanted):
    raise DataError(
      f"found {len(groups)} groups (patients), too few for the splits {', '.join(wanted)}: a group is never cut."
    )
  ordered = sorted(groups, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
  spare = len(groups) - len(wanted)  # one for each is set aside, the others go by share
  limits = [round(spare * limit) + k + 1 for k, limit in enumerate(itertools.accumulate(shares[s] for s in wanted))]
  return {group: wanted[next(k for k, limit in enumerate(limits) if i < limit)] for i, group in enumerate(ordered)}
