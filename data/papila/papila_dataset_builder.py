"""Builder of papila: fundus photographs of both eyes, disc and cup contours of two experts."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import PIL.Image
import PIL.ImageDraw
import tensorflow_datasets as tfds

from data import common, files
from data.downloads import Download
from data.errors import DataError
from ordseg import image_io
from ordseg.errors import check_choice

NUM_RATERS = 2
STRUCTURES = ("disc", "cup")
_LAYOUT = "FundusImages/RETnnn{OD,OS}.jpg, ExpertsSegmentations/Contours/RETnnn{OD,OS}_{disc,cup}_exp{1,2}.txt"
_ZIP = "PAPILA.zip"


@dataclasses.dataclass(eq=False, kw_only=True)
class PapilaConfig(common.RaterConfig):
  """Which contour.

  Attributes:
    structure: disc or cup.
  """

  structure: str = "disc"

  def __post_init__(self) -> None:
    check_choice(self.structure, STRUCTURES, field="config.data.builder_args.structure")


class Builder(common.RaterBuilder):
  """Downloads the archive, fills the contours; split by patient, both eyes together."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    PapilaConfig(name="disc", description="The optic disc."),
    PapilaConfig(name="cup", description="The optic cup.", structure="cup"),
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = f"{_ZIP}, or its content: {_LAYOUT}; see data/papila/README.md."
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

  @property
  def num_raters(self) -> int:
    """Two experts."""
    return NUM_RATERS

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds FundusImages, unpacking the archive where only that is there."""
    if (root := _root_below(manual_dir)) is not None:
      return root
    if (manual_dir / _ZIP).is_file() and (root := _root_below(self.unpacked(manual_dir / _ZIP))) is not None:
      return root
    raise DataError(f"papila: expected {_ZIP} or {_LAYOUT} in {manual_dir}; found neither.")

  def split_examples(self, source: pathlib.Path | None) -> dict[str, Iterator[common.Example]]:
    """Returns split -> eyes, read while they are asked for."""
    assert source is not None
    images = files.by_name(source / "FundusImages", "*.jpg")
    patients = {name: _patient(path) for name, path in images.items()}
    contours = source / "ExpertsSegmentations" / "Contours"
    for name, path in files.by_name(contours, "*.txt").items():
      if name.partition("_")[0] not in images:
        raise DataError(f"{path}: a contour without its image in {source / 'FundusImages'}.")
    split_of = files.split_groups(set(patients.values()), files.SPLIT_SHARES)
    return {
      split: self._read({n: images[n] for n in images if split_of[patients[n]] == split}, contours)
      for split in files.SPLIT_SHARES
    }

  def _read(self, images: dict[str, pathlib.Path], contours: pathlib.Path) -> Iterator[common.Example]:
    for name, path in images.items():
      image = image_io.read_picture(path, num_channels=3)
      paths = [contours / f"{name}_{self.config.structure}_exp{r + 1}.txt" for r in range(NUM_RATERS)]
      masks = [_fill(contour, image) for contour in paths]
      yield common.make_example(name, _patient(path), image, masks)


def _root_below(folder: pathlib.Path) -> pathlib.Path | None:
  """The archive has a folder named after its version at the top."""
  if not folder.is_dir():
    return None
  found = (f for f in sorted(folder.glob("**/FundusImages")) if f.is_dir() and "__MACOSX" not in f.parts)
  return next((f.parent for f in found), None)


def _patient(path: pathlib.Path) -> str:
  match = re.fullmatch(r"(RET\d+)O[DS]", path.stem)
  if not match:
    raise DataError(f"{path}: expected a name like RET002OD.jpg.")
  return match[1]


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
