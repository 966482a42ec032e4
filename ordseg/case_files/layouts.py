"""Finds the images and each rater's mask in a folder, in any of four layouts. Opens no image."""

import collections
import hashlib
import itertools
import pathlib
import re
from collections.abc import Collection, Iterable, Iterator

from ordseg import image_io
from ordseg.case_files import bids, manifests
from ordseg.case_files.cases import SPLITS, Case, Names, folders, listed, listing, named, not_read, shortened
from ordseg.errors import InputError, did_you_mean, raise_all
from ordseg.image_io import SUFFIXES as KNOWN

__all__ = [
  "LAYOUTS",
  "SPLITS",
  "Case",
  "Names",
  "find_cases",
  "is_rater_word",
  "place",
  "recognised",
  "shortened",
  "signature",
  "without",
]

LAYOUTS = ("auto", "raters", "cases", "bids", "manifest")
# What people call a rater's file beside image.nii.gz, unless rater_pattern says it.
_RATER_WORDS = re.compile(
  r"rater|annot|expert|observer|reader|reviewer|grader|label|mask|seg|manual|contour|doctor", re.I
)


def find_cases(root: pathlib.Path, names: Names, left_out: list[pathlib.Path] | None = None) -> list[Case]:
  """Lists the images of a folder with their masks, sorted by key.

  Args:
    root: the user's folder.
    names: layout and names of folders and files.
    left_out: gets the files that lie among the images and masks and are none.

  Raises:
    InputError: no known layout, images of one name, masks without an image, images that are not there: all of them.
  """
  layout = _detect(root, names) if names.layout == "auto" else names.layout
  find = {"raters": _by_rater, "cases": _by_case, "bids": bids.find, "manifest": manifests.find}[layout]
  cases = sorted(find(root, names, left_out if left_out is not None else []), key=lambda case: case.key)
  if not cases:
    raise InputError(f"{root}: there is no image in it. Known formats: {', '.join(KNOWN)}, and DICOM of any name.")
  if not any(case.masks for case in cases):
    raise InputError(f"{root}: {len(cases)} images, but no rater's mask beside them.")
  twice = [
    f"{case.image}: two images are named {case.key!r}; the other is {before.image}."
    for before, case in itertools.pairwise(cases)
    if before.key == case.key
  ]
  raise_all(twice, "images have the name of another")
  return cases


def signature(root: pathlib.Path, cases: Iterable[Case]) -> str:
  """Returns a short code of the files in use: names and sizes of the images, and the bytes of the masks, because
  masks get corrected in place."""
  digest = hashlib.sha256()
  for case in cases:
    sizes = [f"{place(path, root)} {path.stat().st_size}" for path in _files(case.image)]
    digest.update("\n".join([case.key, case.group, case.split, *sizes]).encode())
    for rater, mask in sorted(case.masks.items()):
      for path in _files(mask):
        digest.update(f"\n{rater} ".encode() + hashlib.sha256(path.read_bytes()).digest())
  return digest.hexdigest()[:16]


def _files(image: pathlib.Path) -> list[pathlib.Path]:
  folder, _ = image_io.folder_and_series(image)
  return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else [image]


def place(path: pathlib.Path, root: pathlib.Path) -> str:
  """Returns a path below the user's folder as relative to it, others as they are."""
  return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def recognised(root: pathlib.Path, names: Names) -> str:
  """Returns the layout of a folder; '' where it has none of them."""
  if named(root, names.manifest).is_file():
    return "manifest"
  if named(root, names.images).is_dir() and named(root, names.raters).is_dir():
    return "raters"
  if bids.is_there(root):
    return "bids"
  if any(names.is_image(image.key.rpartition("/")[2], "image") for image in image_io.find(root)[0]):
    return "cases"
  return ""


def _detect(root: pathlib.Path, names: Names) -> str:
  if layout := recognised(root, names):
    return layout
  raise InputError(
    f"{root}: expected {names.images}/ and {names.raters}/<rater>/ in it, or <case>/{names.image_pattern or 'image'}.* "
    f"with <case>/*rater*, or sub-*/ with derivatives/, or {names.manifest}; found {listing(root)}. Other names: "
    f"{names.option('images')} and {names.also('raters')}, {names.also('image_pattern')} and "
    f"{names.also('rater_pattern')}. See docs/own_data.md."
  )


