"""Builder of refuge_multirater: fundus photographs, disc and cup outlined by seven ophthalmologists."""

import pathlib
from collections.abc import Iterator

import numpy as np

from data import common, files, fundus
from data.errors import DataError
from ordseg import image_io

_LUMA = np.asarray([0.299, 0.587, 0.114])  # colour to grey as Pillow does it
_SETS = {"Training-400": "train", "Validation-400": "validation", "Test-400": "test"}
_ROOT = "REFUGE-Multirater"


class Builder(fundus.FundusBuilder):
  """Reads the folders or the archive; the official splits, which come from two cameras, are kept."""

  LAYOUT = f"{_ROOT}/{{Training,Validation,Test}}-400/NNNN/{{NNNN.jpg,NNNN_seg_{{disc,cup}}_{{1..7}}.png}}"
  HOLDS = "Training-400/*/"
  FOLDERS = (_ROOT,)
  ARCHIVE = f"{_ROOT}.zip"
  HOMEPAGE = "https://huggingface.co/datasets/realslimman/REFUGE-MultiRater"
  LICENSE = "Card: Apache-2.0. The images come under the research terms of the REFUGE challenge."
  NUM_RATERS = 7  # ophthalmologists

  def split_cases(self, source: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Returns split -> the folders of its images. There are no patient numbers: each image is a group."""
    for name in _SETS:
      if not (source / name).is_dir():
        raise DataError(f"{source / name}: there is no such folder. The layout is {self.LAYOUT}")
    return {split: files.folders(source / name) for name, split in _SETS.items()}

  def read(self, case: pathlib.Path) -> Iterator[common.Example]:
    """Reads ``NNNN``: the photograph and the seven masks, and none of the other files, which are not aligned with it.

    Raises:
      DataError: a file is missing, damaged, of another size, not 8-bit, dark where something is marked, or bright where
        the background should be; names the file.
    """
    path = case / f"{case.name}.jpg"
    image = image_io.read_picture(path, num_channels=3)
    masks = []
    for r in range(self.NUM_RATERS):
      mask_path = case / f"{case.name}_seg_{self.config.structure}_{r + 1}.png"
      mask = _read_mask(mask_path)
      files.check_size(mask, mask_path, image, path)
      files.check_not_inverted(mask, mask_path)
      masks.append(mask)
    key = f"{case.parent.name}/{case.name}"
    yield self.example(key, key, image, masks)


def _read_mask(path: pathlib.Path) -> np.ndarray:
  """[H, W] uint8, 0 or 1: grey values of 128 and more."""
  values = image_io.read_picture(path)
  if values.dtype != np.uint8:
    raise DataError(f"{path}: expected an 8-bit mask, found {values.dtype}.")
  grey = values[..., 0] if values.shape[-1] == 1 else np.rint(values @ _LUMA)
  if 0 < grey.max() < 2:  # stored as 0 and 1: the threshold would make an empty vote of it
    raise DataError(f"{path}: expected a grey mask, marked where it is 128 or more; found 0 and 1 only.")
  return (grey >= 128).astype(np.uint8)
