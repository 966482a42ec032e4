"""NIfTI that is no whole, unambiguous volume is refused in one line that names the file; odd ones come with a note."""

import gzip
import pathlib
import subprocess
import sys

import nibabel
import numpy as np
import pydicom
import pydicom.uid
import pytest

from ordseg import image_io
from ordseg.image_io import writing
from tests.image_io.making import dataset, refused
from tests.image_io.test_oracle_simpleitk import TURNED, nifti

RNG = np.random.default_rng(0)
PAGES = RNG.integers(0, 900, (5, 7, 9))


def patched(path, **fields):
  """Overwrites fields of a NIfTI-1 header in the file."""
  data = bytearray(path.read_bytes())
  header = np.frombuffer(bytes(data[:348]), nibabel.nifti1.header_dtype).copy()
  for name, value in fields.items():
    header[name] = value
  data[:348] = header.tobytes()
  path.write_bytes(bytes(data))
  return path


@pytest.mark.parametrize("where", ["checksum", "length", "data"])
def test_gzip_is_verified_to_its_end(tmp_path, where, capfd):
  path = nifti(tmp_path / "a.nii.gz", PAGES.astype(np.int16))
  data = bytearray(path.read_bytes())
  data[{"checksum": -6, "length": -2, "data": len(data) // 2}[where]] ^= 4
  path.write_bytes(bytes(data))
  refused(path, "gzip stream is damaged|gzip stream ends early")
  path.write_bytes(bytes(data[:-1]))
  refused(path, "damaged|ends early|cut short")
  assert capfd.readouterr().err == ""


def test_gzip_of_several_members_is_whole(tmp_path):
  raw = nifti(tmp_path / "a.nii", PAGES.astype(np.int16)).read_bytes()
  (tmp_path / "b.nii.gz").write_bytes(b"".join(gzip.compress(raw[k : k + 300]) for k in range(0, len(raw), 300)))
  np.testing.assert_array_equal(image_io.read(tmp_path / "b.nii.gz").pages[..., 0], PAGES.T)
  (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw) + b"something else")
  refused(tmp_path / "b.nii.gz", "no gzip follow")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_that_is_longer_or_shorter_than_its_header_says(tmp_path, name):
  values = RNG.integers(0, 900, (20, 20, 20)).astype(np.int16)
  whole = nifti(tmp_path / "whole.nii", values)
  for dims, message in (([20, 20, 21], "cut short"), ([20, 20, 12], "do not belong together")):
    path = patched(nifti(tmp_path / "a.nii", values), dim=[3, *dims, 1, 1, 1, 1])
    if name.endswith("gz"):
      (tmp_path / name).write_bytes(gzip.compress(path.read_bytes()))
    refused(tmp_path / name, message)
  for n in (100, 348, 352, 5000, whole.stat().st_size - 1):
    (tmp_path / "cut.nii").write_bytes(whole.read_bytes()[:n])
    refused(tmp_path / "cut.nii", "cut.nii")


BAD_PLACES = {
  "NaN": {"srow_x": [np.nan, 0, 0, 0]},
  "infinite": {"srow_y": [0, np.inf, 0, 0]},
  "zeros": {"srow_x": 0, "srow_y": 0, "srow_z": 0},
  "flat": {"srow_x": [1, 1, 0, 0], "srow_y": [1, 1, 0, 0]},
  "no pixdim": {"sform_code": 0, "pixdim": [1, 0, 0, 0, 0, 0, 0, 0]},
  "pixdim NaN": {"sform_code": 0, "pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]},
  "no quaternion": {"sform_code": 0, "quatern_b": 3},
}


@pytest.mark.parametrize("fields", BAD_PLACES.values(), ids=BAD_PLACES)
def test_a_form_that_places_nothing_is_refused(tmp_path, fields, capfd):
  path = patched(nifti(tmp_path / "a.nii", PAGES.astype(np.int16)), **fields)
  refused(path, "does not place voxels in space|w2 should be positive")
  assert capfd.readouterr().err == ""


def test_pixdim_does_not_count_where_the_sform_does(tmp_path):
  path = patched(nifti(tmp_path / "a.nii", PAGES.astype(np.int16)), pixdim=[1, 0, np.nan, 5, 0, 0, 0, 0])
  got = image_io.read(path)
  np.testing.assert_allclose(got.affine, TURNED)
  np.testing.assert_allclose(got.spacing, [2, 0.75, 0.5])
  assert any("pixdim" in note for note in got.notes)


def test_without_codes_there_is_no_place_and_none_is_written(tmp_path):
  path = patched(nifti(tmp_path / "a.nii", PAGES.astype(np.int16)), sform_code=0, qform_code=0)
  got = image_io.read(path)
  assert got.affine is None and any("does not place it in space" in note for note in got.notes)
  np.testing.assert_allclose(got.spacing, [2, 0.75, 0.5])
  writing.write_map(tmp_path / "out.nii.gz", np.zeros((9, 7, 5), np.float32), got)
  header = nibabel.load(tmp_path / "out.nii.gz").header
  assert header["sform_code"] == header["qform_code"] == 0
  np.testing.assert_allclose(header.get_zooms(), [0.5, 0.75, 2])


def test_one_page_needs_no_step_to_the_next(tmp_path):
  path = patched(nifti(tmp_path / "a.nii", PAGES[:, :, :1].astype(np.int16)), srow_x=[0, 0, 0, 1])
  path = patched(path, srow_y=[0.5, 0, 0, 2], srow_z=[0, -0.75, 0, 3], pixdim=[1, 0.5, 0.75, 0, 0, 0, 0, 0])
  got = image_io.read(path)
  assert got.spacing == (0, 0.75, 0.5) and np.linalg.det(got.affine) != 0


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (np.zeros((3, 3, 3), np.complex64), "complex values are not read"),
    (np.zeros((3, 3, 3, 2, 2), np.float32), "up to 3 axes, and channels"),
    (np.zeros((2, 2, 2, 1, 2, 2), np.float32), "up to 3 axes, and channels"),
  ],
)
def test_nifti_that_is_no_image(tmp_path, values, message):
  refused(nifti(tmp_path / "a.nii", values), message)


