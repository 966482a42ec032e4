"""lidc_slices, record by record, on small trees in its exact layout, and on a few patients of the real one."""

import os
import pathlib
import shutil
import tarfile

import numpy as np
import PIL.Image
import pytest

import data
from data import DataError, files
from data.lidc_slices import lidc_slices_dataset_builder as lidc
from tests.data.helpers import ROOT, run_python, write_lidc, write_png

# Patients in all three splits (0001 train, 0012 test, 0015 validation) and nodules with all kinds of slots.
PATIENTS = {
  "LIDC-IDRI-0001": [([0, 1, 2, 9, 10, 11], [0, 1, 2, 3]), ([4], [1])],
  "LIDC-IDRI-0012": [([0], [0, 3])],
  "LIDC-IDRI-0015": [([0, 1], [2, 3]), ([0], [0])],
  "LIDC-IDRI-0003": [([5], [0, 1, 2, 3])],
}


@pytest.fixture
def tree(tmp_path):
  root = tmp_path / "raw" / "LIDC-IDRI-slices"
  return root, write_lidc(root, PATIENTS)


def build(tmp_path, manual_dir, config="vote", folder="built"):
  builder = data.get_builder("lidc_slices", config_name=config, data_dir=str(tmp_path / folder))
  data.prepare(builder, manual_dir=str(manual_dir))
  return builder


def read(builder):
  return {
    split: {record["id"].decode(): record for record in data.data_source(builder, split)}
    for split in builder.info.splits
  }


def test_patients_of_the_tree_fall_into_all_splits():
  assert {files.split_of(patient) for patient in PATIENTS} == {"train", "validation", "test"}


@pytest.mark.parametrize("config", ["vote", "missing"])
def test_every_record_is_what_the_files_hold(tmp_path, tree, config):
  root, written = tree
  splits = read(build(tmp_path, root, config))
  assert sorted(name for records in splits.values() for name in records) == sorted(written)
  for split, records in splits.items():
    for name, record in records.items():
      patient, nodule, _ = name.split("/")
      image, masks = written[name]
      np.testing.assert_array_equal(record["image"], image[..., None])
      np.testing.assert_array_equal(record["rater_masks"], masks)
      np.testing.assert_array_equal(record["spacing"], [0, 0])
      assert record["group"].decode() == patient and files.split_of(patient) == split
      marked = PATIENTS[patient][int(nodule.split("-")[1])][1]
      expected = np.ones(4, bool) if config == "vote" else np.isin(np.arange(4), marked)
      np.testing.assert_array_equal(record["rater_valid"], expected)


def test_the_two_configs_are_two_data_sets(tmp_path, tree):
  vote, missing = (build(tmp_path, tree[0], config) for config in ("vote", "missing"))
  assert vote.data_dir != missing.data_dir and data.fingerprint(vote) != data.fingerprint(missing)
  override = data.get_builder("lidc_slices", data_dir=str(tmp_path / "built"), overrides={"empty_slot": "missing"})
  data.prepare(override, manual_dir=str(tree[0]))
  assert data.fingerprint(override) == data.fingerprint(missing)


def test_a_reader_who_marked_other_slices_voted_no_on_this_one(tmp_path):
  root = tmp_path / "LIDC-IDRI-slices"
  write_lidc(root, {"LIDC-IDRI-0001": [([0, 1], [0, 1])]})
  path = root / "LIDC-IDRI-0001" / "nodule-0" / "mask-1" / "slice-1.png"
  write_png(path, np.zeros((12, 10), np.uint8))
  records = lidc.read_nodule(path.parent.parent, empty_slot="missing")
  assert [list(r["rater_valid"]) for r in records] == [[True, True, False, False]] * 2
  assert not records[1]["rater_masks"][..., 1].any()


def test_slices_and_nodules_come_in_the_order_of_their_numbers(tree):
  records = lidc.read_nodule(tree[0] / "LIDC-IDRI-0001" / "nodule-0", empty_slot="vote")
  assert [r["id"].rpartition("/")[2] for r in records] == [f"slice-{n}" for n in (0, 1, 2, 9, 10, 11)]


def test_the_folder_or_its_parent_may_be_named(tmp_path, tree):
  root, _ = tree
  prints = {
    data.fingerprint(build(tmp_path, root, folder="1")),
    data.fingerprint(build(tmp_path, root.parent, folder="2")),
  }
  renamed = root.rename(root.parent / "lidc")
  prints.add(data.fingerprint(build(tmp_path, renamed, folder="3")))
  default = tmp_path / "4" / "downloads" / "manual"
  shutil.copytree(renamed, default / "LIDC-IDRI-slices")
  builder = data.get_builder("lidc_slices", data_dir=str(tmp_path / "4"))
  data.prepare(builder)
  prints.add(data.fingerprint(builder))
  assert len(prints) == 1


