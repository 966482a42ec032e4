"""Builder of gleason2019: prostate tissue cores of about 5000 x 5000 pixels, graded by up to six pathologists."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files, tiles
from data.errors import DataError
from ordseg import image_io

NUM_RATERS = 6
VALUES = (0, 1, 3, 4, 5, 6)  # 1 benign; 3, 4, 5 patterns; of 6 sources say benign or abstain
_LAYOUT = "Train Imgs/slideSSS_coreCCC.jpg with MapsK_T/slideSSS_coreCCC_classimg_nonconvex.png, K = 1..6"
_ENDING = "_classimg_nonconvex"


@dataclasses.dataclass(eq=False, kw_only=True)
class GleasonConfig(common.RaterConfig):
  """What is marked, and how cores are cut.

  Attributes:
    positive: class values that count as marked, with commas between.
    tile_size: pixels; 0 keeps cores whole.
  """

  positive: str = "3,4,5"
  tile_size: int = 1024

  def __post_init__(self) -> None:
    tiles.check_size(self.tile_size)
    words = self.positive.split(",")
    if not all(word.isdigit() and int(word) in VALUES[1:] for word in words):
      raise DataError(
        f"config.data.builder_args.positive={self.positive!r} must be some of {', '.join(map(str, VALUES[1:]))}, with "
        "commas between."
      )

  def values(self) -> list[int]:
    """Returns the class values that count as marked."""
    return [int(word) for word in self.positive.split(",")]


class Builder(common.RaterBuilder):
  """Reads core by core, tile by tile; a missing map is a missing rater; split by slide."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    GleasonConfig(name="cancer", description="Gleason patterns 3, 4 and 5 against the rest."),
    GleasonConfig(name="high_grade", description="Gleason patterns 4 and 5 against the rest.", positive="4,5"),
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = f"{_LAYOUT}; see data/gleason2019/README.md."
  HOMEPAGE = "https://gleason2019.grand-challenge.org"
  LICENSE = "The challenge's terms; see its page."
  NUM_CHANNELS = 3

  @property
  def num_raters(self) -> int:
    """Six pathologists, of whom each saw some of the cores."""
    return NUM_RATERS

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds Train Imgs."""
    names = ["Gleason2019", "gleason2019", "Gleason 2019"]
    return files.find_root(manual_dir, names, "Train Imgs/slide*.jpg", builder="gleason2019", layout=_LAYOUT)

  def split_examples(self, source: pathlib.Path | None) -> dict[str, Iterator[common.Example]]:
    """Returns split -> tiles. The distributor keeps the maps of its test images, so its training slides are divided."""
    assert source is not None
    cores = files.by_name(source / "Train Imgs", "*.jpg")
    slides = {name: _slide(path) for name, path in cores.items()}
    maps = _find_maps(source, cores)
    split_of = files.split_groups(set(slides.values()), files.SPLIT_SHARES)
    chosen = {split: [name for name in cores if split_of[slides[name]] == split] for split in files.SPLIT_SHARES}
    return {split: self._read(names, cores, maps, slides) for split, names in chosen.items()}

  def _read(
    self,
    names: list[str],
    cores: dict[str, pathlib.Path],
    maps: dict[str, list[pathlib.Path | None]],
    slides: dict[str, str],
  ) -> Iterator[common.Example]:
    for name in names:
      yield from read_core(cores[name], maps[name], slides[name], self.config)


def _slide(path: pathlib.Path) -> str:
  match = re.fullmatch(r"(slide\d+)_core\d+", path.stem)
  if not match:
    raise DataError(f"{path}: expected a name like slide001_core003.jpg.")
  return match[1]


def _find_maps(root: pathlib.Path, cores: dict[str, pathlib.Path]) -> dict[str, list[pathlib.Path | None]]:
  """Returns core -> the map of each pathologist, None where there is none."""
  found: dict[str, list[pathlib.Path | None]] = {name: [None] * NUM_RATERS for name in cores}
  for r in range(NUM_RATERS):
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


def read_core(
  path: pathlib.Path, maps: list[pathlib.Path | None], slide: str, config: GleasonConfig
) -> Iterator[common.Example]:
  """Yields the tiles of one core, which is the only image in memory.

  Raises:
    DataError: a map of another size than the core, or with other values; names the file.
  """
  image = image_io.read_picture(path, num_channels=3)
  masks = [None if map_path is None else _read_map(map_path, image, path, config.values()) for map_path in maps]
  for name, (y, x) in tiles.boxes(image.shape[0], image.shape[1], config.tile_size):
    cut = [None if mask is None else mask[y, x] for mask in masks]
    yield common.make_example(path.stem + name, slide, image[y, x], cut)


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
