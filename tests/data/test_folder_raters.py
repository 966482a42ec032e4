"""folder_raters: what goes into a user's folder comes out of the records, or one error names the file."""

import os
import pathlib

import nibabel
import numpy as np
import PIL.Image
import pydicom.uid
import pytest
import tifffile

import data
from data import DataError
from data.folder_raters import example
from tests.data.archives import folder_raters as archive
from tests.data.helpers import ROOT, run_python
from tests.image_io.test_image_io import write_dicom


def build(tmp_path, root, **settings):
  builder = data.get_builder(
    "folder_raters", data_dir=str(tmp_path / "built"), manual_dir=str(root), overrides=settings
  )
  data.prepare(builder, manual_dir=str(root))
  return builder


def records(builder):
  return {
    record["id"].decode(): (split, record)
    for split in builder.info.splits
    for record in data.data_source(builder, split)
  }


def check(found, made, raters=archive.RATERS):
  assert sorted(found) == sorted(made)
  for key, (image, masks) in made.items():
    record = found[key][1]
    np.testing.assert_array_equal(record["image"], image)
    np.testing.assert_array_equal(record["rater_valid"], [rater in masks for rater in raters])
    for r, rater in enumerate(raters):
      want = masks.get(rater, np.zeros(image.shape[:2]))
      np.testing.assert_array_equal(record["rater_masks"][..., r], want)


@pytest.fixture
def root(tmp_path):
  folder = tmp_path / "my set"
  folder.mkdir()
  return folder


WRITERS = (archive.write_by_rater, archive.write_by_case, archive.write_manifest)


@pytest.mark.parametrize("write", WRITERS, ids=lambda f: f.__name__)
def test_the_three_layouts_give_the_same_records(tmp_path, root, write):
  made = archive.cases()
  write(root, made)
  builder = build(tmp_path, root)
  prefix = "rater_" if write is archive.write_by_case else ""
  assert builder.config.panel() == [prefix + rater for rater in archive.RATERS]
  assert data.info(builder)["raters"] == builder.config.panel()  # what a run, and its report, call them
  assert builder.config.name.startswith("my_set-")
  found = records(builder)
  check(found, made)
  assert {split for split, _ in found.values()} == {"train", "validation", "test"}


def test_two_sets_with_equal_settings_do_not_share_a_folder_and_a_corrected_mask_is_seen(tmp_path, root):
  archive.write_by_rater(root, archive.cases(), mask_suffix=".bmp")
  first = build(tmp_path, root)
  path = root / "raters" / "ben" / "p1_a.bmp"
  before = path.stat()
  archive.save(path, 255 - np.asarray(PIL.Image.open(path)))
  os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
  assert path.stat().st_size == before.st_size
  second = build(tmp_path, root)
  assert first.config.name != second.config.name
  assert data.fingerprint(first) != data.fingerprint(second)


