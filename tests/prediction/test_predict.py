"""Prediction of files: formats, geometry, sizes, bad input, and the program itself."""

import csv
import pathlib
import re
import shutil

import nibabel
import numpy as np
import PIL.Image
import pydicom.uid
import pytest
import tifffile

from ordseg import prediction, records
from ordseg.cli.predict import main
from ordseg.errors import InputError
from ordseg.image_io import read, writing
from ordseg.input_pipeline import preprocess
from ordseg.models import sliding_window
from ordseg.models.sliding_window import Windows
from ordseg.prediction import maps, measures, overlay, predictor
from tests.helpers import training
from tests.image_io.test_image_io import write_dicom

RATERS = training.NUM_RATERS
MAP = maps.get_maps("all", RATERS)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return training.small_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def loaded(workdir):
  return predictor.load([workdir], predictor.PredictOptions(step="last"))


def picture(height=37, width=45, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def expected(loaded, page):
  """[H, W, L] of a page [H, W], all at once."""
  prepared = preprocess.prepare_image(page[..., None], loaded.run.config.preprocess)
  return loaded.predict(prepared[None])[0]


def quiet(line):
  del line


def run_one(loaded, path, tmp_path, **options):
  settings = {"windows": Windows(size=0), "overlay": False} | options
  rows = prediction.predict_files(
    loaded, {"x": path}, tmp_path / "out", prediction.OutputOptions(**settings), say=quiet
  )
  return rows[0], tmp_path / "out"


# --- Maps


def distribution(*shape, seed=0):
  return np.random.default_rng(seed).dirichlet(np.ones(RATERS + 1), shape).astype(np.float32)


def test_maps_by_their_definition():
  p = distribution(5, 4)
  k = np.arange(RATERS + 1)
  np.testing.assert_allclose(MAP["mean_vote"](p), p @ k / RATERS, rtol=1e-5)
  np.testing.assert_allclose(MAP["majority"](p), p[..., 2:].sum(-1), rtol=1e-5)
  np.testing.assert_allclose(MAP["at_least_1"](p), 1 - p[..., 0], rtol=1e-5)
  np.testing.assert_allclose(maps.entropy(p), -(p * np.log(p)).sum(-1) / np.log(RATERS + 1), rtol=1e-5)
  pairs = [(a, b) for a in range(RATERS) for b in range(RATERS) if a != b]
  differ = np.asarray([np.mean([(a < level) != (b < level) for a, b in pairs]) for level in k])
  np.testing.assert_allclose(maps.disagreement(p), p @ differ, rtol=1e-5)
  certain = np.zeros((1, RATERS + 1), np.float32)
  certain[0, 2] = 1
  assert maps.entropy(certain)[0] == 0 and maps.mask(certain)[0] == 1


def test_the_names_of_maps():
  assert list(maps.get_maps("mask,at_least_3", RATERS)) == ["mask", "at_least_3"]
  assert {"at_least_1", "entropy", "mean_vote"} < set(maps.get_maps("all", RATERS))
  with pytest.raises(InputError, match=r"--maps: 'at_least_4' is unknown. Did you mean"):
    maps.get_maps("at_least_4", RATERS)
  with pytest.raises(InputError, match="--maps is empty"):
    maps.get_maps(" ", RATERS)


def test_sizes_are_ordered_and_in_units():
  extent = measures.Extent()
  p = distribution(40, 30)
  extent.add(p[:11])
  extent.add(p[11:])
  found = extent.measures((0, 0.5, 0.25), 1)
  assert found["unit"] == "mm2" and found["size_low"] <= found["size"] <= found["size_high"]
  np.testing.assert_allclose(found["size"], (MAP["majority"](p) >= 0.5).sum() * 0.125)
  np.testing.assert_allclose(found["size_expected"], MAP["mean_vote"](p).sum() * 0.125, rtol=1e-5)
  assert extent.measures((2.0, 0.5, 0.25), 8)["unit"] == "ml"
  assert extent.measures((0.0, 0.5, 0.25), 8)["unit"] == "pixels"


def test_overlay_has_a_legend_and_an_outline():
  mask = np.zeros((300, 280), np.uint8)
  mask[50:90, 50:90] = 1
  drawn = np.asarray(overlay.draw(picture(300, 280)[..., None], mask * np.float32(0.9), mask))
  assert drawn.shape[0] > 300 and drawn.shape[1] == 280
  assert (drawn[50, 50:90] == 255).all() and not (drawn[60:80, 60:80] == 255).all(-1).any()


# --- Formats


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_pictures_give_16_bit_png(loaded, tmp_path, name):
  path = tmp_path / name
  PIL.Image.fromarray(picture()).save(path)
  row, out = run_one(loaded, path, tmp_path, maps="mean_vote,mask")
  p = expected(loaded, np.asarray(PIL.Image.open(path)))
  stored = np.asarray(PIL.Image.open(out / "x_mean_vote.png"))
  assert stored.dtype == np.uint16
  np.testing.assert_allclose(stored / 65535, MAP["mean_vote"](p), atol=1e-4)
  np.testing.assert_array_equal(np.asarray(PIL.Image.open(out / "x_mask.png")), maps.mask(p) * 255)
  assert (row["status"], row["height"], row["width"], row["unit"]) == ("ok", 37, 45, "pixels")
  assert sorted(path.name for path in out.iterdir()) == ["summary.csv", "x_mask.png", "x_mean_vote.png"]


@pytest.mark.parametrize("precision", ["float32", "uint16"])
def test_pages_of_a_tiff_keep_their_order(loaded, tmp_path, precision):
  pages = np.stack([picture(seed=s) for s in range(3)])
  tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
  row, out = run_one(loaded, tmp_path / "a.tif", tmp_path, maps="majority,mask", precision=precision)
  stored = tifffile.imread(out / "x_majority.tif")
  assert stored.dtype == precision and stored.shape == (3, 37, 45) and row["pages"] == 3
  for z in range(3):
    want = MAP["majority"](expected(loaded, pages[z]))
    np.testing.assert_allclose(stored[z] / (65535 if precision == "uint16" else 1), want, atol=1e-4)
  assert set(np.unique(tifffile.imread(out / "x_mask.tif"))) <= {0, 1}


AFFINES = {
  "straight": np.diag([0.5, 0.75, 2.0, 1.0]),
  "left, back": np.asarray([[-0.5, 0, 0, 9], [0, -0.75, 0, -7], [0, 0, 2, 3], [0, 0, 0, 1.0]]),
  "turned": np.asarray([[0, 0, 2, 1], [0.5, 0, 0, 2], [0, -0.75, 0, 3], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_nifti_maps_lie_where_the_image_lies(loaded, tmp_path, affine):
  volume = np.random.default_rng(0).integers(0, 256, (21, 17, 3)).astype(np.int16)  # x, y, z
  nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / "a.nii.gz")
  row, out = run_one(loaded, tmp_path / "a.nii.gz", tmp_path, maps="mean_vote")
  stored = nibabel.load(out / "x_mean_vote.nii.gz")
  np.testing.assert_allclose(stored.affine, affine)
  assert stored.shape == (21, 17, 3) and stored.get_data_dtype() == np.float32
  for z in range(3):
    want = MAP["mean_vote"](expected(loaded, volume[..., z].T))
    np.testing.assert_allclose(np.asarray(stored.dataobj)[..., z].T, want, atol=1e-5)
  assert row["unit"] == "ml" and "spacing" not in row["message"]


ORIENTATIONS = {
  "axial": (1, 0, 0, 0, 1, 0),
  "sagittal": (0, 1, 0, 0, 0, -1),
  "coronal": (1, 0, 0, 0, 0, -1),
  "oblique": (0.8, 0.6, 0, 0, 0, -1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_a_dicom_series_gives_nifti_at_the_same_place(loaded, tmp_path, orientation):
  sitk = pytest.importorskip("SimpleITK")
  series = tmp_path / "series"
  normal = np.cross(orientation[:3], orientation[3:])
  uid = pydicom.uid.generate_uid()
  pages = np.random.default_rng(0).integers(0, 256, (4, 13, 19)).astype(np.int16)
  for z in range(4):
    path = series / f"{9 - z}.dcm"
    write_dicom(path, pages[z], z=0.0, series=uid, orientation=orientation)
    data = pydicom.dcmread(path)
    data.ImagePositionPatient = [float(x) for x in np.asarray([5.0, -3.0, 7.0]) + 2.5 * z * normal]
    data.save_as(path)
  _, out = run_one(loaded, series, tmp_path, maps="mean_vote")
  written = sitk.ReadImage(str(out / "x_mean_vote.nii.gz"))
  reader = sitk.ImageSeriesReader()
  reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
  original = reader.Execute()
  assert written.GetSize() == original.GetSize()
  for voxel in ((0, 0, 0), (18, 0, 0), (0, 12, 0), (0, 0, 3), (7, 5, 2)):
    here, there = (image.TransformIndexToPhysicalPoint(voxel) for image in (written, original))
    np.testing.assert_allclose(here, there, atol=1e-3)
  values = sitk.GetArrayFromImage(written)
  for z, page in enumerate(sitk.GetArrayFromImage(original)):
    np.testing.assert_allclose(values[z], MAP["mean_vote"](expected(loaded, page)), atol=1e-5)


def test_a_grey_picture_stored_as_colour(loaded, tmp_path):
  PIL.Image.fromarray(np.repeat(picture()[..., None], 3, -1)).save(tmp_path / "a.png")
  row, out = run_one(loaded, tmp_path / "a.png", tmp_path, maps="mean_vote")
  assert row["status"] == "ok" and (out / "x_mean_vote.png").exists()


def test_large_pages_stay_on_disk_and_change_nothing(loaded, tmp_path, monkeypatch):
  tifffile.imwrite(tmp_path / "a.tif", picture(90, 70))
  windows = Windows(size=32, overlap=0.25)
  _, small = run_one(loaded, tmp_path / "a.tif", tmp_path / "1", windows=windows)
  monkeypatch.setattr(prediction.files, "LARGE_PIXELS", 100)
  _, large = run_one(loaded, tmp_path / "a.tif", tmp_path / "2", windows=windows)
  for name in ("mean_vote", "majority", "mask"):
    np.testing.assert_array_equal(
      tifffile.imread(large / f"x_{name}.tif"), tifffile.imread(small / f"x_{name}.tif"), err_msg=name
    )
  page = picture(90, 70)
  prepared = preprocess.prepare_image(page[..., None], loaded.run.config.preprocess)
  want = sliding_window.predict_image(loaded.predict, prepared, windows)
  np.testing.assert_allclose(tifffile.imread(large / "x_mean_vote.tif"), MAP["mean_vote"](want), atol=1e-5)


# --- Which files


def test_which_files(tmp_path):
  for name in ("b.png", "a.nii.gz", "deep/c.tif", "deep/.hidden.png", "notes.txt", "s1/1.dcm", "s1/2.dcm"):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
  assert prediction.find_inputs(str(tmp_path)) == {
    "a": tmp_path / "a.nii.gz",
    "b": tmp_path / "b.png",
    "deep/c": tmp_path / "deep/c.tif",
    "s1": tmp_path / "s1",
  }
  assert prediction.find_inputs(str(tmp_path / "s1")) == {"s1": tmp_path / "s1"}
  assert list(prediction.find_inputs(str(tmp_path / "*.png")).values()) == [tmp_path / "b.png"]
  (tmp_path / "b.tif").write_bytes(b"")
  assert sorted(prediction.find_inputs(str(tmp_path / "b.*"))) == ["b", "b.tif"]
  for nothing, said in (("*.gif", r"there is no image. Known formats: .png"), ("none.png", "no such file or folder")):
    with pytest.raises(InputError, match=said):
      prediction.find_inputs(str(tmp_path / nothing))


# --- Bad input


def test_one_bad_file_does_not_stop_the_others(loaded, tmp_path):
  folder = tmp_path / "in"
  folder.mkdir()
  PIL.Image.fromarray(picture()).save(folder / "good.png")
  PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)).save(folder / "colour.png")
  (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:80])
  tifffile.imwrite(folder / "nan.tif", np.full((8, 8), np.nan, np.float32))
  rows = prediction.predict_files(
    loaded, prediction.find_inputs(str(folder)), tmp_path / "out", prediction.OutputOptions(overlay=False), say=quiet
  )
  status = {pathlib.Path(row["file"]).name: (row["status"], row["message"]) for row in rows}
  assert status["good.png"] == ("ok", "")
  assert status["colour.png"][0] == "failed"
  assert "has 3 channels; the network was trained on images of 1" in status["colour.png"][1]
  assert "the PNG is cut short" in status["cut.png"][1]
  assert "nan.tif: image holds 64 values that are NaN" in status["nan.tif"][1]
  written = list(csv.DictReader((tmp_path / "out/summary.csv").open()))
  assert [row["status"] for row in written] == [row["status"] for row in rows]
  assert not list((tmp_path / "out").glob(".part*")) and not (tmp_path / "out/nan_mask.tif").exists()


def test_other_types_and_spacings_are_said(loaded, tmp_path):
  assert loaded.run.image_info == {"dtype": "uint8", "spacing": [1.0, 1.0]}
  nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 1), np.int16), np.diag([0.5, 0.5, 1, 1])), tmp_path / "a.nii.gz")
  row, _ = run_one(loaded, tmp_path / "a.nii.gz", tmp_path)
  assert row["message"] == (
    "warning: values are int16, in training uint8; pixels are 0.5 x 0.5 mm, in training 1 x 1 mm"
  )


