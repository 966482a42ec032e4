"""Every form in which tools write maps gives the same probabilities, in the masks' own axes."""

import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg import case_files
from ordseg.case_files import Names, Options
from ordseg.errors import InputError
from tests.case_files.making import (
  AFFINE,
  CASES,
  Small,
  save_nifti,
  save_npy,
  save_npz,
  save_png,
  save_tiff,
  save_voxels,
)


def pair(small, options=None, **more):
  return case_files.pair([small.maps], small.masks_at, options=options, **more)


def check(small, options=None, *, tolerance=1e-7, structure=None, wanted=None, **more):
  """All cases are there, and have these probabilities and the raters' masks."""
  pairs = pair(small, options, **more)
  cases = {case.name: case for case in pairs}
  assert tuple(sorted(cases)) == CASES
  for name, case in cases.items():
    key = structure or next(iter(case.probs))
    want = (wanted or small.probs)[name]
    assert case.probs[key].dtype in (np.float32, np.float64)
    np.testing.assert_allclose(case.probs[key], want, atol=tolerance, rtol=0)
    np.testing.assert_array_equal(case.rater_masks[key], small.masks[name])
    assert case.rater_valid.tolist() == [True, True]
  return pairs


def two(p):
  return np.stack([1 - p, p])


def codes(p):
  return np.rint(p * 255).astype(np.uint8)


def last(values):
  return np.moveaxis(values, 0, -1)


def labels_json(folder, labels, **more):
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz", **more}))


_2D = {
  "npy": lambda m, n, p: save_npy(m / f"{n}.npy", p),
  "npy channels first": lambda m, n, p: save_npy(m / f"{n}.npy", two(p)),
  "npy channels last": lambda m, n, p: save_npy(m / f"{n}.npy", last(two(p))),
  "npz of one key": lambda m, n, p: save_npz(m / f"{n}.npz", anything=p),
  "nnunet without labels": lambda m, n, p: save_npz(m / f"{n}.npz", probabilities=two(p)[:, None]),
  "tiff": lambda m, n, p: save_tiff(m / f"{n}.tif", p),
  "tiff of channels": lambda m, n, p: save_tiff(m / f"{n}.tif", two(p)),
  "grey stored as colours": lambda m, n, p: save_png(m / f"{n}.png", np.repeat(codes(p)[..., None], 3, -1)),
  "monai nifti": lambda m, n, p: save_nifti(m / n / f"{n}_trans.nii.gz", p[None], np.eye(4)),
  "monai softmax": lambda m, n, p: save_nifti(m / n / f"{n}_prob.nii.gz", last(two(p))[None], np.eye(4)),
  "folder per case": lambda m, n, p: save_npz(m / n / "prob.npz", p=p),
  "subfolders": lambda m, n, p: save_npz(m / "test" / n / f"{n}_0000_prob.npz", p=p),
}


@pytest.mark.parametrize("kind", _2D)
def test_pictures(tmp_path, kind):
  small = Small(tmp_path)
  check(small.each(functools.partial(_2D[kind], small.maps)), tolerance=0.5 / 255 if "grey" in kind else 1e-7)


def flip(axis, size):
  out = np.eye(4)
  out[axis, axis], out[axis, 3] = -1, size - 1
  return out


_3D = {
  "nifti": lambda m, n, p: save_nifti(m / f"{n}.nii.gz", p),
  "monai softmax": lambda m, n, p: save_nifti(m / n / f"{n}_seg.nii.gz", last(two(p))),
  "turned": lambda m, n, p: save_nifti(m / f"{n}.nii.gz", p[:, ::-1], AFFINE @ flip(1, p.shape[1])),
  "axes swapped": lambda m, n, p: save_nifti(m / f"{n}.nii.gz", p.transpose(1, 0, 2), AFFINE[:, [0, 2, 1, 3]]),
  "channels first": lambda m, n, p: save_voxels(m / f"{n}.nii.gz", two(p).transpose(0, 3, 2, 1)),
  "nibabel's order": lambda m, n, p: save_npz(m / f"{n}.npz", p=p.transpose(2, 1, 0)),
  "stack": lambda m, n, p: save_tiff(m / f"{n}.tif", p),
}


@pytest.mark.parametrize("kind", _3D)
def test_volumes(tmp_path, kind):
  small = Small(tmp_path, volumes=True)
  check(small.each(functools.partial(_3D[kind], small.maps)))


