"""A small data set with two raters, as pictures or volumes, and maps of it in any form."""

import pathlib

import nibabel
import numpy as np
import PIL.Image
import pytest
import tifffile

from ordseg import case_files
from ordseg.errors import InputError

CASES = ("p1_a", "p1_b", "p2_a")
SHAPE_2D, SHAPE_3D = (6, 8), (3, 4, 5)  # rows, columns; pages, rows, columns
AFFINE = np.asarray([[-2.0, 0, 0, 10], [0, 3, 0, -4], [0, 0, 4, 7], [0, 0, 0, 1]])


def save_png(path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(values).save(path)


def save_nifti(path, pages, affine=AFFINE):
  """Pages [D, H, W] or [D, H, W, C] as voxels (column, row, page, channel)."""
  save_voxels(path, pages.transpose((2, 1, 0) if pages.ndim == 3 else (2, 1, 0, 3)), affine)


def save_voxels(path, voxels, affine=AFFINE):
  path.parent.mkdir(parents=True, exist_ok=True)
  nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(voxels), affine), path)


def save_tiff(path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  tifffile.imwrite(path, values, photometric="minisblack")


def save_npy(path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  np.save(path, values)


def save_npz(path, **arrays):
  path.parent.mkdir(parents=True, exist_ok=True)
  np.savez_compressed(path, **arrays)


class Small:
  """Writes masks of two raters on construction; `probs` has a map of each case, float32, away from 0, 1 and ties."""

  def __init__(self, root: pathlib.Path, *, volumes: bool = False, shape=None):
    rng = np.random.default_rng(5)
    self.root, self.maps, self.volumes = root, root / "maps", volumes
    self.masks_at = root / "raters"
    shape = shape or (SHAPE_3D if volumes else SHAPE_2D)
    self.probs = {name: rng.uniform(0.02, 0.98, shape).astype(np.float32) for name in CASES}
    self.masks = {name: rng.integers(0, 2, (*shape, 2)).astype(np.uint8) for name in CASES}
    for name in CASES:
      for r, rater in enumerate(("anna", "ben")):
        if volumes:
          save_nifti(self.masks_at / rater / f"{name}.nii.gz", self.masks[name][..., r])
        else:
          save_png(self.masks_at / rater / f"{name}.png", self.masks[name][..., r] * 255)

  def each(self, write):
    """Calls write(name, p) for each case."""
    for name, p in self.probs.items():
      write(name, p)
    return self


def answer(small, options=None, **more):
  """Returns the one line that pairing or reading ends in."""
  with pytest.raises(InputError) as caught:
    list(case_files.pair([small.maps], small.masks_at, options=options, **more))
  line = str(caught.value)
  assert "\n" not in line and len(line) < 1500
  return line


def good(small, name, p):
  save_npz(small.maps / f"{name}.npz", p=p)
