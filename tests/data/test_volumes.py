"""Data sets of volumes: the phantom's against its own truth, CURVAS' against the files they are read from."""

import numpy as np
import pytest

import data
from data import DataError
from data.rater_phantom import panel
from data.rater_phantom import rater_phantom_dataset_builder as phantom
from tests.data.archives import curvas

SMALL = {"depth": 6, "height": 24, "width": 20, "num_train": 4, "num_validation": 2, "num_test": 2}


def test_phantom_volumes_are_built_and_read(tmp_path):
  builder = data.get_builder("rater_phantom", config_name="two_organs", data_dir=str(tmp_path), overrides=SMALL)
  data.prepare(builder)
  record = data.data_source(builder, "train")[0]
  assert record["image"].shape == (6, 24, 20, 1) and record["rater_masks"].shape == (6, 24, 20, 2, 5)
  assert record["level_probs"].shape == (6, 24, 20, 2, 6) and record["rater_valid"].shape == (2, 5)
  np.testing.assert_allclose(record["spacing"], [2, 1, 1])
  np.testing.assert_allclose(record["level_probs"].sum(-1), 1, atol=1e-5)
  assert data.info(builder)["classes"] == ["bright", "dark"]
  data.verify(builder)


def test_the_stored_distribution_of_volumes_is_calibrated():
  config = phantom.VolumeConfig(name="x", num_classes=2, num_raters=5, depth=8, height=32, width=32, field_scale=2.0)
  expected, votes = [], []
  for index in range(80):
    record = phantom.draw_volume(config, "train", index)
    expected.append(record["level_probs"] @ np.arange(6) / 5)
    votes.append(record["rater_masks"].mean(-1))
  expected, votes = np.concatenate(expected).ravel(), np.concatenate(votes).ravel()
  for low in np.arange(0, 1, 0.2):
    inside = (expected >= low) & (expected < low + 0.2)
    assert inside.sum() > 200
    assert abs(expected[inside].mean() - votes[inside].mean()) < 0.025


def test_errors_are_as_smooth_across_slices_as_within_in_millimetres():
  fields = panel.smooth_fields(np.random.default_rng(0), 800, (16, 16, 16), (2.0, 4.0, 4.0))
  np.testing.assert_allclose(fields.std(axis=0).mean(), 1, atol=0.03)
  across = (fields[:, 0] * fields[:, 4]).mean()  # 4 slices are two scales
  within = (fields[:, :, 0] * fields[:, :, 8]).mean()
  assert across == pytest.approx(np.exp(-1), abs=0.06)
  assert within > across - 0.06  # periodic: half of the axis away both ways add up


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"depth": 2}, r"depth=2 must be >= 4 \(slices\)"),
    ({"slice_spacing": 0.5}, r"must be >= 1 \(distance of the slices, in pixels\)"),
    ({"num_classes": 3}, r"must be in \[1, 2\]"),
  ],
)
def test_settings_out_of_range(change, message):
  with pytest.raises(DataError, match=message):
    data.get_builder("rater_phantom", config_name="volumes", overrides=change)


def build(tmp_path, **settings):
  root = tmp_path / "files"
  curvas.write(root)
  builder = data.get_builder(
    "curvas", config_name="volumes", data_dir=str(tmp_path / "built"), manual_dir=str(root), overrides=settings
  )
  data.prepare(builder, manual_dir=str(root))
  return builder, curvas.write(root)


def test_curvas_volumes_hold_the_slices_of_each_organ(tmp_path):
  builder, slices = build(tmp_path, shrink=1)
  assert builder.class_names == ("pancreas", "kidney", "liver")
  seen = 0
  for split in builder.info.splits:
    for record in data.data_source(builder, split):
      name = record["id"].decode()
      np.testing.assert_allclose(record["spacing"], [2.0, 0.75, 0.5], rtol=1e-6)
      for k, organ in enumerate(builder.class_names):
        for z in range(len(record["image"])):
          want = slices[organ][f"{name}/z{z:04d}"]
          assert want.split == split
          np.testing.assert_array_equal(record["image"][z], want.image)
          np.testing.assert_array_equal(record["rater_valid"][k], [mask is not None for mask in want.masks])
          for r, mask in enumerate(want.masks):
            np.testing.assert_array_equal(record["rater_masks"][z, ..., k, r], 0 if mask is None else mask)
      seen += 1
  assert seen == 6


def test_shrunk_volumes_are_means_and_majorities_of_blocks(tmp_path):
  builder, slices = build(tmp_path, shrink=2, organ="liver")
  assert builder.class_names == ()
  record = data.data_source(builder, "validation")[0]
  name = record["id"].decode()
  pages = [slices["liver"][f"{name}/z{z:04d}"] for z in range(4)]
  image = np.stack([page.image[..., 0] for page in pages]).astype(np.float64)
  mask = np.stack([page.masks[0] for page in pages])
  assert record["image"].shape == (2, 12, 10, 1) and record["rater_masks"].shape == (2, 12, 10, 3)
  for z, y, x in np.ndindex(2, 12, 10):
    block = (slice(2 * z, 2 * z + 2), slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2))
    assert abs(record["image"][z, y, x, 0] - image[block].mean()) <= 0.5
    assert record["rater_masks"][z, y, x, 0] == (mask[block].mean() >= 0.5)
  np.testing.assert_allclose(record["spacing"], [4.0, 1.5, 1.0], rtol=1e-6)


def test_a_fault_in_a_volume_is_named(tmp_path):
  root = tmp_path / "files"
  curvas.write(root)
  curvas.a_rater_is_missing(root)
  builder = data.get_builder("curvas", config_name="volumes", data_dir=str(tmp_path / "built"), manual_dir=str(root))
  with pytest.raises(DataError, match=r"annotation_3.nii.gz: there is no such file"):
    data.prepare(builder, manual_dir=str(root))
