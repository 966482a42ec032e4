"""Each format is written by its own library and read back: values, axis order, spacing; errors name the file."""

import pathlib

import nibabel
import numpy as np
import PIL.Image
import pydicom
import pydicom.uid
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from ordseg import image_io
from ordseg.errors import InputError


def numbers(shape, dtype=np.uint8, seed=0):
  return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def write_dicom(path, pixels, *, z=0.0, slope=1.0, intercept=0.0, series="1.2.3", orientation=(1, 0, 0, 0, 1, 0)):
  meta = pydicom.dataset.FileMetaDataset()
  meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
  meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
  meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
  data = pydicom.dataset.Dataset()
  data.file_meta = meta
  data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
  data.SeriesInstanceUID = series
  data.Rows, data.Columns = pixels.shape
  data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
  data.BitsAllocated = data.BitsStored = 16
  data.HighBit, data.PixelRepresentation = 15, 1
  data.PixelSpacing = [0.5, 0.25]
  data.ImageOrientationPatient = list(orientation)
  data.ImagePositionPatient = [0.0, 0.0, z]
  data.RescaleSlope, data.RescaleIntercept = slope, intercept
  data.PixelData = pixels.astype(np.int16).tobytes()
  path.parent.mkdir(parents=True, exist_ok=True)
  data.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "a.tiff", "a.ppm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_come_back_as_written(tmp_path, name, channels):
  values = numbers((5, 7, channels))
  PIL.Image.fromarray(values[..., 0] if channels == 1 else values).save(tmp_path / name)
  file = image_io.read(tmp_path / name)
  assert file.pages.shape == (1, 5, 7, channels) and file.pages.dtype == np.uint8
  np.testing.assert_array_equal(file.pages[0], values)
  assert file.spacing == (0, 0, 0)


def test_sixteen_bits_palette_binary_and_transparency(tmp_path):
  deep = numbers((4, 6), np.uint16) * 200
  PIL.Image.fromarray(deep).save(tmp_path / "deep.png")
  np.testing.assert_array_equal(image_io.read_picture(tmp_path / "deep.png")[..., 0], deep)
  assert image_io.read_picture(tmp_path / "deep.png").dtype == np.uint16

  palette = PIL.Image.fromarray(numbers((4, 6)) % 2, mode="P")
  palette.putpalette([0, 0, 0, 255, 255, 255] + [0] * 750)
  palette.save(tmp_path / "palette.gif")
  found = image_io.read_picture(tmp_path / "palette.gif", num_channels=1)[..., 0]
  np.testing.assert_array_equal(found, numbers((4, 6)) % 2 * 255)

  PIL.Image.fromarray(numbers((4, 6)) % 2 == 1).save(tmp_path / "bits.png")
  np.testing.assert_array_equal(image_io.read_picture(tmp_path / "bits.png")[..., 0], numbers((4, 6)) % 2)

  rgba = numbers((4, 6, 4))
  PIL.Image.fromarray(rgba).save(tmp_path / "rgba.png")
  np.testing.assert_array_equal(image_io.read_picture(tmp_path / "rgba.png"), rgba[..., :3])


@pytest.mark.parametrize("options", [{}, {"compression": "lzw"}, {"ome": True, "metadata": {"axes": "ZYX"}}])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_stacks(tmp_path, options, dtype):
  pages = numbers((3, 5, 7), dtype)
  path = tmp_path / ("a.ome.tif" if "ome" in options else "a.tif")
  tifffile.imwrite(path, pages, photometric="minisblack", **options)
  found = image_io.read(path).pages
  assert found.dtype == dtype
  np.testing.assert_array_equal(found[..., 0], pages)


def test_colour_tiff_and_channels_first(tmp_path):
  colour = numbers((2, 5, 7, 3))
  tifffile.imwrite(tmp_path / "rgb.tif", colour, photometric="rgb")
  np.testing.assert_array_equal(image_io.read(tmp_path / "rgb.tif").pages, colour)
  planes = numbers((2, 5, 7))
  tifffile.imwrite(tmp_path / "c.ome.tif", planes, ome=True, metadata={"axes": "CYX"}, photometric="minisblack")
  np.testing.assert_array_equal(image_io.read(tmp_path / "c.ome.tif").pages, planes.transpose(1, 2, 0)[None])


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nifti_axes_spacing_and_scaling(tmp_path, name):
  xyz = numbers((4, 5, 3), np.int16)
  image = nibabel.Nifti1Image(xyz, np.diag([0.5, 0.7, 2.0, 1.0]))
  nibabel.save(image, tmp_path / name)
  file = image_io.read(tmp_path / name)
  assert file.pages.shape == (3, 5, 4, 1) and file.pages.dtype == np.int16
  assert file.pages[2, 1, 3, 0] == xyz[3, 1, 2]
  np.testing.assert_allclose(file.spacing, (2.0, 0.7, 0.5), rtol=1e-6)
  np.testing.assert_allclose(file.affine, image.affine, rtol=1e-6)

  image.header.set_slope_inter(2.0, -10.0)
  nibabel.save(image, tmp_path / name)
  scaled = nibabel.load(tmp_path / name).get_fdata()
  np.testing.assert_allclose(image_io.read(tmp_path / name).pages[..., 0], scaled.transpose(2, 1, 0))


