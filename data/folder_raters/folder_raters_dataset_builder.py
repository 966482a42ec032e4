"""Builder of folder_raters: the user's own images with one mask file per rater."""

import collections
import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files, tiles
from data.errors import DataError, did_you_mean, raise_all
from data.folder_raters import dtypes, problems, reading
from ordseg import image_io
from ordseg.case_files import layouts
from ordseg.case_files.layouts import Case

_UNRATED = ("error", "skip")
_NOTES = 10  # of a split: different notes that are printed
_FOUND = ("dataset", "rater_names", "num_channels", "dtype", "files")  # what `discover` fills in


@dataclasses.dataclass(eq=False, kw_only=True)
class FolderConfig(common.RaterConfig):
  """Settings of folder_raters.

  Attributes:
    layout: ``raters`` (images/*, raters/<rater>/*), ``cases`` (<case>/image.*, <case>/*rater*), ``bids`` (sub-*/ with
      derivatives/), ``manifest`` (a CSV file), or ``auto``: the one that is there.
    images: layout raters: folder of the images.
    raters: layout raters: folder of the raters' folders.
    rater_pattern: which folders (layout raters) or files (cases) are raters, as a shell pattern.
    image_pattern: which files are images, as a shell pattern of names without suffix: ``*`` (layouts raters, bids),
      ``image`` (cases). Others are left alone.
    image_suffix: layout raters: what an image's name has after its masks': ``_0000`` for scan7_0000.png and scan7.png.
    mask_prefix: layout raters: what a mask's name has before the image's: ``seg_`` for scan7.png and seg_scan7.png.
    mask_suffix: the same after it: ``_mask`` for scan7.png and scan7_mask.png.
    label: layout bids: which structure, where masks of several are there (entity ``label``).
    manifest: name of the CSV file: columns image, one per rater, and id, group, split where wanted.
    marked: mask values that mean "marked": ``binary`` (0 and one other value, two colours of which the darker is
      plainly the ground, or what is not transparent; else an error) or a comparison such as ``>=128``, ``==2``,
      ``==#ff0000``, ``~#ff0000`` (near that colour), ``alpha>=128``.
    group_regex: finds the group (patient) in an image's name, as its first parenthesis; '' takes the manifest's
      column, else the case, else each image for itself.
    shares: of the groups for train, validation, test, where the manifest has no split.
    split_seed: another number, another division of the groups.
    unrated: what to do with an image that no rater marked a file for: ``error`` or ``skip``.
    slice_axis: of volumes: pages run along ``z`` (the third axis of a NIfTI file, the normal of a DICOM series),
      ``y`` or ``x``.
    keep: ``all`` pages of a volume, or those that some rater ``marked``.
    tile_size: pixels; larger pages are cut into tiles; 0 keeps them whole.
    spacing: mm per pixel, for files that do not say; 0 = unknown.
    allow_gaps: takes DICOM series whose slices are not equally spaced, which are refused otherwise.
    dataset: name of the built data set; '' takes the folder's.
    rater_names: the panel, comma-separated, in the order of the columns; '' finds it.
    num_channels: of the images; 0 takes the first image's.
    dtype: of the images; '' takes the smallest of uint8, uint16, int16 and float32 that loses nothing of any.
    files: code of the files that the data set was built from; '' finds it.
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
  marked: str = "binary"
  group_regex: str = ""
  shares: str = "0.7,0.1,0.2"
  split_seed: int = 0
  unrated: str = "error"
  slice_axis: str = "z"
  keep: str = "all"
  tile_size: int = 0
  spacing: float = 0.0
  allow_gaps: bool = False
  dataset: str = ""
  rater_names: str = ""
  num_channels: int = 0
  dtype: str = ""
  files: str = ""

  def __post_init__(self) -> None:
    choices = {
      "layout": layouts.LAYOUTS,
      "unrated": _UNRATED,
      "slice_axis": reading.SLICE_AXES,
      "keep": reading.KEEP,
      "dtype": ("", *dtypes.RECORDS),
    }
    for field, allowed in choices.items():
      value = getattr(self, field)
      if value not in allowed:
        raise DataError(
          f"config.data.builder_args.{field}={value!r} is unknown.{did_you_mean(value, allowed)} "
          f"Choices: {', '.join(filter(None, allowed))}."
        )
    reading.check_rule(self.marked)
    tiles.check_size(self.tile_size)
    self.split_shares()
    if self.spacing < 0:
      raise DataError(f"config.data.builder_args.spacing={self.spacing} must be > 0 mm, or 0 for unknown.")
    try:
      groups = re.compile(self.group_regex).groups
    except re.error as error:
      raise DataError(f"config.data.builder_args.group_regex={self.group_regex!r}: {error}.") from error
    if self.group_regex and groups < 1:
      raise DataError(f"config.data.builder_args.group_regex={self.group_regex!r} has no parenthesis: '(.*)_slice'.")

  def split_shares(self) -> dict[str, float]:
    """Returns split -> share of the groups; sums to 1."""
    try:
      shares = [float(word) for word in self.shares.split(",")]
    except ValueError:
      shares = []
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
      raise DataError(
        f"config.data.builder_args.shares={self.shares!r} must be three numbers that sum to 1 (train,validation,test)."
      )
    return dict(zip(layouts.SPLITS, shares, strict=True))

  def panel(self) -> list[str]:
    """Returns the names of the raters."""
    return image_io.plain(self.rater_names).split(",")

  def names(self) -> layouts.Names:
    """Returns the settings that say where files lie."""
    own = [field.name for field in dataclasses.fields(layouts.Names) if hasattr(self, field.name)]
    return layouts.Names(**{name: getattr(self, name) for name in own})


class Builder(common.RaterBuilder):
  """Reads the user's folder; raters, channels and the type of the values are found in it."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    FolderConfig(name="default", description="Found in the folder; see the settings.")
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "images/* with raters/<rater>/*, or <case>/image.* with <case>/*rater*, or BIDS, or manifest.csv; see "
    "docs/own_data.md."
  )
  LICENSE = "Your own data."

  @classmethod
  def discover(cls, config: Any, manual_dir: str) -> Any:
    """Fills in what only the files can tell, unless all of it is given (as in a run's config.json)."""
    given = {field: getattr(config, field) for field in _FOUND}
    if not all(given.values()):
      if not manual_dir:
        raise DataError(f"folder_raters: set --config.data.manual_dir to the folder that holds {cls._layouts()}")
      root = pathlib.Path(manual_dir).expanduser()
      if not root.is_dir():
        raise DataError(f"folder_raters: config.data.manual_dir={manual_dir!r} is no folder.")
      config = dataclasses.replace(config, **_look(root.resolve(), config))
    code = hashlib.sha256(json.dumps(config.settings(), sort_keys=True).encode()).hexdigest()[:10]
    return dataclasses.replace(config, name=f"{config.dataset}-{code}")

  @classmethod
  def _layouts(cls) -> str:
    return cls.MANUAL_DOWNLOAD_INSTRUCTIONS

  @property
  def num_raters(self) -> int:
    """As many as there are rater folders, files or columns."""
    return len(self.config.panel())

  @property
  def rater_names(self) -> tuple[str, ...]:
    """Those of the rater folders, files or columns."""
    return tuple(self.config.panel())

  @property
  def num_channels(self) -> int:
    """Of the first image."""
    return self.config.num_channels

  @property
  def image_dtype(self) -> np.dtype:
    """One for all images, see `dtypes.common_dtype`."""
    return np.dtype(self.config.dtype)

  def source_signature(self, source: pathlib.Path) -> str:
    """Returns a code of the files in use; masks by content."""
    return layouts.signature(source.resolve(), layouts.find_cases(source.resolve(), self.config.names()))

  def label_values(self, source: pathlib.Path) -> dict[str, dict[str, float]]:
    """Returns rater -> mask file -> the value of its marks, of the masks that hold one value beside 0; so that the
    doctor sees a structure that is 1 in one file and 2 in another. Nothing where a rule says which values count."""
    if self.config.marked != "binary":
      return {}
    root = source.resolve()
    found: dict[str, dict[str, float]] = {rater: {} for rater in self.config.panel()}
    for case in layouts.find_cases(root, self.config.names()):
      for rater, path in case.masks.items():
        file = image_io.read_stored(path)
        values = np.unique(np.round(file.pages if file.indices is None else file.indices, 6))
        if len(values) == 2 and values[0] == 0:
          found[rater][layouts.place(path, root)] = float(values[1])
    return found

  def split_examples(self, source: pathlib.Path | None) -> Mapping[str, Iterable[common.Example]]:
    """Returns split -> examples, one image in memory at a time."""
    assert source is not None
    left_out: list[pathlib.Path] = []
    found = layouts.find_cases(source.resolve(), self.config.names(), left_out)
    if left_out:
      names = layouts.shortened([layouts.place(path, source.resolve()) for path in left_out])
      print(f"folder_raters: {len(left_out)} files are no images and are left out: {names}")
    cases = _with_splits(_grouped(_rated(found, self.config), self.config), self.config)
    by_split = {split: [case for case in cases if case.split == split] for split in layouts.SPLITS}
    ahead = [case for split in layouts.SPLITS for case in by_split[split]]
    return {split: self._read(by_split[split], ahead) for split in layouts.SPLITS if by_split[split]}

  def _read(self, cases: Iterable[Case], ahead: list[Case]) -> Iterator[common.Example]:
    """Yields the examples of a split; what cannot be read ends the build, but not before all is named that cannot.

    Args:
      cases: of the split.
      ahead: those of all splits in the order of reading; the ones that are done are taken off.
    """
    notes: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
    for case in cases:
      try:
        yield from self._read_case(case, notes)
      except DataError as error:
        raise_all([str(error), *_problems(ahead, self.config)], "files cannot be used")
        raise
      ahead.remove(case)
    for note, paths in itertools.islice(notes.items(), _NOTES):
      more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
      print(f"folder_raters: {paths[0]}{more}: {note}")

  def _read_case(self, case: Case, notes: dict[str, list[pathlib.Path]]) -> Iterator[common.Example]:
    config = self.config
    yield from reading.read_case(
      case,
      raters=config.panel(),
      num_channels=config.num_channels,
      dtype=self.image_dtype,
      marked=config.marked,
      slice_axis=config.slice_axis,
      keep=config.keep,
      tile_size=config.tile_size,
      spacing=config.spacing,
      allow_gaps=config.allow_gaps,
      notes=notes,
    )


