"""folder_raters, the doctor and prediction on pictures as cameras, microscopes and labelling tools write them."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tifffile

import data
from data import DataError
from ordseg import prediction
from ordseg.models.sliding_window import Windows
from ordseg.prediction import predictor
from tests.data.archives import folder_raters as archive
from tests.data.helpers import ROOT
from tests.data.test_folder_raters import build, records
from tests.helpers import training

CASES = pathlib.Path(os.environ.get("ORDSEG_SHARED_DATA", ROOT.parent / "shared" / "data")).parent / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there: the cases are not part of the code")
LARGE = 2**24  # float32 has every whole number up to here


def write_images(root, arrays):
  """Writes one TIFF per array, and three raters' masks, all alike."""
  made = archive.cases({f"p{k}": archive.RATERS for k in range(len(arrays))}, size=arrays[0].shape)
  archive.write_by_rater(root, made)
  for k, values in enumerate(arrays):
    (root / f"images/p{k}.png").unlink()
    tifffile.imwrite(root / f"images/p{k}.tif", values, photometric="minisblack")


def ramp(dtype, low=0, high=200):
  return np.linspace(low, high, 24 * 20).reshape(24, 20).astype(dtype)


@pytest.mark.parametrize(
  ("arrays", "dtype"),
  [
    ([ramp("u1"), ramp("u2", 0, 60000), ramp("u1")], "uint16"),
    ([ramp("u1"), ramp("i2", -900, 900), ramp("i2")], "int16"),
    ([ramp("u2"), ramp("i2"), ramp("u1")], "float32"),
    ([ramp("i2"), ramp("f4"), ramp("u1")], "float32"),
    ([ramp("i1", -100, 100)] * 3, "int16"),
    ([ramp("f2")] * 3, "float32"),
    ([ramp("f8") / 3] * 3, "float32"),
    ([ramp("i4"), ramp("i8"), ramp("u4")], "uint8"),
    ([ramp("i4", -1000, 3000), ramp("u1"), ramp("u1")], "int16"),
    ([ramp("u4", 0, 60000), ramp("u1"), ramp("u1")], "uint16"),
    ([ramp("u8", 0, LARGE), ramp("u1"), ramp("f4")], "float32"),
    ([ramp("u4", 0, 60000), ramp("i2", -5, 5), ramp("u1")], "float32"),
    ([ramp(bool)] * 3, "uint8"),
  ],
)
def test_one_type_for_all_that_loses_nothing(tmp_path, arrays, dtype):
  root = tmp_path / "set"
  write_images(root, arrays)
  builder = data.get_builder("folder_raters", data_dir=str(tmp_path / "built"), manual_dir=str(root))
  assert builder.image_dtype == builder.config.dtype == dtype
  examples = [example for split in builder.split_examples(root).values() for example in split]
  assert len(examples) == len(arrays)
  for example in examples:
    values = arrays[int(example["id"][1:])]
    np.testing.assert_allclose(example["image"][..., 0], values.astype(np.float64), rtol=1e-6 * (dtype == "float32"))
    assert example["image"].dtype == dtype


def test_the_type_is_recorded_with_the_data_set(tmp_path):
  root = tmp_path / "set"
  write_images(root, [ramp("u1"), ramp("i2", -900, 900), ramp("i2")])
  builder = build(tmp_path, root)
  assert data.info(builder)["settings"]["dtype"] == "int16"
  assert {record["image"].dtype for _, record in records(builder).values()} == {np.dtype(np.int16)}


def test_whole_numbers_that_no_type_of_records_holds(tmp_path):
  root = tmp_path / "set"
  write_images(root, [ramp("u1"), ramp("i4", 0, LARGE + 1), ramp("u1")])
  with pytest.raises(DataError, match=r"p1.tif: holds whole numbers from 0 to 16777217 .*exact up to 16,777,216 alone"):
    build(tmp_path, root)


def test_a_type_that_was_asked_for_must_hold_the_values(tmp_path):
  root = tmp_path / "set"
  write_images(root, [ramp("u1"), ramp("u2", 0, 300), ramp("u1")])
  with pytest.raises(DataError, match=r"p1.tif: values of type uint16, 0 to 300, do not fit the uint8"):
    build(tmp_path, root, dtype="uint8")
  assert build(tmp_path, root, dtype="float32").image_dtype == np.float32


def test_values_that_are_no_numbers_are_counted(tmp_path):
  root, broken = tmp_path / "set", ramp("f4")
  broken[3, 4:9] = np.nan
  write_images(root, [ramp("f4"), broken, ramp("f4")])
  with pytest.raises(DataError, match=r"p1.tif: holds values that are not finite: 5 of 480"):
    build(tmp_path, root)


def test_the_setting_that_names_a_colour(tmp_path):
  root = tmp_path / "set"
  made = archive.cases()
  archive.write_by_rater(root, made)
  for key, (_, masks) in made.items():
    for rater, mask in masks.items():
      archive.save(
        root / f"raters/{rater}/{key}.png", np.where(mask[..., None], (255, 0, 0), (255, 255, 255)).astype("u1")
      )
  message = r"marked='==#ffffff' or --config.data.builder_args.marked='==#ff0000' \(ordseg check: --set='marked=="
  with pytest.raises(DataError, match=message):
    build(tmp_path, root)
  for key, (_, record) in records(build(tmp_path, root, marked="==#ff0000")).items():
    for r, rater in enumerate(archive.RATERS):
      np.testing.assert_array_equal(record["rater_masks"][..., r], made[key][1].get(rater, np.zeros((24, 20))))