def test_an_output_that_is_a_file(loaded, tmp_path):
  (tmp_path / "out").write_text("")
  with pytest.raises(InputError, match="out: cannot be made"):
    prediction.predict_files(loaded, {}, tmp_path / "out", prediction.OutputOptions())


def test_a_workdir_of_a_newer_version(workdir, tmp_path):
  newer = shutil.copytree(workdir, tmp_path / "newer")
  info = records.read_json(newer / "config.json")
  records.write_json(newer / "config.json", {**info, "versions": {"ordseg": "9"}})
  with pytest.raises(InputError, match=r"newer was made by ordseg 9.*; this is .*Update it"):
    predictor.load([newer], predictor.PredictOptions())


def test_ways_of_predicting(workdir, loaded):
  images = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)
  plain = loaded.predict(images)
  twice = predictor.load([workdir, workdir], predictor.PredictOptions(step="last")).predict(images)
  np.testing.assert_allclose(twice, plain, atol=1e-6)
  flipped = predictor.load([workdir], predictor.PredictOptions(step="last", flips=True)).predict(images)
  assert not np.allclose(flipped, plain, atol=1e-6)
  np.testing.assert_allclose(flipped.sum(-1), 1, atol=1e-5)
  sampled = predictor.load([workdir], predictor.PredictOptions(step="last", dropout_samples=2)).predict(images)
  assert not np.allclose(sampled, plain, atol=1e-6)
  np.testing.assert_allclose(sampled.sum(-1), 1, atol=1e-5)
  assert predictor.PredictOptions(flips=True, dropout_samples=4).label(3) == "-ensemble3-flips-dropout4"


