"""DICOM that is no whole, unambiguous stack is refused in one line that names the odd file; odd ones have a note."""

import nibabel
import numpy as np
import pydicom
import pydicom.uid
import pytest

from ordseg import image_io
from ordseg.image_io import writing
from tests.image_io import making
from tests.image_io.making import dataset, enhanced, item, refused, save, sequence, series

PAGES = np.random.default_rng(0).integers(0, 900, (5, 7, 9))


def test_a_gap_is_refused_or_allowed_with_one_geometry(tmp_path):
  folder = series(tmp_path / "s", PAGES)
  (folder / f"{(7 * 1) % 5}.dcm").unlink()  # the second slice
  refused(folder, r"2.5 to 5 mm apart, most between 0\.dcm and 4\.dcm; one may be missing.*--allow_gaps")
  got = image_io.read(folder, allow_gaps=True)
  np.testing.assert_array_equal(got.pages[..., 0], PAGES[[0, 2, 3, 4]])
  assert "up to 1.67 mm from their places" in got.notes[0]
  ends = [np.asarray(making.place(k)) * [-1, -1, 1] for k in (0, 4)]
  for voxel, end in zip(([0, 0, 0, 1], [0, 0, 3, 1]), ends, strict=True):
    np.testing.assert_allclose((got.affine @ voxel)[:3], end, atol=1e-5)
  np.testing.assert_allclose(np.prod(got.spacing), abs(np.linalg.det(got.affine)))


def test_a_tilted_gantry_keeps_its_shear(tmp_path):
  drift = np.asarray(making.AXES[3:]) * 0.7  # mm a slice along the columns
  for k, page in enumerate(PAGES):
    data = dataset(page, ImagePositionPatient=(np.asarray(making.place(k)) + k * drift).round(6).tolist())
    save(data, tmp_path / "s" / f"{k}.dcm")
  got = image_io.read(tmp_path / "s")
  for k in range(5):
    lps = np.asarray(making.place(k)) + k * drift
    np.testing.assert_allclose((got.affine @ [0, 0, k, 1])[:3], lps * [-1, -1, 1], atol=1e-5)
  assert "tilted by 15.6 degrees" in got.notes[0]
  np.testing.assert_allclose(got.spacing, [2.5, 0.5, 0.25], atol=1e-6)
  writing.write_map(tmp_path / "m.nii.gz", np.zeros(PAGES.shape, np.float32), got)
  out = nibabel.load(tmp_path / "m.nii.gz")
  np.testing.assert_allclose(out.affine, got.affine, atol=1e-5)
  assert out.header["qform_code"] == 0


ODD = {
  "localizer": ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, r"x\.dcm is oriented otherwise \(a localizer"),
  "spacing": ({"PixelSpacing": [0.6, 0.3]}, r"x\.dcm has another PixelSpacing"),
  "twice": ({"EchoTime": 9}, r"(x\.dcm and|and x\.dcm).* lie at the same place"),
  "no place": ({"ImagePositionPatient": "absent"}, r"x\.dcm has no valid ImagePositionPatient"),
  "empty place": ({"ImagePositionPatient": None}, r"x\.dcm has no valid ImagePositionPatient"),
  "half a place": ({"ImageOrientationPatient": [1, 0, 0]}, r"x\.dcm has no valid"),
  "zero orientation": ({"ImageOrientationPatient": [0] * 6}, r"x\.dcm has no valid"),
  "beside": ({"ImagePositionPatient": [*making.place(5)[:2], 99]}, r"dcm"),
  "other patient": ({"PatientID": "q"}, r"x\.dcm has PatientID q, most slices PatientID p; take it out"),
  "no patient": ({"PatientID": ""}, r"x\.dcm has PatientID empty, most slices PatientID p"),
  "polarity": (
    {"PhotometricInterpretation": "MONOCHROME1"},
    r"x\.dcm has MONOCHROME1, most slices another Photometric",
  ),
  "other series": ({"SeriesInstanceUID": "9"}, "holds 2 DICOM series"),
  "several frames": ({"NumberOfFrames": 1, "Rows": 63, "Columns": 1}, r"x\.dcm is 63 x 1 pixels"),
}


