import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import DataError, files
from tests.data.helpers import write_png


def test_reads_what_was_written(tmp_path):
  image = np.arange(256, dtype=np.uint8).reshape(8, 32)
  write_png(tmp_path / "x.png", image)
  np.testing.assert_array_equal(files.read_grey(tmp_path / "x.png"), image)


def test_reads_masks_as_0_and_1(tmp_path):
  mask = np.array([[0, 1, 0], [1, 1, 0]], np.uint8)
  write_png(tmp_path / "m.png", mask * 255)
  read = files.read_mask(tmp_path / "m.png")
  np.testing.assert_array_equal(read, mask)
  assert read.dtype == np.uint8
  write_png(tmp_path / "m1.png", mask)
  np.testing.assert_array_equal(files.read_mask(tmp_path / "m1.png", foreground=1), mask)


def damaged(path, how):
  write_png(path, np.random.default_rng(0).integers(0, 2, (40, 40), dtype=np.uint8) * 255)
  whole = path.read_bytes()
  if how == "missing":
    path.unlink()
  elif how == "empty":
    path.write_bytes(b"")
  elif how == "text":
    path.write_bytes(b"<html>404</html>")
  elif how == "bits":
    path.write_bytes(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])
  else:
    path.write_bytes(whole[: int(how) * len(whole) // 100])


@pytest.mark.parametrize("how", ["missing", "empty", "text", "bits", "20", "50", "90"])
def test_damaged_files_are_named(tmp_path, how):
  path = tmp_path / "slice-3.png"
  damaged(path, how)
  with pytest.raises(DataError) as error:
    files.read_mask(path)
  assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["RGB", "1", "P", "I;16"])
def test_other_image_modes_are_refused(tmp_path, mode):
  PIL.Image.new(mode, (4, 4)).save(tmp_path / "x.png")
  with pytest.raises(DataError, match="8-bit grey"):
    files.read_grey(tmp_path / "x.png")


def test_other_mask_values_are_refused_and_listed(tmp_path):
  write_png(tmp_path / "m.png", np.array([[0, 255, 7], [254, 0, 0]], np.uint8))
  with pytest.raises(DataError, match="0 and 255 only, found also 7, 254"):
    files.read_mask(tmp_path / "m.png")


def test_split_of_known_patients():
  names = [f"LIDC-IDRI-{n:04d}" for n in (1, 2, 3, 12, 16, 26, 693)]
  # These must never change: a patient would move from test to train.
  assert [files.split_of(name) for name in names] == ["train", "test", "train", "test", "train", "train", "test"]


def test_shares_of_splits():
  found = [files.split_of(f"patient-{n}") for n in range(20_000)]
  for split, share in files.SPLIT_SHARES.items():
    assert abs(found.count(split) / len(found) - share) < 4 * np.sqrt(share * (1 - share) / len(found))


@given(st.text("aZ09-_. é中", min_size=1))  # st.text() alone builds a table of Unicode, which takes seconds
def test_a_share_of_all_or_nothing(name):
  assert files.split_of(name, {"train": 1.0}) == "train"
  assert files.split_of(name, {"train": 0.0, "test": 1.0}) == "test"
  assert files.split_of(name, {"a": 0.1, "b": 0.2, "c": 0.7 - 1e-9}) in "abc"  # shares that miss 1 by rounding


@given(num=st.integers(3, 60), seed=st.integers(0, 3))
def test_small_sets_get_every_split_in_proportion(num, seed):
  groups = [f"patient{k}" for k in range(num)]
  found = files.split_groups(groups, files.SPLIT_SHARES, seed=seed)
  assert sorted(found) == sorted(groups)
  for split, share in files.SPLIT_SHARES.items():
    count = sum(s == split for s in found.values())
    assert count >= 1 and abs(count - share * num) <= 2
  assert found == files.split_groups(groups[::-1], files.SPLIT_SHARES, seed=seed)


def test_a_split_without_a_share_stays_empty_and_too_few_groups_are_refused():
  found = files.split_groups(["a", "b"], {"train": 0.5, "validation": 0.0, "test": 0.5})
  assert sorted(found.values()) == ["test", "train"]
  with pytest.raises(DataError, match="found 2 groups"):
    files.split_groups(["a", "b"], files.SPLIT_SHARES)


def test_cases_are_sorted_into_splits_in_their_order():
  cases = [("a", "test"), ("b", "train"), ("c", "train")]
  found = files.by_split(cases, lambda case: case[1])
  assert found == {"train": [("b", "train"), ("c", "train")], "test": [("a", "test")]}
  assert list(found) == ["train", "test"]  # no empty validation


def test_the_folder_is_found_at_any_depth_but_not_in_what_macos_leaves(tmp_path):
  assert files.root_below(tmp_path, ("**",), "images/") is None
  (tmp_path / "__MACOSX" / "images").mkdir(parents=True)
  assert files.root_below(tmp_path, ("**",), "images/") is None
  (tmp_path / "b" / "v2" / "images").mkdir(parents=True)
  assert files.root_below(tmp_path, ("**",), "images/") == tmp_path / "b" / "v2"
  assert files.root_below(tmp_path, ("a", "b"), "images/") is None
  (tmp_path / "images").mkdir()
  assert files.root_below(tmp_path, ("**",), "images/") == tmp_path  # the user's own comes first


def test_masks_that_mark_more_than_half_are_refused(tmp_path):
  mask = np.zeros((4, 4), np.uint8)
  mask[:2] = 1
  files.check_not_inverted(mask, tmp_path / "m.png")  # just half
  mask[2, 0] = 1
  with pytest.raises(DataError, match=r"m.png: more than half of the pixels are marked; the mask looks inverted\."):
    files.check_not_inverted(mask, tmp_path / "m.png")
