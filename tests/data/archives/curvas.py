"""CURVAS 2024."""

import numpy as np

from tests.data.archives import Expected, damage, save_nifti

CONFIGS = ("pancreas", "kidney", "liver")
AFFINE = np.diag([-0.5, -0.75, 2.0, 1.0])
SETS = {"training_set": ("train", (1, 2, 3)), "validation_set": ("validation", (21,)), "testing_set": ("test", (7, 82))}
SHAPE = (20, 24, 4)  # x, y, z


def write(root):
  rng = np.random.default_rng(0)
  found = {name: {} for name in CONFIGS}
  for folder, (split, numbers) in SETS.items():
    for number in numbers:
      patient = f"UKCHLL{number:03d}"
      image = rng.integers(-1000, 1000, SHAPE).astype(np.int16)
      save_nifti(root / folder / patient / "image.nii.gz", image, AFFINE)
      labels = [rng.integers(0, 4, SHAPE) for _ in range(3)]
      if number == 82:  # the third rater left the pancreas out
        labels[2][labels[2] == 1] = 0
      for r, label in enumerate(labels):
        noise = rng.normal(size=SHAPE) * 1e-4 if r == 1 else 0.0  # floats near whole numbers
        affine = AFFINE * [[1, 1, 0.7, 1]] if (number, r) == (7, 1) else AFFINE  # the one header known to be wrong
        save_nifti(root / folder / patient / f"annotation_{r + 1}.nii.gz", (label + noise).astype(np.float32), affine)
      for value, organ in enumerate(CONFIGS, start=1):
        for z in range(SHAPE[2]):
          masks = [np.equal(label[..., z].T, value).astype(np.uint8) for label in labels]
          if (number, value) == (82, 1):
            masks[2] = None
          expected = Expected(patient, image[..., z].T[..., None], masks, split, (0.75, 0.5))
          found[organ][f"{patient}/z{z:04d}"] = expected
  return found


def path_of(root, name):
  return root / "training_set" / "UKCHLL002" / name


def truncated(root):
  damage(path_of(root, "image.nii.gz"))
  return "liver", r"UKCHLL002/image.nii.gz: its gzip stream ends early; it is cut short"


def a_rater_is_missing(root):
  path_of(root, "annotation_3.nii.gz").unlink()
  return "liver", r"annotation_3.nii.gz: there is no such file"


def swapped(root):
  save_nifti(path_of(root, "annotation_2.nii.gz"), np.zeros(SHAPE[::-1], np.uint8), AFFINE)
  return (
    "liver",
    r"annotation_2.nii.gz: the mask is 20 x 24 x 4 pixels, its image .* 4 x 24 x 20 pixels. The axes look swapped",
  )


def elsewhere(root):
  save_nifti(path_of(root, "annotation_2.nii.gz"), np.zeros(SHAPE, np.uint8), -AFFINE)
  return "liver", r"annotation_2.nii.gz: the mask lies elsewhere in space"


def labels(root):
  save_nifti(path_of(root, "annotation_2.nii.gz"), np.full(SHAPE, 7, np.uint8), AFFINE)
  return "liver", r"annotation_2.nii.gz: expected the labels 0 to 3, found 7 to 7"


def not_finite(root):
  save_nifti(path_of(root, "image.nii.gz"), np.full(SHAPE, np.nan, np.float32), AFFINE)
  return "liver", r"UKCHLL002/image.nii.gz: expected Hounsfield units, found nan"


def halves(root):
  save_nifti(path_of(root, "annotation_2.nii.gz"), np.full(SHAPE, 0.5, np.float32), AFFINE)
  return "liver", r"annotation_2.nii.gz: expected the labels 0 to 3, found 0.5"


FAULTS = (truncated, a_rater_is_missing, swapped, elsewhere, labels, not_finite, halves)
