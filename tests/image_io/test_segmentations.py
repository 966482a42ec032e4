"""DICOM out: segmentation objects and captures, read back by highdicom point by point."""

import importlib

import nibabel
import numpy as np
import pydicom
import pytest

from ordseg import prediction
from ordseg.image_io import segmentations
from ordseg.models.sliding_window import Windows
from ordseg.prediction import predictor
from tests.helpers import training
from tests.image_io.test_image_io import write_dicom

RATERS = training.NUM_RATERS
TURN = np.asarray([[0, 0.6, 0.8], [1, 0, 0], [0, 0.8, -0.6]])  # columns: along a row, along a column, normal


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
  return predictor.load([training.small_run(tmp_path_factory.mktemp("run"))], predictor.PredictOptions(step="last"))


def write_series(folder, *, slices=5, without=()):
  """A series in an odd orientation whose files are not in the order of the slices."""
  draws = np.random.default_rng(0)
  for z in range(slices):
    path = folder / f"{(3 * z) % slices}.dcm"
    pixels = draws.integers(0, 256, (20, 26)).astype(np.int16)
    write_dicom(path, pixels, orientation=(*TURN[:, 0], *TURN[:, 1]))
    data = pydicom.dcmread(path)
    data.ImagePositionPatient = (np.asarray([10.0, -20.0, 30.0]) + 2.5 * z * TURN[:, 2]).tolist()
    data.StudyInstanceUID, data.FrameOfReferenceUID = "1.2.3.4", "1.2.3.5"
    data.PatientID, data.PatientName, data.PatientBirthDate, data.PatientSex = "p1", "Doe", "", ""
    data.StudyDate = data.StudyTime = data.AccessionNumber = data.ReferringPhysicianName = data.StudyID = ""
    data.SeriesNumber, data.InstanceNumber, data.Modality, data.SliceThickness = 7, z + 1, "CT", 2.5
    for name in without:
      delattr(data, name)
    data.save_as(path)


def run(loaded, inputs, out, **options):
  settings = prediction.OutputOptions(windows=Windows(size=0), dicom=True, **options)
  return prediction.predict_files(loaded, inputs, out, settings, say=lambda _: None)


def test_segmentations_carry_the_maps_to_the_right_places(loaded, tmp_path):
  hd = pytest.importorskip("highdicom")
  write_series(tmp_path / "series")
  (row,) = run(loaded, {"x": tmp_path / "series"}, tmp_path / "out", maps="all")
  assert row["status"] == "ok", row["message"]
  found = hd.seg.segread(tmp_path / "out" / "x_probability.dcm")
  labels = [found.get_segment_description(k + 1).segment_label for k in range(found.number_of_segments)]
  assert labels == ["a rater marks it", f"at least half of {RATERS} raters"] + [
    f"at least {j} of {RATERS} raters" for j in range(1, RATERS + 1)
  ]
  assert (
    found.PatientID == "p1" and found.FrameOfReferenceUID == "1.2.3.5" and "not for clinical" in found.SeriesDescription
  )
  for segment, name in ((1, "mean_vote"), (3, "at_least_1"), (2 + RATERS, f"at_least_{RATERS}")):
    volume = found.get_volume(segment_numbers=[segment], combine_segments=False, rescale_fractional=True)
    assert difference(volume, tmp_path / "out" / f"x_{name}.nii.gz") <= 0.51 / segmentations.MAX_FRACTION
  mask = hd.seg.segread(tmp_path / "out" / "x_mask.dcm")
  assert mask.SegmentationType == "BINARY" and mask.SeriesInstanceUID != found.SeriesInstanceUID
  assert difference(mask.get_volume(combine_segments=True), tmp_path / "out" / "x_mask.nii.gz") == 0
  picture = pydicom.dcmread(tmp_path / "out" / "x_overlay.dcm")
  assert picture.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage and picture.pixel_array.shape[-1] == 3
  assert picture.StudyInstanceUID == "1.2.3.4" and not list((tmp_path / "out").glob(".part*"))


def difference(volume, path):
  """The largest difference to a NIfTI map, each voxel looked up by its place in the patient."""
  file = nibabel.load(path)
  values, affine = file.get_fdata(), file.affine.copy()
  affine[:2] *= -1  # DICOM's axes point left and back
  places = np.argwhere(np.ones(values.shape, bool))
  points = places @ affine[:3, :3].T + affine[:3, 3]
  index = np.rint(volume.map_reference_to_indices(points)).astype(int)
  array = volume.array.reshape(volume.array.shape[:3])
  inside = ((index >= 0) & (index < array.shape)).all(1)
  there = np.zeros(len(places))
  there[inside] = array[tuple(index[inside].T)]
  return np.abs(there - values[tuple(places.T)]).max()


def test_an_image_that_nothing_can_refer_to_fails_alone(loaded, tmp_path):
  pytest.importorskip("highdicom")
  write_series(tmp_path / "lost", without=("FrameOfReferenceUID",))
  write_series(tmp_path / "good")
  rows = run(loaded, {"lost": tmp_path / "lost", "good": tmp_path / "good"}, tmp_path / "out", overlay=False)
  assert [row["status"] for row in rows] == ["failed", "ok"]
  assert "lost: DICOM output cannot refer to this image" in rows[0]["message"]
  assert "Frame Of Reference" in rows[0]["message"] and "\n" not in rows[0]["message"]
  assert not (tmp_path / "out" / "lost_mask.dcm").exists() and (tmp_path / "out" / "good_mask.dcm").exists()


def test_other_formats_have_no_dicom_and_need_no_highdicom(loaded, tmp_path, monkeypatch):
  real = importlib.import_module

  def absent(name, *args):
    if name.startswith("highdicom"):
      raise ImportError(name)
    return real(name, *args)

  monkeypatch.setattr(importlib, "import_module", absent)
  volume = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)
  nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "scan.nii.gz")
  write_series(tmp_path / "series", slices=2)
  rows = run(loaded, {"scan": tmp_path / "scan.nii.gz", "series": tmp_path / "series"}, tmp_path / "out")
  assert rows[0]["status"] == "ok" and not list((tmp_path / "out").glob("scan*.dcm"))
  assert rows[1]["status"] == "failed" and "pip install 'ordseg[dicom]'" in rows[1]["message"]