def test_a_run_finds_its_data_when_the_files_are_gone(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  info = data.info(build(tmp_path, root))
  again = data.get_builder("folder_raters", data_dir=str(tmp_path / "built"), overrides=info["settings"])
  data.prepare(again, manual_dir="")
  assert data.info(again) == info


def test_groups_from_a_regex_stay_in_one_split(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  found = records(build(tmp_path, root, group_regex=r"(p\d)_"))
  assert {record["group"] for _, record in found.values()} == {b"p1", b"p2", b"p3", b"p4", b"p5"}
  assert found["p1_a"][0] == found["p1_b"][0]


def test_manifest_groups_and_splits(tmp_path, root):
  splits = dict.fromkeys(archive.RATED, "Train") | {"p4_a": "val", "p5_a": "test"}
  archive.write_manifest(root, archive.cases(), groups={"p1_a": "x", "p1_b": "x"}, splits=splits)
  found = records(build(tmp_path, root))
  assert (found["p4_a"][0], found["p5_a"][0], found["p3_a"][0]) == ("validation", "test", "train")
  assert found["p1_a"][1]["group"] == found["p1_b"][1]["group"] == b"x"


def test_split_seed_and_shares(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  divisions = set()
  for seed in range(4):
    found = records(build(tmp_path, root, split_seed=seed, shares="0.5,0,0.5"))
    assert {split for split, _ in found.values()} == {"train", "test"}
    divisions.add(tuple(sorted(key for key, (split, _) in found.items() if split == "test")))
  assert len(divisions) > 1


def test_tiles(tmp_path, root):
  made = archive.cases()
  archive.write_by_rater(root, made)
  found = records(build(tmp_path, root, tile_size=16))
  again = {key: np.full((24, 20), -1) for key in made}
  for name, (_, record) in found.items():
    key, y, x = name.split("/")[0], *(int(part[1:]) for part in name.split("/")[1].split("-"))
    h, w = record["image"].shape[:2]
    again[key][y : y + h, x : x + w] = record["image"][..., 0]
    assert record["group"] == key.encode()
  for key, (image, _) in made.items():
    np.testing.assert_array_equal(again[key], image[..., 0])


@pytest.mark.parametrize(
  ("marked", "stored", "want"),
  [
    ("binary", [0, 7], [0, 1]),
    (">=128", [0, 127, 128, 255], [0, 0, 1, 1]),
    ("==2", [0, 1, 2, 3], [0, 0, 1, 0]),
    ("!=0", [0, 1, 2], [0, 1, 1]),
    ("==0", [0, 255], [1, 0]),  # inverted polarity
  ],
)
def test_which_values_are_marked(tmp_path, root, marked, stored, want):
  made = archive.cases()
  archive.write_by_rater(root, made)
  column = np.resize(np.asarray(stored, np.uint8), 24)
  archive.save(root / "raters/ben/p1_a.png", np.repeat(column[:, None], 20, axis=1))
  found = records(build(tmp_path, root, marked=marked))["p1_a"][1]["rater_masks"][:, 0, 1]
  np.testing.assert_array_equal(found, np.resize(want, 24))


@pytest.mark.parametrize(
  ("suffix", "dtype", "channels"),
  [
    (".png", np.uint16, 1),
    (".tif", np.float32, 1),
    (".tif", np.uint16, 3),
    (".jpg", np.uint8, 3),
    (".png", np.uint8, 3),
  ],
)
def test_kinds_of_images(tmp_path, root, suffix, dtype, channels):
  archive.write_by_rater(root, archive.cases())
  rng = np.random.default_rng(1)
  images = {}
  for key in archive.RATED:
    (root / "images" / f"{key}.png").unlink()
    image = rng.integers(0, 200, (24, 20, channels)).astype(dtype)
    path = root / "images" / f"{key}{suffix}"
    if suffix == ".tif":
      tifffile.imwrite(path, image if channels == 3 else image[..., 0], photometric="rgb" if channels == 3 else None)
    else:
      PIL.Image.fromarray(image if channels == 3 else image[..., 0]).save(path)
    images[key] = np.asarray(PIL.Image.open(path)) if suffix == ".jpg" else image
  builder = build(tmp_path, root)
  assert (builder.num_channels, builder.image_dtype) == (channels, dtype)
  for key, (_, record) in records(builder).items():
    np.testing.assert_array_equal(record["image"].reshape(images[key].shape), images[key])


def write_volumes(root, *, mask_affine=None, mask_axes=(0, 1, 2)):
  """NIfTI volumes [x, y, z] of 6 x 5 x 4 voxels."""
  rng, written = np.random.default_rng(2), {}
  affine = np.diag([0.5, 0.7, 3.0, 1.0])
  for k in range(3):
    image = rng.integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
    masks = rng.integers(0, 2, (6, 5, 4, 2)).astype(np.uint8)
    masks[:, :, 1] = 0  # a page that nobody marked
    (root / f"case{k}").mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(image, affine), root / f"case{k}/image.nii.gz")
    for r in range(2):
      mask = nibabel.Nifti1Image(masks[..., r].transpose(mask_axes), affine if mask_affine is None else mask_affine)
      nibabel.save(mask, root / f"case{k}/rater{r}.nii.gz")
    written[f"case{k}"] = (image, masks)
  return written


@pytest.mark.parametrize(("axis", "spacing"), [("z", (0.7, 0.5)), ("y", (3.0, 0.5)), ("x", (3.0, 0.7))])
def test_volumes_become_pages_with_their_geometry(tmp_path, root, axis, spacing):
  written = write_volumes(root)
  found = records(build(tmp_path, root, slice_axis=axis))
  number = "xyz".index(axis)
  assert len(found) == 3 * (6, 5, 4)[number]
  for name, (_, record) in found.items():
    case, page = name.split("/z")
    image, masks = written[case]
    np.testing.assert_array_equal(record["image"][..., 0], np.take(image, int(page), axis=number).T)
    np.testing.assert_array_equal(record["rater_masks"], np.take(masks, int(page), axis=number).transpose(1, 0, 2))
    np.testing.assert_allclose(record["spacing"], spacing, rtol=1e-6)
    assert record["group"] == case.encode()


def test_only_marked_pages_are_kept_when_asked(tmp_path, root):
  write_volumes(root)
  found = records(build(tmp_path, root, keep="marked"))
  assert sorted(found) == [f"case{k}/z{page:04d}" for k in range(3) for page in (0, 2, 3)]


def test_dicom_series_as_images(tmp_path, root):
  rng, written = np.random.default_rng(3), {}
  for k in range(3):
    volume = rng.integers(0, 1000, (3, 6, 5)).astype(np.int16)
    series = pydicom.uid.generate_uid()
    for z in range(3):
      path = root / "images" / f"scan{k}" / f"{3 - z}.dcm"
      write_dicom(path, volume[z], z=2.5 * z, series=series)
    masks = rng.integers(0, 2, (3, 6, 5)).astype(np.uint8)
    (root / "raters/a").mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(root / f"raters/a/scan{k}.tif", masks * 255, photometric="minisblack")
    written[f"scan{k}"] = (volume, masks)
  for name, (_, record) in records(build(tmp_path, root)).items():
    scan, page = name.split("/z")
    np.testing.assert_array_equal(record["image"][..., 0], written[scan][0][int(page)])
    np.testing.assert_array_equal(record["rater_masks"][..., 0], written[scan][1][int(page)])


# --- Bad input: what is done to a good folder, and what the error must say.


def truncate(root):
  path = root / "images/p2_a.png"
  path.write_bytes(path.read_bytes()[:60])
  return "p2_a.png: cannot be read as an image: the PNG is cut short"


def other_size(root):
  archive.save(root / "raters/ben/p2_a.png", np.zeros((24, 21), np.uint8))
  return r"ben/p2_a.png: the mask is 24 x 21 pixels, its image .*p2_a.png 24 x 20"


def swapped_axes(root):
  archive.save(root / "raters/ben/p2_a.png", np.zeros((20, 24), np.uint8))
  return r"ben/p2_a.png: the mask is 20 x 24 pixels, .* The axes look swapped"


def no_image(root):
  archive.save(root / "raters/ben/p2_x.png", np.zeros((24, 20), np.uint8))
  return r"ben/p2_x.png: a mask without its image.*mask_suffix"


def two_images(root):
  archive.save(root / "images/p2_a.bmp", np.zeros((24, 20), np.uint8))
  return r"p2_a.png: two files are named 'p2_a'; the other is .*p2_a.bmp"


def grey_mask(root):
  archive.save(root / "raters/ben/p2_a.png", np.arange(480, dtype=np.uint16).astype(np.uint8).reshape(24, 20))
  return r"ben/p2_a.png: a mask holds 0 and one other value; found 0, 1, 2"


def colour_mask(root):
  archive.save(root / "raters/ben/p2_a.png", np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8))
  return r"ben/p2_a.png: a mask has one channel, found 3 that differ.*--config.data.builder_args.marked="


def no_rater(root):
  for rater in archive.RATERS:
    (root / "raters" / rater / "p2_a.png").unlink()
  return r"p2_a.png: no rater has a mask for it.*unrated=skip"


def other_channels(root):
  archive.save(root / "images/p2_a.png", np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8))
  return r"p2_a.png: expected 1 channels, as in the first image, found 3"