@pytest.mark.parametrize(("tags", "message"), ODD.values(), ids=ODD)
def test_the_odd_file_of_a_folder_is_named(tmp_path, tags, message):
  folder = series(tmp_path / "s", PAGES)
  save(dataset(PAGES[0], **{"ImagePositionPatient": making.place(2), **tags}), folder / "x.dcm")
  refused(folder, message)


EMPTY = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices")
EMPTY += ("RescaleSlope", "RescaleIntercept", "NumberOfFrames", "SamplesPerPixel", "BitsStored", "HighBit")
EMPTY += ("PixelRepresentation", "Rows", "Columns", "PhotometricInterpretation", "PixelData")
EMPTY += ("SeriesInstanceUID", "SOPClassUID", "Modality", "PixelPaddingValue", "PlanarConfiguration")


@pytest.mark.parametrize("keyword", EMPTY)
@pytest.mark.parametrize("value", ["absent", None, ""])
def test_attributes_that_are_empty_are_unknown_or_refused(tmp_path, keyword, value):
  data = dataset(PAGES[0], RescaleSlope=1, RescaleIntercept=0, NumberOfFrames=1, SliceThickness=2)
  if value != "absent":
    setattr(data, keyword, value if keyword != "PixelData" else b"")
  elif keyword in data:
    delattr(data, keyword)
  path = tmp_path / "a.dcm"
  data.preamble = b"\0" * 128
  data.save_as(path)
  needed = ("Rows", "Columns", "PhotometricInterpretation", "PixelData")
  if keyword in needed:
    refused(path, keyword if keyword != "PixelData" else "pixel data|bytes; it has 0|cannot be read")
    return
  got = image_io.read(path)
  np.testing.assert_array_equal(got.pages[0, ..., 0], PAGES[0])
  assert (got.affine is None) == (keyword in EMPTY[:3])
  assert (got.spacing[1] == 0) == (keyword == "PixelSpacing")
  assert bool(got.notes) == (keyword in EMPTY[:3])


def test_numbers_that_are_none(tmp_path):
  for name, value in (
    ("PixelSpacing", [0, 0]),
    ("PixelSpacing", [-1, 1]),
    ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
  ):
    got = image_io.read(save(dataset(PAGES[0], **{name: value}), tmp_path / "a.dcm"))
    assert got.affine is None and "absent, empty or invalid" in got.notes[0]
  path = save(dataset(PAGES[0], RescaleSlope=0, RescaleIntercept=5), tmp_path / "a.dcm")
  refused(path, "cannot be scaled by slope 0")


def test_pixel_sizes_of_projections_come_with_a_note(tmp_path):
  tags = {"PixelSpacing": "absent", "ImagePositionPatient": "absent", "ImageOrientationPatient": "absent"}
  path = save(dataset(PAGES[0], ImagerPixelSpacing=[0.2, 0.1], **tags), tmp_path / "a.dcm")
  got = image_io.read(path)
  assert got.spacing == (0, 0.2, 0.1) and got.affine is None and "at the detector" in got.notes[0]


@pytest.mark.parametrize(
  ("group", "key", "values"),
  [
    ("FrameContentSequence", "StackID", ["1", "1", "2", "2", "2"]),
    ("FrameContentSequence", "TemporalPositionIndex", [1, 1, 2, 2, 2]),
    ("MREchoSequence", "EffectiveEchoTime", [10.0, 10.0, 80.0, 80.0, 80.0]),
  ],
)
def test_frames_of_several_kinds_are_refused(tmp_path, group, key, values):
  data = enhanced(PAGES, [0, 1, 2, 3, 4])
  for frame, value in zip(data.PerFrameFunctionalGroupsSequence, values, strict=True):
    if group in frame:
      setattr(frame[group][0], key, value)
    else:
      setattr(frame, group, sequence(**{key: value}))
  refused(save(data, tmp_path / "a.dcm"), f"frames are of several kinds: {key} {values[0]}.*{values[-1]}")
  refused(
    save(enhanced(PAGES, [0, 1, 2, 0, 1]), tmp_path / "b.dcm"), "frame 1 and frame 4 lie at the same place.*2 pairs"
  )
  refused(save(enhanced(PAGES, [0, 1, 2, 3, 5]), tmp_path / "c.dcm"), "2.5 to 5 mm apart, most between frame 4 and")


