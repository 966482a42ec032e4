"""Builder of qubiq: the seven tasks of the challenge on quantification of uncertainties in biomedical images."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files, fingerprints
from data.errors import DataError
from ordseg import image_io, settings

_LAYOUT = (
  "{training_data_v3_QC/<organ>/Training,validation_data_qubiq2021_QC/<organ>/Validation}/caseNN/"
  "{image.nii.gz,taskTT_segRR.nii.gz}, <organ> one of brain-growth, brain-tumor, kidney, prostate"
)
_ORGANS = ("brain-growth", "brain-tumor", "kidney", "prostate")


@dataclasses.dataclass(eq=False, kw_only=True)
class QubiqConfig(common.RaterConfig):
  """Which task."""

  organ: str = settings.field("kidney", choices=_ORGANS, help="the folder")
  task: int = settings.field(1, ge=1, help="number in the file names")
  num_raters: int = settings.field(3, ge=1, help="of a full panel; a case with fewer files has missing raters")
  num_channels: int = settings.field(1, ge=1, help="of the image; brain tumours come in four MR modalities")


def _config(name: str, organ: str, task: int, num_raters: int, num_channels: int = 1) -> QubiqConfig:
  text = f"{organ}, task {task}, {num_raters} raters."
  return QubiqConfig(
    name=name, description=text, organ=organ, task=task, num_raters=num_raters, num_channels=num_channels
  )


class Builder(common.RaterBuilder):
  """Reads the folders as they are distributed; the challenge's labelled validation cases are the test set."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    _config("brain_growth", "brain-growth", 1, 7),
    _config("brain_tumor_1", "brain-tumor", 1, 3, 4),
    _config("brain_tumor_2", "brain-tumor", 2, 3, 4),
    _config("brain_tumor_3", "brain-tumor", 3, 3, 4),
    _config("kidney", "kidney", 1, 3),
    _config("prostate_1", "prostate", 1, 6),
    _config("prostate_2", "prostate", 2, 6),
  ]
  LAYOUT = _LAYOUT
  HOMEPAGE = "https://qubiq21.grand-challenge.org"
  LICENSE = "The challenge's terms; see its page."
  IMAGE_DTYPE = np.float32  # the organs come in different types

  @property
  def num_raters(self) -> int:
    """Of the task."""
    return self.config.num_raters

  @property
  def num_channels(self) -> int:
    """Four modalities of brain tumours, else one."""
    return self.config.num_channels

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds the organs, or the challenge's folders that hold them."""
    if not self._find_cases(manual_dir):
      raise DataError(
        f"qubiq/{self.config.name}: expected {_LAYOUT} in {manual_dir}; found no {self.config.organ} cases."
      )
    return manual_dir

  def _find_cases(self, source: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns name -> folder, sorted. Cases of one number in Training and Validation are two."""
    organ = self.config.organ
    cases: dict[str, pathlib.Path] = {}
    for path in sorted(source.glob(f"{organ}/**/case*/image.nii.gz")) + sorted(
      source.glob(f"*/{organ}/**/case*/image.nii.gz")
    ):
      parts = path.relative_to(source).parts
      part = "Validation/" if any(p.lower().startswith("validation") for p in parts) else ""
      name = f"{organ}/{part}{path.parent.name}"
      if name in cases:
        raise DataError(f"{path}: is case {name} a second time; the other is {cases[name]}.")
      cases[name] = path.parent
    return cases

  def source_signature(self, source: pathlib.Path) -> str:
    """Returns a code of the cases' files alone: `source` may hold other downloads."""
    cases = self._find_cases(source).items()
    found = ((name, path) for name, folder in cases for path in sorted(folder.glob("*.nii.gz")))
    return fingerprints.short_code("".join(f"{name}/{path.name} {path.stat().st_size}\n" for name, path in found))

  def split_cases(self, source: pathlib.Path) -> dict[str, list[tuple[str, pathlib.Path]]]:
    """Returns split -> name and folder of its cases."""
    cases = self._find_cases(source)
    test = [name for name in cases if "/Validation/" in name]
    shares = files.TRAIN_SHARES if test else files.SPLIT_SHARES
    split_of = files.split_groups(cases.keys() - set(test), shares) | dict.fromkeys(test, "test")
    return files.by_split(cases.items(), lambda case: split_of[case[0]])

  def read(self, case: tuple[str, pathlib.Path]) -> Iterator[common.Example]:
    """Reads ``caseNN``."""
    name, folder = case
    yield read_case(folder, name, self.config)


def read_case(folder: pathlib.Path, name: str, config: QubiqConfig) -> common.Example:
  """Reads ``caseNN``. The headers of some masks differ from the image's; the arrays lie on one another.

  Raises:
    DataError: names the file.
  """
  path = folder / "image.nii.gz"
  file = image_io.read(path)
  image = _slice(file.pages, path, config.num_channels)
  masks = [_read_mask(p, image, path) if p.exists() else None for p in _mask_paths(folder, config)]
  if all(mask is None for mask in masks):
    raise DataError(f"{folder}: holds no task{config.task:02d}_seg*.nii.gz.")
  spacing = (file.spacing[1], file.spacing[2])
  return common.make_example(name, name, image, masks, spacing=spacing)


def _mask_paths(folder: pathlib.Path, config: QubiqConfig) -> list[pathlib.Path]:
  prefix = f"task{config.task:02d}_seg"
  for path in sorted(folder.glob(f"{prefix}*.nii.gz")):
    number = re.fullmatch(prefix + r"(\d\d)\.nii\.gz", path.name)
    if not number or not 1 <= int(number[1]) <= config.num_raters:
      raise DataError(f"{path}: expected raters 01 to {config.num_raters:02d} in this task.")
  return [folder / f"{prefix}{r + 1:02d}.nii.gz" for r in range(config.num_raters)]


def _slice(pages: np.ndarray, path: pathlib.Path, num_channels: int) -> np.ndarray:
  """[D, H, W, C] -> [H, W, num_channels] float32; modalities are stored as pages or as channels."""
  depth, *_, channels = pages.shape
  if (depth, channels) == (num_channels, 1):
    image = np.moveaxis(pages[..., 0], 0, -1)
  elif (depth, channels) == (1, num_channels):
    image = pages[0]
  else:
    raise DataError(f"{path}: expected one slice of {num_channels} channels, found {depth} slices of {channels}.")
  image = image.astype(np.float32)
  if not np.isfinite(image).all():
    raise DataError(f"{path}: holds values that are not finite.")
  return image


def _read_mask(path: pathlib.Path, image: np.ndarray, image_path: pathlib.Path) -> np.ndarray:
  mask = image_io.to_binary(_slice(image_io.read(path).pages, path, 1)[..., 0], path)
  files.check_size(mask, path, image, image_path)
  return mask