def _by_rater(root: pathlib.Path, names: Names, left_out: list[pathlib.Path]) -> Iterator[Case]:
  """``images/*`` with ``raters/<rater>/*``, matched by path without suffix."""
  image_dir, rater_dir = named(root, names.images), named(root, names.raters)
  for folder in (image_dir, rater_dir):
    if not folder.is_dir():
      raise InputError(f"{folder}: there is no such folder. {root} holds {listing(root)}.")
  others: list[pathlib.Path] = []
  found = [image for image in listed(image_dir, others, one_by_one=True) if names.is_image(_last(image.key), "*")]
  left_out += others
  unread = {_key_of(path, image_dir): path for path in others}
  images = {image.key.removesuffix(image_io.plain(names.image_suffix)): image.path for image in found}
  if len(images) < len(found):
    raise InputError(f"{image_dir}: images differ in {names.option('image_suffix')}={names.image_suffix!r} alone.")
  pattern = image_io.plain(names.rater_pattern)
  raters = [path for path in folders(rater_dir) if pathlib.PurePath(image_io.plain(path.name)).match(pattern)]
  if not raters:
    raise InputError(
      f"{rater_dir}: expected one folder per rater, named {names.rater_pattern}; found {listing(rater_dir)}."
    )
  masks: dict[str, dict[str, pathlib.Path]] = {key: {} for key in images}
  problems: list[str] = []
  strays: list[str] = []
  for rater in raters:
    problems += _match(rater, image_dir, names, masks, strays, left_out)
  problems += [f"{unread[key]}: has masks, but {not_read(unread[key])}" for key in strays if key in unread]
  hint = _affix_hint([key for key in strays if key not in unread], images, names)
  raise_all([problem + hint for problem in problems] if len(problems) == 1 else problems, f"masks do not fit.{hint}")
  for key, path in images.items():
    yield Case(key, path, masks[key])


def _match(
  rater: pathlib.Path,
  image_dir: pathlib.Path,
  names: Names,
  masks: dict[str, dict[str, pathlib.Path]],
  strays: list[str],
  left_out: list[pathlib.Path],
) -> Iterator[str]:
  """Adds a rater's masks to those of their images; yields what is wrong, and adds the names that fit nothing to
  `strays`."""
  name, others = image_io.plain(rater.name), list[pathlib.Path]()
  found = listed(rater, others, one_by_one=True)
  left_out += others
  for mask in found:
    key = without(mask.key, names.mask_prefix, names.mask_suffix)
    if key not in masks:
      strays.append(mask.key)
      expected = f"{image_dir / key}{names.image_suffix}.*"
      yield f"{mask.path}: a mask without its image; expected {expected} .{_near(key, masks)}"
    elif name in masks[key]:
      yield f"{mask.path}: {name} has two masks for {key!r}; the other is {masks[key][name]}."
    else:
      masks[key][name] = mask.path
  unread = [path for path in others if name not in masks.get(_mask_key(_key_of(path, rater), names), {name: path})]
  yield from (f"{path}: is named like a mask of {name}, but {not_read(path)}" for path in unread)
  if not found and not unread:
    yield f"{rater}: holds no mask."


def _key_of(path: pathlib.Path, root: pathlib.Path) -> str:
  return image_io.plain(path.with_name(image_io.stem(path)).relative_to(root).as_posix())


def _mask_key(key: str, names: Names) -> str:
  """Returns the key of the image that a mask's name means; ``s0.seg.nrrd`` of 3D Slicer means ``s0``."""
  return without(key, names.mask_prefix, names.mask_suffix).removesuffix(".seg")


def is_rater_word(name: str) -> bool:
  """Returns whether a mask's name is what people call a rater's file: ``rater1``, ``mask_B``."""
  return _RATER_WORDS.search(name) is not None


def _last(key: str) -> str:
  return key.rpartition("/")[2]


def without(key: str, prefix: str, suffix: str) -> str:
  """Returns a key whose name lacks what masks have before and after it."""
  folder, slash, name = key.rpartition("/")
  return folder + slash + name.removeprefix(image_io.plain(prefix)).removesuffix(image_io.plain(suffix))


def _near(key: str, images: Collection[str]) -> str:
  same = next((other for other in images if other.casefold() == key.casefold()), None)
  return f" {same!r} differs in capital letters alone: rename one." if same else did_you_mean(key, images)


