"""Prediction takes what a folder holds: images alone, whatever their names; no file, and no killed run, stops it."""

import csv
import dataclasses
import errno
import os
import pathlib
import signal
import subprocess
import sys

import nibabel
import numpy as np
import PIL.Image
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordseg import files, image_io, prediction
from ordseg.image_io import ImageFile, writing
from ordseg.models.sliding_window import Windows
from ordseg.prediction import overlay, predictor, summary
from tests.helpers import training
from tests.image_io.test_image_io import write_dicom

ROOT = pathlib.Path(__file__).parent.parent.parent
CASES = pathlib.Path(os.environ.get("ORDSEG_SHARED_DATA", ROOT.parent / "shared" / "data")).parent / "cases"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return training.small_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def loaded(workdir):
  return predictor.load([workdir], predictor.PredictOptions(step="last"))


def save(path, seed=0, shape=(17, 19)):
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


def run(loaded, folder, out, *, said=None, **options):
  settings = {"windows": Windows(size=0), "overlay": False, "maps": "mean_vote"} | options
  lines = said if said is not None else []
  inputs = prediction.find_inputs(str(folder), say=lines.append)
  rows = prediction.predict_files(loaded, inputs, out, prediction.OutputOptions(**settings), say=lines.append)
  written = list(csv.DictReader((out / "summary.csv").open()))
  assert [row["status"] for row in written] == [row["status"] for row in rows]
  return dict(zip(inputs, rows, strict=True))


def cases(name, out):
  script = next(CASES.glob(f"{name}_*.py"), None) if CASES.is_dir() else None
  if script is None:
    pytest.skip(f"needs {CASES}, which is not distributed with the project")
  environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
  subprocess.run([sys.executable, script, out], check=True, cwd=CASES, env=environment)
  return out


# --- Which files


def test_dicom_without_names_and_pictures_in_one_folder(loaded, tmp_path):
  folder = cases("13", tmp_path / "in")
  rows = run(loaded, folder, tmp_path / "out")
  assert list(rows) == ["ima", "noext", "xrays/x0", "xrays/x1", "xrays/x2", "xrays/x3"]
  assert {row["status"] for row in rows.values()} == {"ok"}
  assert [row["pages"] for row in rows.values()] == [5, 5, 1, 1, 1, 1]
  assert len(list((tmp_path / "out/xrays").glob("x?_mean_vote.nii.gz"))) == 4
  for name, count in (("noext", 1), ("ima", 1), ("xrays", 4), ("noext/IM0003", 1), ("xrays/*.dcm", 4), ("*", 6)):
    assert len(prediction.find_inputs(str(folder / name))) == count


def test_each_series_of_a_folder_is_predicted(loaded, tmp_path):
  for series in (1, 2):
    for z in range(2 + series):
      write_dicom(tmp_path / f"in/IM{series}{z}", np.full((9, 8), z), z=2.0 * z, series=f"1.2.{series}")
      data = pydicom.dcmread(tmp_path / f"in/IM{series}{z}")
      data.SeriesNumber = 10 + series
      data.save_as(tmp_path / f"in/IM{series}{z}")
  rows = run(loaded, tmp_path / "in", tmp_path / "out")
  assert {name: row["pages"] for name, row in rows.items()} == {"series-11": 3, "series-12": 4}
  assert nibabel.load(tmp_path / "out/series-12_mean_vote.nii.gz").shape == (8, 9, 4)
  assert list(prediction.find_inputs(str(tmp_path / "in/1.2.2"))) == ["1.2.2"]


@pytest.mark.parametrize("layout", ["raters", "several", "cases", "bids"])
def test_masks_are_not_predicted(loaded, tmp_path, layout):
  names = {
    "raters": ("images/a.png", "images/deep/b.png", "raters/anna/a.png", "raters/ben/deep/b.png"),
    "several": ("lab1/images/a.png", "lab2/images/a.png", "lab1/raters/x/a.png", "lab2/raters/x/a.png"),
    "cases": ("c1/image.png", "c2/Image.png", "c1/rater1.png", "c2/label_annot_1.png"),
    "bids": ("sub-1/anat/sub-1_T2w.png", "sub-2/sub-2_T2w.png", "derivatives/x/sub-1/a_mask.png", "sub-1/a_mask.png"),
  }[layout]
  for name in names:
    save(tmp_path / "in" / name)
  (tmp_path / "in" / "readme.txt").write_text("x")
  said = []
  rows = run(loaded, tmp_path / "in", tmp_path / "out", said=said)
  assert sorted(pathlib.Path(row["file"]).relative_to(tmp_path / "in").as_posix() for row in rows.values()) == sorted(
    names[:2]
  )
  assert any("2 images, 2 others are taken for masks and not predicted" in line for line in said)
  assert "no images, left out: readme.txt" in said
  alone = (tmp_path / "in" / names[2]).parent
  assert len(prediction.find_inputs(str(alone / "*.png"))) >= 1  # named by themselves they are images


