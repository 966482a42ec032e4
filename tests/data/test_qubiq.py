"""qubiq: layouts and settings that test_benchmarks.py does not reach."""

import shutil

import pytest

import data
from data import DataError
from data.qubiq import qubiq_dataset_builder as qubiq
from tests.data.archives import qubiq as archive


def build(tmp_path, root, config="kidney", folder="built"):
  builder = data.get_builder("qubiq", config_name=config, data_dir=str(tmp_path / folder))
  data.prepare(builder, manual_dir=str(root))
  return builder


def ids(builder):
  return {s: sorted(r["id"].decode() for r in data.data_source(builder, s)) for s in builder.info.splits}


def test_without_the_validation_folder_the_training_cases_are_divided(tmp_path):
  archive.write(tmp_path / "raw")
  splits = ids(build(tmp_path, tmp_path / "raw" / "training_data_v3_QC"))
  assert set(splits) == {"train", "validation", "test"}
  assert sorted(name for names in splits.values() for name in names) == [f"kidney/case{n:02d}" for n in range(1, 5)]


def test_organs_that_were_moved_up_give_the_same_training_cases(tmp_path):
  archive.write(tmp_path / "raw")
  before = data.fingerprint(build(tmp_path, tmp_path / "raw" / "training_data_v3_QC"))
  flat = tmp_path / "flat"
  shutil.copytree(tmp_path / "raw" / "training_data_v3_QC" / "kidney" / "Training", flat / "kidney")
  assert data.fingerprint(build(tmp_path, flat, folder="other")) == before


def test_other_organs_do_not_matter(tmp_path):
  archive.write(tmp_path / "raw")
  before = data.fingerprint(build(tmp_path, tmp_path / "raw"))
  shutil.rmtree(tmp_path / "raw" / "training_data_v3_QC" / "prostate")
  assert data.fingerprint(build(tmp_path, tmp_path / "raw")) == before
  with pytest.raises(DataError, match="built from other files than"):
    shutil.rmtree(tmp_path / "raw" / "training_data_v3_QC" / "kidney" / "Training" / "case02")
    build(tmp_path, tmp_path / "raw")


@pytest.mark.parametrize(("field", "value"), [("organ", "liver"), ("task", 0), ("num_raters", 0), ("num_channels", -4)])
def test_settings_are_checked(field, value):
  settings = {"organ": "kidney", "task": 1, "num_raters": 3} | {field: value}
  with pytest.raises(DataError, match=rf"config\.data\.builder_args\.{field}="):
    qubiq.QubiqConfig(name="x", **settings)