def empty_rater(root):
  (root / "raters/dora").mkdir()
  return r"raters/dora: holds no mask"


def comma(root):
  (root / "raters/ben").rename(root / "raters/ben, MD")
  return r"the rater's name 'ben, MD' holds a comma"


FAULTS = (truncate, other_size, swapped_axes, no_image, two_images, grey_mask, colour_mask, no_rater, other_channels)
FAULTS += (empty_rater, comma)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_faults_are_named_and_leave_nothing_behind(tmp_path, root, fault):
  made = archive.cases()
  archive.write_by_rater(root, made)
  message = fault(root)
  with pytest.raises(DataError, match=message) as caught:
    build(tmp_path, root)
  assert "\n" not in str(caught.value)
  assert not list((tmp_path / "built").rglob("dataset_info.json"))


def test_images_without_a_rater_can_be_left_out(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  no_rater(root)
  assert "p2_a" not in records(build(tmp_path, root, unrated="skip"))


def test_a_volume_and_a_mask_elsewhere_in_space(tmp_path, root):
  write_volumes(root, mask_affine=np.diag([0.5, 0.7, -3.0, 1.0]))
  with pytest.raises(DataError, match=r"rater0.nii.gz: the mask lies elsewhere in space \(affine\) than its image"):
    build(tmp_path, root)


def test_a_volume_with_swapped_axes(tmp_path, root):
  write_volumes(root, mask_axes=(2, 1, 0))
  with pytest.raises(DataError, match=r"the mask is 6 x 5 x 4 pixels, its image .* 4 x 5 x 6 pixels. The axes look"):
    build(tmp_path, root)


def test_images_that_are_not_numbers(tmp_path, root):
  archive.write_by_rater(root, archive.cases())
  for key in archive.RATED:
    (root / f"images/{key}.png").unlink()
    tifffile.imwrite(root / f"images/{key}.tif", np.full((24, 20), np.nan, np.float32))
  with pytest.raises(DataError, match=r"p1_a.tif: holds values that are not finite: 480 of 480"):
    build(tmp_path, root)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("image,anna\na.png\n", "line 2: expected 2 cells"),
    ("picture,anna\na.png,b.png\n", "expected the columns image and one per rater"),
    ("image\na.png\n", "expected the columns image and one per rater"),
    ("image,anna\nmissing.png,\n", "line 2: the column 'image' names .*missing.png, which is not there"),
    ("image,anna,split\np.png,,nowhere\n", "split 'nowhere' is unknown"),
    ("image,anna,id\np.png,p.png,x\np.png,p.png,x\n", "two images are named 'x'"),
    ("image,anna\np.png,\n", "1 images, but no rater's mask"),
  ],
)
def test_manifests_that_are_wrong(tmp_path, root, text, message):
  archive.save(root / "p.png", np.zeros((24, 20), np.uint8))
  (root / "manifest.csv").write_text(text)
  with pytest.raises(DataError, match=message):
    build(tmp_path, root)


