"""CoCaHis, one HDF5 file."""

import h5py
import numpy as np

from tests.data.archives import Expected, damage

CONFIGS = ("raw", "sn1", "sn2")
SIZE = (26, 30)
PATIENTS = [1, 1, 2, 3, 4, 5, 5, 6, 7, 7, 19]
TEST = (6, 7, 19)


def write(root):
  rng = np.random.default_rng(0)
  found = {name: {} for name in CONFIGS}
  num = len(PATIENTS)
  path = root / "CoCaHis.hdf5"
  path.parent.mkdir(parents=True, exist_ok=True)
  with h5py.File(path, "w") as file:
    images = {name: rng.integers(0, 256, (num, *SIZE, 3), np.uint8) for name in CONFIGS}
    for name, values in images.items():
      file[f"HE/{name}"] = values
    masks = rng.integers(0, 2, (7, num, *SIZE), np.uint8)
    for r in range(7):  # the third as 0/255, the fourth with a last axis
      values = masks[r] * np.uint8(255) if r == 2 else masks[r][..., None] if r == 3 else masks[r]
      file[f"GT/GT{r + 1}"] = values
    file["GT/GT_majority_vote"] = (masks.sum(0) > 3).astype(np.uint8)
    splits = ["test" if patient in TEST else "train" for patient in PATIENTS]
    file["HE"].attrs["train_test_split"] = np.asarray(splits, dtype="S5")  # bytes
    file["HE"].attrs["patient_num"] = [str(patient) for patient in PATIENTS]  # str
    file["HE"].attrs["image_num"] = list(range(num))
  for name in CONFIGS:
    for i, patient in enumerate(PATIENTS):
      key = f"patient{patient:02d}"
      split = "test" if patient in TEST else ""
      found[name][f"{key}/image{i:02d}"] = Expected(key, images[name][i], list(masks[:, i]), split)
  return found


def change(root, function):
  with h5py.File(root / "CoCaHis.hdf5", "a") as file:
    function(file)


def truncated(root):
  damage(root / "CoCaHis.hdf5")
  return "raw", r"CoCaHis.hdf5: is no whole HDF5 file"


def no_hdf5(root):
  (root / "CoCaHis.hdf5").write_text("<html>not found</html>")
  return "raw", r"CoCaHis.hdf5: is no whole HDF5 file"


def no_rater(root):
  change(root, lambda file: file["GT"].pop("GT5"))
  return "raw", r"CoCaHis.hdf5: holds no GT/GT5"


def no_stain(root):
  change(root, lambda file: file["HE"].pop("sn2"))
  return "sn2", r"holds no HE/sn2"


def no_attribute(root):
  change(root, lambda file: file["HE"].attrs.pop("patient_num"))
  return "raw", r"HE has no attribute patient_num"


def short_attribute(root):
  change(root, lambda file: file["HE"].attrs.__setitem__("patient_num", ["1", "2"]))
  return "raw", r"attribute patient_num of HE has 2 values for 11 images"


def unknown_split(root):
  change(root, lambda file: file["HE"].attrs.__setitem__("train_test_split", ["valid"] * len(PATIENTS)))
  return "raw", r"train_test_split of HE holds 'valid'; expected train, test"


def leak(root):
  change(root, lambda file: file["HE"].attrs.__setitem__("patient_num", ["3"] * len(PATIENTS)))
  return "raw", r"patient 3 is both in train and in test"


def grey(root):
  change(root, lambda file: file["GT/GT2"].__setitem__((4, 0, slice(0, 3)), [0, 1, 2]))
  return "raw", r"GT/GT2\[4\] must hold 0 and one other value, found 0, 1, 2"


def swapped(root):
  def turn(file):
    values = file["GT/GT2"][:]
    del file["GT/GT2"]
    file["GT/GT2"] = values.transpose(0, 2, 1)

  change(root, turn)
  return "raw", r"GT/GT2\[\d+\] is \(30, 26\) pixels, its image \(26, 30\)"


def patient_is_no_number(root):
  change(root, lambda file: file["HE"].attrs.__setitem__("patient_num", [f"p{patient}" for patient in PATIENTS]))
  return "raw", r"CoCaHis.hdf5: attribute patient_num of HE holds 'p1'; expected numbers"


def replace_rater(file, values, **kwargs):
  del file["GT/GT2"]
  return file.create_dataset("GT/GT2", data=values, **kwargs)


def one_mask_too_many(root):
  change(root, lambda file: replace_rater(file, np.zeros((len(PATIENTS) + 1, *SIZE), np.uint8)))
  return "raw", r"CoCaHis.hdf5: GT/GT2 holds 12 masks for 11 images"


def group_for_array(root):
  change(root, lambda file: (file["GT"].pop("GT2"), file.create_group("GT/GT2")))
  return "raw", r"CoCaHis.hdf5: holds no GT/GT2 that is an array"


def array_for_group(root):
  change(root, lambda file: (file.pop("HE"), file.create_dataset("HE", data=[1])))
  return "raw", r"CoCaHis.hdf5: holds no group HE"


def damaged_inside(root):
  path = root / "CoCaHis.hdf5"
  with h5py.File(path, "a") as file:
    values = np.random.default_rng(1).integers(0, 2, (len(PATIENTS), *SIZE), np.uint8)
    chunk = replace_rater(file, values, chunks=(1, *SIZE), compression="gzip").id.get_chunk_info(2)
  content = bytearray(path.read_bytes())
  content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
  path.write_bytes(content)
  return "raw", r"CoCaHis.hdf5: /GT/GT2\[2\] cannot be read, the file may be damaged"


FAULTS = (truncated, no_hdf5, no_rater, no_stain, no_attribute, short_attribute, unknown_split, leak, grey, swapped)
FAULTS += (patient_is_no_number, one_mask_too_many, group_for_array, array_for_group, damaged_inside)
