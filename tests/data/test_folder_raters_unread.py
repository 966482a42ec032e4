"""folder_raters: what is named like an image or mask is read, or refused by name; what was done to an image is said."""

import pathlib

import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK

from data import DataError
from tests.data.archives import folder_raters as archive
from tests.data.test_folder_raters import build, check, records

UPRIGHT = "turned upright as its EXIF orientation says"


@pytest.fixture
def root(tmp_path):
  folder = tmp_path / "my set"
  folder.mkdir()
  return folder


def nrrd(path, mask):
  path.parent.mkdir(parents=True, exist_ok=True)
  SimpleITK.WriteImage(SimpleITK.GetImageFromArray(mask.astype(np.uint8)), str(path))


@pytest.mark.parametrize("name", ["p1_a.nrrd", "p1_a.seg.nrrd", "p1_a.mha"])
def test_a_mask_in_a_format_of_other_tools_is_no_missing_rater(tmp_path, root, name):
  made = archive.cases()
  archive.write_by_rater(root, made)
  (root / "raters/ben/p1_a.png").unlink()
  nrrd(root / "raters/ben" / name, made["p1_a"][1]["ben"])
  with pytest.raises(DataError) as caught:
    build(tmp_path, root)
  text = str(caught.value)
  assert text.startswith(f"{root / 'raters/ben' / name}: ") and "Convert it to NIfTI, PNG or TIFF" in text
  assert f"{pathlib.Path(name).suffix!r} are not read" in text and "\n" not in text


def test_notes_and_copies_beside_masks_are_left_out(tmp_path, root, capsys):
  made = archive.cases()
  archive.write_by_rater(root, made)
  nrrd(root / "raters/ben/p1_a.nrrd", made["p1_a"][1]["ben"])  # p1_a.png is there
  (root / "raters/ben/remarks.txt").write_text("p1_a was hard")
  check(records(build(tmp_path, root)), made)
  assert "left out: raters/ben/p1_a.nrrd, raters/ben/remarks.txt" in capsys.readouterr().out


def test_all_masks_in_a_format_of_other_tools(tmp_path, root):
  made = archive.cases()
  archive.write_by_rater(root, made)
  for path in sorted((root / "raters").rglob("*.*")):
    path.unlink()
    nrrd(path.with_suffix(".nrrd"), np.zeros((24, 20)))
  with pytest.raises(DataError, match=r"masks do not fit:\n") as caught:
    build(tmp_path, root)
  lines = str(caught.value).splitlines()[1:-1]
  assert lines and all("'.nrrd' are not read" in line for line in lines)


@pytest.mark.parametrize(("name", "kind"), [("p1_a.nrrd", "of the kind '.nrrd'"), ("p1_a", "without a suffix")])
def test_an_image_that_is_not_read_is_named_beside_its_masks(tmp_path, root, name, kind):
  archive.write_by_rater(root, archive.cases())
  (root / "images/p1_a.png").rename(root / "images" / name)
  with pytest.raises(DataError) as caught:
    build(tmp_path, root)
  line = next(line.strip() for line in str(caught.value).splitlines() if "has masks, but" in line)
  assert line.startswith(f"{root / 'images' / name}: ") and kind in line
  assert "mask_suffix" not in str(caught.value)


def test_cases_and_bids_name_masks_that_are_not_read(tmp_path):
  volume = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.uint8), np.eye(4))
  mask = np.ones((4, 5, 6))
  cases, bids = tmp_path / "cases", tmp_path / "bids"
  for path in (cases / "c1/image.nii", cases / "c1/rater1.nii", bids / "sub-1/anat/sub-1_T2w.nii",
               bids / "derivatives/anna/sub-1/sub-1_T2w_seg.nii"):  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(volume, path)
  for odd in (cases / "c1/rater2.seg.nrrd", bids / "derivatives/ben/sub-1/sub-1_T2w_seg.mha"):
    nrrd(odd, mask)
    top = cases if cases in odd.parents else bids
    with pytest.raises(DataError) as caught:
      build(tmp_path, top)
    assert str(caught.value).startswith(f"{odd}: ") and "are not read" in str(caught.value)


def test_capital_letters_are_not_taken_for_a_suffix(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  for path in (root / "images").iterdir():
    path.rename(path.with_name(path.name.upper()))
  with pytest.raises(DataError, match="differs in capital letters alone") as caught:
    build(tmp_path, root)
  assert "mask_suffix" not in str(caught.value)


def write_turned(path, upright):
  """Stores a picture turned left, so that it is to be turned right (EXIF 6)."""
  exif = PIL.Image.Exif()
  exif[0x0112] = 6
  PIL.Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(path, exif=exif)


def test_the_build_says_what_was_done_to_images(tmp_path, root, capsys):
  made = archive.cases()
  archive.write_by_rater(root, made)
  for name in ("p1_a", "p1_b"):
    write_turned(root / f"images/{name}.png", made[name][0][..., 0])
  check(records(build(tmp_path, root, group_regex=r"(p\d)_")), made)
  assert f"folder_raters: {root / 'images/p1_a.png'} and 1 more: {UPRIGHT}\n" in capsys.readouterr().out


def test_a_mask_of_a_picture_as_stored_is_told_from_swapped_axes(tmp_path, root):
  made = archive.cases()
  archive.write_by_rater(root, made)
  write_turned(root / "images/p1_a.png", made["p1_a"][0][..., 0].T)
  with pytest.raises(
    DataError, match=r"The image was turned upright .*; was the mask drawn on the picture as stored\?"
  ):
    build(tmp_path, root)
