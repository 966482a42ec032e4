"""NIfTI and DICOM as SimpleITK (GDCM) reads them: values, spacing, origin and direction."""

import os
import pathlib

import nibabel
import numpy as np
import pydicom
import pydicom.data
import pydicom.uid
import pytest

from ordseg import image_io
from tests.image_io import making
from tests.image_io.making import dataset, enhanced, save, series

sitk = pytest.importorskip("SimpleITK")
sitk.ProcessObject.SetGlobalWarningDisplay(False)
ROOT = pathlib.Path(__file__).parents[2]
RNG = np.random.default_rng(0)
PAGES = RNG.integers(0, 900, (5, 7, 9))


def oracle(path):
  """Values [D, H, W, C] and the affine (RAS) of an image or a series."""
  if path.is_dir():
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
    image = reader.Execute()
  else:
    image = sitk.ReadImage(str(path))
  values = sitk.GetArrayFromImage(image)
  channels = image.GetNumberOfComponentsPerPixel()
  values = values.reshape(*([1] * (3 - image.GetDimension())), *values.shape)
  values = values.reshape(*values.shape[:3], channels) if values.ndim == 3 + (channels > 1) else values
  affine = np.eye(4)
  if image.GetDimension() == 3:
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
  affine[:2] *= -1
  return values, affine, image.GetSpacing()


def check(path, *, placed=True, atol=0.0):
  got = image_io.read(path)
  want, affine, spacing = oracle(path)
  np.testing.assert_allclose(got.pages.astype(np.float64), want.astype(np.float64), rtol=2e-6, atol=atol)
  if placed:
    thin = len(got.pages) == 1  # one page: SimpleITK takes a step of 1 mm where there is none
    np.testing.assert_allclose(got.affine[:, [0, 1, 3]], affine[:, [0, 1, 3]], atol=2e-5)
    np.testing.assert_allclose(got.spacing[1:], spacing[1::-1], rtol=1e-5)
    if not thin:
      np.testing.assert_allclose(got.affine, affine, atol=2e-5)
      np.testing.assert_allclose(got.spacing[0], spacing[2], rtol=1e-5)
  return got


# --- NIfTI

TURNED = np.asarray([[0, 0, 2, 1], [0.5, 0, 0, 2], [0, -0.75, 0, 3], [0, 0, 0, 1.0]])


def nifti(path, values, *, affine=TURNED, slope=None, kind=nibabel.Nifti1Image, **header):
  image = kind(values, affine)
  if image.header["sform_code"]:
    image.set_qform(affine, 1)
  for name, value in header.items():
    image.header[name] = value
  nibabel.save(image, path)
  if slope is not None:
    place, fmt = (112, "<f4") if kind is not nibabel.Nifti2Image else (176, "<f8")
    data = bytearray(path.read_bytes())
    pair = np.asarray(slope, fmt).tobytes()
    data[place : place + len(pair)] = pair
    path.write_bytes(bytes(data))
  return path


SLOPES = {
  "none": ((1, 0), np.int16),
  "whole": ((2, -1000), np.int16),
  "beyond the type": ((100, 70000), np.int32),
  "fraction": ((0.001, 0.25), np.float32),
  "tiny": ((1e-20, 0), np.float32),
  "negative": ((-3, 5), np.int16),
}


@pytest.mark.parametrize(("slope", "dtype"), SLOPES.values(), ids=SLOPES)
def test_nifti_scaling(tmp_path, slope, dtype):
  path = nifti(tmp_path / "a.nii", PAGES.astype(np.int16), slope=slope)
  got = image_io.read(path) if slope[0] == 1e-20 else check(path)  # which ITK takes for none
  assert got.pages.dtype == dtype
  np.testing.assert_allclose(got.pages[..., 0], nibabel.load(path).get_fdata().T, rtol=2e-6)


@pytest.mark.parametrize("slope", [(np.nan, np.nan), (0, 7), (0, 0)])
def test_slopes_that_mean_none(tmp_path, slope):
  """By nifti1.h and nibabel; ITK adds the intercept of a slope of 0."""
  path = nifti(tmp_path / "a.nii", PAGES.astype(np.int16), slope=slope)
  np.testing.assert_array_equal(image_io.read(path).pages[..., 0], PAGES.T)