def _look(root: pathlib.Path, config: FolderConfig) -> dict[str, Any]:
  """Finds the settings of `_FOUND` that are not given."""
  cases = layouts.find_cases(root, config.names())
  raters = sorted({rater for case in cases for rater in case.masks})
  wrong = [name for name in raters if "," in name]
  if wrong:
    raise DataError(f"{root}: the rater's name {wrong[0]!r} holds a comma; rename it.")
  panel = config.panel() if config.rater_names else raters
  unknown = [name for name in raters if name not in panel]
  if unknown:
    raise DataError(f"{root}: rater {unknown[0]!r} is not in builder_args.rater_names={config.rater_names!r}.")
  used = cases if config.unrated == "error" else _rated(cases, config)

  def read(path: pathlib.Path) -> np.ndarray:
    image = reading.read_image(
      path, num_channels=config.num_channels, slice_axis=config.slice_axis, allow_gaps=config.allow_gaps
    )
    return image.pages

  try:
    num_channels = read(used[0].image).shape[-1]
    dtype = config.dtype or dtypes.common_dtype((case.image for case in used), read).name
  except DataError as error:
    raise_all([str(error), *_problems(used, config)], "files cannot be used")
    raise
  return {
    "dataset": config.dataset or re.sub(r"[^A-Za-z0-9._]+", "_", root.name).strip("._") or "folder",
    "rater_names": ",".join(panel),
    "num_channels": num_channels,
    "dtype": dtype,
    "files": layouts.signature(root, cases),
  }