def test_dicom_series_is_ordered_by_place_and_rescaled(tmp_path):
  pages = numbers((3, 4, 6), np.int16)
  for name, k in (("x1.dcm", 2), ("x2.dcm", 0), ("x3.dcm", 1)):  # names say nothing of the order
    write_dicom(tmp_path / "s" / name, pages[k], z=2.5 * k, intercept=-1024.0)
  (tmp_path / "s" / "notes.txt").write_text("not an image")
  file = image_io.read(tmp_path / "s")
  np.testing.assert_array_equal(file.pages[..., 0], pages - 1024)
  assert file.pages.dtype == np.int16
  np.testing.assert_allclose(file.spacing, (2.5, 0.5, 0.25))
  np.testing.assert_array_equal(image_io.read(tmp_path / "s" / "x2.dcm").pages[0, ..., 0], pages[0] - 1024)
  assert [float(data.ImagePositionPatient[2]) for data in file.header] == [0.0, 2.5, 5.0]


def test_dicom_with_a_fractional_slope_is_float(tmp_path):
  pixels = numbers((4, 6), np.int16)
  write_dicom(tmp_path / "a.dcm", pixels, slope=0.5, intercept=1.0)
  found = image_io.read(tmp_path / "a.dcm").pages[0, ..., 0]
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, pixels * 0.5 + 1)


def test_series_that_are_no_stack_are_refused(tmp_path):
  pixels = numbers((4, 6))
  cases = {
    "mixed": ({"z": 0.0}, {"z": 1.0, "series": "9.9"}, "2 DICOM series"),
    "twice": ({"z": 1.0}, {"z": 1.0}, "same place"),
    "turned": ({"z": 0.0}, {"z": 1.0, "orientation": (0, 1, 0, 1, 0, 0)}, "oriented otherwise"),
  }
  for name, (first, second, message) in cases.items():
    write_dicom(tmp_path / name / "a.dcm", pixels, **first)
    write_dicom(tmp_path / name / "b.dcm", pixels, **second)
    with pytest.raises(InputError, match=message) as caught:
      image_io.read(tmp_path / name)
    assert name in str(caught.value)
  write_dicom(tmp_path / "gap" / "a.dcm", pixels, z=0.0)
  write_dicom(tmp_path / "gap" / "b.dcm", pixels, z=1.0)
  write_dicom(tmp_path / "gap" / "c.dcm", pixels, z=3.0)
  with pytest.raises(InputError, match=r"1 to 2 mm apart, most between b\.dcm and c\.dcm; one may be missing.*allow"):
    image_io.read(tmp_path / "gap")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.nii.gz", "a.dcm"])
def test_damaged_files_are_named(tmp_path, name):
  values = numbers((40, 40))
  path = tmp_path / name
  if name.endswith(".nii.gz"):
    nibabel.save(nibabel.Nifti1Image(values[..., None], np.eye(4)), path)
  elif name.endswith(".dcm"):
    write_dicom(path, values)
  else:
    PIL.Image.fromarray(values).save(path)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(InputError) as caught:
    image_io.read(path)
  assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_unknown_and_animated(tmp_path):
  with pytest.raises(InputError, match="no such file"):
    image_io.read(tmp_path / "none.png")
  (tmp_path / "a.xyz").write_text("")
  with pytest.raises(InputError, match=r"unknown image format '\.xyz'"):
    image_io.read(tmp_path / "a.xyz")
  frames = [PIL.Image.fromarray(numbers((4, 4), seed=k)) for k in range(2)]
  frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
  with pytest.raises(InputError, match="2 frames"):
    image_io.read(tmp_path / "a.gif")


def test_picture_of_several_pages_or_other_channels(tmp_path):
  tifffile.imwrite(tmp_path / "a.tif", numbers((3, 5, 7)), photometric="minisblack")
  with pytest.raises(InputError, match="found 3 pages"):
    image_io.read_picture(tmp_path / "a.tif")
  PIL.Image.fromarray(numbers((5, 7, 3))).save(tmp_path / "rgb.png")
  with pytest.raises(InputError, match="expected 1 channels, found 3"):
    image_io.read_picture(tmp_path / "rgb.png", num_channels=1)


def test_grey_masks_stored_with_three_channels(tmp_path):
  mask = numbers((5, 7)) % 2
  PIL.Image.fromarray(np.repeat(mask[..., None] * 255, 3, axis=-1)).save(tmp_path / "m.png")
  np.testing.assert_array_equal(image_io.read_mask(tmp_path / "m.png"), mask)


def test_to_binary():
  path = pathlib.Path("m.png")
  np.testing.assert_array_equal(image_io.to_binary(np.array([0, 7, 7]), path), [0, 1, 1])
  np.testing.assert_array_equal(image_io.to_binary(np.array([0, 100, 200]), path, threshold=128), [0, 0, 1])
  np.testing.assert_array_equal(image_io.to_binary(np.array([0, 255]), path, foreground=255), [0, 1])
  with pytest.raises(InputError, match=r"m\.png: a mask holds 0 and one other value; found 0, 1, 2"):
    image_io.to_binary(np.array([0, 1, 2]), path)
  with pytest.raises(InputError, match="a mask holds 0 and 255; found 0, 1"):
    image_io.to_binary(np.array([0, 1]), path, foreground=255)
  with pytest.raises(InputError, match="nan"):
    image_io.to_binary(np.array([0, np.nan]), path)


@given(st.text("abc.", min_size=1, max_size=8), st.sampled_from([*image_io.SUFFIXES, ".ome.tif"]))
def test_stem_and_suffix_make_the_name(name, suffix):
  path = pathlib.Path("x" + name + suffix.upper())
  assert image_io.stem(path) + path.name[len(image_io.stem(path)) :] == path.name
  assert image_io.suffix(path).endswith(suffix.split(".")[-1])
  assert path.name.lower().endswith(image_io.suffix(path))