# --- The cases of ../shared/cases, each with the value that its docstring calls right.


def make_case(name, out):
  (script,) = CASES.glob(f"{name}_*.py")
  subprocess.run([sys.executable, str(script), str(out)], check=True, capture_output=True)
  return out


def arrays(found, name):
  return np.stack([record[name] for _, record in found.values()])


@needs_cases
def test_case_02_bit_depth(tmp_path):
  images = arrays(records(build(tmp_path, make_case("02", tmp_path / "set"))), "image")
  assert images.dtype == np.uint16 and images.shape[-1] == 3 and images.min() == 0 and images.max() == 4095
  assert len(np.unique(images)) > 3900


@needs_cases
@pytest.mark.parametrize("colour", ["white", "black"])
def test_case_03_marks_in_alpha(tmp_path, colour):
  masks = arrays(records(build(tmp_path, make_case("03", tmp_path / "set") / colour)), "rater_masks")
  assert masks[:, 8:24, 10:26].all() and masks.mean() == 0.2


@needs_cases
def test_case_04_white_is_zero(tmp_path):
  found = records(build(tmp_path, make_case("04", tmp_path / "set")))
  images, masks = arrays(found, "image"), arrays(found, "rater_masks")
  assert images.max() == 99 and images.min() == 0
  np.testing.assert_allclose(masks.mean((0, 1, 2)), [195 / 1280, 192 / 1280])


@needs_cases
@pytest.mark.parametrize(("name", "count"), [("two", 2), ("four", 4), ("five", 5)])
def test_case_05_channels(tmp_path, name, count):
  images = arrays(records(build(tmp_path, make_case("05", tmp_path / "set") / name)), "image")
  assert images.shape[-1] == count and (images[..., -1] == 60000).all() and images[..., :-1].max() < 4000


@needs_cases
def test_case_06_cut_stacks(tmp_path):
  with pytest.raises(DataError, match=r"s2.tif: cannot be read as an image, the TIFF may be damaged or cut short"):
    build(tmp_path, make_case("06", tmp_path / "set") / "set")


@needs_cases
def test_case_07_orientation(tmp_path):
  found = records(build(tmp_path, make_case("07", tmp_path / "set") / "exif90"))
  images, masks = arrays(found, "image"), arrays(found, "rater_masks")
  np.testing.assert_array_equal(images > 100, masks[..., :1] == 1)


@needs_cases
def test_case_17_types(tmp_path):
  root = make_case("17", tmp_path / "set")
  types = {"float64": np.float32, "mixed": np.float32, "int8": np.int16, "pgm16": np.uint16}
  for name in ("int32", "int64", "float64", "int8", "uint32", "mixed", "pgm16"):
    builder = data.get_builder("folder_raters", data_dir=str(tmp_path / "built"), manual_dir=str(root / name))
    examples = [example for split in builder.split_examples(root / name).values() for example in split]
    images = np.stack([example["image"] for example in examples])
    assert images.dtype == types.get(name, np.uint8), name
    assert images.min() == 0 and images.max() == 99 * (40 if name == "pgm16" else 1), name


@needs_cases
@pytest.mark.parametrize("name", ["palette", "red"])
def test_case_18_colours(tmp_path, name):
  root = make_case("18", tmp_path / "set") / name
  for key, (_, record) in records(build(tmp_path, root)).items():
    for r, rater in enumerate("ab"):
      shown = np.asarray(PIL.Image.open(root / f"raters/{rater}/{key}.png").convert("RGB"))
      np.testing.assert_array_equal(record["rater_masks"][..., r], shown[..., 0] > 0)


# --- Prediction


def quiet(line):
  del line


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
  return predictor.load([training.small_run(tmp_path_factory.mktemp("run"))], predictor.PredictOptions(step="last"))


def test_prediction_of_turned_doubled_and_cut_pictures(tmp_path, loaded):
  upright = np.zeros((32, 40), np.uint8)
  upright[4:12, 4:14] = 200
  exif = PIL.Image.Exif()
  exif[274] = 6
  turned = PIL.Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
  turned.save(tmp_path / "turned.png", exif=exif)
  archive.save(tmp_path / "upright.png", upright)
  turned.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[turned])
  for name, dtype in (("wide", np.int64), ("half", np.float16)):
    tifffile.imwrite(tmp_path / f"{name}.tif", upright.astype(dtype))
  tifffile.imwrite(tmp_path / "cut.tif", np.stack([upright] * 6), photometric="minisblack", compression="lzw")
  (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:900])
  options = prediction.OutputOptions(windows=Windows(size=0), maps="mean_vote")
  inputs = prediction.find_inputs(str(tmp_path))
  rows = prediction.predict_files(loaded, inputs, tmp_path / "out", options, say=quiet)
  status = {pathlib.Path(row["file"]).stem: row["status"] for row in rows}
  assert status == {"turned": "ok", "upright": "ok", "phone": "ok", "wide": "ok", "half": "ok", "cut": "failed"}
  (failed,) = [row["message"] for row in rows if row["status"] == "failed"]
  assert "cut short" in failed and "\n" not in failed
  want = np.asarray(PIL.Image.open(tmp_path / "out/upright_mean_vote.png"))
  np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "out/turned_mean_vote.png")), want)
  overlays = [np.asarray(PIL.Image.open(tmp_path / f"out/{name}_overlay.png")) for name in ("upright", "turned")]
  np.testing.assert_array_equal(*overlays)
  for name in ("wide", "half"):
    np.testing.assert_allclose(tifffile.imread(tmp_path / f"out/{name}_mean_vote.tif") * 65535, want, atol=2)
