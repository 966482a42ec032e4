"""Tiles cover an image exactly once."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data import tiles
from data.errors import DataError

sizes = st.integers(1, 200)


@hypothesis.given(height=sizes, width=sizes, size=st.integers(16, 80))
def test_every_pixel_lies_in_exactly_one_tile(height, width, size):
  seen = np.zeros((height, width), int)
  names = []
  for name, (y, x) in tiles.boxes(height, width, size):
    seen[y, x] += 1
    names.append(name)
    assert 0 < y.stop - y.start <= size and 0 < x.stop - x.start <= size
  assert (seen == 1).all()
  assert len(set(names)) == len(names) and names == sorted(names)


def test_tiles_are_equal_within_a_pixel():
  heights = {y.stop - y.start for _, (y, _) in tiles.boxes(1025, 1, 1024)}
  assert heights == {512, 513}


def test_size_zero_is_the_whole_image():
  assert list(tiles.boxes(7, 5, 0)) == [("", (slice(0, 7), slice(0, 5)))]


@pytest.mark.parametrize("size", [-1, 1, 15])
def test_sizes_out_of_range_are_refused(size):
  with pytest.raises(DataError, match=f"tile_size={size} must be 0"):
    tiles.check_size(size)
