"""Masks matched to images by place: whichever way their voxels run, in whichever format."""

import dataclasses
import itertools
import pathlib

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.folder_raters import reading
from ordseg import image_io
from ordseg.errors import InputError
from ordseg.image_io import ImageFile, placement, segmentations
from tests.image_io import making
from tests.image_io.making import series

SHAPE = (4, 5, 6)  # D, H, W
TURN = np.asarray([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
WAYS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def affine_of(turn=TURN, spacing=(0.5, 0.75, 2.0), origin=(10, -20, 30)):
  out = np.eye(4)
  out[:3, :3] = turn * spacing
  out[:3, 3] = origin
  return out


def image(affine=None, shape=SHAPE):
  values = np.arange(np.prod(shape)).reshape(*shape, 1)
  return ImageFile(pathlib.Path("i"), values, affine=affine_of() if affine is None else affine)


def rearranged(file, axes, signs):
  """The same voxels at the same places, stored otherwise: by nibabel's own orientation code."""
  orientation = np.stack([axes, signs], axis=1)
  voxels = nibabel.Nifti1Image(file.pages[..., 0].transpose(2, 1, 0).astype(np.int32), file.affine)
  out = voxels.as_reoriented(orientation)
  pages = np.asarray(out.dataobj).transpose(2, 1, 0)[..., None]
  return ImageFile(pathlib.Path("m"), pages, placement.spacing_of(out.affine), out.affine)


@pytest.mark.parametrize(("axes", "signs"), WAYS)
def test_all_48_ways_to_store_a_mask_are_one(axes, signs):
  want = image()
  found = placement.matched(rearranged(want, axes, signs), want)
  np.testing.assert_array_equal(found.pages, want.pages)
  np.testing.assert_array_equal(found.affine, want.affine)


@settings(deadline=None, max_examples=60)
@given(
  st.sampled_from(WAYS),
  st.permutations(range(3)),
  st.tuples(*[st.integers(1, 5)] * 3),
  st.floats(-np.pi, np.pi),
  st.floats(-0.3, 0.3),
)
def test_any_order_of_pages_any_angle_any_shear(way, order, shape, angle, shear):
  """Image and mask through `transposed` in any order, rotated, with slices that drift, down to one page."""
  cos, sin = np.cos(angle), np.sin(angle)
  turn = np.asarray([[cos, -sin, shear], [sin, cos, 0], [0, 0, 1]])
  plain = image(affine_of(turn), shape)
  want = placement.transposed(plain, order)
  np.testing.assert_array_equal(want.pages, plain.pages.transpose(*order, 3))
  found = placement.matched(rearranged(plain, *way), want)
  np.testing.assert_array_equal(found.pages, want.pages)
  for voxel in np.ndindex(*want.pages.shape[:3]):  # a number is its voxel: its place is the same
    source = np.unravel_index(want.pages[voxel][0], shape)
    np.testing.assert_allclose(want.affine @ [*voxel[::-1], 1], plain.affine @ [*source[::-1], 1], atol=1e-9)


TILT = np.asarray([[0.995, -0.0998, 0, 0], [0.0998, 0.995, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # 5.73 degrees
WRONG = {
  "half a voxel": (lambda a: a + np.outer([0, 0.375, 0, 0], [0, 0, 0, 1]), r"off by \(0, 0.375, 0\) mm"),
  "whole voxels": (lambda a: a + np.outer([0, 0, 4, 0], [0, 0, 0, 1]), r"off by \(0, 0, 4\) mm"),
  "a tenth": (lambda a: a @ np.diag([1, 1, 1, 1]) + np.outer([0, 0, 0.2, 0], [0, 0, 0, 1]), r"\(0, 0, 0.2\) mm"),
  "spacing": (lambda a: a @ np.diag([2, 1, 1, 1]), r"voxels of 2 x 0.75 x 1 mm .* of 2 x 0.75 x 0.5 mm"),
  "angle": (lambda a: a @ np.diag([2, 4 / 3, 0.5, 1]) @ TILT @ np.diag([0.5, 0.75, 2, 1]), "5.73 degrees askew"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_other_grids_are_refused_with_what_differs(change, message):
  mask = dataclasses.replace(image(), path=pathlib.Path("m.nii"), affine=change(affine_of()))
  with pytest.raises(InputError, match=message) as caught:
    placement.matched(mask, image())
  assert "m.nii" in str(caught.value)


def test_rounded_numbers_are_the_same_grid_and_part_of_it_is_not():
  want = image()
  noisy = dataclasses.replace(want, affine=want.affine.astype(np.float32) + np.float32(1e-5))
  np.testing.assert_array_equal(placement.matched(noisy, want).pages, want.pages)
  part = dataclasses.replace(want, pages=want.pages[1:3], affine=want.affine @ _shift(2, 1))
  with pytest.raises(InputError, match=r"the mask is 2 x 5 x 6 pixels, its image i 4 x 5 x 6"):
    placement.matched(part, want)


def _shift(axis, count):
  out = np.eye(4)
  out[axis, 3] = count
  return out


def test_without_a_place_sizes_are_compared():
  want = image()
  lost = dataclasses.replace(want, affine=None)
  np.testing.assert_array_equal(placement.matched(lost, want).pages, want.pages)
  order = (1, 0, 2)
  found = placement.matched(lost, placement.transposed(want, order), order)
  np.testing.assert_array_equal(found.pages, want.pages.transpose(1, 0, 2, 3))
  with pytest.raises(InputError, match="The axes look swapped"):
    placement.matched(dataclasses.replace(lost, pages=lost.pages.transpose(0, 2, 1, 3)), want)


def test_spacing_is_the_voxels_volume():
  sheared = affine_of(TURN @ [[1, 0, 0.4], [0, 1, 0], [0, 0, 1]])
  np.testing.assert_allclose(np.prod(placement.spacing_of(sheared)), abs(np.linalg.det(sheared[:3, :3])))
  np.testing.assert_allclose(placement.spacing_of(affine_of()), (2.0, 0.75, 0.5))


# --- Files of two formats, through the builder's reader


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
  pages = np.zeros((4, 6, 8), int)
  for z in range(4):
    pages[z, 1 + z : 3 + z, 2 : 4 + z] = 1000
  return series(tmp_path_factory.mktemp("scan") / "s", pages), pages > 500


@pytest.mark.parametrize("slice_axis", reading.SLICE_AXES)
@pytest.mark.parametrize(("axes", "signs"), WAYS[::5])
def test_a_dicom_series_with_nifti_masks(tmp_path, scan, slice_axis, axes, signs):
  folder, marks = scan
  placed = image_io.read(folder)
  voxels = nibabel.Nifti1Image(marks.astype(np.float64).transpose(2, 1, 0), placed.affine)
  voxels.set_data_dtype(np.int16)  # with a slope: 1 comes back as 0.9999999998
  nibabel.save(voxels.as_reoriented(np.stack([axes, signs], axis=1)), tmp_path / "m.nii.gz")
  got = reading.read_image(folder, num_channels=1, slice_axis=slice_axis)
  mask = reading.read_mask(tmp_path / "m.nii.gz", got, marked=">0.5", slice_axis=slice_axis)
  np.testing.assert_array_equal(mask, got.pages[..., 0] > 500)


# --- Segmentation objects as masks


def segmentation(folder, masks, kind, **tags):
  hd = pytest.importorskip("highdicom")
  import pydicom

  files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
  files.sort(key=lambda data: float(np.dot(data.ImagePositionPatient, making.NORMAL)))
  code = hd.sr.CodedConcept("91723000", "SCT", "Anatomical structure")
  segments = [hd.seg.SegmentDescription(k + 1, f"part {k + 1}", code, code, "MANUAL") for k in range(masks.shape[-1])]
  for data in files:
    data.PatientName = data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = ""
    data.AccessionNumber = data.ReferringPhysicianName = data.StudyID = ""
    data.InstanceNumber, data.SeriesNumber, data.SliceThickness = 1, 1, making.DEPTH
  return hd.seg.Segmentation(
    files, masks, kind, segments, hd.UID(), 1, hd.UID(), 1, "m", "m", "1", "0", omit_empty_frames=True, **tags
  )


@pytest.mark.parametrize("slice_axis", reading.SLICE_AXES)
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segmentation_object_is_a_mask(tmp_path, scan, kind, slice_axis):
  folder, marks = scan
  marks = marks.copy()
  marks[[0, 2]] = False  # such frames are left out
  values = (marks[..., None] * (0.6 if kind == "FRACTIONAL" else 1)).astype(
    np.float32 if kind == "FRACTIONAL" else np.uint8
  )
  segmentation(folder, values, kind).save_as(tmp_path / "m.dcm")
  got = reading.read_image(folder, num_channels=1, slice_axis=slice_axis)
  mask = reading.read_mask(tmp_path / "m.dcm", got, marked=">0.5", slice_axis=slice_axis)
  order = {"z": (0, 1, 2), "y": (1, 0, 2), "x": (2, 0, 1)}[slice_axis]
  np.testing.assert_array_equal(mask, marks.transpose(order))


def test_segments_are_numbers_and_do_not_overlap(tmp_path, scan):
  folder, marks = scan
  two = np.stack([marks, np.roll(marks, 4, axis=2)], axis=-1).astype(np.uint8)
  two[..., 1] &= 1 - two[..., 0]
  segmentation(folder, two, "BINARY").save_as(tmp_path / "two.dcm")
  got = reading.read_image(folder, num_channels=1, slice_axis="z")
  for number in (1, 2):
    mask = reading.read_mask(tmp_path / "two.dcm", got, marked=f"=={number}", slice_axis="z")
    np.testing.assert_array_equal(mask, two[..., number - 1])
  assert image_io.read(tmp_path / "two.dcm").notes == ("a segmentation object, segments: 1 part 1, 2 part 2",)
  segmentation(folder, np.stack([marks, marks], -1).astype(np.uint8), "BINARY").save_as(tmp_path / "over.dcm")
  with pytest.raises(InputError, match=r"over\.dcm: segments overlap"):
    image_io.read(tmp_path / "over.dcm")


def test_a_segmentation_of_another_scan_is_refused(tmp_path, scan):
  folder, marks = scan
  segmentation(folder, marks[..., None].astype(np.uint8), "BINARY").save_as(tmp_path / "m.dcm")
  got = reading.read_image(folder, num_channels=1, slice_axis="z")
  for change, message in ((_shift(0, 0.5), "lies elsewhere"), (_shift(2, 3), "outside its image")):
    moved = dataclasses.replace(got, affine=got.affine @ change)
    with pytest.raises(InputError, match=message):
      reading.read_mask(tmp_path / "m.dcm", moved, marked="binary", slice_axis="z")


@pytest.mark.parametrize("places", [[0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3]])
def test_a_segmentation_of_frames_lies_where_they_lie(tmp_path, places):
  """Written for an enhanced object whose frames are in any order, and read back onto it."""
  pytest.importorskip("highdicom")
  values = np.arange(4 * 6 * 8).reshape(4, 6, 8)
  data = making.enhanced(values, places, slopes=[(1, 0)] * 4)
  data.PatientName = data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = ""
  data.AccessionNumber = data.ReferringPhysicianName = data.StudyID = ""
  data.InstanceNumber, data.SeriesNumber = 1, 1
  data.DimensionOrganizationSequence = making.sequence(DimensionOrganizationUID="1.2.9")
  scan = image_io.read(making.save(data, tmp_path / "scan.dcm"))
  mask = (scan.pages[..., 0] % 7 == 0).astype(np.uint8)
  segmentations.write_mask(tmp_path / "mask.dcm", mask, scan, "marked")
  found = placement.matched(image_io.read(tmp_path / "mask.dcm"), scan)
  np.testing.assert_array_equal(found.pages[..., 0], mask)
  probabilities = {"some": mask * np.float32(0.4)}
  segmentations.write_probabilities(tmp_path / "some.dcm", probabilities, scan)
  found = placement.matched(image_io.read(tmp_path / "some.dcm"), scan)
  np.testing.assert_allclose(found.pages[..., 0], probabilities["some"], atol=1 / 255)