@given(order=st.permutations(range(3)), flips=st.tuples(*[st.booleans()] * 3), has_channels=st.booleans())
@settings(max_examples=10, deadline=None)
def test_whichever_way_the_voxels_of_a_map_run(tmp_path_factory, order, flips, has_channels):
  small = Small(tmp_path_factory.mktemp("turned"), volumes=True)
  for name, p in small.probs.items():
    voxels, steps = p.transpose(2, 1, 0), np.eye(4)
    for axis, flipped in enumerate(flips):
      if flipped:
        voxels = np.flip(voxels, axis)
        steps = steps @ flip(axis, voxels.shape[axis])
    voxels, affine = voxels.transpose(order), AFFINE @ steps[:, [*order, 3]]
    save_voxels(small.maps / f"{name}.nii.gz", last(two(voxels)) if has_channels else voxels, affine)
  check(small)


@pytest.mark.parametrize("turn", ["as it is", "zyx to xyz", "rows flipped"])
def test_nnunet_volumes_are_turned_until_the_argmax_is_the_label_map(tmp_path, turn):
  small = Small(tmp_path, volumes=True)
  turns = {
    "as it is": lambda a: a,
    "zyx to xyz": lambda a: a.transpose(0, 3, 2, 1),
    "rows flipped": lambda a: a[:, :, ::-1],
  }
  labels_json(small.maps, {"background": 0, "lesion": 1})
  for name, p in small.probs.items():
    save_npz(small.maps / f"{name}.npz", probabilities=turns[turn](two(p)))
    save_nifti(small.maps / f"{name}.nii.gz", (p > 0.5).astype(np.uint8))
    (small.maps / f"{name}.pkl").write_bytes(b"never opened")
  pairs = check(small, structure="lesion")
  notes = {note for case in pairs for note in case.notes}
  assert any("axes turned" in note for note in notes) == (turn != "as it is")


@pytest.mark.parametrize("volumes", [False, True])
def test_a_sigmoid_is_turned_until_it_agrees_with_the_label_map_beside_it(tmp_path, volumes):
  small = Small(tmp_path, volumes=volumes)
  for name, p in small.probs.items():
    save_npz(small.maps / f"{name}.npz", p=p[..., ::-1])
    if volumes:
      save_nifti(small.maps / f"{name}.nii.gz", (p > 0.5).astype(np.uint8))
    else:
      save_png(small.maps / f"{name}.png", (p > 0.5).astype(np.uint8))
  pairs = check(small)
  assert all("axes turned to zy-x, by the label map beside it" in case.notes for case in pairs)


def test_regions_of_nnunet_have_a_channel_each_and_none_of_the_background(tmp_path):
  small = Small(tmp_path, volumes=True)
  labels_json(small.maps, {"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=[1, 2])
  cores = {name: p * 0.9 for name, p in small.probs.items()}
  for name, p in small.probs.items():
    segmented = np.where(cores[name] > 0.5, 2, np.where(p > 0.5, 1, 0)).astype(np.uint8)
    save_npz(small.maps / f"{name}.npz", probabilities=np.stack([p, cores[name]]))
    save_nifti(small.maps / f"{name}.nii.gz", segmented)
    for r, rater in enumerate(("anna", "ben")):
      mask = small.masks[name][..., r]
      save_nifti(small.masks_at / rater / f"{name}.nii.gz", mask + mask * (np.arange(5) % 2).astype(np.uint8))
  pairs = check(small, Options(classes="all"), structure="whole")
  for case in pairs:
    np.testing.assert_allclose(case.probs["core"], cores[case.name], atol=1e-7)
    np.testing.assert_array_equal(case.rater_masks["core"], small.masks[case.name] * (np.arange(5) % 2)[:, None])


def test_a_ramp_on_a_coarser_grid_is_interpolated_exactly(tmp_path):
  small = Small(tmp_path, volumes=True)
  ramp = np.broadcast_to(np.linspace(0.1, 0.9, 5, dtype=np.float32), (3, 4, 5))
  for name in small.probs:
    save_nifti(small.maps / f"{name}.nii.gz", ramp[:, :, ::2], AFFINE @ np.diag([2.0, 1, 1, 1]))
  check(small, Options(resample=True), wanted=dict.fromkeys(CASES, ramp), tolerance=1e-6)


def test_logits(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=np.log(p / (1 - p))))
  check(small, Options(from_logits=True), tolerance=1e-6)
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=np.log(two(p)) + 3))
  check(small, Options(from_logits=True), tolerance=1e-6)


@pytest.mark.parametrize("scale", [100, 1000])
def test_other_scales(tmp_path, scale):
  small = Small(tmp_path)
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=np.rint(p * scale).astype(np.int16)))
  check(small, Options(scale=scale), wanted={n: np.rint(p * scale) / scale for n, p in small.probs.items()})


def test_several_channels(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=np.stack([1 - p, p * 0.25, p * 0.75])))
  check(small, Options(channel=2), wanted={n: p * 0.75 for n, p in small.probs.items()})
  levels = list(pair(small, Options(levels=True)))
  for case in levels:
    p = small.probs[case.name]
    np.testing.assert_allclose(case.probs["foreground"], np.stack([1 - p, p * 0.25, p * 0.75], -1), atol=1e-7)


