"""DICOM segmentation objects as maps and as masks, placed by their frames."""

import numpy as np
import pydicom
import pytest

from ordseg import case_files, image_io
from ordseg.case_files import Options
from ordseg.errors import InputError
from ordseg.image_io import segmentations, writing
from tests.case_files.making import save_png
from tests.image_io import test_segmentations

pytest.importorskip("highdicom")
SHAPE = (5, 20, 26)


@pytest.fixture
def own(tmp_path):
  """images/<case> a series, raters/<rater>/<case>.dcm; returns the masks [D, H, W, 2] and the map."""
  rng = np.random.default_rng(2)
  test_segmentations.write_series(tmp_path / "own" / "images" / "p1")
  image = image_io.read(tmp_path / "own" / "images" / "p1")
  masks = rng.integers(0, 2, (*SHAPE, 2)).astype(np.uint8)
  masks[1:3] = 0  # frames that the objects leave out
  for r, rater in enumerate(("anna", "ben")):
    path = tmp_path / "own" / "raters" / rater / "p1.dcm"
    path.parent.mkdir(parents=True)
    segmentations.write_mask(path, masks[..., r], image, "lesion")
  codes = rng.integers(1, 256, SHAPE)
  codes[3] = 0
  (tmp_path / "maps").mkdir()
  return tmp_path, image, masks, codes / 255


def test_fractional_maps_with_frames_left_out(own):
  root, image, masks, probs = own
  segmentations.write_probabilities(root / "maps" / "p1.dcm", {"lesion": probs}, image)
  (case,) = case_files.pair([root / "maps"], root / "own")
  np.testing.assert_array_equal(case.rater_masks["foreground"], masks)
  np.testing.assert_array_equal(case.probs["foreground"], probs)
  assert case.spacing[0] == pytest.approx(2.5)


def test_several_fractional_segments_are_channels(own):
  root, image, masks, probs = own
  segmentations.write_probabilities(root / "maps" / "p1.dcm", {"rim": probs[::-1] / 2, "lesion": probs}, image)
  with pytest.raises(InputError, match=r"has 2 channels, which do not sum to 1.*--channel="):
    list(case_files.pair([root / "maps"], root / "own"))
  (case,) = case_files.pair([root / "maps"], root / "own", options=Options(channel=1))
  np.testing.assert_array_equal(case.probs["foreground"], probs)
  np.testing.assert_array_equal(case.rater_masks["foreground"], masks)
  with pytest.raises(InputError, match=r"a mask has one channel, found 2"):
    image_io.read_marks(root / "maps" / "p1.dcm")


def test_binary_maps_are_said_to_be_label_maps(own):
  root, image, _, probs = own
  segmentations.write_mask(root / "maps" / "p1.dcm", probs > 0.5, image, "lesion")
  pairs = case_files.pair([root / "maps"], root / "own")
  (case,) = pairs
  np.testing.assert_array_equal(case.probs["foreground"], probs > 0.5)
  assert "label maps (0 and 1)" in pairs.listing.odd[0]


def test_a_segmentation_alone_gives_no_grid(own):
  root, image, _, probs = own
  segmentations.write_probabilities(root / "maps" / "p1.dcm", {"lesion": probs}, image)
  with pytest.raises(InputError, match=r"p1.dcm: .*name the images .--images"):
    list(case_files.pair([root / "maps"], root / "own" / "raters"))
  (case,) = case_files.pair([root / "maps"], root / "own" / "raters", images=root / "own" / "images")
  np.testing.assert_array_equal(case.probs["foreground"], probs)


def test_a_folder_of_ours_with_maps_in_two_formats(own):
  root, image, masks, probs = own
  (root / "maps" / "summary.csv").write_text("file\n")
  writing.write_map(root / "maps" / "p1_mean_vote.nii.gz", probs.astype(np.float32), image)
  writing.write_map(root / "maps" / "p1_mask.nii.gz", masks[..., 0], image)
  segmentations.write_mask(root / "maps" / "p1_mask.dcm", masks[..., 0], image, "mask")
  segmentations.write_probabilities(root / "maps" / "p1_probability.dcm", {"a": probs, "b": probs}, image)
  save_png(root / "maps" / "p1_overlay.png", np.zeros((4, 4, 3), np.uint8))
  (case,) = case_files.pair([root / "maps"], root / "own")
  np.testing.assert_array_equal(case.probs["foreground"], probs)


def test_two_frames_of_a_fractional_segment_in_one_place_are_refused(own):
  root, image, _, probs = own
  path = root / "maps" / "p1.dcm"
  segmentations.write_probabilities(path, {"rim": probs, "lesion": probs}, image)
  data = pydicom.dcmread(path)
  for frame in data.PerFrameFunctionalGroupsSequence:
    frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1
  data.save_as(path)
  with pytest.raises(InputError, match=r"segment 1 has two frames in one place"):
    image_io.read(path)