def test_large_integers_keep_every_digit(tmp_path):
  values = np.asarray([2**24 + 1, 2**30 + 1, -(2**30) - 1, 0], np.int32).reshape(2, 2, 1)
  for slope, shift in (((1, -1024), -1024), ((1, 0.5), 0.5)):
    got = image_io.read(nifti(tmp_path / "a.nii", values, slope=slope)).pages[0, ..., 0]
    np.testing.assert_array_equal(got.astype(np.float64), values[..., 0].T.astype(np.float64) + shift)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_nifti_types(tmp_path, kind, order):
  values = (PAGES % 100).astype(kind)
  header = nibabel.Nifti1Header(endianness=order)
  header.set_data_dtype(kind)
  image = nibabel.Nifti1Image(values, TURNED, header)
  image.set_qform(TURNED, 1)
  nibabel.save(image, tmp_path / "a.nii")
  got = check(tmp_path / "a.nii")
  assert got.pages.dtype.isnative
  assert got.pages.dtype == {"i8": np.int32, "u8": np.int32}.get(kind, np.dtype(kind))


def test_integers_of_64_bits_stay_where_they_are_needed(tmp_path):
  values = np.asarray([2**40 + 1, -1], np.int64).reshape(2, 1, 1)
  nibabel.save(nibabel.Nifti1Image(values, TURNED, dtype=np.int64), tmp_path / "a.nii")
  got = image_io.read(tmp_path / "a.nii").pages
  np.testing.assert_array_equal(got.ravel(), values.ravel())


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti1Pair, nibabel.Nifti2Image, nibabel.Nifti2Pair])
def test_nifti_variants(tmp_path, kind):
  name = "a.hdr" if "Pair" in kind.__name__ else "a.nii.gz"
  path = nifti(tmp_path / name, PAGES.astype(np.int16), kind=kind)
  if kind in (nibabel.Nifti1Pair, nibabel.Nifti1Image):  # ITK reads the first version alone
    check(path)
  got = image_io.read(path)
  np.testing.assert_array_equal(got.pages[..., 0], PAGES.T)
  np.testing.assert_allclose(got.affine, TURNED)
  if name.endswith(".hdr"):
    np.testing.assert_array_equal(image_io.read(tmp_path / "a.img").pages, got.pages)