def _problems(cases: Iterable[Case], config: FolderConfig) -> list[str]:
  found = problems.of_cases(
    cases,
    num_channels=config.num_channels,
    marked=config.marked,
    slice_axis=config.slice_axis,
    allow_gaps=config.allow_gaps,
  )
  return list(itertools.islice(found, problems.ENOUGH))


def _rated(cases: list[Case], config: FolderConfig) -> list[Case]:
  unrated = [case for case in cases if not case.masks]
  if unrated and config.unrated == "error":
    names = layouts.shortened([case.image.name for case in unrated[1:]])
    more = f", nor for {len(unrated) - 1} others ({names})" if len(unrated) > 1 else ""
    raise DataError(
      f"{unrated[0].image}: no rater has a mask for it{more}. Add one (an empty mask where a rater looked and found "
      "nothing), or leave such images out with builder_args.unrated=skip."
    )
  return [case for case in cases if case.masks]


def _grouped(cases: list[Case], config: FolderConfig) -> list[Case]:
  if not config.group_regex:
    return [dataclasses.replace(case, group=case.group or case.key) for case in cases]
  found = [re.search(image_io.plain(config.group_regex), case.key) for case in cases]
  raise_all(
    [
      f"{case.image}: builder_args.group_regex={config.group_regex!r} finds no group in {case.key!r}."
      for case, match in zip(cases, found, strict=True)
      if not match or not match[1]
    ],
    "images are without a group",
  )
  return [dataclasses.replace(case, group=match[1]) for case, match in zip(cases, found, strict=True) if match]


def _with_splits(cases: Iterable[Case], config: FolderConfig) -> list[Case]:
  cases = list(cases)
  named = {bool(case.split) for case in cases}
  if len(named) == 2:
    case = next(case for case in cases if not case.split)
    raise DataError(f"{case.image}: has no split in the manifest, others have. Fill the column, or leave it empty.")
  if named == {True}:
    first: dict[str, Case] = {}
    for case in cases:
      other = first.setdefault(case.group, case)
      if other.split != case.split:
        raise DataError(
          f"{case.image}: group {case.group!r} is in the splits {other.split} and {case.split}; a group belongs to one."
        )
    return cases
  split_of = files.split_groups({case.group for case in cases}, config.split_shares(), seed=config.split_seed)
  return [dataclasses.replace(case, split=split_of[case.group]) for case in cases]
