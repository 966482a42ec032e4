"""LongCIU: volumes of 90 slices and the distributor's splits."""

import json

import numpy as np

from tests.data.archives import Expected, damage, save_nifti

CONFIGS = ("any", "ggo", "consolidation")
SHAPE = (24, 20, 90)  # x, y, z
AFFINE = np.diag([0.7, 0.8, 1.0, 1.0])
SPLITS = {
  "train": [*range(10, 20), *range(50, 60), *range(70, 80)],
  "val": [*range(20, 40)],
  "test": [*range(10), *range(40, 50), *range(60, 70), *range(80, 90)],
}


def write(root):
  rng = np.random.default_rng(0)
  image = rng.integers(-1024, 600, SHAPE).astype(np.int16)
  labels = [rng.integers(0, 3, SHAPE).astype(np.uint8) for _ in range(3)]
  save_nifti(root / "longciu_img.nii.gz", image, AFFINE)
  for r, label in enumerate(labels):
    save_nifti(root / f"longciu_{r + 1}_tgt.nii.gz", label, AFFINE)
  save_nifti(root / "longciu_STAPLE_tgt.nii.gz", labels[0], AFFINE)
  (root / "longciu_splits.json").write_text(json.dumps(SPLITS))
  found = {name: {} for name in CONFIGS}
  for name, marked in (("any", (1, 2)), ("ggo", (1,)), ("consolidation", (2,))):
    for split, slices in SPLITS.items():
      for z in slices:
        masks = [np.isin(label[..., z].T, marked) for label in labels]
        where = {"val": "validation"}.get(split, split)
        found[name][f"slice{z:02d}"] = Expected(
          f"slice_block{z // 10}", image[..., z].T[..., None], masks, where, (0.8, 0.7)
        )
  return found


def truncated(root):
  damage(root / "longciu_2_tgt.nii.gz")
  return "any", r"longciu_2_tgt.nii.gz: its gzip stream ends early; it is cut short"


def a_rater_is_missing(root):
  (root / "longciu_3_tgt.nii.gz").unlink()
  return "any", r"longciu_3_tgt.nii.gz is not there"


def nibabel_order(root):
  save_nifti(root / "longciu_img.nii.gz", np.zeros(SHAPE[::-1], np.int16), AFFINE)
  return "any", r"longciu_img.nii.gz: expected 90 slices along the third axis, found 24. The axes look swapped"


def mask_in_nibabel_order(root):
  save_nifti(root / "longciu_1_tgt.nii.gz", np.zeros(SHAPE[::-1], np.uint8), AFFINE)
  return "any", r"longciu_1_tgt.nii.gz: the mask is 24 x 20 x 90 pixels, .* The axes look swapped"


def unknown_label(root):
  save_nifti(root / "longciu_1_tgt.nii.gz", np.full(SHAPE, 3, np.uint8), AFFINE)
  return "any", r"longciu_1_tgt.nii.gz: expected the labels 0, 1 and 2, found also 3"


def no_splits(root):
  (root / "longciu_splits.json").write_text("{}")
  return "any", r"longciu_splits.json: expected \{train, val, test"


def a_block_is_cut(root):
  other = {**SPLITS, "train": SPLITS["train"][:-1], "val": [*SPLITS["val"], 79]}
  (root / "longciu_splits.json").write_text(json.dumps(other))
  return "any", r"longciu_splits.json: slice 79 is in val, others of its block of 10 are not"


def a_slice_is_missing(root):
  (root / "longciu_splits.json").write_text(json.dumps({**SPLITS, "test": SPLITS["test"][1:]}))
  return "any", r"longciu_splits.json: expected every slice from 0 on once"


FAULTS = (truncated, a_rater_is_missing, nibabel_order, mask_in_nibabel_order, unknown_label, no_splits)
FAULTS += (a_block_is_cut, a_slice_is_missing)
