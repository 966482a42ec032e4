"""The crop around the disc, alone and in the builders that offer it."""

import numpy as np
import pytest

import data
from data import DataError, fundus
from tests.data.archives import chaksu, disc, riga


def photo(centre, size=(120, 100)):
  rng = np.random.default_rng(0)
  image = rng.integers(20, 60, (*size, 3)).astype(np.uint8)
  image[disc(size, centre, 8) > 0] = 200
  return image


@pytest.mark.parametrize("centre", [(60, 50), (20, 80), (4, 4), (117, 97)])
def test_the_crop_holds_the_disc(centre):
  image = photo(centre)
  row, column = fundus.find_disc(image)
  assert np.hypot(row - centre[0], column - centre[1]) < 8
  y, x = fundus.view(image, 0.4)
  assert image[y, x].shape == (40, 40, 3)
  assert y.start <= centre[0] < y.stop and x.start <= centre[1] < x.stop


def test_without_a_crop_all_is_seen():
  image = photo((60, 50))
  y, x = fundus.view(image, 0.0)
  np.testing.assert_array_equal(image[y, x], image)


@pytest.mark.parametrize(("name", "archive"), [("riga", riga), ("chaksu", chaksu)])
@pytest.mark.parametrize("structure", ["disc", "cup"])
def test_builders_crop_image_and_masks_alike(tmp_path, name, archive, structure):
  expected = archive.write(tmp_path)[structure]
  builder = data.get_builder(name, config_name=f"{structure}_crop", data_dir=str(tmp_path / "built"))
  data.prepare(builder, manual_dir=str(tmp_path))
  records = [r for split in builder.info.splits for r in data.data_source(builder, split)]
  assert len(records) == len(expected)
  for record in records:
    want = expected[record["id"].decode()]
    y, x = fundus.view(want.image, 0.35)
    side = round(0.35 * min(want.image.shape[:2]))
    assert record["image"].shape == (side, side, 3)
    np.testing.assert_array_equal(record["image"], want.image[y, x])
    for r, mask in enumerate(want.masks):
      assert record["rater_valid"][r] == (mask is not None)
      if mask is not None:
        np.testing.assert_array_equal(record["rater_masks"][..., r], mask[y, x])


@pytest.mark.parametrize("name", ["riga", "chaksu", "refuge_multirater"])
@pytest.mark.parametrize("crop", [-0.1, 1.5])
def test_the_setting_is_checked(name, crop):
  with pytest.raises(DataError, match=r"config\.data\.builder_args\.crop=.* must be in \[0, 1\]"):
    data.get_builder(name, overrides={"crop": crop})
