"""Builder of papila: fundus photographs of both eyes, disc and cup contours of two experts."""

import pathlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import PIL.Image
import PIL.ImageDraw
import tensorflow_datasets as tfds

from data import common, files, fundus
from data.downloads import Download
from data.errors import DataError
from ordseg import image_io

_ZIP = "PAPILA.zip"


class Builder(common.RaterBuilder):
  """Downloads the archive, fills the contours; split by patient, both eyes together."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    fundus.StructureConfig(name=s, description=f"The optic {s}.", structure=s) for s in fundus.STRUCTURES
  ]
  LAYOUT = "FundusImages/RETnnn{OD,OS}.jpg, ExpertsSegmentations/Contours/RETnnn{OD,OS}_{disc,cup}_exp{1,2}.txt"
  HOLDS = "FundusImages/"
  FOLDERS = ("**",)  # the archive has a folder named after its version at the top
  ARCHIVE = _ZIP
  DOWNLOADS = (
    Download(
      "https://figshare.com/ndownloader/files/35013982",
      _ZIP,
      "15b053dff496bc8e53eb8a8d0707ef73ba3d56c988eea92b65832c9c82852a7d",
    ),
  )
  HOMEPAGE = "https://doi.org/10.6084/m9.figshare.14798004"
  LICENSE = "See the distributor's page, which is the homepage."
  NUM_CHANNELS = 3
  NUM_RATERS = 2  # experts

  def split_cases(self, source: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Returns split -> photographs of eyes."""
    images = files.by_name(source / "FundusImages", "*.jpg")
    patients = {path: _patient(path) for path in images.values()}
    for name, path in files.by_name(_contours(source), "*.txt").items():
      if name.partition("_")[0] not in images:
        raise DataError(f"{path}: a contour without its image in {source / 'FundusImages'}.")
    split_of = files.split_groups(set(patients.values()), files.SPLIT_SHARES)
    return files.by_split(patients, lambda path: split_of[patients[path]])

  def read(self, case: pathlib.Path) -> Iterator[common.Example]:
    """Reads a photograph and fills its contours."""
    image = image_io.read_picture(case, num_channels=3)
    names = [f"{case.stem}_{self.config.structure}_exp{r + 1}.txt" for r in range(self.NUM_RATERS)]
    masks = [_fill(_contours(case.parent.parent) / name, image) for name in names]
    yield common.make_example(case.stem, _patient(case), image, masks)


def _contours(source: pathlib.Path) -> pathlib.Path:
  return source / "ExpertsSegmentations" / "Contours"


def _patient(path: pathlib.Path) -> str:
  return files.part_of_name(path, r"(RET\d+)O[DS]", like="RET002OD.jpg")


def _fill(path: pathlib.Path, image: np.ndarray) -> np.ndarray:
  """Fills a contour, its outline included; the file holds one x and y in pixels per line, the last joins the first.

  Points are rounded first: Pillow cuts fractions off, which would move every mask by half a pixel up and left.
  """
  try:
    points = np.loadtxt(path, ndmin=2)
  except (OSError, ValueError, UnicodeDecodeError) as error:
    raise DataError(f"{path}: cannot be read as lines of x and y ({error}).") from error
  if points.shape[0] < 3 or points.shape[1] != 2 or not np.isfinite(points).all():
    raise DataError(f"{path}: expected three or more lines of x and y, found an array of {points.shape}.")
  height, width = image.shape[:2]
  if points.min() < -1 or points[:, 0].max() > width or points[:, 1].max() > height:
    raise DataError(f"{path}: the contour leaves the image of {height} x {width} pixels; are x and y swapped?")
  canvas = PIL.Image.new("L", (width, height))
  PIL.ImageDraw.Draw(canvas).polygon([(x, y) for x, y in np.rint(points).tolist()], fill=1, outline=1)
  return np.asarray(canvas)