def test_analyze_is_refused(tmp_path):
  nibabel.save(nibabel.AnalyzeImage(PAGES.astype(np.int16), None), tmp_path / "a.img")
  refused(tmp_path / "a.hdr", "convert it to NIfTI")


def test_slopes_that_cannot_be(tmp_path):
  refused(nifti(tmp_path / "a.nii", PAGES.astype(np.int16), slope=(np.inf, 0)), "a.nii")
  huge = np.asarray([[[3e38]]], np.float32)
  refused(nifti(tmp_path / "b.nii", huge, slope=(1e10, 0)), "beyond float32")


def test_a_map_has_a_header_of_its_own(tmp_path):
  path = nifti(tmp_path / "a.nii", PAGES.astype(np.int16), cal_max=900, intent_code=3, descrip=b"scan", xyzt_units=3)
  image = nibabel.load(path)
  image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Doe"))
  nibabel.save(image, path)
  patched(path, sform_code=4, scl_slope=0.5, scl_inter=3)
  got = image_io.read(path)
  writing.write_map(tmp_path / "out.nii.gz", np.ones((9, 7, 5), np.float32), got)
  out = nibabel.load(tmp_path / "out.nii.gz")
  np.testing.assert_allclose(out.affine, np.diag([1e-3, 1e-3, 1e-3, 1]) @ TURNED, rtol=1e-5)
  np.testing.assert_allclose(out.get_qform(), out.affine, atol=1e-8)
  assert (out.header["sform_code"], out.header["qform_code"], out.header.get_xyzt_units()[0]) == (4, 4, "mm")
  assert out.header["cal_max"] == 0 and out.header["intent_code"] == 0 and not out.header.extensions
  assert not out.header["descrip"].item() and out.get_fdata().max() == 1 and out.get_data_dtype() == np.float32


def test_volumes_beyond_the_first_version_of_nifti(tmp_path):
  image = image_io.ImageFile(pathlib.Path("i"), np.zeros((1, 2, 40000, 1), np.uint8), affine=np.eye(4))
  writing.write_map(tmp_path / "a.nii.gz", np.ones((1, 2, 40000), np.uint8), image)
  assert nibabel.load(tmp_path / "a.nii.gz").shape == (40000, 2, 1)
  assert image_io.read(tmp_path / "a.nii.gz").pages.shape == (1, 2, 40000, 1)


def test_nothing_takes_a_gigabyte_to_be_refused(tmp_path):
  """Headers and streams that claim more than there is: each refused in less than 5 s and 1 GB, in one process."""
  raw = nifti(tmp_path / "x.nii", PAGES.astype(np.int16))
  patched(raw, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]).rename(tmp_path / "a.nii")
  (tmp_path / "b.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
  zeros = gzip.compress(bytes(2**24), 9)
  small = gzip.compress(nifti(tmp_path / "x.nii", PAGES.astype(np.int16)).read_bytes())
  (tmp_path / "c.nii.gz").write_bytes(small + zeros * 200)  # 3 GB behind the voxels
  patched(nifti(tmp_path / "x.nii", PAGES.astype(np.int16)), vox_offset=2e9)
  (tmp_path / "d.nii.gz").write_bytes(gzip.compress((tmp_path / "x.nii").read_bytes()) + zeros * 200)
  for name, syntax in (("e", pydicom.uid.RLELossless), ("f", pydicom.uid.JPEGLSLossless)):
    data = dataset(PAGES[0])
    data.compress(syntax)
    data.Rows = data.Columns = 65535
    data.save_as(tmp_path / f"{name}.dcm")
  imagecodecs = pytest.importorskip("imagecodecs")
  data = dataset(PAGES[0])
  data.compress(pydicom.uid.JPEGLSLossless)
  stream = bytearray(imagecodecs.jpegls_encode(np.zeros((64, 64), np.uint16)))
  place = stream.index(b"\xff\xf7") + 5
  stream[place : place + 4] = b"\xff\xff\xff\xff"  # rows and columns of the code stream itself
  data.PixelData = pydicom.encaps.encapsulate([bytes(stream)])
  data.save_as(tmp_path / "g.dcm")
  (tmp_path / "x.nii").unlink()
  code = r"""
import pathlib, re, sys, time
from ordseg import image_io
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
  start = time.monotonic()
  try:
    image_io.read(path)
    print(path.name, "read")
  except image_io.reading.InputError:
    print(path.name, "refused" if time.monotonic() - start < 5 else "slow")
print(int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) // 1024)
"""
  out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
  *lines, memory = out.stdout.splitlines()
  assert [line.split()[1] for line in lines] == ["refused"] * 7, lines
  assert int(memory) < 1000 and out.stderr == ""


@pytest.mark.parametrize(
  ("kind", "name", "way_out"),
  [(".nii", "a.nii.gz", "rename it to a.nii."), (".nii.gz", "a.nii", "rename it to a.nii.gz.")],
)
def test_a_name_that_is_wrong_about_gzip(tmp_path, kind, name, way_out):
  path = tmp_path / f"made{kind}"
  nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), path)
  assert refused(path.rename(tmp_path / name), "is no NIfTI file").endswith(way_out)
