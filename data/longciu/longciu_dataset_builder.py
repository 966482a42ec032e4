"""Builder of longciu: CT slices of long-COVID patients, opacities outlined by three raters."""

import dataclasses
import hashlib
import json
import pathlib
import warnings
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files
from data.downloads import Download
from data.errors import DataError
from ordseg import image_io, settings

LABELS = {"any": (1, 2), "ggo": (1,), "consolidation": (2,)}
SLICES_PER_BLOCK = 10  # the distributor's splits are made of such blocks; there is no table of patients
_IMAGE, _SPLITS = "longciu_img.nii.gz", "longciu_splits.json"
_RATERS = tuple(f"longciu_{r + 1}_tgt.nii.gz" for r in range(3))
_PUBLISHED_PERCENT = (6.98, 4.83, 2.89)  # of all pixels, any opacity
_SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}
_URL = "https://iro.uiowa.edu/view/fileRedirect?instCode=01IOWA_INST&download=true&filePid="


@dataclasses.dataclass(eq=False, kw_only=True)
class LongciuConfig(common.RaterConfig):
  """Which opacities."""

  opacity: str = settings.field("any", choices=LABELS, help="any, ggo (ground glass) or consolidation")


class Builder(common.RaterBuilder):
  """Downloads the volumes, yields their slices; the official splits are kept."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    LongciuConfig(name=name, description=f"Opacity: {name}.", opacity=name) for name in LABELS
  ]
  LAYOUT = f"{_IMAGE}, {', '.join(_RATERS)} and {_SPLITS}"
  HOLDS = _IMAGE
  FOLDERS = ("longciu", "LongCIU")
  ARCHIVE = "longciu.zip"
  DOWNLOADS = (
    Download(f"{_URL}13931395260002771", _IMAGE, "af54aff713e7054d204b5e5e2aa0598c856006229901eea791ece8ae2efe8ab8"),
    Download(
      f"{_URL}13931395300002771", _RATERS[0], "f9cd0e605f6fcd701a64a262ba15d43a46fe2f1b62a4045e83195e4962f022ed"
    ),
    Download(
      f"{_URL}13931395290002771", _RATERS[1], "4e54ec5add75b2ee48f34be6bd25c74f23d550a96430ff10c04e711383f9647f"
    ),
    Download(
      f"{_URL}13931395280002771", _RATERS[2], "aee04feddb18cbbe717418ce8b6838b58fc415f0b5b13b97b1c682faed1bb7cd"
    ),
    Download(f"{_URL}13931395240002771", _SPLITS, "7f4d62f33f68a16cd2df10cc320e087d43802970de63e6e459885f5c7e5604bf"),
  )
  HOMEPAGE = "https://doi.org/10.25820/data.007301"
  LICENSE = "Open Data Commons Attribution License (ODC-By) 1.0."
  IMAGE_DTYPE = np.int16  # HU
  NUM_RATERS = len(_RATERS)

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds the volumes, all of them."""
    root = super().find_source(manual_dir)
    for name in (*_RATERS, _SPLITS):
      if not (root / name).is_file():
        raise DataError(f"longciu: expected {self.LAYOUT}; {root / name} is not there.")
    return root

  def split_cases(self, source: pathlib.Path) -> dict[str, list[tuple[pathlib.Path, list[int]]]]:
    """Returns split -> one case: the folder of the volumes and the slices of the split."""
    splits = _read_splits(source / _SPLITS)
    self._check_totals(source)
    return {split: [(source, sorted(splits[name]))] for name, split in _SPLIT_NAMES.items()}

  def _check_totals(self, root: pathlib.Path) -> None:
    """Warns where the very files that were published do not give the published totals: they are misread then."""
    sha256 = {download.name: download.sha256 for download in self.DOWNLOADS}
    for name, published in zip(_RATERS, _PUBLISHED_PERCENT, strict=True):
      with (root / name).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256[name]:
          continue
      found = 100 * float((image_io.read(root / name).pages > 0).mean())
      if abs(found - published) > 0.01:
        warnings.warn(
          f"{root / name}: {found:.2f} % of the pixels are marked, published are {published} %.", stacklevel=2
        )

  def read(self, case: tuple[pathlib.Path, list[int]]) -> Iterator[common.Example]:
    """Reads the volumes and yields some of their slices."""
    root, slices = case
    num_slices = 1 + max(max(found) for found in _read_splits(root / _SPLITS).values())
    path = root / _IMAGE
    scan = image_io.read(path)
    _check_axes(path, scan.pages.shape[:3], num_slices)
    masks = [_read_labels(root / name, scan, LABELS[self.config.opacity]) for name in _RATERS]
    spacing = (scan.spacing[1], scan.spacing[2])
    for z in slices:
      image = np.rint(scan.pages[z]).astype(np.int16)
      group = f"slice_block{z // SLICES_PER_BLOCK}"
      yield common.make_example(f"slice{z:02d}", group, image, [mask[z] for mask in masks], spacing=spacing)


def _read_splits(path: pathlib.Path) -> dict[str, list[int]]:
  """Returns train, val, test -> slice numbers, each slice in one of them, no block in two."""
  try:
    splits = json.loads(path.read_text(encoding="utf-8"))
    found = {name: [int(z) for z in splits[name]] for name in _SPLIT_NAMES}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise DataError(f"{path}: expected {{train, val, test: [slice numbers]}} ({error!r}).") from error
  blocks: dict[int, str] = {}
  for name, slices in found.items():
    for z in slices:
      if blocks.setdefault(z // SLICES_PER_BLOCK, name) != name:
        raise DataError(f"{path}: slice {z} is in {name}, others of its block of {SLICES_PER_BLOCK} are not.")
  if sorted(z for slices in found.values() for z in slices) != list(range(sum(map(len, found.values())))):
    raise DataError(f"{path}: expected every slice from 0 on once.")
  return found


def _check_axes(path: pathlib.Path, shape: tuple[int, ...], num_slices: int) -> None:
  if shape[0] != num_slices:
    swapped = " The axes look swapped: x, y and z must come in this order." if num_slices in shape else ""
    raise DataError(f"{path}: expected {num_slices} slices along the third axis, found {shape[0]}.{swapped}")


def _read_labels(path: pathlib.Path, scan: image_io.ImageFile, marked: tuple[int, ...]) -> np.ndarray:
  """[D, H, W] uint8, 0 or 1."""
  labels = image_io.read(path).pages[..., 0]
  files.check_size(labels, path, scan.pages, scan.path)
  strange = np.setdiff1d(np.unique(labels), (0, 1, 2))
  if len(strange):
    raise DataError(f"{path}: expected the labels 0, 1 and 2, found also {strange[0]:g}.")
  return np.isin(labels, marked).astype(np.uint8)