def test_several_classes_of_label_files(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=np.stack([1 - p, p * 0.25, p * 0.75])))
  for name, masks in small.masks.items():
    for r, rater in enumerate(("anna", "ben")):
      save_png(small.masks_at / rater / f"{name}.png", masks[..., r] * 2)
  pairs = check(small, Options(classes="rim=1,core=2"), structure="core",
                wanted={n: p * 0.75 for n, p in small.probs.items()})  # fmt: skip
  assert all(not case.rater_masks["rim"].any() for case in pairs)


def test_label_maps_are_said_to_be_such(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: save_png(small.maps / f"{n}.png", (p > 0.5).astype(np.uint8)))
  pairs = check(small, wanted={n: p > 0.5 for n, p in small.probs.items()})
  assert "label maps (0 and 1)" in pairs.listing.odd[0]


def test_label_maps_of_nnunet_say_what_was_left_out(tmp_path):
  small = Small(tmp_path, volumes=True)
  labels_json(small.maps, {"background": 0, "lesion": 1})
  small.each(lambda n, p: save_nifti(small.maps / f"{n}.nii.gz", (p > 0.5).astype(np.uint8)))
  pairs = check(small, structure="lesion", wanted={n: p > 0.5 for n, p in small.probs.items()})
  assert any("--save_probabilities" in line for line in pairs.listing.odd)


def test_label_maps_of_several_classes(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: save_png(small.maps / f"{n}.png", np.digitize(p, [0.4, 0.7]).astype(np.uint8)))
  for name, masks in small.masks.items():
    for r, rater in enumerate(("anna", "ben")):
      save_png(small.masks_at / rater / f"{name}.png", masks[..., r] * 2)
  pairs = check(small, Options(classes="core=2"), wanted={n: p >= 0.7 for n, p in small.probs.items()})
  assert "label maps (whole numbers from 0 to 2)" in pairs.listing.odd[0]


def test_a_constant_map_and_per_cent_are_said_first(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=np.full_like(p, 0.25)))
  assert pair(small).listing.odd[0] == "every value of the set is 0.25: a constant map"
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=np.rint(p * 100).astype(np.uint8)))
  assert any("--scale=100" in line for line in pair(small).listing.odd)


def test_what_ordseg_predict_writes(tmp_path):
  small = Small(tmp_path)
  (tmp_path / "maps").mkdir()
  (small.maps / "summary.csv").write_text("file\n")
  for name, p in small.probs.items():
    save_png(small.maps / f"{name}_mean_vote.png", np.rint(p * 65535).astype(np.uint16))
    save_png(small.maps / f"{name}_majority.png", np.rint(p * p * 65535).astype(np.uint16))
    save_png(small.maps / f"{name}_mask.png", (p > 0.5).astype(np.uint8))
    save_png(small.maps / f"{name}_overlay.png", np.zeros((6, 8, 3), np.uint8))
  wanted = {n: np.rint(p * 65535).astype(np.float64) / 65535 for n, p in small.probs.items()}
  pairs = check(small, wanted=wanted, tolerance=1e-9)
  assert any("mean_vote" in line for line in pairs.listing.how)
  check(small, Options(map_suffix="_majority"), wanted={n: p * p for n, p in small.probs.items()}, tolerance=1e-5)


def test_members_by_name_are_averaged(tmp_path):
  small = Small(tmp_path)
  for name, p in small.probs.items():
    for k, factor in enumerate((0.5, 1.0)):
      save_npz(small.maps / f"{name}_s{k}.npz", p=p * np.float32(factor))
  pairs = check(small, Options(members="_s*"), wanted={n: p * 0.75 for n, p in small.probs.items()})
  for case in pairs:
    assert [len(one) for one in case.members.values()] == [2]
  (small.maps / "p2_a_s0.npz").unlink()
  pairs = pair(small, Options(members="_s*"))
  assert pairs.listing.odd == ("cases with fewer maps than others (1): p2_a (1 of 2)",)


