"""vessels: what test_benchmarks.py does not reach."""

import numpy as np
import PIL.Image
import pytest

import data
from data import DataError
from data.vessels import vessels_dataset_builder as vessels
from tests.data.archives import vessels as archive


def test_the_collection_is_checked():
  with pytest.raises(DataError, match=r"config\.data\.builder_args\.collection='STARE' is unknown.*stare"):
    vessels.VesselsConfig(name="x", collection="STARE")


def test_colours_of_a_palette_count_not_their_numbers(tmp_path):
  expected = archive.write(tmp_path)["drive"]
  path = tmp_path / "DRIVE" / "test" / "2nd_manual" / "03_manual2.gif"
  image = PIL.Image.fromarray(1 - np.asarray(PIL.Image.open(path)), "P")
  image.putpalette([255, 255, 255, 0, 0, 0])  # 0 is white now, 1 black: the same picture
  image.save(path)
  builder = data.get_builder("vessels", data_dir=str(tmp_path / "built"))
  data.prepare(builder, manual_dir=str(tmp_path))
  records = [r for split in builder.info.splits for r in data.data_source(builder, split)]
  (record,) = [r for r in records if r["id"] == b"drive-03"]
  np.testing.assert_array_equal(record["rater_masks"][..., 1], expected["drive-03"].masks[1])