def test_two_processes_build_the_same(tmp_path, tree):
  code = f"""
import data
builder = data.get_builder("lidc_slices", data_dir={str(tmp_path / "other")!r})
data.prepare(builder, manual_dir={str(tree[0])!r})
print(data.fingerprint(builder))
"""
  other = run_python(code, cwd=tmp_path, PYTHONHASHSEED="3").stdout.splitlines()[-1]
  assert data.fingerprint(build(tmp_path, tree[0])) == other


def test_patients_keep_their_split_when_others_are_added(tmp_path, tree):
  before = read(build(tmp_path, tree[0]))
  write_lidc(tree[0], {f"LIDC-IDRI-{n:04d}": [([0], [0])] for n in range(100, 110)}, seed=1)
  after = read(build(tmp_path, tree[0], folder="more"))
  assert sum(len(records) for records in after.values()) == sum(len(records) for records in before.values()) + 10
  for split, records in before.items():
    assert set(records) <= set(after[split])


def test_splits_without_patients_are_left_out(tmp_path):
  root = tmp_path / "LIDC-IDRI-slices"
  write_lidc(root, {"LIDC-IDRI-0001": [([0], [0])]})
  builder = build(tmp_path, root)
  assert list(builder.info.splits) == ["train"]
  with pytest.raises(DataError, match=r"no split 'test'\. Splits: train"):
    data.data_source(builder, "test")


@pytest.mark.parametrize("there", ["nothing", "empty", "other"])
def test_missing_files_say_what_was_expected_and_where(tmp_path, there):
  folder = tmp_path / "raw"
  if there != "nothing":
    folder.mkdir()
  if there == "other":
    write_png(folder / "patient-1" / "a.png", np.zeros((2, 2), np.uint8))
  builder = data.get_builder("lidc_slices", data_dir=str(tmp_path / "built"))
  with pytest.raises(DataError) as error:
    data.prepare(builder, manual_dir=str(folder))
  text = str(error.value)
  assert str(folder) in text and "--config.data.manual_dir" in text and "\n" not in text
  assert "LIDC-IDRI-slices/LIDC-IDRI-NNNN/nodule-K/{images,mask-0,..,mask-3}/slice-S.png" in text
  assert not pathlib.Path(builder.data_dir).exists()


def test_without_a_folder_the_default_is_named(tmp_path):
  builder = data.get_builder("lidc_slices", data_dir=str(tmp_path))
  with pytest.raises(DataError, match="manual_dir") as error:
    data.prepare(builder)
  assert str(tmp_path / "downloads" / "manual") in str(error.value)


def test_built_data_outlive_the_files_but_not_other_files(tmp_path, tree):
  root, _ = tree
  fingerprint = data.fingerprint(build(tmp_path, root))
  moved = root.rename(tmp_path / "moved")
  assert data.fingerprint(build(tmp_path, root)) == fingerprint  # the files are gone: what was built stays good
  write_lidc(moved, {"LIDC-IDRI-0100": [([0], [0])]})
  with pytest.raises(DataError, match="built from other files than"):
    build(tmp_path, moved)


def image_of(path):
  return np.asarray(PIL.Image.open(path)).copy()


def no_mask(nodule):
  (nodule / "mask-2" / "slice-1.png").unlink()
  return "mask-2/slice-1.png", "found no file"


def no_slot(nodule):
  shutil.rmtree(nodule / "mask-3")
  return "mask-3/slice-0.png", "found no file"


def surplus_mask(nodule):
  shutil.copy(nodule / "mask-0" / "slice-1.png", nodule / "mask-0" / "slice-7.png")
  return "mask-0/slice-7.png", "without its image"


def other_size(nodule):
  write_png(nodule / "mask-1" / "slice-0.png", np.zeros((12, 11), np.uint8))
  return "mask-1/slice-0.png", r"\(12, 11\) pixels \(H, W\), its image \(12, 10\)"


def other_value(nodule):
  path = nodule / "mask-1" / "slice-1.png"
  mask = image_of(path)
  mask[3, 3] = 128
  write_png(path, mask)
  return "mask-1/slice-1.png", "0 and 255 only, found also 128"


def truncated_mask(nodule):
  path = nodule / "mask-0" / "slice-0.png"
  path.write_bytes(path.read_bytes()[:50])
  return "mask-0/slice-0.png", "cannot be read"


def truncated_image(nodule):
  path = nodule / "images" / "slice-0.png"
  path.write_bytes(path.read_bytes()[:-30])
  return "images/slice-0.png", "cannot be read"


