"""Builder of gleason2019: prostate tissue cores of about 5000 x 5000 pixels, graded by up to six pathologists."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files, tiles
from data.errors import DataError
from ordseg import image_io, settings

VALUES = (0, 1, 3, 4, 5, 6)  # 1 benign; 3, 4, 5 patterns; of 6 sources say benign or abstain
_NAME = r"(slide\d+)_core\d+"
_ENDING = "_classimg_nonconvex"


def _check_positive(text: str) -> str:
  is_right = all(word.isdigit() and int(word) in VALUES[1:] for word in text.split(","))
  return "" if is_right else f"some of {', '.join(map(str, VALUES[1:]))}, with commas between"


@dataclasses.dataclass(eq=False, kw_only=True)
class GleasonConfig(common.RaterConfig):
  """What is marked, and how cores are cut.

  Attributes:
    positive: class values that count as marked, with commas between.
    tile_size: pixels; 0 keeps cores whole.
  """

  positive: str = settings.field("3,4,5", check=_check_positive, help="class values that count as marked")
  tile_size: int = settings.field(1024, check=tiles.expected_size, help="pixels; 0 keeps cores whole")

  def values(self) -> list[int]:
    """Returns the class values that count as marked."""
    return [int(word) for word in self.positive.split(",")]


@dataclasses.dataclass(frozen=True)
class Case:
  """A core, its slide, and the map of each pathologist, None where there is none."""

  image: pathlib.Path
  slide: str
  maps: list[pathlib.Path | None]


class Builder(common.RaterBuilder):
  """Reads core by core, tile by tile; a missing map is a missing rater; split by slide."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    GleasonConfig(name="cancer", description="Gleason patterns 3, 4 and 5 against the rest."),
    GleasonConfig(name="high_grade", description="Gleason patterns 4 and 5 against the rest.", positive="4,5"),
  ]
  LAYOUT = "Train Imgs/slideSSS_coreCCC.jpg with MapsK_T/slideSSS_coreCCC_classimg_nonconvex.png, K = 1..6"
  HOLDS = "Train Imgs/slide*.jpg"
  FOLDERS = ("Gleason2019", "gleason2019", "Gleason 2019")
  HOMEPAGE = "https://gleason2019.grand-challenge.org"
  LICENSE = "The challenge's terms; see its page."
  NUM_CHANNELS = 3
  NUM_RATERS = 6  # pathologists, of whom each saw some of the cores

  def split_cases(self, source: pathlib.Path) -> dict[str, list[Case]]:
    """Returns split -> cores. The distributor keeps the maps of its test images, so its training slides are divided."""
    cores = files.by_name(source / "Train Imgs", "*.jpg")
    slides = {name: files.part_of_name(path, _NAME, like="slide001_core003.jpg") for name, path in cores.items()}
    maps = _find_maps(source, cores)
    split_of = files.split_groups(set(slides.values()), files.SPLIT_SHARES)
    cases = [Case(cores[name], slides[name], maps[name]) for name in cores]
    return files.by_split(cases, lambda case: split_of[case.slide])

  def read(self, case: Case) -> Iterator[common.Example]:
    """Yields the tiles of one core, which is the only image in memory.

    Raises:
      DataError: a map of another size than the core, or with other values; names the file.
    """
    image = image_io.read_picture(case.image, num_channels=3)
    positive = self.config.values()
    masks = [None if path is None else _read_map(path, image, case.image, positive) for path in case.maps]
    for name, (y, x) in tiles.boxes(image.shape[0], image.shape[1], self.config.tile_size):
      cut = [None if mask is None else mask[y, x] for mask in masks]
      yield common.make_example(case.image.stem + name, case.slide, image[y, x], cut)


def _find_maps(root: pathlib.Path, cores: dict[str, pathlib.Path]) -> dict[str, list[pathlib.Path | None]]:
  """Returns core -> the map of each pathologist, None where there is none."""
  found: dict[str, list[pathlib.Path | None]] = {name: [None] * Builder.NUM_RATERS for name in cores}
  for r in range(Builder.NUM_RATERS):
    for name, path in files.by_name(root / f"Maps{r + 1}_T", "*.png").items():
      core = name.removesuffix(_ENDING)
      if core not in cores or core == name:
        raise DataError(
          f"{path}: expected {root / 'Train Imgs' / core}.jpg beside it and a name ending in {_ENDING}.png."
        )
      found[core][r] = path
  for name, maps in found.items():
    if not any(maps):
      raise DataError(f"{cores[name]}: no pathologist has a map of it.")
  return found


def _read_map(path: pathlib.Path, image: np.ndarray, image_path: pathlib.Path, positive: list[int]) -> np.ndarray:
  values = image_io.read_picture(path, num_channels=1)[..., 0]
  files.check_size(values, path, image, image_path)
  strange = values[~_is_one_of(values, VALUES)]
  if len(strange):
    raise DataError(f"{path}: expected the classes {', '.join(map(str, VALUES))}, found also {strange[0]}.")
  return _is_one_of(values, positive).view(np.uint8)


def _is_one_of(values: np.ndarray, wanted: Iterable[int]) -> np.ndarray:
  """As np.isin, which would need eight bytes and more per pixel."""
  found = np.zeros(values.shape, np.bool_)
  for value in wanted:
    found |= values == value
  return found
