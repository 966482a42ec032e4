"""Maps and masks of the same cases, one case in memory at a time, and the list of what fits and what does not."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from ordseg import image_io
from ordseg.case_files import channels, map_names, map_places, map_reading, map_values, mask_sets, nnunet, rater_masks
from ordseg.case_files import structures as structure_module
from ordseg.case_files.cases import Names, listed, shortened
from ordseg.case_files.map_names import MapFile
from ordseg.case_files.map_places import OnGrid
from ordseg.case_files.map_values import Content
from ordseg.case_files.mask_sets import MaskSet, Rated
from ordseg.case_files.nnunet import Labels
from ordseg.case_files.options import Options
from ordseg.case_files.structures import Structure
from ordseg.errors import InputError
from ordseg.image_io import ImageFile

NAMES = Names(option_prefix="--")


@dataclasses.dataclass(frozen=True)
class Case:
  """Maps and masks of one case. *image is [H, W] of pictures, [D, H, W] of volumes.

  Attributes:
    name: of the case.
    group: of the patient.
    probs: structure -> [*image] float32 or float64, or [*image, L] level probabilities; the mean of the members where
      there are several.
    members: structure -> each member's map, where there are several; else {}.
    rater_masks: structure -> [*image, R] uint8 of 0 and 1; 0 of missing raters.
    rater_valid: [R] bool, who answered.
    pixel_valid: [*image] bool, pixels that count; None: all.
    spacing: mm along the axes of *image; 0 = unknown.
    image: the image, where there is one.
    notes: what a user should know of how it was read.
  """

  name: str
  group: str
  probs: dict[str, np.ndarray]
  members: dict[str, tuple[np.ndarray, ...]]
  rater_masks: dict[str, np.ndarray]
  rater_valid: np.ndarray
  pixel_valid: np.ndarray | None
  spacing: tuple[float, ...]
  image: pathlib.Path | None
  notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Listing:
  """What was found, before any case is scored.

  Attributes:
    matched: names of cases with maps and masks.
    missing: names of cases with masks and without a map.
    unrated: names of cases without any mask.
    unknown: names of maps without a case.
    left_out: files that are neither.
    how: how each folder was read, a line each.
    odd: what the user must know: label maps, constant maps, missing and unknown cases.
  """

  matched: tuple[str, ...]
  missing: tuple[str, ...]
  unrated: tuple[str, ...]
  unknown: tuple[str, ...]
  left_out: tuple[pathlib.Path, ...]
  how: tuple[str, ...]
  odd: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Maps and masks that belong together; iterate to read them.

  Attributes:
    raters: the panel, in the order of R.
    structures: what is scored.
    content: what the maps' numbers are.
    listing: what was found.
    options: what the user said.
  """

  raters: tuple[str, ...]
  structures: tuple[Structure, ...]
  content: Content
  listing: Listing
  options: Options
  _masks: MaskSet
  _maps: dict[str, tuple[MapFile, ...]]
  _labels: Labels | None
  _regions: dict[str, pathlib.Path]

  @property
  def has_levels(self) -> bool:
    """Whether probabilities are [*image, L], of 0 to R marks."""
    return self.options.levels

  @property
  def num_members(self) -> int:
    """The most maps that a case has."""
    return max(len(self._maps[name]) for name in self.listing.matched)

  def __len__(self) -> int:
    return len(self.listing.matched)

  def __iter__(self) -> Iterator[Case]:
    axes: dict[str, pathlib.Path] = {}
    for name in self.listing.matched:
      yield self._read(name, axes)

  def _read(self, name: str, axes: dict[str, pathlib.Path]) -> Case:
    rated = self._masks.cases[name]
    marks = rater_masks.read(rated, self.raters, self.structures, self.options.marked, self._masks.labels)
    notes: list[str] = list(marks.reference.notes)
    members: dict[str, list[np.ndarray]] = {one.name: [] for one in self.structures}
    for file in self._maps[name]:
      placed, found = self._map(file, marks.reference)
      _check_axes(placed, file.path, axes)
      notes += placed.notes
      for structure, probs in found.items():
        members[structure].append(_flat(probs, marks.reference))
    valid = None if marks.ignored is None else ~marks.ignored
    if name in self._regions:
      region = rater_masks.read_region(self._regions[name], marks.reference)
      valid = region if valid is None else valid & region
    several = len(self._maps[name]) > 1
    return Case(
      name=name,
      group=_group(rated, self.options),
      probs={structure: _mean(own, self.content) for structure, own in members.items()},
      members={structure: tuple(own) for structure, own in members.items()} if several else {},
      rater_masks={structure: _flat(own, marks.reference) for structure, own in marks.of.items()},
      rater_valid=marks.valid,
      pixel_valid=None if valid is None else _flat(valid, marks.reference),
      spacing=marks.reference.spacing if len(marks.reference.pages) > 1 else marks.reference.spacing[1:],
      image=rated.image,
      notes=tuple(dict.fromkeys(notes)),
    )

  def _map(self, file: MapFile, reference: ImageFile) -> tuple[OnGrid, dict[str, np.ndarray]]:
    """Returns a map's channels, and its structures [D, H, W] or [D, H, W, L]."""
    stored = map_reading.read(file.path, key=self.options.key)
    map_values.check_type(stored, self.content)
    is_classes = self.content.is_label_map and self.content.high > 1
    is_regions = self._labels is not None and bool(self._labels.regions)

    def decode(values: np.ndarray) -> np.ndarray:
      if is_classes:
        return values
      return map_values.probabilities(values, self.content, file.path, is_regions=is_regions)

    placed = map_places.on_grid(
      stored,
      reference,
      decode,
      beside=file.labels,
      labels=self._labels,
      axes=self.options.map_axes,
      resample=None if self.content.is_label_map else self.options.resample,
    )
    return placed, {one.name: self._structure(placed.probs, one, file.path, is_classes) for one in self.structures}

  def _structure(self, values: np.ndarray, one: Structure, path: pathlib.Path, is_classes: bool) -> np.ndarray:
    if is_classes:
      return _of_labels(values, one, path)
    if self.options.levels:
      return channels.as_levels(values, path, num_raters=len(self.raters))
    return channels.pick(values, one, path, labels=self._labels, num_raters=len(self.raters))


