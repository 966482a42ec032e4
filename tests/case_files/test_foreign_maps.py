"""Maps as nnU-Net, MONAI and plain writers left them on disk: each gives the numbers that its makers expect of it."""

import json
import os
import pathlib

import numpy as np
import pytest

from ordseg import case_files
from ordseg.case_files import Options
from ordseg.errors import InputError
from tests.data.helpers import ROOT
from tests.reference import foreign_map_scores

SHARED = pathlib.Path(os.environ.get("ORDSEG_SHARED_DATA", ROOT.parent / "shared" / "data")) / "foreign_maps"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the maps of other tools are not at {SHARED}")
EXPECTED = json.loads((SHARED / "expected.json").read_text())["sets"] if SHARED.is_dir() else {}
TOLERANCE = 1e-6


def pairs_of(name, **options):
  space, _, maps = name.partition("/")
  return case_files.pair([SHARED / space / "maps" / maps], SHARED / space, options=Options(**options))


def _scored(case, structure):
  return case.probs[structure], case.rater_masks[structure], case.rater_valid


def scored(name):
  """Pairs, cases, and the oracle's numbers of all."""
  pairs = pairs_of(name, missing="skip")
  cases, kept = [], []
  for case in pairs:
    (structure,) = case.probs
    cases.append(_scored(case, structure))
    kept.append(case)
  return pairs, kept, foreign_map_scores.score(cases, len(pairs.raters))


@pytest.mark.parametrize("name", [name for name, one in EXPECTED.items() if one["verdict"] != "refuse"])
def test_each_set_has_its_numbers(name):
  pairs, cases, numbers = scored(name)
  want = EXPECTED[name]
  for key, value in numbers.items():
    assert value == pytest.approx(want["all"][key], abs=TOLERANCE), key
  assert {case.name for case in cases} == set(want["per_image"])
  for case in cases:
    (structure,) = case.probs
    one = foreign_map_scores.score([_scored(case, structure)], len(pairs.raters))
    for key in ("mr_ece_pooled", "ece_majority", "brier"):
      assert one[key] == pytest.approx(want["per_image"][case.name][key], abs=TOLERANCE), (case.name, key)
    assert case.rater_valid.sum() == want["per_image"][case.name]["num_raters"]
  assert list(pairs.listing.missing) == want["missing_cases"]
  assert list(pairs.listing.unknown) == want["unknown_cases"]


@pytest.mark.parametrize("name", [name for name, one in EXPECTED.items() if one["verdict"] != "refuse"])
def test_what_is_odd_is_said_and_nothing_else(name):
  pairs = pairs_of(name, missing="skip")
  odd = "; ".join(pairs.listing.odd)
  want = EXPECTED[name]
  for case in (*want["missing_cases"], *want["unknown_cases"]):
    assert case in odd
  assert ("label maps" in odd) == ("label_maps" in name)
  is_coarse = any(word in name for word in ("png8", "uint8_255", "unknown_case", "missing_case"))
  assert ("steps of 1/255" in odd) == is_coarse
  if want["verdict"] == "score" and not is_coarse:
    assert odd == ""


@pytest.mark.parametrize("name", [name for name, one in EXPECTED.items() if one["verdict"] == "refuse"])
def test_what_has_no_answer_is_refused_by_name(name):
  with pytest.raises(InputError, match=r"/pt\d\d_\d.png: the map is 56 x 72, .*112 x 144\. .*--resample") as caught:
    list(pairs_of(name))
  assert "\n" not in str(caught.value)


def test_a_missing_case_is_refused_unless_it_is_skipped():
  with pytest.raises(InputError, match=r"1 of 10 cases have no map: pt23_1. .*--missing=skip"):
    pairs_of("phantom2d/name_missing_case")


def test_codes_are_binned_as_whole_numbers():
  for name, top in (("phantom2d/png8", 255), ("phantom2d/png16", 65535), ("volumes3d/nifti_uint8_slope", 255)):
    case = next(iter(pairs_of(name)))
    (probs,) = case.probs.values()
    codes = np.rint(probs * top).astype(int)
    assert probs.dtype == np.float64
    np.testing.assert_array_equal(probs, codes / top)
    np.testing.assert_array_equal(np.floor(probs * 15).astype(int), 15 * codes // top)


def test_half_resolution_is_taken_where_the_user_asks_for_it():
  cases = list(pairs_of("phantom2d/refuse_half_resolution", resample=True))
  assert all(case.probs["foreground"].shape == case.rater_masks["foreground"].shape[:-1] for case in cases)
  whole = {case.name: case for case in pairs_of("phantom2d/png8")}
  apart = [np.abs(case.probs["foreground"] - whole[case.name].probs["foreground"]).mean() for case in cases]
  assert max(apart) < 0.05


@pytest.mark.parametrize(
  "masks", ["raters", "nnunet_raw/Dataset701_Phantom2D", "nnunet_raw/Dataset701_Phantom2D/labelsTs"]
)
def test_masks_without_images_and_of_nnunet(masks):
  root = SHARED / "phantom2d"
  pairs = case_files.pair([root / "maps" / "nnunet_2d"], root / masks, images=None)
  cases = list(pairs)
  assert len(cases) == 10
  if masks == "raters":
    assert pairs.raters == ("anna", "ben", "carl", "dora", "emil")
    with_images = {case.name: case for case in pairs_of("phantom2d/nnunet_2d")}
    for case in cases:
      np.testing.assert_array_equal(case.rater_masks["lesion"], with_images[case.name].rater_masks["lesion"])
  else:
    assert len(pairs.raters) == 1
    whole = {case.name: case for case in pairs_of("phantom2d/nnunet_2d")}
    for case in cases:  # the labels are the raters' majority
      votes, valid = whole[case.name].rater_masks["lesion"], whole[case.name].rater_valid
      np.testing.assert_array_equal(case.rater_masks["lesion"][..., 0], votes[..., valid].mean(-1) >= 0.5)


def test_several_folders_are_members():
  root = SHARED / "phantom2d"
  folders = [root / "maps" / name for name in ("png8", "monai_sigmoid_png8")]
  for case in case_files.pair(folders, root):
    (probs,), (members,) = case.probs.values(), case.members.values()
    codes = [np.rint(one * 255).astype(int) for one in members]
    np.testing.assert_array_equal(probs, (codes[0] + codes[1]) / 510)
