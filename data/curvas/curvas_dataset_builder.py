"""Builder of curvas: abdominal CT with the labels of three radiologists, slice by slice or as volumes."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files
from data.errors import DataError
from ordseg import image_io, settings
from ordseg.image_io import placement

LABELS = {"pancreas": 1, "kidney": 2, "liver": 3}
_SETS = {"training_set": "train", "validation_set": "validation", "testing_set": "test"}
_EMPTY = ("missing", "vote")
# Its header says 0.7 mm slices, those of the scan and of the other two raters 1 mm; the arrays lie on one another.
_WRONG_HEADERS = ("UKCHLL007/annotation_2.nii.gz",)


@dataclasses.dataclass(eq=False, kw_only=True)
class CurvasConfig(common.RaterConfig):
  """Which organ, and which slices.

  Attributes:
    organ: pancreas, kidney or liver; the labels of one annotation are one task each.
    keep: ``all`` slices, or those that some rater ``marked`` and `margin` more on either side. The latter is faster to
      train on, but scores on it say nothing of false alarms elsewhere.
    margin: number of slices kept on either side of those.
    step: every step-th of the kept slices, for a smaller set.
    empty: what an annotation without a voxel of the organ means, where another rater marked some in the same scan:
      a ``missing`` rater, or a ``vote`` that there is no such organ.
  """

  organ: str = settings.field("pancreas", choices=LABELS, help="pancreas, kidney or liver")
  keep: str = settings.field("all", choices=("all", "marked"), help="all slices, or those some rater marked")
  margin: int = settings.field(0, ge=0, help="slices kept on either side of marked ones")
  step: int = settings.field(1, ge=1, help="every step-th of the kept slices")
  empty: str = settings.field("missing", choices=_EMPTY, help="what an annotation without the organ means")


@dataclasses.dataclass(eq=False, kw_only=True)
class VolumeConfig(common.RaterConfig):
  """Which organs of whole volumes, and how fine.

  Attributes:
    organ: pancreas, kidney or liver, or ``all`` three side by side.
    shrink: voxels along each axis that become one, >= 1: the image's mean, and marked where half of them or more are.
      What is left over at the far ends is cut off.
    empty: see `CurvasConfig`.
  """

  organ: str = settings.field("all", choices=("all", *LABELS), help="one, or all three side by side")
  shrink: int = settings.field(2, ge=1, help="voxels along each axis that become one")
  empty: str = settings.field("missing", choices=_EMPTY, help="what an annotation without the organ means")

  @property
  def organs(self) -> tuple[str, ...]:
    """The names of the organs."""
    return tuple(LABELS) if self.organ == "all" else (self.organ,)


class Builder(common.RaterBuilder):
  """Reads the volumes as they are distributed, one in memory at a time; the challenge's own splits where they are."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    CurvasConfig(name=organ, description=f"The {organ}, label {label}.", organ=organ) for organ, label in LABELS.items()
  ]
  BUILDER_CONFIGS.append(VolumeConfig(name="volumes", description="Whole volumes, the three organs side by side."))
  LAYOUT = "{training_set,validation_set,testing_set}/UKCHLLNNN/{image,annotation_1,annotation_2,annotation_3}.nii.gz"
  HOLDS = "training_set/*/image.nii.gz"
  FOLDERS = ("CURVAS",)
  HOMEPAGE = "https://curvas.grand-challenge.org"
  LICENSE = "The challenge's terms; see its page and Zenodo."
  IMAGE_DTYPE = np.int16  # HU
  NUM_RATERS = 3  # radiologists

  @property
  def num_axes(self) -> int:
    """3 for volumes."""
    return 3 if isinstance(self.config, VolumeConfig) else 2

  @property
  def class_names(self) -> tuple[str, ...]:
    """The organs, where they are side by side."""
    several = isinstance(self.config, VolumeConfig) and self.config.organ == "all"
    return self.config.organs if several else ()

  def split_cases(self, source: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Returns split -> the patients' folders. Without the other two sets, the training patients are divided."""
    patients = {
      split: sorted(p.parent for p in (source / name).glob("*/image.nii.gz")) for name, split in _SETS.items()
    }
    if not patients["test"]:
      return _divided(patients["train"] + patients["validation"], files.SPLIT_SHARES)
    if not patients["validation"]:
      return patients | _divided(patients["train"], files.TRAIN_SHARES)
    return patients

  def read(self, case: pathlib.Path) -> Iterator[common.Example]:
    """Reads the volume of a patient, as one example or slice by slice."""
    if isinstance(self.config, VolumeConfig):
      yield read_volume(case, self.config)
    else:
      yield from read_patient(case, self.config)


def _divided(patients: list[pathlib.Path], shares: Mapping[str, float]) -> dict[str, list[pathlib.Path]]:
  split_of = files.split_groups({path.name for path in patients}, shares)
  return files.by_split(patients, lambda path: split_of[path.name])


def read_patient(folder: pathlib.Path, config: CurvasConfig) -> Iterator[common.Example]:
  """Yields the slices of one volume, in the order of the file.

  Raises:
    DataError: an annotation is missing, of another size or place than the image, or holds other labels; names the file.
  """
  path = folder / "image.nii.gz"
  scan = image_io.read(path)
  labels = _read_annotations(folder, scan)
  masks = [label == LABELS[config.organ] for label in labels]
  marked = np.stack([mask.any(axis=(1, 2)) for mask in masks])  # [R, D]
  there = _who_answered(masks, config.empty)
  spacing = (scan.spacing[1], scan.spacing[2])
  for z in _kept(np.asarray(marked.any(axis=0)), config):
    slices = [mask[z] if is_there else None for mask, is_there in zip(masks, there, strict=True)]
    image = _hounsfield(scan.pages[z], path)
    yield common.make_example(f"{folder.name}/z{z:04d}", folder.name, image, slices, spacing=spacing)


def read_volume(folder: pathlib.Path, config: VolumeConfig) -> common.Example:
  """Reads one volume; raises what `read_patient` does."""
  path = folder / "image.nii.gz"
  scan = image_io.read(path)
  labels = _read_annotations(folder, scan)
  image = _shrunk(np.stack([_hounsfield(page, path) for page in scan.pages])[..., 0], config.shrink)
  spacing = tuple(mm * config.shrink for mm in scan.spacing)
  classes = []
  for organ in config.organs:
    masks = [label == LABELS[organ] for label in labels]
    there = _who_answered(masks, config.empty)
    small = [
      _shrunk(mask, config.shrink) >= 0.5 if is_there else None for mask, is_there in zip(masks, there, strict=True)
    ]
    voxels = np.rint(image).astype(np.int16)[..., None]
    classes.append(common.make_example(folder.name, folder.name, voxels, small, spacing=spacing))
  return classes[0] if len(classes) == 1 else common.join_classes(classes)


def _shrunk(volume: np.ndarray, factor: int) -> np.ndarray:
  """Means over blocks of factor^3 voxels, float32."""
  d, h, w = (n // factor for n in volume.shape)
  blocks = volume[: d * factor, : h * factor, : w * factor].reshape(d, factor, h, factor, w, factor)
  return blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def _who_answered(masks: list[np.ndarray], empty: str) -> list[bool]:
  found = [bool(mask.any()) for mask in masks]
  return found if empty == "missing" and any(found) else [True] * Builder.NUM_RATERS


def _read_annotations(folder: pathlib.Path, scan: image_io.ImageFile) -> list[np.ndarray]:
  return [_read_annotation(folder / f"annotation_{r + 1}.nii.gz", scan) for r in range(Builder.NUM_RATERS)]


def _hounsfield(page: np.ndarray, path: pathlib.Path) -> np.ndarray:
  """[H, W, 1] int16."""
  limits = np.iinfo(np.int16)
  if not np.isfinite(page).all() or page.min() < limits.min or page.max() > limits.max:
    raise DataError(f"{path}: expected Hounsfield units, found {page.min():g} to {page.max():g}.")
  return np.rint(page).astype(np.int16)


def _kept(marked: np.ndarray, config: CurvasConfig) -> list[int]:
  keep = np.ones(len(marked), bool)
  if config.keep == "marked":
    near = np.convolve(marked.astype(np.uint8), np.ones(2 * config.margin + 1), mode="full")
    keep = near[config.margin : config.margin + len(marked)] > 0
  return np.flatnonzero(keep)[:: config.step].tolist()


def _read_annotation(path: pathlib.Path, scan: image_io.ImageFile) -> np.ndarray:
  """[D, H, W] uint8 labels."""
  file = image_io.read(path)
  if path.as_posix().endswith(_WRONG_HEADERS):
    file = dataclasses.replace(file, affine=None)  # the arrays lie on one another, the place is wrong
  labels = placement.matched(file, scan).pages[..., 0]
  out = np.empty(labels.shape, np.uint8)
  for z, page in enumerate(labels):  # by slice: a volume of floats is large enough once
    rounded = np.rint(page)  # some are stored with a scale and come back near whole numbers
    if not np.abs(page - rounded).max() <= 0.01 or rounded.min() < 0 or rounded.max() > max(LABELS.values()):
      raise DataError(
        f"{path}: expected the labels 0 to {max(LABELS.values())}, found {page.min():g} to {page.max():g}."
      )
    out[z] = rounded
  return out
