"""curvas: which slices and raters its settings keep; its records are tested in test_benchmarks.py."""

import numpy as np
import pytest

import data
from data import DataError
from data.curvas import curvas_dataset_builder as curvas
from tests.data.archives import curvas as archive
from tests.data.archives import save_nifti


def write_patient(folder, marks, *, depth=9):
  """Writes a scan of `depth` slices; marks: per rater, the slices with a voxel of pancreas."""
  rng = np.random.default_rng(0)
  save_nifti(folder / "image.nii.gz", rng.integers(-1000, 1000, (6, 5, depth)).astype(np.int16))
  for r, slices in enumerate(marks):
    labels = np.zeros((6, 5, depth), np.uint8)
    labels[r, 2, list(slices)] = 1
    save_nifti(folder / f"annotation_{r + 1}.nii.gz", labels)


def kept(folder, **settings):
  config = curvas.CurvasConfig(name="x", **settings)
  return {int(e["id"][-4:]): e for e in curvas.read_patient(folder, config)}


@pytest.mark.parametrize(
  ("settings", "slices"),
  [
    ({}, range(9)),
    ({"step": 4}, [0, 4, 8]),
    ({"keep": "marked"}, [3, 6]),
    ({"keep": "marked", "margin": 1}, range(2, 8)),
    ({"keep": "marked", "margin": 5}, range(9)),
    ({"keep": "marked", "margin": 1, "step": 2}, [2, 4, 6]),
    ({"organ": "liver", "keep": "marked"}, []),
  ],
)
def test_the_slices_that_are_kept(tmp_path, settings, slices):
  write_patient(tmp_path, [(3,), (3, 6), (6,)])
  assert list(kept(tmp_path, **settings)) == list(slices)


def test_an_annotation_without_the_organ(tmp_path):
  write_patient(tmp_path, [(3,), (), (6,)])
  for record in kept(tmp_path).values():
    np.testing.assert_array_equal(record["rater_valid"], [True, False, True])
  for record in [*kept(tmp_path, empty="vote").values(), *kept(tmp_path, organ="liver").values()]:
    assert record["rater_valid"].all()  # nobody marked a liver: it is not there


def test_fractions_of_hounsfield_units_are_rounded(tmp_path):
  write_patient(tmp_path, [(3,)] * 3)
  values = np.linspace(-100, 100, 6 * 5 * 9).reshape(6, 5, 9)
  save_nifti(tmp_path / "image.nii.gz", values.astype(np.float32))
  image = kept(tmp_path)[4]["image"]
  assert image.dtype == np.int16
  np.testing.assert_array_equal(image[..., 0], np.rint(values[..., 4].astype(np.float32)).T)


@pytest.mark.parametrize(
  "there", [{"training_set"}, {"training_set", "validation_set"}, {"training_set", "testing_set"}]
)
def test_sets_that_are_not_there_are_replaced_by_patients(tmp_path, there):
  archive.write(tmp_path / "raw")
  for name in set(archive.SETS) - there:
    (tmp_path / "raw" / name).rename(tmp_path / name)
  builder = data.get_builder("curvas", data_dir=str(tmp_path / "built"))
  data.prepare(builder, manual_dir=str(tmp_path / "raw"))
  groups = {s: {r["group"].decode() for r in data.data_source(builder, s)} for s in builder.info.splits}
  assert set(groups) == {"train", "validation", "test"}
  assert sum(map(len, groups.values())) == len(set.union(*groups.values()))
  assert set.union(*groups.values()) == {f"UKCHLL{n:03d}" for name in there for n in archive.SETS[name][1]}
  if "testing_set" in there:
    assert groups["test"] == {"UKCHLL007", "UKCHLL082"}


@pytest.mark.parametrize(
  ("field", "value"), [("organ", "spleen"), ("keep", "some"), ("empty", "no"), ("margin", -1), ("step", 0)]
)
def test_settings_are_checked(field, value):
  with pytest.raises(DataError, match=rf"config\.data\.builder_args\.{field}="):
    curvas.CurvasConfig(name="x", **{field: value})
