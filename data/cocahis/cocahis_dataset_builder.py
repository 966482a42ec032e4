"""Builder of cocahis: H&E frozen sections of colon cancer metastases in the liver, seven raters."""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data import common, files
from data.errors import DataError
from ordseg import settings

STAINS = ("raw", "sn1", "sn2")
_FILE = "CoCaHis.hdf5"
_LAYOUT = f"{_FILE} (HE/raw, HE/sn1, HE/sn2, GT/GT1 .. GT/GT7; attributes train_test_split, patient_num)"


@dataclasses.dataclass(eq=False, kw_only=True)
class CocahisConfig(common.RaterConfig):
  """Which version of the images."""

  stain: str = settings.field(
    "raw", choices=STAINS, help="raw, or one of the distributor's two stain normalisations; all show the same tissue"
  )


class Row(NamedTuple):
  """An image of the file."""

  path: pathlib.Path
  index: int
  patient: str


class Builder(common.RaterBuilder):
  """Reads one image after the other from the HDF5 file; the official test patients are kept."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    CocahisConfig(name=stain, description=f"Images {stain}.", stain=stain) for stain in STAINS
  ]
  LAYOUT = _LAYOUT
  HOLDS = _FILE
  FOLDERS = ("CoCaHis", "cocahis")
  HOMEPAGE = "https://cocahis.irb.hr"
  LICENSE = "Not stated by the distributor; ask before you redistribute."
  NUM_CHANNELS = 3
  NUM_RATERS = 7  # anonymous

  def split_cases(self, source: pathlib.Path) -> dict[str, list[Row]]:
    """Returns split -> images; validation is whole patients out of train."""
    path = source / _FILE
    with _opened(path) as file:
      splits = [text.lower() for text in _texts(path, file, "train_test_split")]
      patients = [_number(path, text) for text in _texts(path, file, "patient_num")]
      num_images = len(_dataset(path, file, f"HE/{self.config.stain}"))
      for r in range(self.NUM_RATERS):
        num_masks = len(_dataset(path, file, f"GT/GT{r + 1}"))
        if num_masks != num_images:
          raise DataError(f"{path}: GT/GT{r + 1} holds {num_masks} masks for {num_images} images.")
    for field, values in (("train_test_split", splits), ("patient_num", patients)):
      if len(values) != num_images:
        raise DataError(f"{path}: attribute {field} of HE has {len(values)} values for {num_images} images.")
    unknown = set(splits) - {"train", "test"}
    if unknown:
      raise DataError(f"{path}: attribute train_test_split of HE holds {sorted(unknown)[0]!r}; expected train, test.")
    chosen = _with_validation(path, splits, patients)
    rows = [Row(path, index, patient) for index, patient in enumerate(patients)]
    return files.by_split(rows, lambda row: chosen[row.index])

  def read(self, case: Row) -> Iterator[common.Example]:
    """Reads an image and its masks."""
    path, index = case.path, case.index
    with _opened(path) as file:
      image = _row(path, _dataset(path, file, f"HE/{self.config.stain}"), index)
      if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise DataError(
          f"{path}: HE/{self.config.stain}[{index}] is {image.dtype} {image.shape}, expected uint8 [H, W, 3]."
        )
      raters = [_dataset(path, file, f"GT/GT{r + 1}") for r in range(self.NUM_RATERS)]
      masks = [_mask(path, rater, index, image) for rater in raters]
    patient = f"patient{int(case.patient):02d}"
    yield common.make_example(f"{patient}/image{index:02d}", patient, image, masks)


def _with_validation(path: pathlib.Path, splits: list[str], patients: list[str]) -> list[str]:
  both = {p for p, s in zip(patients, splits, strict=True) if s == "train"}
  both &= {p for p, s in zip(patients, splits, strict=True) if s == "test"}
  if both:
    raise DataError(f"{path}: patient {sorted(both)[0]} is both in train and in test.")
  training = {p for p, s in zip(patients, splits, strict=True) if s == "train"}
  split_of = files.split_groups(training, files.TRAIN_SHARES)
  return [split_of.get(patient, "test") for patient in patients]


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
  import h5py

  try:
    file = h5py.File(path, "r")
  except OSError as error:
    raise DataError(f"{path}: is no whole HDF5 file ({error}). Expected {_LAYOUT}") from error
  with file:
    yield file


def _dataset(path: pathlib.Path, file: Any, name: str) -> Any:
  found = file.get(name)
  if not getattr(found, "shape", ()):  # not there, a group, or a single number
    raise DataError(f"{path}: holds no {name} that is an array. Expected {_LAYOUT}")
  return found


def _row(path: pathlib.Path, dataset: Any, index: int) -> np.ndarray:
  try:
    return np.asarray(dataset[index])
  except OSError as error:
    raise DataError(f"{path}: {dataset.name}[{index}] cannot be read, the file may be damaged ({error}).") from error


def _texts(path: pathlib.Path, file: Any, name: str) -> list[str]:
  """Reads an attribute of HE as text, whether it was stored as str, bytes, numbers or as a data set of its own."""
  group = file.get("HE")
  if not hasattr(group, "keys"):  # not there, or an array
    raise DataError(f"{path}: holds no group HE. Expected {_LAYOUT}")
  if name not in group.attrs and name not in group:
    raise DataError(f"{path}: HE has no attribute {name}. Expected {_LAYOUT}")
  values = np.asarray(group.attrs[name] if name in group.attrs else group[name]).reshape(-1)
  texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]
  return [text.strip() for text in texts]


def _number(path: pathlib.Path, text: str) -> str:
  """Returns a patient's number without leading zeros, whether it was stored as '1', 1 or 1.0."""
  match = re.fullmatch(r"0*(\d+)(\.0*)?", text, re.ASCII)
  if not match:
    raise DataError(f"{path}: attribute patient_num of HE holds {text!r}; expected numbers.")
  return match[1]


def _mask(path: pathlib.Path, rater: Any, index: int, image: np.ndarray) -> np.ndarray:
  mask = _row(path, rater, index)
  mask = mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask
  values = np.unique(mask)
  if len(values) > 2 or (len(values) == 2 and values[0] != 0):
    shown = ", ".join(f"{value:g}" for value in values[:5].astype(float))
    raise DataError(f"{path}: {rater.name}[{index}] must hold 0 and one other value, found {shown}.")
  if mask.shape != image.shape[:2]:
    raise DataError(f"{path}: {rater.name}[{index}] is {mask.shape} pixels, its image {image.shape[:2]}.")
  return (mask > 0).astype(np.uint8)