def test_dicom_output_of_a_picture_is_told(loaded, tmp_path):
  save(tmp_path / "a.png")
  (row,) = run(loaded, tmp_path / "a.png", tmp_path / "out", dicom=True).values()
  assert (row["status"], row["message"]) == ("ok", "no DICOM image: --dicom adds nothing")


# --- No file stops the others


def test_odd_geometry_fails_alone(loaded, tmp_path):
  rows = run(loaded, cases("12", tmp_path / "in"), tmp_path / "out")
  assert list(rows) == ["a_emptyspacing", "b_nospacing", "z_good"]
  assert rows["z_good"]["status"] == "ok" and (tmp_path / "out/z_good_mean_vote.nii.gz").exists()
  for row in rows.values():
    assert "\n" not in row["message"] and (
      row["status"] == "ok" or "dcm" in row["message"] or "spacing" in row["message"]
    )


@pytest.mark.parametrize("affine", ["nan", "singular", "zero", "infinite"])
def test_strange_affines_fail_alone(loaded, tmp_path, affine):
  for name in ("a", "b", "c"):
    (tmp_path / "in").mkdir(exist_ok=True)
    nibabel.save(
      nibabel.Nifti1Image(np.zeros((8, 9, 2), np.int16), np.diag([1.0, 1, 1, 1])), tmp_path / f"in/{name}.nii"
    )
  raw = bytearray((tmp_path / "in/b.nii").read_bytes())
  rows = {
    "nan": np.full((3, 4), np.nan, "<f4"),
    "singular": np.tile(np.asarray([1, 0, 0, 0], "<f4"), (3, 1)),
    "zero": np.zeros((3, 4), "<f4"),
    "infinite": np.full((3, 4), np.inf, "<f4"),
  }
  raw[280:328] = rows[affine].tobytes()  # srow_x, srow_y, srow_z of NIfTI-1
  raw[76:80] = np.asarray(0, "<f4").tobytes()  # qfac
  (tmp_path / "in/b.nii").write_bytes(bytes(raw))
  found = run(loaded, tmp_path / "in", tmp_path / "out")
  assert (found["a"]["status"], found["c"]["status"]) == ("ok", "ok")
  assert found["b"]["status"] == "ok" or "b.nii" in found["b"]["message"]
  if found["b"]["status"] == "ok":
    assert np.isfinite(nibabel.load(tmp_path / "out/b_mean_vote.nii.gz").affine).all()


@pytest.mark.parametrize(
  ("error", "message"),
  [
    (MemoryError(), "not enough memory; a smaller --window"),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "not enough memory; a smaller --window"),
    (KeyError("PixelData"), "cannot be predicted (KeyError: 'PixelData')"),
    (OSError(errno.EIO, "Input/output error"), "cannot be predicted (OSError: [Errno 5] Input/output error)"),
    (ValueError("two\nlines"), "cannot be predicted (ValueError: two lines)"),
    (RecursionError(), "cannot be predicted (RecursionError: without a word)"),
  ],
)
@pytest.mark.parametrize("where", ["read", "write"])
def test_any_error_of_a_library_fails_alone(loaded, tmp_path, monkeypatch, error, message, where):
  for name in "abc":
    save(tmp_path / f"in/{name}.png")
  real = {"read": image_io.read, "write": writing.write_map}[where]

  def broken(path, *args, **kwargs):
    if path.name.startswith("b"):
      raise error
    return real(path, *args, **kwargs)

  monkeypatch.setattr(*{"read": (image_io, "read"), "write": (writing, "write_map")}[where], broken)
  rows = run(loaded, tmp_path / "in", tmp_path / "out", maps="mean_vote,mask")
  assert [row["status"] for row in rows.values()] == ["ok", "failed", "ok"]
  assert rows["b"]["message"] == f"{tmp_path / 'in/b.png'}: {message}" or message in rows["b"]["message"]
  assert not list((tmp_path / "out").glob("b*")) and not list((tmp_path / "out").glob(".*"))


