"""Builder of chaksu: fundus photographs of three cameras, optic disc and cup drawn by five experts."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files, fundus
from data.errors import DataError
from data.fundus import FundusConfig
from ordseg import image_io

NUM_RATERS = 5
# In the experts' maps the disc's rim is about 127 and the cup 255; some are JPEG, so the values spread.
THRESHOLDS = {"disc": 64, "cup": 191}
_IMAGES = "1.0_Original_Fundus_Images"
_MAPS = "4.0_OD_CO_Fusion_Images"
_LAYOUT = f"{{Train,Test}}/{_IMAGES}/<device>/<id>.* with {{Train,Test}}/{_MAPS}/Expert k/<device>/<id>.*, k = 1..5"


class Builder(common.RaterBuilder):
  """Reads the folders as they are distributed; the official test set is kept."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = list(fundus.configs())
  MANUAL_DOWNLOAD_INSTRUCTIONS = f"{_LAYOUT}; see data/chaksu/README.md."
  HOMEPAGE = "https://doi.org/10.6084/m9.figshare.20123135"
  LICENSE = "CC BY 4.0; check the distributor's page, which is the homepage."
  NUM_CHANNELS = 3

  @property
  def num_raters(self) -> int:
    """Expert 1 to Expert 5."""
    return NUM_RATERS

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds Train and Test."""
    return files.find_root(manual_dir, ["Chaksu", "CHAKSU"], f"Train/{_IMAGES}/*/*", builder="chaksu", layout=_LAYOUT)

  def split_examples(self, source: pathlib.Path | None) -> dict[str, Iterator[common.Example]]:
    """Returns split -> images; validation is drawn from Train."""
    assert source is not None
    train, test = find_cases(source / "Train"), find_cases(source / "Test")
    return {
      "train": self._read([case for case in train if files.split_of(case.group, files.TRAIN_SHARES) == "train"]),
      "validation": self._read([case for case in train if files.split_of(case.group, files.TRAIN_SHARES) != "train"]),
      "test": self._read(test),
    }

  def _read(self, cases: "list[Case]") -> Iterator[common.Example]:
    return (read_case(case, self.config) for case in cases)


@dataclasses.dataclass(frozen=True)
class Case:
  """An image and the experts' maps, None where there is none."""

  name: str
  image: pathlib.Path
  maps: list[pathlib.Path | None]

  @property
  def group(self) -> str:
    """The patient, where the name tells (``P12_Image3``), else the image; never across the official split."""
    folder, _, name = self.name.rpartition("/")
    patient = re.match(r"P\d+(?=\D|$)", name, re.IGNORECASE)
    return f"{folder}/{patient[0].upper() if patient else name}"


def find_cases(root: pathlib.Path) -> list[Case]:
  """Lists the images of ``Train`` or ``Test``.

  Device folders are matched by their first three letters (Remidio is spelt two ways), files by name without suffix and
  case; Expert 4 added ``glsusp`` to some names.

  Raises:
    DataError: a folder is missing, a map has no image, or an image no map.
  """
  devices = {path.name[:3].lower(): path for path in _folders(root / _IMAGES)}
  if not devices:
    raise DataError(f"{root / _IMAGES}: expected one folder per device. The layout is {_LAYOUT}")
  cases: dict[tuple[str, str], Case] = {}
  for device, folder in devices.items():
    for name, path in files.by_name(folder).items():
      cases[device, name.lower()] = Case(f"{root.name}/{folder.name}/{name}", path, [None] * NUM_RATERS)
  for r in range(NUM_RATERS):
    expert = root / _MAPS / f"Expert {r + 1}"
    if not expert.is_dir():
      raise DataError(f"{expert}: there is no such folder. The layout is {_LAYOUT}")
    for folder in _folders(expert):
      for name, path in files.by_name(folder).items():
        key = (folder.name[:3].lower(), name.lower().removesuffix("glsusp").rstrip("-_ "))
        if key not in cases:
          raise DataError(f"{path}: a map without its image in {root / _IMAGES}.")
        if cases[key].maps[r]:
          raise DataError(f"{path}: is a second map of one expert and image; the other is {cases[key].maps[r]}.")
        cases[key].maps[r] = path
  for case in cases.values():
    if not any(case.maps):
      raise DataError(f"{case.image}: no expert has a map of it.")
  return sorted(cases.values(), key=lambda case: case.name)


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
  return sorted(path for path in root.glob("*/") if not path.name.startswith((".", "__MACOSX")))


def read_case(case: Case, config: FundusConfig) -> common.Example:
  """Reads an image and its maps; an expert without a map is missing."""
  image = image_io.read_picture(case.image, num_channels=3)
  threshold = THRESHOLDS[config.structure]
  y, x = fundus.view(image, config.crop)
  masks = [None if path is None else _read_map(path, threshold, image, case.image)[y, x] for path in case.maps]
  return common.make_example(case.name, case.group, image[y, x], masks)


def _read_map(path: pathlib.Path, threshold: int, image: np.ndarray, image_path: pathlib.Path) -> np.ndarray:
  values = image_io.read_picture(path)[..., 0]
  files.check_size(values, path, image, image_path)
  mask = (values >= threshold).astype(np.uint8)
  if mask.mean() > 0.5:
    raise DataError(
      f"{path}: more than half of the pixels are marked; expected a dark background (0), disc 127, cup 255."
    )
  return mask
