"""Builder of riga: fundus photographs on copies of which six ophthalmologists outlined disc and cup."""

import dataclasses
import pathlib
import re
from collections.abc import Collection, Iterator

import numpy as np

from data import common, files, fundus
from data.errors import DataError
from data.riga import outlines
from ordseg import image_io

_SOURCES = ("BinRushed", "Magrabia", "MESSIDOR")
_TEST = "Magrabia"  # the field's usual split
_LAYOUT = "{BinRushed/BinRushed*,Magrabia/Magrabi*,MESSIDOR}/image<N>prime.* with image<N>-1.* to image<N>-6.*"
_NAME = re.compile(r"image(\d+)(?:(prime)|-(\d+))", re.IGNORECASE)
_Key = tuple[str, int]  # folder and number
_THRESHOLDS = {".tif": 1, ".tiff": 1, ".jpg": 10, ".jpeg": 10}


@dataclasses.dataclass
class Case:
  """A photograph and the copies that were drawn on, by rater."""

  name: str
  photo: pathlib.Path
  drawn: dict[int, pathlib.Path]


class Builder(fundus.FundusBuilder):
  """Traces the outlines; where one cannot be found its rater is missing. Magrabia is the test set."""

  LAYOUT = _LAYOUT
  HOMEPAGE = "https://doi.org/10.7302/Z23R0R29"
  LICENSE = "CC BY-NC; check the distributor's page, which is the homepage."
  NUM_RATERS = 6  # ophthalmologists

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds BinRushed, Magrabia and MESSIDOR."""
    for root in (manual_dir, manual_dir / "RIGA", manual_dir / "RIGA-dataset"):
      if all(next(root.glob(f"{name}*/"), None) for name in _SOURCES):
        return root
    raise DataError(f"riga: expected the folders {', '.join(_SOURCES)} in {manual_dir}: {_LAYOUT}")

  def split_cases(self, source: pathlib.Path) -> dict[str, list[Case]]:
    """Returns split -> images. There are no patient numbers: each image is a group."""
    cases = [case for name in _SOURCES for case in find_cases(source, name)]

    def split(case: Case) -> str:
      is_test = case.name.partition("/")[0] == _TEST
      return "test" if is_test else files.split_of(case.name, files.TRAIN_SHARES)

    return files.by_split(cases, split)

  def read(self, case: Case) -> Iterator[common.Example]:
    """Reads a photograph and traces each rater's outline; left out, with a note, where nobody's can be traced."""
    image, masks = read_case(case, self.config.structure)
    if any(mask is not None for mask in masks):
      yield self.example(case.name, case.name, image, masks)
    else:
      print(f"riga: {case.photo}: no rater's {self.config.structure} could be traced; left out", flush=True)


def find_cases(root: pathlib.Path, source: str) -> list[Case]:
  """Lists the photographs of one of the three sources with their drawn copies, by folder and number.

  The archives unpack with or without a folder more (``BinRushedcorrected/BinRushed``, ``Magrabia/Magrabia``); names of
  cases do not depend on it.

  Raises:
    DataError: no photograph, an unknown name, a rater out of range, or two files of one image and rater.
  """
  photos: dict[_Key, list[pathlib.Path]] = {}
  drawn: dict[_Key, dict[int, list[pathlib.Path]]] = {}
  for path in sorted(path for top in root.glob(f"{source}*/") for path in top.rglob("*")):
    if path.suffix.lower() not in _THRESHOLDS or path.name.startswith("."):
      continue
    match = _NAME.fullmatch(path.stem)
    if not match:
      raise DataError(f"{path}: expected a name like image1prime.tif or image1-1.tif.")
    key = (source if path.parent.name == source else f"{source}/{path.parent.name}", int(match[1]))
    if match[2]:
      photos.setdefault(key, []).append(path)
    else:
      drawn.setdefault(key, {}).setdefault(int(match[3]), []).append(path)
  if not photos:
    raise DataError(f"{root / source}: holds no image<N>prime.*. The layout is {_LAYOUT}")
  _say_what_is_left_out(photos, drawn)
  return [_case(key, photos[key], drawn.get(key, {})) for key in sorted(photos)]


def _say_what_is_left_out(photos: Collection[_Key], drawn: Collection[_Key]) -> None:
  """Copies without their photograph are known: a few, and a folder of them, BinRushed1 beside BinRushed1-Corrected."""
  folders = {folder for folder, _ in photos}
  lonely = [f"{folder}/image{n}" for folder, n in sorted(drawn) if (folder, n) not in photos and folder in folders]
  lonely += sorted({folder for folder, _ in drawn} - folders)
  if lonely:
    print(f"riga: left out, as the photograph image<N>prime is not there: {', '.join(lonely)}", flush=True)


def _case(key: _Key, photos: list[pathlib.Path], drawn: dict[int, list[pathlib.Path]]) -> Case:
  for paths in (photos, *drawn.values()):
    if len(paths) > 1:
      raise DataError(f"{paths[1]}: expected one file of this image and rater; the other is {paths[0]}.")
  for rater, (path,) in drawn.items():
    if not 1 <= rater <= Builder.NUM_RATERS:
      raise DataError(f"{path}: expected raters 1 to {Builder.NUM_RATERS}.")
  if not drawn:
    raise DataError(
      f"{photos[0]}: expected image{key[1]}-1.* to image{key[1]}-{Builder.NUM_RATERS}.* beside it, found none."
    )
  return Case(f"{key[0]}/image{key[1]}", photos[0], {rater: path for rater, (path,) in drawn.items()})


def read_case(case: Case, structure: str) -> tuple[np.ndarray, list[np.ndarray | None]]:
  """Reads a photograph and traces each rater's outline.

  Returns:
    [H, W, 3] uint8, and one [H, W] uint8 per rater, None where nothing was found.
  """
  image = image_io.read_picture(case.photo, num_channels=3)
  masks: list[np.ndarray | None] = []
  for rater in range(1, Builder.NUM_RATERS + 1):
    path = case.drawn.get(rater)
    if path is None:
      masks.append(None)
      continue
    copy = image_io.read_picture(path, num_channels=3)
    files.check_size(copy[..., 0], path, image, case.photo)
    threshold = max(_THRESHOLDS[file.suffix.lower()] for file in (path, case.photo))
    masks.append(outlines.trace(image, copy, threshold=threshold)[fundus.STRUCTURES.index(structure)])
  return image, masks
