"""The layout of BIDS: ``sub-01/anat/sub-01_T2w.nii.gz``, its masks under ``derivatives/``, distinguished by entities.

A name is ``<entity>-<value>_..._<word>``; a mask ends with one of `_MASKS` and may name the rater (``desc``), and the
structure (``label``). bids-specification.readthedocs.io, "Filename template" and "Imaging derivatives".
"""

import collections
import fnmatch
import pathlib
import re
from collections.abc import Iterator

from ordseg import image_io
from ordseg.case_files.cases import Case, Names, folders, listed, not_read, shortened
from ordseg.errors import InputError, raise_all
from ordseg.image_io import Found

_MASKS = ("seg", "mask", "dseg", "roi")
_OF_MASKS = ("desc", "label", "rater", "space", "res", "den", "atlas")  # entities that an image's name does not share
_ENTITY = re.compile(r"([A-Za-z]+)-([^_]+)")


def is_there(root: pathlib.Path) -> bool:
  """Returns whether a folder looks like a BIDS data set with derivatives."""
  return (root / "derivatives").is_dir() and any(folder.name.startswith("sub-") for folder in folders(root))


def _parse(key: str) -> tuple[dict[str, str], tuple[str, ...]]:
  """Returns the entities and the words of a name."""
  entities, words = {}, []
  for part in key.rpartition("/")[2].split("_"):
    match = _ENTITY.fullmatch(part)
    if match:
      entities[match[1]] = match[2]
    else:
      words.append(part)
  return entities, tuple(words)


def find(root: pathlib.Path, names: Names, left_out: list[pathlib.Path]) -> Iterator[Case]:
  """Lists the images of all subjects and sessions with the masks that fit them; the subject is the group."""
  raw = [
    Found(f"{image_io.plain(folder.name)}/{image.key}", image.path)
    for folder in folders(root)
    if folder.name.startswith("sub-")
    for image in listed(folder, left_out)
  ]
  derived = listed(root / "derivatives", left_out) if (root / "derivatives").is_dir() else []
  images = [image for image in raw if not _is_mask(image) and names.is_image(image.key.rpartition("/")[2], "*")]
  masks = [mask for mask in (*raw, *derived) if _is_mask(mask)]
  left_out += [image.path for image in derived if not _is_mask(image)]
  masks = _of_one_label(root, [mask for mask in masks if fnmatch.fnmatchcase(_rater(mask), names.rater_pattern)], names)
  found: dict[str, dict[str, pathlib.Path]] = {image.key: {} for image in images}
  unread = [path for path in left_out if image_io.suffix(path) in image_io.FOREIGN]
  raise_all(
    [f"{p}: is named like a mask, but {not_read(p)}" for p in unread if _is_mask(Found(image_io.stem(p), p))],
    "masks are in formats that are not read",
  )
  problems = [problem for mask in masks if (problem := _place(mask, images, found, names)) is not None]
  raise_all(
    problems,
    f"masks under derivatives/ do not fit an image ({names.option('image_pattern')}, {names.also('rater_pattern')})",
  )
  for image in images:
    subject = image.key.partition("/")[0]
    yield Case(image.key.rpartition("/")[2], image.path, found[image.key], group=subject)


def _is_mask(image: Found) -> bool:
  words = _parse(image.key)[1]
  return bool(words) and words[-1] in _MASKS


def _rater(mask: Found) -> str:
  """Of the mask's name, else the folder below derivatives/ that it lies in, else (beside the image) its kind."""
  entities, words = _parse(mask.key)
  folder = mask.key.partition("/")[0]
  return entities.get("rater") or entities.get("desc") or (words[-1] if folder.startswith("sub-") else folder)


def _of_one_label(root: pathlib.Path, masks: list[Found], names: Names) -> list[Found]:
  """Keeps the masks of one structure."""
  by_label: dict[str, list[Found]] = collections.defaultdict(list)
  for mask in masks:
    by_label[_parse(mask.key)[0].get("label", "")].append(mask)
  if names.label and names.label not in by_label:
    raise InputError(
      f"{root}: no mask has {names.option('label')}={names.label!r}; labels: {shortened(sorted(by_label))}."
    )
  if not names.label and len(by_label) > 1:
    known = ", ".join(label or "(none)" for label in sorted(by_label))
    raise InputError(f"{root}: masks of several structures: {known}. Name one: {names.option('label')}=.")
  return by_label[names.label] if names.label else masks


def _place(mask: Found, images: list[Found], found: dict[str, dict[str, pathlib.Path]], names: Names) -> str | None:
  """Gives a mask to the image of the same entities; returns what is wrong."""
  entities, words = _parse(mask.key)
  shared = {name: value for name, value in entities.items() if name not in _OF_MASKS}
  fits = []
  for image in images:
    theirs, their_words = _parse(image.key)
    if theirs == shared and (words[:-1] in ((), their_words)):
      fits.append(image)
  if not fits:
    return f"{mask.path}: no image has its entities {'_'.join(f'{k}-{v}' for k, v in shared.items())}."
  if len(fits) > 1:
    several = shortened([image.path.name for image in fits])
    pattern = names.option("image_pattern")
    return f"{mask.path}: fits several images ({several}); name one kind: {pattern}='*_T2w'."
  rater, own = _rater(mask), found[fits[0].key]
  if rater in own:
    return f"{mask.path}: {rater} has two masks for {fits[0].path.name}; the other is {own[rater]}."
  own[rater] = mask.path
  return None