def _affix_hint(strays: list[str], images: Collection[str], names: Names) -> str:
  """Says which setting would match most of the masks without an image."""
  if not strays:
    return ""
  if all(any(name.casefold() == key.casefold() for key in images) for name in strays[:200]):
    return ""  # capital letters, as each line says
  affixes = collections.Counter(pair for name in strays[:200] if (pair := _affixes(name, images)) is not None)
  if not affixes:
    return (
      " Does the mask's name begin or end otherwise than the image's? Then set "
      f"{names.option('mask_prefix')} or {names.also('mask_suffix')} (or {names.also('image_suffix')}); where nothing "
      "else helps, write a manifest.csv."
    )
  (before, after, image_after), count = affixes.most_common(1)[0]
  settings = (("mask_prefix", before), ("mask_suffix", after), ("image_suffix", image_after))
  wanted = " and ".join(f"{names.option(field)}={value}" for field, value in settings if value)
  return f" Set {wanted}, which finds the image of {count} of {min(len(strays), 200)} of them."


def _affixes(name: str, images: Collection[str]) -> tuple[str, str, str] | None:
  """What a mask's name has before and after that of an image, or an image's after that of the mask."""
  last = _last(name)
  inside = [key for key in images if _last(key) in last]
  if inside:
    before, _, after = last.partition(_last(max(inside, key=len)))
    return (before, after, "") if before or after else None
  longer = [key for key in images if key.startswith(name)]
  return ("", "", longer[0][len(name) :]) if longer else None


def _by_case(root: pathlib.Path, names: Names, left_out: list[pathlib.Path]) -> Iterator[Case]:
  """``<case>/image.*`` with ``<case>/*rater*``, folders of any depth; a rater is the mask's name without suffix."""
  others: list[pathlib.Path] = []
  found = listed(root, others)
  left_out += others
  images: dict[str, list[image_io.Found]] = collections.defaultdict(list)
  for image in found:
    folder, _, name = image.key.rpartition("/")
    if folder and names.is_image(name, "image"):
      images[folder].append(image)
  masks, problems = _masks_of_cases(root, found, images, names)
  problems += _unread_masks(root, others, masks, names)
  for folder in folders(root):
    key = image_io.plain(folder.name)
    if not any(case == key or case.startswith(f"{key}/") for case in images):
      problems.insert(0, f"{folder}: expected one {names.image_pattern or 'image'}.* in it, found {listing(folder)}.")
  for case, several in images.items():
    if len(several) > 1:
      paths = ", ".join(image.path.name for image in several)
      problems.append(f"{root / case}: expected one {names.image_pattern or 'image'}.* in it, found {paths}.")
  raise_all(
    problems, f"files or folders do not fit <case>/image.* ({names.option('image_pattern')}) with <case>/*rater*"
  )
  for case, (image,) in images.items():
    yield Case(case, image.path, masks[case], group=case.partition("/")[0])


def _unread_masks(
  root: pathlib.Path, others: list[pathlib.Path], masks: dict[str, dict[str, pathlib.Path]], names: Names
) -> Iterator[str]:
  """Yields the masks that are stored in formats of other tools."""
  for path in others:
    case = next((key for p in path.relative_to(root).parents if (key := image_io.plain(p.as_posix())) in masks), None)
    if case is None or image_io.suffix(path) not in image_io.FOREIGN:
      continue
    name = _key_of(path, root)[len(case) + 1 :].removesuffix(".seg")
    is_rater = _RATER_WORDS.search(name) if names.rater_pattern == "*" else True
    if is_rater and pathlib.PurePosixPath(name).match(names.rater_pattern) and name not in masks[case]:
      yield f"{path}: is named like a rater's mask, but {not_read(path)}"


def _masks_of_cases(
  root: pathlib.Path, found: list[image_io.Found], images: dict[str, list[image_io.Found]], names: Names
) -> tuple[dict[str, dict[str, pathlib.Path]], list[str]]:
  masks: dict[str, dict[str, pathlib.Path]] = {case: {} for case in images}
  problems = []
  for mask in found:
    parents = [parent.as_posix() for parent in pathlib.PurePosixPath(mask.key).parents]
    case = next((parent for parent in parents if parent in images), None)
    if case is None:
      if "/" not in mask.key:
        problems.append(f"{mask.path}: lies beside the folders of the cases; expected {root}/<case>/.")
    elif mask not in images[case]:
      name = mask.key[len(case) + 1 :]
      if names.rater_pattern == "*" and not _RATER_WORDS.search(name):
        problems.append(f"{mask.path}: is neither image.* nor named like a rater; set {names.option('rater_pattern')}.")
      elif not pathlib.PurePosixPath(name).match(names.rater_pattern):
        problems.append(
          f"{mask.path}: is neither image.* nor named {names.rater_pattern} ({names.option('rater_pattern')})."
        )
      else:
        masks[case][name] = mask.path
  return masks, problems