def test_a_manifest_that_cuts_a_group(tmp_path, root):
  splits = dict.fromkeys(archive.RATED, "train") | {"p1_b": "test"}
  archive.write_manifest(root, archive.cases(), groups={"p1_a": "x", "p1_b": "x"}, splits=splits)
  with pytest.raises(DataError, match="group 'x' is in the splits train and test"):
    build(tmp_path, root)


def test_a_manifest_with_half_a_column_of_splits(tmp_path, root):
  archive.write_manifest(root, archive.cases(), splits={"p1_a": "train"})
  with pytest.raises(DataError, match="has no split in the manifest, others have"):
    build(tmp_path, root)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"layout": "rater"}, "Did you mean 'raters'"),
    ({"marked": "128"}, "must be 'binary'"),
    ({"shares": "0.5,0.5"}, "must be three numbers that sum to 1"),
    ({"group_regex": "p1"}, "has no parenthesis"),
    ({"group_regex": "(p1"}, "group_regex"),
    ({"group_regex": "(q1)"}, "finds no group in 'p1_a'"),
    ({"rater_names": "anna,ben"}, "rater 'carl' is not in"),
    ({"tile_size": 3}, "tile_size=3"),
    ({"spacing": -1.0}, "spacing"),
    ({"images": "pictures", "layout": "raters"}, "pictures: there is no such folder"),
    ({"rater_pattern": "expert_*"}, r"expected one folder per rater, named expert_\*; found anna/, ben/, carl/"),
  ],
)
def test_settings_that_are_wrong(tmp_path, root, settings, message):
  archive.write_by_rater(root, archive.cases())
  with pytest.raises(DataError, match=message):
    build(tmp_path, root, **settings)