# --- The program


def run_main(capsys, *args):
  with pytest.raises(SystemExit) as stopped:
    main([str(arg) for arg in args])
  out = capsys.readouterr()
  return stopped.value.code, out.out, out.err


def test_the_program(workdir, tmp_path, capsys):
  folder = tmp_path / "in"
  folder.mkdir()
  PIL.Image.fromarray(picture()).save(folder / "a.png")
  common = (f"--workdir={workdir}", f"--output={tmp_path / 'out'}", "--step=last", "--window=32")
  code, out, _ = run_main(capsys, *common, f"--input={folder}")
  assert code == 0 and "1 of 1 done" in out and "1/1 a: ok" in out
  assert {path.name for path in (tmp_path / "out").iterdir()} == {
    *(f"a_{name}.png" for name in ("mean_vote", "majority", "mask", "overlay")),
    "summary.csv",
  }
  (folder / "b.png").write_bytes(b"no picture")
  code, out, _ = run_main(capsys, *common, f"--input={folder}", "--flips")
  assert code == 1 and "1 of 2 done" in out and "b: failed" in out


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--input=nowhere.png"], "error: --input=nowhere.png: there is no such file or folder."),
    (["--input={png}", "--maps=mean"], "error: --maps: 'mean' is unknown"),
    (["--input={png}", "--step=7"], "error: .*7"),
    (["--input={png}", "--overlap=1"], "error: overlap=1.0 must be in"),
    (["--input={png}", "--workdir=nowhere"], "error: nowhere holds no run"),
  ],
)
def test_a_wrong_command_gets_one_line(workdir, tmp_path, capsys, args, message):
  PIL.Image.fromarray(picture()).save(tmp_path / "a.png")
  given = [arg.format(png=tmp_path / "a.png") for arg in args]
  code, _, err = run_main(capsys, f"--workdir={workdir}", f"--output={tmp_path / 'out'}", *given)
  assert code == 2 and len(err.strip().splitlines()) == 1
  assert re.search(message, err), err


