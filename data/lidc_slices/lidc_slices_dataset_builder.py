"""Builder of lidc_slices: the folder tree of 128 x 128 CT crops around the nodules of LIDC-IDRI, four radiologists."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files, fingerprints
from data.errors import DataError
from ordseg import settings

_ROOT = "LIDC-IDRI-slices"
_LAYOUT = f"{_ROOT}/LIDC-IDRI-NNNN/nodule-K/{{images,mask-0,..,mask-3}}/slice-S.png"


@dataclasses.dataclass(eq=False, kw_only=True)
class LidcConfig(common.RaterConfig):
  """Settings of lidc_slices.

  Attributes:
    empty_slot: what a mask folder without a single mark in the whole nodule means. ``vote``: a reader who saw the scan
      and did not mark the nodule, so the slot counts as a "no" vote. ``missing``: no reader; 'rater_valid' is False on
      all slices of that nodule. A reader who marked some slices of a nodule voted "no" on the others in both.
  """

  empty_slot: str = settings.field("vote", choices=("vote", "missing"), help="what a slot without a mark means")


class Builder(common.RaterBuilder):
  """Reads the tree as it is distributed; split by patient."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    LidcConfig(name="vote", description="A slot without a mark counts as a 'no' vote: all four readers saw the scan."),
    LidcConfig(name="missing", description="A slot without a mark is a missing rater.", empty_slot="missing"),
  ]
  LAYOUT = f"{_LAYOUT} (8-bit grey images, masks 0/255)"
  HOLDS = "LIDC-IDRI-[0-9]*/"
  FOLDERS = (_ROOT,)
  HOMEPAGE = "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX"
  LICENSE = "LIDC-IDRI: CC BY 3.0; check the collection page, which is the homepage."
  NUM_RATERS = 4  # slots, in the order of annotation: slot r is not the same person from scan to scan

  def source_signature(self, source: pathlib.Path) -> str:
    """Returns a code of the patients and nodules that are there; listing every slice would take long over a network."""
    names = (path.relative_to(source).as_posix() for path in source.glob("LIDC-IDRI-*/nodule-*"))
    return fingerprints.short_code("\n".join(sorted(names)))

  def split_cases(self, source: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Returns split -> the patients' folders."""
    patients = sorted(path for path in source.glob("LIDC-IDRI-*") if path.is_dir())
    return files.by_split(patients, lambda patient: files.split_of(patient.name))

  def read(self, case: pathlib.Path) -> Iterator[common.Example]:
    """Yields the slices of a patient's nodules."""
    # One nodule at a time. Threads were tried: TFDS compresses in this one, and the build took as long.
    for nodule in _numbered(case, "nodule-*"):
      yield from read_nodule(nodule, empty_slot=self.config.empty_slot)


def read_nodule(folder: pathlib.Path, *, empty_slot: str) -> list[common.Example]:
  """Reads all slices of a nodule, in order.

  Args:
    folder: ``LIDC-IDRI-NNNN/nodule-K``.
    empty_slot: see `LidcConfig`.

  Raises:
    DataError: a file is missing, damaged, of another size than its image, or not 0/255; names the file.
  """
  slices = _numbered(folder / "images", "slice-*.png")
  slots = [folder / f"mask-{r}" for r in range(Builder.NUM_RATERS)]
  names = {path.name for path in slices}
  for stray in (path for slot in slots for path in sorted(slot.glob("slice-*.png")) if path.name not in names):
    raise DataError(f"{stray}: a mask without its image {folder / 'images' / stray.name}.")
  images = [files.read_grey(path) for path in slices]
  masks = [_read_masks([slot / path.name for slot in slots], image) for path, image in zip(slices, images, strict=True)]
  valid = np.ones(Builder.NUM_RATERS, np.bool_)
  if empty_slot == "missing":
    valid = np.any([mask.any(axis=(0, 1)) for mask in masks], axis=0)
    if not valid.any():
      raise DataError(f"{folder}: no slot holds a mark, so the config 'missing' leaves no rater. Use 'vote'.")
  return [
    {
      "id": f"{folder.parent.name}/{folder.name}/{path.stem}",
      "group": folder.parent.name,
      "image": image[..., None],
      "rater_masks": mask,
      "rater_valid": valid,
      "spacing": np.zeros(2, np.float32),  # the crops come without their pixel size
    }
    for path, image, mask in zip(slices, images, masks, strict=True)
  ]


def _read_masks(paths: list[pathlib.Path], image: np.ndarray) -> np.ndarray:
  """Returns [H, W, R] uint8."""
  masks = []
  for path in paths:
    mask = files.read_mask(path)
    if mask.shape != image.shape:
      raise DataError(f"{path}: the mask is {mask.shape} pixels (H, W), its image {image.shape}.")
    masks.append(mask)
  return np.stack(masks, axis=-1)


def _numbered(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
  """Lists what matches ``name-*`` in the order of the numbers, not of the letters."""
  paths = list(folder.glob(pattern))
  if not paths:
    raise DataError(f"{folder}: expected {pattern} in it, found none. The layout is {_LAYOUT}")
  wrong = [path for path in paths if not re.fullmatch(r"[a-z]+-\d+", path.stem)]
  if wrong:
    raise DataError(f"{wrong[0]}: expected a number in place of *, in {pattern}. The layout is {_LAYOUT}")
  return sorted(paths, key=lambda path: int(path.stem.rpartition("-")[2]))