def pair(
  maps: Sequence[pathlib.Path],
  masks: pathlib.Path,
  *,
  images: pathlib.Path | None = None,
  regions: pathlib.Path | None = None,
  options: Options | None = None,
  names: Names = NAMES,
) -> Pairs:
  """Finds maps and masks of the same cases; opens as many maps as it takes to know what their numbers are.

  Args:
    maps: a folder; several: a member of an ensemble each.
    masks: see `mask_sets.find_masks`.
    images: a folder of images, optional.
    regions: a folder of masks of the pixels that count, named as the cases; a case without one counts whole.
    options: what the files leave open.
    names: where masks lie.

  Raises:
    InputError: nothing to pair, cases without a map (unless `Options.missing` is ``skip``), or what only the user can
      say.
  """
  options = options or Options()
  found = mask_sets.find_masks(masks, names, images)
  rated = {key: case for key, case in found.cases.items() if case.masks}
  matched = [map_names.match(root, list(found.cases), options) for root in maps]
  of_case = {key: tuple(file for one in matched for file in one.of_case.get(key, ())) for key in rated}
  whole = [key for key in rated if all(key in one.of_case for one in matched)]
  listing = _listing(maps, found, matched, whole)
  if listing.missing and options.missing == "refuse":
    raise InputError(
      f"{maps[0]}: {len(listing.missing)} of {len(rated)} cases have no map: {shortened(listing.missing)}. Predict "
      f"them, or score the others with --missing=skip.{_also_unknown(listing)}"
    )
  labels = _labels(maps)
  chosen = structure_module.resolve(options, labels, found.labels)
  files = {key: of_case[key] for key in whole}
  survey = map_values.Survey(options)
  content = survey.of(map_reading.read(file.path, key=options.key) for own in files.values() for file in own)
  if content.is_label_map and content.high > 1 and not all(one.values for one in chosen):
    chosen = tuple(_with_values(one, labels, next(iter(files.values()))[0].path) for one in chosen)
  tip = ("nnU-Net writes probabilities with --save_probabilities",) if content.is_label_map and labels else ()
  how = (*listing.how, content.example, *_channels(chosen), f"numbers are {content.kind}; {content.top:g} stands for 1")
  fields = _regions(regions, whole)
  if regions is not None:
    how = (*how, f"{regions}: regions of {len(fields)} of {len(whole)} cases; the others count whole")
  listing = dataclasses.replace(listing, how=how, odd=(*content.notes, *tip, *_fewer(files), *listing.odd))
  return Pairs(found.raters, chosen, content, listing, options, found, files, labels, fields)


def _listing(
  roots: Sequence[pathlib.Path], found: MaskSet, matched: Sequence[map_names.Matched], whole: Sequence[str]
) -> Listing:
  missing = [key for key, case in found.cases.items() if case.masks and key not in whole]
  unrated = [key for key, case in found.cases.items() if not case.masks]
  unknown = list(dict.fromkeys(name for one in matched for name in one.unknown))
  left_out = [*found.left_out, *(path for one in matched for path in one.left_out)]
  if not whole:
    raise InputError(
      f"{roots[0]}: no case has a mask and a map of each folder: masks of {shortened(list(found.cases))}."
    )
  how = [f"masks: layout {found.layout}, {len(found.cases)} cases, raters {', '.join(found.raters)}"]
  how += [
    f"{root}: {len(one.of_case)} maps, named <case>{one.suffix}" + "".join(f"; {note}" for note in one.notes)
    for root, one in zip(roots, matched, strict=True)
  ]
  unpaired = {"cases without a map": missing, "cases without a mask": unrated, "maps of unknown cases": unknown}
  unpaired["files that are neither"] = [path.name for path in left_out]
  odd = [f"{what} ({len(these)}): {', '.join(these)}" for what, these in unpaired.items() if these]
  return Listing(tuple(whole), tuple(missing), tuple(unrated), tuple(unknown), tuple(left_out), tuple(how), tuple(odd))


