"""Builder of refuge_multirater: fundus photographs, disc and cup outlined by seven ophthalmologists."""

import pathlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data import common, files, fundus
from data.errors import DataError
from data.fundus import FundusConfig
from ordseg import image_io

NUM_RATERS = 7
_LUMA = np.asarray([0.299, 0.587, 0.114])  # colour to grey as Pillow does it
_SETS = {"Training-400": "train", "Validation-400": "validation", "Test-400": "test"}
_ROOT = "REFUGE-Multirater"
_LAYOUT = f"{_ROOT}/{{Training,Validation,Test}}-400/NNNN/{{NNNN.jpg,NNNN_seg_{{disc,cup}}_{{1..7}}.png}}"


class Builder(common.RaterBuilder):
  """Reads the folders or the archive; the official splits, which come from two cameras, are kept."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = list(fundus.configs())
  MANUAL_DOWNLOAD_INSTRUCTIONS = f"{_LAYOUT}, or {_ROOT}.zip; see data/refuge_multirater/README.md."
  HOMEPAGE = "https://huggingface.co/datasets/realslimman/REFUGE-MultiRater"
  LICENSE = "Card: Apache-2.0. The images come under the research terms of the REFUGE challenge."
  NUM_CHANNELS = 3

  @property
  def num_raters(self) -> int:
    """Seven ophthalmologists."""
    return NUM_RATERS

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns the folder that holds Training-400, unpacking the archive where only that is there."""
    archive = manual_dir / f"{_ROOT}.zip"
    if archive.is_file() and not (manual_dir / _ROOT).is_dir():
      manual_dir = self.unpacked(archive)
    return files.find_root(manual_dir, [_ROOT], "Training-400/*/", builder="refuge_multirater", layout=_LAYOUT)

  def split_examples(self, source: pathlib.Path | None) -> dict[str, Iterator[common.Example]]:
    """Returns split -> images. There are no patient numbers: each image is a group."""
    assert source is not None
    for name in _SETS:
      if not (source / name).is_dir():
        raise DataError(f"{source / name}: there is no such folder. The layout is {_LAYOUT}")
    return {split: self._read(source / name) for name, split in _SETS.items()}

  def _read(self, folder: pathlib.Path) -> Iterator[common.Example]:
    cases = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))
    for case in cases:
      yield read_case(case, self.config)


def read_case(folder: pathlib.Path, config: FundusConfig) -> common.Example:
  """Reads ``NNNN``: the photograph and the seven masks, and none of the other files, which are not aligned with it.

  Raises:
    DataError: a file is missing, damaged, of another size, not 8-bit, dark where something is marked, or bright where
      the background should be; names the file.
  """
  name = folder.name
  path = folder / f"{name}.jpg"
  image = image_io.read_picture(path, num_channels=3)
  masks = []
  for r in range(NUM_RATERS):
    mask_path = folder / f"{name}_seg_{config.structure}_{r + 1}.png"
    mask = _read_mask(mask_path)
    files.check_size(mask, mask_path, image, path)
    if mask.mean() > 0.5:
      raise DataError(f"{mask_path}: more than half of the pixels are marked; the mask looks inverted.")
    masks.append(mask)
  y, x = fundus.view(image, config.crop)
  key = f"{folder.parent.name}/{name}"
  return common.make_example(key, key, image[y, x], [mask[y, x] for mask in masks])


def _read_mask(path: pathlib.Path) -> np.ndarray:
  """[H, W] uint8, 0 or 1: grey values of 128 and more."""
  values = image_io.read_picture(path)
  if values.dtype != np.uint8:
    raise DataError(f"{path}: expected an 8-bit mask, found {values.dtype}.")
  grey = values[..., 0] if values.shape[-1] == 1 else np.rint(values @ _LUMA)
  if 0 < grey.max() < 2:  # stored as 0 and 1: the threshold would make an empty vote of it
    raise DataError(f"{path}: expected a grey mask, marked where it is 128 or more; found 0 and 1 only.")
  return (grey >= 128).astype(np.uint8)