def test_maps_appear_together_or_not_at_all(loaded, tmp_path, monkeypatch):
  save(tmp_path / "in/a.png")
  run(loaded, tmp_path / "in", tmp_path / "out", maps="all", overlay=True)
  before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("a_*")}
  assert len(before) == 9
  save(tmp_path / "in/a.png", seed=1)
  monkeypatch.setattr(overlay, "draw", None)
  rows = run(loaded, tmp_path / "in", tmp_path / "out", maps="all", overlay=True)
  assert rows["a"]["status"] == "failed"
  assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("a_*")} == before


def test_notes_of_the_reader_and_warnings_are_in_the_message(loaded, tmp_path, monkeypatch):
  save(tmp_path / "a.png")
  real = image_io.read

  def noted(path, **kwargs):
    return dataclasses.replace(real(path, **kwargs), notes=("turned upright", "2 of 3"))

  monkeypatch.setattr(image_io, "read", noted)
  said = []
  (row,) = run(loaded, tmp_path / "a.png", tmp_path / "out", said=said).values()
  assert row["message"] == "turned upright; 2 of 3"
  assert next(csv.DictReader((tmp_path / "out/summary.csv").open()))["message"] == row["message"]
  assert said[-1].startswith("1/1 a: ok, ") and said[-1].endswith(" pixels (" + said[-1].partition(" pixels (")[2])
  assert "turned upright" in said[-1] and " pixels (" in said[-1]


# --- The place for the maps


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_ends_the_run_in_one_line(loaded, tmp_path, monkeypatch, code):
  for name in "abc":
    save(tmp_path / f"in/{name}.png")
  real = writing.write_map

  def full(path, *args, **kwargs):
    if path.name.startswith("b"):
      try:
        raise OSError(code, os.strerror(code))
      except OSError as error:
        raise image_io.reading.InputError(f"{path}: cannot be written") from error
    return real(path, *args, **kwargs)

  monkeypatch.setattr(writing, "write_map", full)
  with pytest.raises(image_io.reading.InputError, match=f"the maps of b cannot be written .{os.strerror(code)}"):
    run(loaded, tmp_path / "in", tmp_path / "out")
  rows = list(csv.DictReader((tmp_path / "out/summary.csv").open()))
  assert [row["status"] for row in rows] == ["ok"]


def test_leftovers_go_unless_somebody_is_at_work(loaded, tmp_path):
  save(tmp_path / "in/a.png")
  save(tmp_path / "in/deep/b.png")
  out = tmp_path / "out"
  killed = [out / ".part-0a1b2c3d-scratch/0/mean_vote", out / "deep/.part-0a1b2c3d-a_mask.png"]
  others = [out / ".hidden", out / "part-1", out / "deep/.partial", out / ".part-notes"]
  for path in (*killed, *others):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
  with files.scratch(out) as at_work:
    run(loaded, tmp_path / "in", out)
    assert at_work.exists() and not any(path.exists() for path in killed) and all(path.exists() for path in others)


def test_an_interrupted_loop_leaves_a_whole_summary(loaded, tmp_path, monkeypatch):
  for name in "abc":
    save(tmp_path / f"in/{name}.png")
  real = writing.write_map

  def interrupted(path, *args, **kwargs):
    if path.name.startswith("b"):
      raise KeyboardInterrupt
    return real(path, *args, **kwargs)

  monkeypatch.setattr(writing, "write_map", interrupted)
  with pytest.raises(KeyboardInterrupt):
    run(loaded, tmp_path / "in", tmp_path / "out")
  rows = list(csv.DictReader((tmp_path / "out/summary.csv").open()))
  assert [pathlib.Path(row["file"]).name for row in rows] == ["a.png"]
  assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_mean_vote.png", "summary.csv"]