def test_missing_raters_regions_groups_and_spacing(tmp_path):
  small = Small(tmp_path, volumes=True)
  small.each(lambda n, p: save_nifti(small.maps / f"{n}.nii.gz", p))
  (small.masks_at / "ben" / "p1_a.nii.gz").unlink()
  save_nifti(small.masks_at / "anna" / "p1_b.nii.gz", np.zeros((3, 4, 5), np.uint8))
  region = np.ones((3, 4, 5), np.uint8)
  region[0] = 0
  save_nifti(tmp_path / "fov" / "p2_a_mask.nii.gz", region[:, :, ::-1], AFFINE @ flip(0, 5))
  pairs = pair(small, Options(group_regex=r"(p\d)_"), regions=tmp_path / "fov")
  cases = {case.name: case for case in pairs}
  assert cases["p1_a"].rater_valid.tolist() == [True, False]
  assert cases["p1_b"].rater_valid.tolist() == [True, True]  # an empty mask is an answer
  assert not cases["p1_b"].rater_masks["foreground"][..., 0].any()
  assert [cases[name].group for name in CASES] == ["p1", "p1", "p2"]
  assert cases["p1_a"].pixel_valid is None
  np.testing.assert_array_equal(cases["p2_a"].pixel_valid, region > 0)
  assert cases["p1_a"].spacing == (4.0, 3.0, 2.0)


@pytest.mark.parametrize("others", [{"other": 2}, {}])
def test_labels_to_be_ignored_count_nowhere(tmp_path, others):
  small = Small(tmp_path, volumes=True)
  small.each(lambda n, p: save_nifti(small.maps / f"{n}.nii.gz", p))
  labels_json(small.root, {"background": 0, "lesion": 1, **others, "ignore": 3})
  label = np.zeros((3, 4, 5), np.uint8)
  label[0, 0, :3] = 1, len(others) * 2, 3
  for name in CASES:
    for rater in ("anna", "ben"):
      save_nifti(small.masks_at / rater / f"{name}.nii.gz", label)
  for case in pair(small, Options(classes="lesion" if others else "")):
    np.testing.assert_array_equal(case.rater_masks["lesion"].sum(-1), 2 * (label == 1))
    np.testing.assert_array_equal(case.pixel_valid, label != 3)


def test_raters_of_nnunet_in_folders_of_their_own(tmp_path):
  small = Small(tmp_path, volumes=True)
  small.each(lambda n, p: save_nifti(small.maps / f"{n}.nii.gz", p))
  raw = tmp_path / "Dataset001_X"
  labels_json(raw, {"background": 0, "lesion": 1})
  for rater in ("anna", "ben"):
    (small.masks_at / rater).rename(raw / f"labelsTs_{rater}")
  save_nifti(raw / "imagesTs" / "p1_a_0000.nii.gz", small.probs["p1_a"])
  save_nifti(raw / "imagesTs" / "p1_a_0001.nii.gz", small.probs["p1_a"])
  small.masks_at = raw
  pairs = check(small)
  assert pairs.raters == ("anna", "ben")
  assert {case.name: case.image for case in pairs}["p1_a"] == raw / "imagesTs" / "p1_a_0000.nii.gz"
  save_nifti(raw / "labelsTs" / "p1_a.nii.gz", small.masks["p1_a"][..., 0])
  with pytest.raises(InputError, match=r"is it a rater, or the raters' consensus\? .*--rater_pattern="):
    pair(small)
  check(small, names=Names(rater_pattern="[ab]*", option_prefix="--"))


def test_the_layout_of_own_data_with_folders_below(tmp_path):
  small = Small(tmp_path)
  for name, p in small.probs.items():
    for part in ("images", "raters/anna", "raters/ben"):
      folder = tmp_path / "own" / part / "site1"
      values = small.masks[name][..., 0] * 255 if "raters" in part else np.rint(p * 255).astype(np.uint8)
      save_png(folder / f"{name}.png", values)
    save_npz(small.maps / "site1" / f"{name}.npz", p=p)
  small.masks_at = tmp_path / "own"
  assert [case.name for case in pair(small)] == [f"site1/{name}" for name in CASES]


@pytest.mark.parametrize("has_image", [True, False])
def test_a_folder_per_case(tmp_path, has_image):
  small = Small(tmp_path)
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=p))
  for name, masks in small.masks.items():
    for r in range(2):
      save_png(tmp_path / "cases" / name / f"rater{r}.png", masks[..., r] * 255)
    if has_image:
      save_png(tmp_path / "cases" / name / "image.png", np.zeros((6, 8), np.uint8))
  small.masks_at = tmp_path / "cases"
  assert check(small).raters == ("rater0", "rater1")


def test_the_masks_of_one_rater_in_a_folder(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=p))
  pairs = case_files.pair([small.maps], small.masks_at / "ben")
  assert pairs.raters == ("ben",)
  for case in pairs:
    np.testing.assert_array_equal(case.rater_masks["foreground"][..., 0], small.masks[case.name][..., 1])


def test_raters_read_their_numbers_from_a_rule(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: save_npz(small.maps / f"{n}.npz", p=p))
  for name, masks in small.masks.items():
    for r, rater in enumerate(("anna", "ben")):
      save_png(small.masks_at / rater / f"{name}.png", masks[..., r] * 200 + 3)
  check(small, Options(marked=">=128"))