def test_too_few_groups(tmp_path, root):
  archive.write_by_rater(root, archive.cases({"a": archive.RATERS, "b": archive.RATERS}))
  with pytest.raises(DataError, match="found 2 groups"):
    build(tmp_path, root)


def test_no_folder_and_an_empty_one(tmp_path, root):
  with pytest.raises(DataError, match=r"expected images/ and raters/<rater>/ in it, .*; found nothing"):
    build(tmp_path, root)
  with pytest.raises(DataError, match="is no folder"):
    build(tmp_path, root / "not there")
  with pytest.raises(DataError, match=r"set --config\.data\.manual_dir"):
    data.get_builder("folder_raters")


def test_the_example_of_the_docs(tmp_path, root):
  run_python(
    "import sys, runpy\n"
    f"sys.argv = ['x', '--out={root}']\n"
    "runpy.run_module('data.folder_raters.example', run_name='__main__')"
  )
  found = records(build(tmp_path, root, group_regex=r"(patient\d+)_"))
  assert len(found) == 30
  valid = np.asarray([record["rater_valid"] for _, record in found.values()])
  assert valid.any(axis=0).all() and not valid.all()
  with pytest.raises(DataError, match="is not empty"):
    example.write(root)


CFOS = ROOT.parent / "shared" / "data" / "bioimage_cfos" / "train_data.lab-wue1.tar.gz"


@pytest.mark.skipif(not CFOS.exists(), reason=f"needs {CFOS.name}, which is not distributed with the project")
def test_the_cfos_set_untouched(tmp_path):
  import tarfile

  names = ["0001", "0004", "0006", "0007"]
  with tarfile.open(CFOS) as tar:
    wanted = [m for m in tar.getmembers() if pathlib.PurePath(m.name).name[:4] in names]
    tar.extractall(tmp_path / "raw", members=wanted, filter="data")
  root = tmp_path / "raw/train_data/lab-wue1"
  builder = build(
    tmp_path, root, raters="labels", rater_pattern="expert_*", mask_suffix="_cFOS", tile_size=512, shares="0.5,0,0.5"
  )
  found = records(builder)
  assert len(found) == 16 and builder.num_raters == 5
  for name in names:
    image = np.asarray(PIL.Image.open(root / f"images/{name}.png"))
    np.testing.assert_array_equal(found[f"{name}/y00512-x00000"][1]["image"][..., 0], image[512:, :512])
    for r in range(5):
      mask = np.asarray(PIL.Image.open(root / f"labels/expert_{r + 1}/{name}_cFOS.png"))[..., 0] > 0
      np.testing.assert_array_equal(found[f"{name}/y00000-x00512"][1]["rater_masks"][..., r], mask[:512, 512:])