@pytest.mark.slow
def test_killed_and_stopped_runs(workdir, tmp_path):
  """SIGKILL leaves a scratch folder, which the next run removes; Ctrl-C leaves a whole summary.csv."""
  for k in range(200):
    save(tmp_path / f"in/{k:02d}.png", seed=k, shape=(64, 64))
  args = ["-m", "ordseg.predict", f"--workdir={workdir}", "--step=last", f"--input={tmp_path / 'in'}"]
  processes = {
    how: subprocess.Popen([sys.executable, *args, f"--output={out}"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for how, out in ((signal.SIGKILL, tmp_path / "killed"), (signal.SIGINT, tmp_path / "stopped"))
  }
  for how, process in processes.items():
    assert process.stdout is not None
    while ": ok" not in process.stdout.readline():
      assert process.poll() is None
    process.send_signal(how)
    process.stdout.close()
    assert process.wait(timeout=60) != 0
  for folder in ("killed", "stopped"):
    rows = list(csv.DictReader((tmp_path / folder / "summary.csv").open()))
    assert 1 <= len(rows) < 200 and {row["status"] for row in rows} == {"ok"}
  assert not list((tmp_path / "stopped").glob(".*"))
  files.sweep(tmp_path / "killed")
  assert not list((tmp_path / "killed").glob(".*"))


# --- What people read


@pytest.mark.parametrize(
  ("value", "text"),
  [(0, "0"), (23820.0, "23,820"), (1234567.8, "1,234,568"), (99.5, "99.5"), (14.256, "14.26"), (0.0021449, "0.00214"),
   (3.0, "3"), (0.5, "0.5"), (1e-7, "0.0000001")],
)  # fmt: skip
def test_sizes_are_readable(value, text):
  assert summary.number(value) == text


@given(st.floats(0, 1e12))
def test_sizes_keep_their_value(value):
  text = summary.number(value)
  assert "e" not in text
  assert float(text.replace(",", "")) == pytest.approx(value, rel=0.006, abs=1e-12)


def test_small_pictures_are_enlarged_and_their_outlines_thin():
  mask = np.zeros((32, 40), np.uint8)
  mask[8:20, 10:30] = 1
  image = np.random.default_rng(0).integers(0, 50, (32, 40, 1)).astype(np.uint8)
  drawn = np.asarray(overlay.draw(image * 0, np.zeros((32, 40), np.float32), mask))[: 32 * 12, : 40 * 12]
  assert drawn.shape[:2] == (384, 480)
  outline = np.zeros((384, 480), bool)  # one pixel of the picture wide, not one of the image
  outline[8 * 12 : 20 * 12, 10 * 12 : 30 * 12] = True
  outline[8 * 12 + 1 : 20 * 12 - 1, 10 * 12 + 1 : 30 * 12 - 1] = False
  np.testing.assert_array_equal((drawn == 255).all(-1), outline)
  drawn = np.asarray(overlay.draw(image, np.zeros((32, 40), np.float32), mask * 0))[: 32 * 12, : 40 * 12]
  blocks = drawn.reshape(32, 12, 40, 12, 3)
  assert (blocks == blocks[:, :1, :, :1]).all()  # nearest: a pixel stays a square
  assert len(np.unique(blocks)) > 30


def test_large_pictures_are_not():
  drawn = overlay.draw(np.zeros((300, 400, 1), np.uint8), np.zeros((300, 400), np.float32), np.zeros((300, 400)))
  assert drawn.width == 400


@pytest.mark.parametrize(
  ("across", "down", "want"),
  [
    ((1, 0, 0), (0, 1, 0), (True, True)),  # RAS axial: front up, right on the left
    ((-1, 0, 0), (0, -1, 0), (False, False)),  # LPS axial, as DICOM stores it
    ((0, 1, 0), (0, 0, 1), (True, True)),  # sagittal: head up, front on the left
    ((-1, 0, 0), (0, 0, 1), (True, False)),  # coronal
  ],
)
def test_overlays_of_volumes_are_hung_as_usual(tmp_path, across, down, want):
  affine = np.eye(4)
  affine[:3, 0], affine[:3, 1], affine[:3, 2] = across, down, np.cross(across, down)
  image = ImageFile(tmp_path / "a.nii.gz", np.zeros((2, 4, 5, 1)), affine=affine)
  assert overlay.flips(image) == want
  assert overlay.flips(dataclasses.replace(image, affine=None)) == (False, False)
  pages = np.zeros((600, 520, 1), np.uint8)
  pages[:100, :100] = 200
  drawn = np.asarray(overlay.draw(pages, np.zeros((600, 520), np.float32), np.zeros((600, 520)), flips=want))[:600]
  assert drawn[550 if want[0] else 50, 500 if want[1] else 50, 0] == 255


def test_maps_in_a_folder_of_the_input_are_no_input(loaded, tmp_path):
  save(tmp_path / "in/a.png")
  run(loaded, tmp_path / "in", tmp_path / "in/maps")
  assert (tmp_path / "in/maps/a_mean_vote.png").exists()
  assert list(prediction.find_inputs(str(tmp_path / "in"), output=tmp_path / "in/maps")) == ["a"]
  (tmp_path / "in/manifest.csv").write_text("image,a\n")
  said = []
  prediction.find_inputs(str(tmp_path / "in"), say=said.append)
  assert any("manifest.csv is not read here" in line for line in said)
