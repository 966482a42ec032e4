"""Builder of chaksu: fundus photographs of three cameras, optic disc and cup drawn by five experts."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from data import common, files, fundus
from data.errors import DataError
from ordseg import image_io

# In the experts' maps the disc's rim is about 127 and the cup 255; some are JPEG, so the values spread.
THRESHOLDS = {"disc": 64, "cup": 191}
_IMAGES = "1.0_Original_Fundus_Images"
_MAPS = "4.0_OD_CO_Fusion_Images"
_LAYOUT = f"{{Train,Test}}/{_IMAGES}/<device>/<id>.* with {{Train,Test}}/{_MAPS}/Expert k/<device>/<id>.*, k = 1..5"


class Builder(fundus.FundusBuilder):
  """Reads the folders as they are distributed; the official test set is kept."""

  LAYOUT = _LAYOUT
  HOLDS = f"Train/{_IMAGES}/*/*"
  FOLDERS = ("Chaksu", "CHAKSU")
  HOMEPAGE = "https://doi.org/10.6084/m9.figshare.20123135"
  LICENSE = "CC BY 4.0; check the distributor's page, which is the homepage."
  NUM_RATERS = 5  # Expert 1 to Expert 5

  def split_cases(self, source: pathlib.Path) -> "dict[str, list[Case]]":
    """Returns split -> images with their maps; validation is drawn from Train."""
    train, test = find_cases(source / "Train"), find_cases(source / "Test")
    return files.by_split(train, lambda case: files.split_of(case.group, files.TRAIN_SHARES)) | {"test": test}

  def read(self, case: "Case") -> Iterator[common.Example]:
    """Reads an image and its maps; an expert without a map is missing."""
    image = image_io.read_picture(case.image, num_channels=3)
    threshold = THRESHOLDS[self.config.structure]
    masks = [None if path is None else _read_map(path, threshold, image, case.image) for path in case.maps]
    yield self.example(case.name, case.group, image, masks)


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
  devices = {path.name[:3].lower(): path for path in files.folders(root / _IMAGES)}
  if not devices:
    raise DataError(f"{root / _IMAGES}: expected one folder per device. The layout is {_LAYOUT}")
  cases: dict[tuple[str, str], Case] = {}
  for device, folder in devices.items():
    for name, path in files.by_name(folder).items():
      cases[device, name.lower()] = Case(f"{root.name}/{folder.name}/{name}", path, [None] * Builder.NUM_RATERS)
  for r in range(Builder.NUM_RATERS):
    expert = root / _MAPS / f"Expert {r + 1}"
    if not expert.is_dir():
      raise DataError(f"{expert}: there is no such folder. The layout is {_LAYOUT}")
    for folder in files.folders(expert):
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


def _read_map(path: pathlib.Path, threshold: int, image: np.ndarray, image_path: pathlib.Path) -> np.ndarray:
  values = image_io.read_picture(path)[..., 0]
  files.check_size(values, path, image, image_path)
  mask = (values >= threshold).astype(np.uint8)
  files.check_not_inverted(mask, path, hint="expected a dark background (0), disc 127, cup 255")
  return mask
