"""QUBIQ: four organs, the challenge's two folders."""

import numpy as np

from tests.data.archives import Expected, damage, save_nifti

ORGANS = {"brain-growth": (1, 7, 1), "brain-tumor": (3, 3, 4), "kidney": (1, 3, 1), "prostate": (2, 6, 1)}
CONFIGS = ("brain_growth", "brain_tumor_1", "brain_tumor_2", "brain_tumor_3", "kidney", "prostate_1", "prostate_2")
AFFINE = np.diag([0.5, 0.75, 1.0, 1.0])


def write(root):
  rng = np.random.default_rng(0)
  found = {name: {} for name in CONFIGS}
  for organ, (tasks, raters, channels) in ORGANS.items():
    for case in range(1, 7):
      where = "training_data_v3_QC/{}/Training" if case < 5 else "validation_data_qubiq2021_QC/{}/Validation"
      folder = root / where.format(organ) / f"case{case if case < 6 else 1:02d}"  # some numbers come twice
      image = rng.normal(size=(20, 24, channels)).astype(np.float32)
      save_nifti(folder / "image.nii.gz", image if channels > 1 or case % 2 else image[..., 0], AFFINE)
      for task in range(1, tasks + 1):
        masks = [rng.integers(0, 2, (20, 24)).astype(np.uint8) for _ in range(raters)]
        if organ == "prostate" and case == 4:
          masks[5] = None
        for r, mask in enumerate(masks):
          if mask is not None:
            save_nifti(
              folder / f"task{task:02d}_seg{r + 1:02d}.nii.gz", mask if task != 2 else mask.astype(np.float64), AFFINE
            )
        name = organ.replace("-", "_") + (f"_{task}" if tasks > 1 else "")
        turned = [None if mask is None else mask.T for mask in masks]
        key = f"{organ}/{folder.name}" if case < 5 else f"{organ}/Validation/{folder.name}"
        split = "" if case < 5 else "test"
        found[name][key] = Expected(key, image.transpose(1, 0, 2), turned, split, spacing=(0.75, 0.5))
  return found


def path_of(root, name):
  organ, _, rest = name.partition("/")
  return root / "training_data_v3_QC" / organ / "Training" / rest


def truncated(root):
  damage(path_of(root, "kidney/case02/image.nii.gz"))
  return "kidney", r"case02/image.nii.gz: its gzip stream ends early; it is cut short"


def one_rater_too_many(root):
  save_nifti(path_of(root, "kidney/case02/task01_seg04.nii.gz"), np.zeros((20, 24), np.uint8))
  return "kidney", r"task01_seg04.nii.gz: expected raters 01 to 03"


def no_rater(root):
  for r in range(1, 4):
    path_of(root, f"kidney/case02/task01_seg{r:02d}.nii.gz").unlink()
  return "kidney", r"case02: holds no task01_seg"


def swapped(root):
  save_nifti(path_of(root, "kidney/case02/task01_seg01.nii.gz"), np.zeros((24, 20), np.uint8))
  return "kidney", r"seg01.nii.gz: the mask is 20 x 24 pixels, .* The axes look swapped"


def grey(root):
  save_nifti(path_of(root, "kidney/case02/task01_seg01.nii.gz"), np.linspace(0, 1, 480).reshape(20, 24))
  return "kidney", r"seg01.nii.gz: a mask holds 0 and one other value"


def channels(root):
  save_nifti(path_of(root, "brain-tumor/case02/image.nii.gz"), np.zeros((20, 24, 3), np.float32))
  return "brain_tumor_1", r"case02/image.nii.gz: expected one slice of 4 channels, found 3 slices of 1"


def a_case_twice(root):
  save_nifti(root / "training_data_v2/kidney/Training/case02/image.nii.gz", np.zeros((20, 24), np.float32))
  return (
    "kidney",
    r"training_data_v3_QC/kidney/.*: is case kidney/case02 a second time; the other is .*training_data_v2",
  )


def not_finite(root):
  save_nifti(path_of(root, "kidney/case02/image.nii.gz"), np.full((20, 24), np.nan, np.float32))
  return "kidney", r"case02/image.nii.gz: holds values that are not finite"


FAULTS = (truncated, one_rater_too_many, no_rater, swapped, grey, channels, a_case_twice, not_finite)
