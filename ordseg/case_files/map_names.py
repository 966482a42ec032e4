"""Which file of a folder is whose map: names of cases with what tools put before and after them. Opens no file."""

import dataclasses
import fnmatch
import pathlib
import re
from collections.abc import Collection, Iterator

from ordseg import image_io
from ordseg.case_files.cases import listing, shortened
from ordseg.case_files.options import Options
from ordseg.errors import InputError, raise_all

ARRAYS = (".npy", ".npz")
_WORD = re.compile(r"(?:_0000)?(?:[_.-][A-Za-z][\w.-]*)?")  # what tools put after a case's name: _0000, _prob, _trans
_BREAK = re.compile(r"[_.-]")
_OURS, _OUR_SUMMARY = "_mean_vote", "summary.csv"
_OUR_MAPS = re.compile(r"_(mean_vote|majority|mask|entropy|disagreement|at_least_\d+|overlay|probability)")
_BESIDE = (".pkl", ".json", ".txt", ".csv", ".log", ".md", ".html")  # what lies beside maps and is expected there


@dataclasses.dataclass(frozen=True)
class MapFile:
  """A map.

  Attributes:
    key: its path below the folder without suffix, in NFC.
    path: the file.
    labels: the label map beside it, as nnU-Net writes it; None where there is none.
    double: another file of the same name, which leaves open which is the map.
  """

  key: str
  path: pathlib.Path
  labels: pathlib.Path | None = None
  double: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Matched:
  """The maps of a folder.

  Attributes:
    of_case: case -> its maps, in the order of their names; several only where `Options.members` says so.
    unknown: names of maps that no case has.
    suffix: what their names have after the case's.
    notes: how that was found.
    left_out: files that are no maps.
  """

  of_case: dict[str, tuple[MapFile, ...]]
  unknown: tuple[str, ...]
  suffix: str
  notes: tuple[str, ...]
  left_out: tuple[pathlib.Path, ...]


def match(root: pathlib.Path, cases: Collection[str], options: Options) -> Matched:
  """Finds the maps of cases.

  A map is named as its case, then perhaps a word (``_prob``), in a folder of its own or not; or it lies in a folder
  named as the case.

  Args:
    root: the folder.
    cases: keys, as the masks have them.
    options: `map_prefix`, `map_suffix`, `members`.

  Raises:
    InputError: no map, two maps of a case, or several kinds of maps beside each other.
  """
  maps, left_out = _listed(root)
  fits: dict[str, list[tuple[str, MapFile]]] = {}
  strangers: list[MapFile] = []
  lookup = Lookup(cases, options)
  for one in maps:
    found = lookup.find(one)
    if found is None:
      strangers.append(one)
    else:
      fits.setdefault(found[0], []).append((found[1], one))
  if not fits:
    raise InputError(
      f"{root}: none of its {len(maps)} maps ({shortened([one.key for one in maps], 3)}) is named like a case of the "
      f"masks ({shortened(sorted(cases), 3)}). Say what a name has around the case's: --map_prefix=, --map_suffix=."
    )
  suffixes = {suffix for several in fits.values() for suffix, _ in several}
  suffix, notes = ("", ()) if options.members else _one_suffix(root, suffixes)
  if not options.members:
    strangers = [one for one in strangers if not _has_other(one, suffix)]
    fits = {case: kept for case, several in fits.items() if (kept := [pair for pair in several if pair[0] == suffix])}
  raise_all(list(_doubles(fits)), "cases have several maps")
  of_case = {case: tuple(one for _, one in several) for case, several in fits.items()}
  unknown = sorted(_name(one, suffix, options) for one in strangers)
  return Matched(of_case, tuple(unknown), suffix, notes, tuple(left_out))


def _listed(root: pathlib.Path) -> tuple[list[MapFile], list[pathlib.Path]]:
  """Lists maps; where an npz and a label map of one name lie side by side, the npz is the map."""
  if not root.is_dir():
    raise InputError(f"{root}: there is no such folder of maps (--maps).")
  images, others = image_io.find(root, one_by_one=True)
  found: dict[str, list[pathlib.Path]] = {}
  for image in images:
    found.setdefault(image.key, []).append(image.path)
  for path in others:
    if image_io.suffix(path) in ARRAYS:
      key = image_io.plain(path.with_name(image_io.stem(path)).relative_to(root).as_posix())
      found.setdefault(key, []).append(path)
  maps = [_of_files(key, paths) for key, paths in sorted(found.items())]
  if not maps:
    raise InputError(
      f"{root}: there is no map in it; found {listing(root)}. Known formats: "
      f"{', '.join((*image_io.SUFFIXES, *ARRAYS))}."
    )
  expected = (*ARRAYS, *_BESIDE)
  return maps, [path for path in others if image_io.suffix(path) not in expected]


