"""Builder of vessels: the retinal vessels of DRIVE (test), STARE and CHASE_DB1, each drawn by two observers."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files
from data.errors import DataError
from ordseg import image_io, settings

_LAYOUTS = {
  "drive": "test/{images/NN_test.tif,1st_manual/NN_manual1.gif,2nd_manual/NN_manual2.gif}",
  "stare": "stare-images/imNNNN.ppm[.gz], labels-ah/imNNNN.ah.ppm[.gz], labels-vk/imNNNN.vk.ppm[.gz]",
  "chase_db1": "Image_NN{L,R}.jpg, Image_NN{L,R}_1stHO.png, Image_NN{L,R}_2ndHO.png",
}
_HOLDS = {"drive": "test/images/*_test.tif", "stare": "stare-images/im*.ppm*", "chase_db1": "Image_*.jpg"}
_FOLDERS = {"drive": ("DRIVE",), "stare": ("STARE",), "chase_db1": ("CHASE_DB1", "CHASEDB1")}
_BRIGHT = ">=128"  # DRIVE: vessels are the brighter colour of a palette, whatever their order
_OBSERVERS = {"drive": ("1st_manual", "2nd_manual"), "stare": ("ah", "vk"), "chase_db1": ("1stHO", "2ndHO")}


@dataclasses.dataclass(eq=False, kw_only=True)
class VesselsConfig(common.RaterConfig):
  """Which of the three sets."""

  collection: str = settings.field("drive", choices=_LAYOUTS, help="which of the three sets")


@dataclasses.dataclass(frozen=True)
class _Case:
  name: str
  group: str
  image: pathlib.Path
  masks: tuple[pathlib.Path, pathlib.Path]


class Builder(common.RaterBuilder):
  """Reads the files as they are distributed; split by subject."""

  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    VesselsConfig(name="drive", description="DRIVE's 20 test images; its training images have one observer."),
    VesselsConfig(name="stare", description="STARE's 20 labelled images.", collection="stare"),
    VesselsConfig(name="chase_db1", description="28 images, both eyes of 14 children.", collection="chase_db1"),
  ]
  LAYOUT = "; or ".join(_LAYOUTS.values())
  HOMEPAGE = "https://drive.grand-challenge.org"
  LICENSE = "Each collection has its own terms; see data/vessels/README.md."
  NUM_CHANNELS = 3
  NUM_RATERS = 2  # the first and the second observer

  @property
  def rater_names(self) -> tuple[str, ...]:
    """As the collection's folders or files name them."""
    return _OBSERVERS[self.config.collection]

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder that the layout begins in."""
    which = self.config.collection
    root = files.root_below(manual_dir, _FOLDERS[which], _HOLDS[which])
    if root is None:
      raise DataError(f"vessels/{which}: expected {_LAYOUTS[which]} in {manual_dir}; found no {_HOLDS[which]}.")
    return root

  def split_cases(self, source: pathlib.Path) -> dict[str, list[_Case]]:
    """Returns split -> images with both observers' masks."""
    cases = {"drive": _drive, "stare": _stare, "chase_db1": _chase}[self.config.collection](source)
    split_of = files.split_groups({case.group for case in cases}, files.SPLIT_SHARES)
    return files.by_split(cases, lambda case: split_of[case.group])

  def read(self, case: _Case) -> Iterator[common.Example]:
    """Reads an image and its two masks."""
    image = image_io.read_picture(case.image, num_channels=3)
    masks: list[np.ndarray | None] = []
    for path in case.masks:
      rule = _BRIGHT if path.suffix == ".gif" else "binary"
      mask = image_io.read_marks(path, image_io.parse_rule(rule)).pages[0, ..., 0]
      files.check_size(mask, path, image, case.image)
      files.check_not_inverted(mask, path)
      masks.append(mask)
    yield common.make_example(case.name, case.group, image, masks)


def _drive(root: pathlib.Path) -> list[_Case]:
  folder = root / "test"
  images, masks = folder / "images", (folder / "1st_manual", folder / "2nd_manual")
  numbers = [name.removesuffix("_test") for name in files.by_name(images, "*_test.tif")]
  for r, mask_folder in enumerate(masks, start=1):
    drawn = [(name.removesuffix(f"_manual{r}"), path) for name, path in files.by_name(mask_folder).items()]
    files.check_has_image(drawn, numbers, images)
  return [
    _Case(f"drive-{n}", f"drive-{n}", images / f"{n}_test.tif", (_manual(masks[0], n, 1), _manual(masks[1], n, 2)))
    for n in numbers
  ]


def _manual(folder: pathlib.Path, number: str, rater: int) -> pathlib.Path:
  return folder / f"{number}_manual{rater}.gif"


def _stare(root: pathlib.Path) -> list[_Case]:
  images = files.by_name(root / "stare-images", "im*.ppm*")
  labels = {who: files.by_name(root / f"labels-{who}", f"im*.{who}.ppm*") for who in ("ah", "vk")}
  names = sorted({name.partition(".")[0] for found in labels.values() for name in found})  # of 400, 20 have labels
  for name in names:
    if name not in images:
      raise DataError(f"{root / 'stare-images'}: the labelled image {name}.ppm is not there.")
  paths = {who: {name: found.get(f"{name}.{who}") for name in names} for who, found in labels.items()}
  missing = [(who, name) for who in paths for name in names if paths[who][name] is None]
  if missing:
    raise DataError(f"{root / f'labels-{missing[0][0]}'}: the labels of {missing[0][1]} are not there.")
  return [
    _Case(f"stare-{n}", f"stare-{n}", images[n], (labels["ah"][f"{n}.ah"], labels["vk"][f"{n}.vk"])) for n in names
  ]


def _chase(root: pathlib.Path) -> list[_Case]:
  names = list(files.by_name(root, "Image_*.jpg"))
  cases = []
  for name in names:
    masks = (root / f"{name}_1stHO.png", root / f"{name}_2ndHO.png")
    cases.append(_Case(f"chase-{name[6:]}", f"chase-{name[6:8]}", root / f"{name}.jpg", masks))
  drawn = [(path.stem.rpartition("_")[0], path) for path in sorted(root.glob("Image_*HO.png"))]
  files.check_has_image(drawn, names, root)
  return cases