def test_maps_of_unknown_places_say_so(tmp_path):
  write_dicom(tmp_path / "a.dcm", np.zeros((4, 5), np.int16))
  data = pydicom.dcmread(tmp_path / "a.dcm")
  del data.ImageOrientationPatient
  data.save_as(tmp_path / "a.dcm")
  image = read(tmp_path / "a.dcm")
  assert image.affine is None and image.spacing == (0, 0.5, 0.25) and "place in space is unknown" in image.notes[0]
  writing.write_map(tmp_path / "a.nii.gz", np.zeros((1, 4, 5), np.float32), image)
  header = nibabel.load(tmp_path / "a.nii.gz").header
  assert (header["sform_code"], header["qform_code"], header.get_zooms()[:2]) == (0, 0, (0.25, 0.5))


# --- From Python


def test_the_lines_of_the_docs_predict_an_array(workdir):
  text = (pathlib.Path(__file__).parents[2] / "docs" / "predict.md").read_text()
  (code,) = re.findall(r"```python\n(.+?)```", text, flags=re.S)
  assert '"runs/mine"' in code
  names = {"image": picture()}
  exec(code.replace('"runs/mine"', f"{str(workdir)!r}"), names)
  best = predictor.load([workdir], predictor.PredictOptions())
  np.testing.assert_allclose(names["level_probs"], expected(best, picture()), atol=1e-6)
  np.testing.assert_allclose(names["share"], names["level_probs"] @ (np.arange(RATERS + 1) / RATERS), atol=1e-6)


def test_an_array_that_does_not_fit_the_run_is_refused(loaded):
  for shape in ((8,), (8, 8, 3), (2, 8, 8, 1)):
    with pytest.raises(InputError, match=rf"image of shape {re.escape(str(shape))}: the run in .* takes \[H, W, 1\]"):
      loaded(np.zeros(shape, np.uint8))
  with pytest.raises(InputError, match="NaN or infinite"):
    loaded(np.full((8, 8), np.nan))