def colour_image(nodule):
  write_png(nodule / "images" / "slice-1.png", np.zeros((12, 10, 3), np.uint8))
  return "images/slice-1.png", "8-bit grey image, found mode 'RGB'"


def no_images(nodule):
  shutil.rmtree(nodule / "images")
  return "nodule-0/images", "found none"


def odd_name(nodule):
  shutil.copy(nodule / "images" / "slice-1.png", nodule / "images" / "slice-1 (copy).png")
  return r"slice-1 \(copy\).png", "expected a number"


BREAKS = [no_mask, no_slot, surplus_mask, other_size, other_value, truncated_mask, truncated_image, colour_image]


@pytest.mark.parametrize("damage", [*BREAKS, no_images, odd_name], ids=lambda f: f.__name__)
def test_damaged_trees_are_refused_and_the_file_is_named(tmp_path, damage):
  root = tmp_path / "LIDC-IDRI-slices"
  write_lidc(root, {"LIDC-IDRI-0001": [([0, 1], [0, 1])]})
  file, reason = damage(root / "LIDC-IDRI-0001" / "nodule-0")
  with pytest.raises(DataError, match=f"{file}.*{reason}") as error:
    build(tmp_path, root)
  assert "\n" not in str(error.value)
  assert not list((tmp_path / "built").glob("lidc_slices/*/1*"))


def test_a_patient_without_nodules_is_refused(tmp_path):
  root = tmp_path / "LIDC-IDRI-slices"
  (root / "LIDC-IDRI-0001").mkdir(parents=True)
  with pytest.raises(DataError, match=r"LIDC-IDRI-0001: expected nodule-\* in it, found none"):
    build(tmp_path, root)


def test_a_nodule_without_any_mark_has_no_rater_in_missing(tmp_path):
  root = tmp_path / "LIDC-IDRI-slices"
  write_lidc(root, {"LIDC-IDRI-0001": [([0], [])]})
  with pytest.raises(DataError, match=r"nodule-0: no slot holds a mark.*Use 'vote'"):
    build(tmp_path, root, "missing")
  (record,) = read(build(tmp_path, root, "vote"))["train"].values()
  assert record["rater_valid"].all() and not record["rater_masks"].any()


@pytest.fixture(scope="module")
def real_patients(tmp_path_factory):
  """A few patients of the real archive: the first ones in it that cover all three splits."""
  shared = pathlib.Path(os.environ.get("ORDSEG_SHARED_DATA", ROOT.parent / "shared" / "data"))
  archives = sorted((shared / "lidc_slices").glob("LIDC-IDRI-slices*.tar.gz"))
  if not archives:
    pytest.skip(f"no archive {shared}/lidc_slices/LIDC-IDRI-slices*.tar.gz; set ORDSEG_SHARED_DATA to its folder")
  out, patients = tmp_path_factory.mktemp("lidc"), set()
  with tarfile.open(archives[0]) as tar:
    for member in tar:
      patient = member.name.split("/")[1] if "/" in member.name else ""
      if patient and patient not in patients and {files.split_of(p) for p in patients} == set(files.SPLIT_SHARES):
        break
      if patient:
        patients.add(patient)
      tar.extract(member, out, filter="data")
  return out


def test_real_slices(tmp_path, real_patients):
  vote, missing = (build(tmp_path, real_patients, config) for config in ("vote", "missing"))
  splits, thinned = read(vote), read(missing)
  assert set(splits) == {"train", "validation", "test"}
  num_files = len(list(real_patients.rglob("images/slice-*.png")))
  assert sum(len(records) for records in splits.values()) == num_files > 20
  seen_missing, marks = False, {}  # folder of a slot -> whether it holds a mark
  for path in real_patients.rglob("mask-*/*.png"):
    marks[path.parent] = marks.get(path.parent, False) or bool(image_of(path).any())
  for split, records in splits.items():
    for name, record in records.items():
      folder = real_patients / "LIDC-IDRI-slices" / pathlib.Path(name).parent
      file = f"{name.rpartition('/')[2]}.png"
      np.testing.assert_array_equal(record["image"][..., 0], image_of(folder / "images" / file))
      for r in range(4):
        np.testing.assert_array_equal(record["rater_masks"][..., r] * 255, image_of(folder / f"mask-{r}" / file))
      assert record["image"].shape == (128, 128, 1) and record["rater_valid"].all()
      valid = thinned[split][name]["rater_valid"]
      for r in range(4):
        assert valid[r] == marks[folder / f"mask-{r}"]
      seen_missing |= not valid.all()
  assert seen_missing
  data.verify(vote)