def _of_files(key: str, paths: list[pathlib.Path]) -> MapFile:
  archives = [path for path in paths if image_io.suffix(path) == ".npz"]
  rest = [path for path in paths if path not in archives]
  if len(paths) == 1:
    return MapFile(key, paths[0])
  if len(archives) == 1 and len(rest) == 1 and image_io.suffix(rest[0]) not in ARRAYS:
    return MapFile(key, archives[0], rest[0])
  return MapFile(key, paths[0], double=paths[1])


class Lookup:
  """Finds the case of a map."""

  def __init__(self, cases: Collection[str], options: Options):
    self._options = options
    self._by_last: dict[str, list[str]] = {}
    self._cases = set(cases)
    for case in cases:
      self._by_last.setdefault(case.rpartition("/")[2], []).append(case)

  def find(self, one: MapFile) -> tuple[str, str] | None:
    """Returns the case and what the name has after it; None where no case fits."""
    folder, _, name = one.key.rpartition("/")
    prefix = image_io.plain(self._options.map_prefix)
    if not name.startswith(prefix):
      return None
    name = name[len(prefix) :]
    ends = [len(name), *(found.start() for found in reversed(list(_BREAK.finditer(name))))]
    if self._options.own_suffix is not None:
      ends = [len(name) - len(self._options.own_suffix)]
    elif self._options.members:
      ends = list(range(len(name), 0, -1))
    for end in ends:
      case = self._at(folder, name[:end]) if end > 0 else None
      if case is not None and self._is_suffix(name[end:]):
        return case, name[end:]
    return self._of_folder(folder, name)

  def _at(self, folder: str, last: str) -> str | None:
    several = self._by_last.get(last, [])
    if len(several) == 1 and "/" not in several[0]:
      return several[0]
    above = folder.removesuffix(f"/{last}") if folder.endswith(f"/{last}") else folder
    within = [case for case in several if _ends_with(folder, _parent(case)) or _ends_with(above, _parent(case))]
    if len(within) > 1:  # a case of the root fits every folder
      within = [max(within, key=len)]
    return within[0] if within else (several[0] if len(several) == 1 else None)

  def _is_suffix(self, text: str) -> bool:
    if self._options.own_suffix is not None:
      return text == self._options.own_suffix
    if self._options.members:
      return fnmatch.fnmatchcase(text, self._options.members)
    return _WORD.fullmatch(text) is not None

  def _of_folder(self, folder: str, name: str) -> tuple[str, str] | None:
    """Takes ``<case>/prob.nii.gz``: the folder is the case."""
    parts = folder.split("/") if folder else []
    for start in range(len(parts)):
      case = "/".join(parts[start:])
      if case in self._cases:
        suffix = f"/{name}"
        wanted = self._options.own_suffix
        if self._options.members:
          return (case, suffix) if fnmatch.fnmatchcase(suffix, self._options.members) else None
        return (case, suffix) if wanted is None or wanted == suffix else None
    return None


def _parent(key: str) -> str:
  return key.rpartition("/")[0]


def _ends_with(folder: str, tail: str) -> bool:
  return not tail or folder == tail or folder.endswith(f"/{tail}")


def _one_suffix(root: pathlib.Path, suffixes: Collection[str]) -> tuple[str, tuple[str, ...]]:
  if len(suffixes) == 1:
    return next(iter(suffixes)), ()
  is_ours = (root / _OUR_SUMMARY).is_file() and all(_OUR_MAPS.fullmatch(suffix) for suffix in suffixes)
  if is_ours and _OURS in suffixes:
    return _OURS, (f"of what ordseg wrote, {_OURS[1:]}: the probability that a rater of the panel marks the pixel",)
  shown = shortened(sorted(map(repr, suffixes)))
  raise InputError(
    f"{root}: maps end in several ways after the case's name ({shown}): name one with --map_suffix=, or, where they "
    "are several maps of the same case, give --members= (a pattern of these ends)."
  )


def _has_other(one: MapFile, suffix: str) -> bool:
  """Returns whether a map without a case is another kind of map of ours, of which one is taken."""
  return suffix == _OURS and _OUR_MAPS.search(one.key) is not None and not one.key.endswith(suffix)


def _doubles(fits: dict[str, list[tuple[str, MapFile]]]) -> Iterator[str]:
  for case, several in fits.items():
    seen: dict[str, MapFile] = {}
    for suffix, one in several:
      if one.double is not None:
        yield f"{one.path}: two maps of one name; the other is {one.double}. Keep one in the folder."
      elif suffix in seen:
        yield (
          f"{one.path}: case {case!r} has two maps; the other is {seen[suffix].path}. Name the folder of one kind, or "
          "give each folder of members as a --maps of its own."
        )
      seen[suffix] = one


def _name(one: MapFile, suffix: str, options: Options) -> str:
  folder, _, name = one.key.rpartition("/")
  if suffix.startswith("/"):
    return folder if f"/{name}" == suffix else one.key
  return name.removeprefix(image_io.plain(options.map_prefix)).removesuffix(suffix) or one.key