def test_slides_and_frames_without_places(tmp_path):
  data = dataset(PAGES, NumberOfFrames=5, TotalPixelMatrixRows=70)
  refused(save(data, tmp_path / "a.dcm"), "whole-slide image")
  got = image_io.read(save(dataset(PAGES, NumberOfFrames=5), tmp_path / "b.dcm"))
  np.testing.assert_array_equal(got.pages[..., 0], PAGES)
  assert got.affine is None and "5 frames have no place in space" in got.notes[0]


# --- DICOM: whole


@pytest.mark.parametrize("compression", [None, pydicom.uid.RLELossless, pydicom.uid.JPEGLSLossless])
def test_a_dicom_file_cut_anywhere_is_refused(tmp_path, compression, capfd):
  data = dataset(PAGES[0])
  if compression:
    data.compress(compression)
  raw = save(data, tmp_path / "whole.dcm").read_bytes()
  np.testing.assert_array_equal(image_io.read(tmp_path / "whole.dcm").pages[0, ..., 0], PAGES[0])
  for size in range(0, len(raw) - 8, 37):
    (tmp_path / "a.dcm").write_bytes(raw[:size])
    refused(tmp_path / "a.dcm", "a.dcm")
  assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["x.dcm", "IM0099", "x.IMA"])
@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"\xff\xd8\xff\xe0 no DICOM"])
def test_a_file_of_a_series_that_did_not_arrive_is_named(tmp_path, name, content):
  folder = series(tmp_path / "s", PAGES)
  (folder / name).write_bytes(content)
  refused(folder, rf"{name}: is (empty|no DICOM)")


def test_makers_objects_without_pixels_are_left_out(tmp_path):
  """As Siemens scanners put beside spectra and raw data."""
  folder = series(tmp_path / "s", PAGES)
  kind = "1.3.12.2.1107.5.9.1"
  save(no_image(kind), folder / "csa.dcm")
  assert image_io.read(folder).notes == (f"left out, no images: csa.dcm ({kind})",)


def no_image(kind):
  out = item(SOPClassUID=kind, SOPInstanceUID="1.2", SeriesInstanceUID="1.2.3.4")
  out.file_meta = pydicom.dataset.FileMetaDataset()
  out.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
  out.file_meta.MediaStorageSOPClassUID, out.file_meta.MediaStorageSOPInstanceUID = kind, "1.2"
  return out


def test_other_files_and_objects_of_a_folder(tmp_path):
  folder = series(tmp_path / "s", PAGES)
  for name, text in (("notes.txt", "x"), ("LICENSE", "Some licence."), (".DS_Store", "\0"), ("Thumbs.db", "")):
    (folder / name).write_text(text)
  report = no_image("1.2.840.10008.5.1.4.1.1.481.3")
  save(report, folder / "contours.dcm")
  got = image_io.read(folder)
  np.testing.assert_array_equal(got.pages[..., 0], PAGES)
  assert got.notes == ("left out, no images: contours.dcm (RT Structure Set Storage)",)
  refused(folder / "contours.dcm", "holds no DICOM image; it holds contours.dcm .RT Structure Set")


@pytest.mark.parametrize("implicit", [True, False])
def test_a_data_set_without_a_preamble_is_read(tmp_path, implicit):
  data = dataset(PAGES[0])
  del data.file_meta
  pydicom.dcmwrite(tmp_path / "a.dcm", data, implicit_vr=implicit, little_endian=True)
  np.testing.assert_array_equal(image_io.read(tmp_path / "a.dcm").pages[0, ..., 0], PAGES[0])


CLAIMS = {
  "rows": {"Rows": 65535, "Columns": 65535},
  "fewer rows": {"Rows": 3},
  "frames": {"NumberOfFrames": 2**31 - 1},
  "bits": {"BitsAllocated": 12},
  "stored": {"BitsStored": 17},
  "samples": {"SamplesPerPixel": 3},
  "colours": {"PhotometricInterpretation": "RGB"},
  "photometric": {"PhotometricInterpretation": "HSV"},
}


@pytest.mark.parametrize("tags", CLAIMS.values(), ids=CLAIMS)
def test_headers_that_do_not_fit_the_pixels(tmp_path, tags):
  refused(save(dataset(PAGES[0], **tags), tmp_path / "a.dcm"), "a.dcm: ")