def _fewer(files: dict[str, tuple[MapFile, ...]]) -> Iterator[str]:
  """Yields the cases that have fewer members than others."""
  most = max(len(own) for own in files.values())
  few = [f"{name} ({len(own)} of {most})" for name, own in files.items() if len(own) < most]
  if few:
    yield f"cases with fewer maps than others ({len(few)}): {', '.join(few)}"


def _also_unknown(listing: Listing) -> str:
  return f" Maps of no known case: {shortened(listing.unknown)}." if listing.unknown else ""


def _channels(chosen: Sequence[Structure]) -> Iterator[str]:
  for one in chosen:
    where = "the one that is no background" if one.channel < 0 else str(one.channel)
    yield f"{one.name}: channel {where}" + (f", label {', '.join(map(str, one.values))}" if one.values else "")


def _labels(maps: Sequence[pathlib.Path]) -> Labels | None:
  found = [labels for root in maps if (labels := nnunet.read_labels(root)) is not None]
  for other in found[1:]:
    if (other.values, other.regions) != (found[0].values, found[0].regions):
      raise InputError(f"{other.path}: names other labels than {found[0].path}; members of an ensemble share them.")
  return found[0] if found else None


def _with_values(one: Structure, labels: Labels | None, path: pathlib.Path) -> Structure:
  if one.values:
    return one
  if labels is not None and one.name in labels.values:
    return dataclasses.replace(one, values=labels.values[one.name])
  raise InputError(
    f"{path}: the maps of the set hold whole numbers above 1: label maps of several classes? Then name one: "
    "--classes=lesion=2; if they are 8-bit codes, --scale=255."
  )


def _regions(root: pathlib.Path | None, cases: Sequence[str]) -> dict[str, pathlib.Path]:
  if root is None:
    return {}
  if not root.is_dir():
    raise InputError(f"{root}: there is no such folder of regions (--region).")
  images = listed(root, [], one_by_one=True)
  lookup, found = map_names.Lookup(cases, Options()), dict[str, pathlib.Path]()
  for image in images:
    fit = lookup.find(MapFile(image.key, image.path))
    if fit is not None and found.setdefault(fit[0], image.path) != image.path:
      raise InputError(f"{image.path}: case {fit[0]!r} has two regions; the other is {found[fit[0]]}.")
  if not found:
    names = shortened([image.key for image in images], 3)
    raise InputError(f"{root}: none of its regions ({names}) is named as a case ({shortened(list(cases), 3)}).")
  return found


def _check_axes(placed: OnGrid, path: pathlib.Path, axes: dict[str, pathlib.Path]) -> None:
  """An order of axes that shapes gave must be that of all maps."""
  if not placed.axes:
    return
  axes.setdefault(placed.axes, path)
  if len(axes) > 1:
    (first, one), (other, two) = list(axes.items())[:2]
    raise InputError(f"{two}: its shape fits the axes {other}, that of {one} {first}: maps of a set have one order.")


def _of_labels(values: np.ndarray, one: Structure, path: pathlib.Path) -> np.ndarray:
  if len(values) != 1:
    raise InputError(f"{path}: a label map has one channel, found {len(values)}.")
  return np.isin(values[0], one.values).astype(np.float32)


def _flat(values: np.ndarray, reference: ImageFile) -> np.ndarray:
  """Drops the page axis of a picture."""
  return values[0] if len(reference.pages) == 1 else values


def _mean(members: list[np.ndarray], content: Content) -> np.ndarray:
  """The members' mean; of codes the sum of whole numbers, divided once, so that a bin's edge is met exactly."""
  if len(members) == 1:
    return members[0]
  top = content.top if content.kind == map_values.CODES else 0
  total = np.zeros(members[0].shape)
  for one in members:
    total += np.rint(one * top) if top else one
  total /= len(members) * (top or 1)
  return total


def _group(case: Rated, options: Options) -> str:
  if not options.group_regex:
    return case.group or case.key
  found = re.search(image_io.plain(options.group_regex), case.key)
  if not found or not found[1]:
    raise InputError(f"--group_regex={options.group_regex!r} finds no group in {case.key!r}.")
  return found[1]