@pytest.mark.parametrize(("code", "scale"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_units_of_length(tmp_path, code, scale):
  got = check(nifti(tmp_path / "a.nii", PAGES.astype(np.int16), xyzt_units=code), atol=1e-6)
  np.testing.assert_allclose(got.affine[:3], TURNED[:3] * scale, rtol=1e-6)
  np.testing.assert_allclose(got.spacing, np.asarray([2, 0.75, 0.5]) * scale, rtol=1e-6)


def test_colours_and_vectors(tmp_path):
  colours = RNG.integers(0, 255, (5, 7, 9, 3), dtype=np.uint8)
  packed = np.empty((5, 7, 9), [(c, "u1") for c in "RGB"])
  for k, c in enumerate("RGB"):
    packed[c] = colours[..., k]
  check(nifti(tmp_path / "rgb.nii", packed))
  vectors = RNG.normal(size=(5, 7, 9, 1, 3)).astype(np.float32)
  got = check(nifti(tmp_path / "v.nii", vectors, intent_code=1007))
  np.testing.assert_array_equal(got.pages, vectors[..., 0, :].transpose(2, 1, 0, 3))
  four = nifti(tmp_path / "four.nii", PAGES[..., None].repeat(2, -1).astype(np.int16))
  assert image_io.read(four).pages.shape == (9, 7, 5, 2) and "channels" in image_io.read(four).notes[0]


def test_real_files_of_other_programs():
  root = pathlib.Path(os.environ.get("ORDSEG_SHARED_DATA", ROOT.parent / "shared" / "data")) / "foreign_maps"
  files = sorted(root.rglob("*.nii*"))
  if not files:
    pytest.skip("needs the project's shared data (ORDSEG_SHARED_DATA)")
  for path in files[:8]:
    check(path, placed=sitk.ReadImage(str(path)).GetDimension() == 3)  # of two axes SimpleITK drops the place


# --- DICOM


def single(tmp_path, *args, **tags):
  return save(dataset(*args, **tags), tmp_path / "a.dcm")


KINDS = {
  "HU": {"RescaleSlope": 1, "RescaleIntercept": -1024},
  "a fraction": {"RescaleSlope": 0.37, "RescaleIntercept": 1.5},
  "beyond 16 bits": {"RescaleSlope": 100, "RescaleIntercept": 7},
  "unsigned": {"signed": False, "RescaleSlope": 1, "RescaleIntercept": -1024},
  "12 bits": {"signed": False, "BitsStored": 12, "HighBit": 11},
  "8 bits": {"signed": False, "bits": 8},
  "32 bits": {"signed": False, "bits": 32},
  "MONOCHROME1": {"signed": False, "PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11},
  "MONOCHROME1, scaled": {
    "signed": False, "PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": 2, "RescaleIntercept": -5,
  },
  "thickness": {"SliceThickness": 3.0},
}  # fmt: skip


@pytest.mark.parametrize("tags", KINDS.values(), ids=KINDS)
def test_dicom_values(tmp_path, tags):
  check(single(tmp_path, PAGES[0] % 250, **tags), atol=1e-4)


def test_overlays_in_high_bits_and_signs_of_12_bits(tmp_path):
  values = RNG.integers(0, 4096, (7, 9))
  check(single(tmp_path, values + 4096 * (values % 3), signed=False, BitsStored=12, HighBit=11))
  np.testing.assert_array_equal(image_io.read(tmp_path / "a.dcm").pages[0, ..., 0], values)
  check(single(tmp_path, values, signed=True, BitsStored=12, HighBit=11))
  np.testing.assert_array_equal(image_io.read(tmp_path / "a.dcm").pages[0, ..., 0], (values + 2048) % 4096 - 2048)


@pytest.mark.parametrize("first", [0, 3])
def test_palette(tmp_path, first):
  tags = {"PhotometricInterpretation": "PALETTE COLOR", "signed": False}
  for name, table in (("Red", [0, 60000, 20000, 40000]), ("Green", [7, 1, 50000, 5]), ("Blue", [0, 0, 0, 65000])):
    tags[f"{name}PaletteColorLookupTableDescriptor"] = [4, first, 16]
    tags[f"{name}PaletteColorLookupTableData"] = np.asarray(table, "<u2").tobytes()
  path = single(tmp_path, PAGES[0] % 4 + first, **tags)
  got = image_io.read(path) if first else check(path)  # GDCM takes no table that begins elsewhere
  np.testing.assert_array_equal(got.pages[0, ..., 0], np.asarray([0, 60000, 20000, 40000])[PAGES[0] % 4])


def test_a_series_by_place_with_a_slope_for_each_slice(tmp_path):
  got = check(series(tmp_path / "plain", PAGES, RescaleSlope=1, RescaleIntercept=-1024))
  np.testing.assert_array_equal(got.pages[..., 0], PAGES - 1024)
  for k, page in enumerate(PAGES):  # PET
    data = dataset(page, ImagePositionPatient=making.place(k), RescaleSlope=1 + 0.5 * k, RescaleIntercept=0)
    save(data, tmp_path / "pet" / f"{9 - k}.dcm")
  got = image_io.read(tmp_path / "pet")
  np.testing.assert_array_equal(got.pages[..., 0], PAGES * (1 + 0.5 * np.arange(5))[:, None, None])
  for k in range(5):
    check(tmp_path / "pet" / f"{9 - k}.dcm")


@pytest.mark.parametrize("places", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])
def test_enhanced_frames(tmp_path, places):
  check(save(enhanced(PAGES, places), tmp_path / "a.dcm"))


def test_enhanced_frames_out_of_order_with_a_scale_each(tmp_path):
  places, slopes = [0, 2, 1, 4, 3], [(1, 0), (2, -10), (1, 5), (0.5, 0), (1, -1024)]
  path = save(enhanced(PAGES, places, slopes=slopes), tmp_path / "a.dcm")
  got = image_io.read(path)
  want = np.stack([PAGES[k] * slopes[k][0] + slopes[k][1] for k in np.argsort(places)])
  np.testing.assert_array_equal(got.pages[..., 0], want)
  ordered = oracle(save(enhanced(PAGES, range(5)), tmp_path / "b.dcm"))[1]  # SimpleITK takes the file's order
  np.testing.assert_allclose(got.affine, ordered, atol=1e-6)


# What pydicom's own samples are, and where SimpleITK is no oracle for them.
_NO_ORACLE = {
  "SC_rgb_rle_16bit": "SimpleITK mixes the bytes up; pydicom's values are those of its tests",
  "SC_rgb_rle_32bit": "the same",
  "rtdose": "SimpleITK leaves DoseGridScaling out (PS3.3 C.8.8.3.4)",
  "liver": "a segmentation is a mask here",
  "examples_ybr": "30 frames, 6 MB",
  "SC_rgb_jpeg.": "SimpleITK takes 17 s for it",
}


def samples():
  root = pathlib.Path(pydicom.data.__file__).parent / "test_files"
  return [path for path in sorted(root.glob("*.dcm")) if not path.name.startswith(tuple(_NO_ORACLE))]


def test_pydicoms_samples_of_every_compression_and_colour_space():
  """Each is read as SimpleITK reads it, or refused in one line."""
  syntaxes, read = set(), 0
  for path in samples():
    try:
      got = image_io.read(path)
    except image_io.reading.InputError as error:
      assert str(path) in str(error) and "\n" not in str(error)
      continue
    want = oracle(path)[0]
    np.testing.assert_array_equal(got.pages.astype(np.float64), want.astype(np.float64), err_msg=path.name)
    syntaxes.add(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID.name)
    read += 1
  assert read >= 40 and len(syntaxes) >= 12, (read, syntaxes)


def test_dose_is_scaled():
  path = pathlib.Path(pydicom.data.__file__).parent / "test_files" / "rtdose.dcm"
  data = pydicom.dcmread(path)
  got = image_io.read(path)
  np.testing.assert_allclose(got.pages[..., 0], data.pixel_array * float(data.DoseGridScaling), rtol=1e-6)
  np.testing.assert_allclose(got.affine, oracle(path)[1], atol=1e-4)


# --- By the standard, where SimpleITK is silent


def test_modality_tables_and_floats(tmp_path):
  table = [1000, 10, 20000, 3]
  path = single(tmp_path, PAGES[0] % 4, signed=False, ModalityLUTSequence=making.sequence(**making.lut(table)))
  np.testing.assert_array_equal(image_io.read(path).pages[0, ..., 0], np.asarray(table)[PAGES[0] % 4])
  floats = RNG.normal(size=(7, 9)).astype(np.float32)
  for keyword, dtype in (("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)):
    data = dataset(PAGES[0], PixelData="absent", BitsStored="absent", HighBit="absent", PixelRepresentation="absent")
    setattr(data, keyword, floats.astype(dtype).tobytes())
    data.BitsAllocated = 8 * np.dtype(dtype).itemsize
    got = image_io.read(save(data, tmp_path / "f.dcm")).pages
    assert got.dtype == dtype
    np.testing.assert_array_equal(got[0, ..., 0], floats)


def test_what_is_for_the_screen_alone_stays_out(tmp_path):
  tags = {"WindowCenter": 40, "WindowWidth": 80, "PresentationLUTShape": "INVERSE", "PixelPaddingValue": 3}
  values = np.arange(63).reshape(7, 9)
  got = image_io.read(single(tmp_path, values, RescaleSlope=1, RescaleIntercept=-10, **tags))
  np.testing.assert_array_equal(got.pages[0, ..., 0], values - 10)
  assert got.notes == ("padding (stored value 3) is left as it is",)


def test_turned_round_is_said(tmp_path):
  got = image_io.read(single(tmp_path, PAGES[0], signed=False, PhotometricInterpretation="MONOCHROME1"))
  np.testing.assert_array_equal(got.pages[0, ..., 0], 65535 - PAGES[0])
  assert got.notes == ("turned round from MONOCHROME1, so that more is brighter",)
  signed = image_io.read(single(tmp_path, PAGES[0] - 300, PhotometricInterpretation="MONOCHROME1"))
  np.testing.assert_array_equal(signed.pages[0, ..., 0], -1 - (PAGES[0] - 300))
