"""What each wrong input answers: one line that names the file, what was expected and the way out; see docs/score.md."""

import pickle
import re

import numpy as np
import pytest

from ordseg import case_files
from ordseg.case_files import Options
from tests.case_files.making import AFFINE, Small, answer, good, save_nifti, save_npy, save_npz, save_png, save_tiff

ODD = "p1_b"  # the case whose map is wrong where one alone is


def softmax(p, count=2):
  return np.stack([1 - p, *[p / (count - 1)] * (count - 1)])


def one_wrong(write):
  """A set whose other maps are right."""
  return lambda small: small.each(lambda n, p: write(small, n, p) if n == ODD else good(small, n, p))


def all_wrong(write):
  return lambda small: small.each(lambda n, p: write(small.maps / n, p))


def all_npz(of):
  return all_wrong(lambda at, p: save_npz(at.with_suffix(".npz"), p=of(p)))


def all_png(of):
  return all_wrong(lambda at, p: save_png(at.with_suffix(".png"), of(p)))


def npz(**arrays):
  return lambda small, n, _: save_npz(small.maps / f"{n}.npz", **arrays)


def cut_short(small, name, p):
  save_npz(small.maps / f"{name}.npz", p=p)
  path = small.maps / f"{name}.npz"
  path.write_bytes(path.read_bytes()[:-40])


def cut_short_array(small, name, p):
  save_npy(small.maps / f"{name}.npy", p)
  path = small.maps / f"{name}.npy"
  path.write_bytes(path.read_bytes()[:-8])


def pickled(small, name, _):
  np.save(small.maps / f"{name}.npy", np.asarray([{"a": 1}], dtype=object), allow_pickle=True)


def with_nan(small, name, p):
  broken = p.copy()
  broken[0, :3] = np.nan
  good(small, name, broken)


def half(small, name, p):
  save_tiff(small.maps / f"{name}.tif", p[::2, ::2])


def twice(small, name, p):
  save_npz(small.maps / "fold_0" / f"{name}.npz", p=p)
  save_npz(small.maps / "fold_1" / f"{name}.npz", p=p)


def two_formats(small, name, p):
  save_tiff(small.maps / f"{name}.tif", p)
  save_png(small.maps / f"{name}.png", np.rint(p * 255).astype(np.uint8))


def eight_among_sixteen_bits(small):
  for name, p in small.probs.items():
    top, kind = (255, np.uint8) if name == ODD else (65535, np.uint16)
    save_png(small.maps / f"{name}.png", np.rint(p * top).astype(kind))


def two_kinds(small):
  for end in ("_fg", "_edge"):
    small.each(lambda n, p, end=end: save_npz(small.maps / f"{n}{end}.npz", p=p))


def other_argmax(at, p):
  save_npz(at.with_suffix(".npz"), probabilities=softmax(p))
  save_nifti(at.with_suffix(".nii.gz"), (p > 0.8).astype(np.uint8))


# name: how it is written, the options, what the line says
PICTURES = {
  "logits": (
    one_wrong(lambda s, n, p: good(s, n, np.log(p / (1 - p)))),
    {},
    r"p1_b.npz: holds values from -\d.* to \d.*logits\? Then give --from_logits",
  ),
  "logits that are none": (
    one_wrong(good),
    {"from_logits": True},
    r"--from_logits, but all values .* leave the flag out",
  ),
  "per cent": (
    one_wrong(lambda s, n, p: good(s, n, p * 100)),
    {},
    r"p1_b.npz: holds values from .*--scale=100; logits: --from_logits",
  ),
  "NaN": (one_wrong(with_nan), {}, r"p1_b.npz: holds 3 values that are not finite"),
  "no case": (
    all_wrong(lambda at, p: save_npz(at.with_name(f"x{at.name}.npz"), p=p)),
    {},
    r"none of its 3 maps .*named like a case.*--map_prefix=, --map_suffix=",
  ),
  "a case without map": (
    lambda s: [good(s, n, s.probs[n]) for n in ("p1_a", "p2_a")],
    {},
    r"1 of 3 cases have no map: p1_b\..*--missing=skip",
  ),
  "two folders": (one_wrong(twice), {}, r"fold_1/p1_b.npz: case 'p1_b' has two maps; the other is .*fold_0/p1_b.npz"),
  "two formats": (one_wrong(two_formats), {}, r"p1_b.png: two maps of one name; the other is .*p1_b.tif"),
  "several kinds": (two_kinds, {}, r"'_edge', '_fg'.*--map_suffix="),
  "two keys": (
    one_wrong(npz(a=np.zeros((6, 8)), b=np.zeros((6, 8)))),
    {},
    r"p1_b.npz: holds several arrays .*\(a, b\).*--key=",
  ),
  "nnU-Net v1": (
    one_wrong(npz(softmax=np.zeros((2, 6, 8), np.float32))),
    {},
    r"p1_b.npz: is of nnU-Net v1 .*--key=softmax",
  ),
  "cut short": (one_wrong(cut_short), {}, r"p1_b.npz is damaged: "),
  "array cut short": (one_wrong(cut_short_array), {}, r"p1_b.npy cannot be read as an array, .*cut short"),
  "pickle": (one_wrong(pickled), {}, r"p1_b.npy .*Pickled objects are never opened"),
  "text": (
    one_wrong(npz(p=np.asarray(["a", "b"]))),
    {},
    r"p1_b.npz: holds values of type <U1; expected a map of real numbers",
  ),
  "half resolution": (
    all_wrong(lambda at, p: save_tiff(at.with_suffix(".tif"), p[::2, ::2])),
    {},
    r"p1_a.tif: the map is 3 x 4, .*6 x 8\. With --resample",
  ),
  "half resolution of an array": (
    all_npz(lambda p: p[::2, ::2]),
    {"resample": True},
    r"p1_a.npz: the map is 3 x 4.*no place in space",
  ),
  "axes swapped": (
    all_npz(lambda p: p.T),
    {},
    r"p1_a.npz: the map is 8 x 6.*Rows and columns look swapped: give --map_axes=xy",
  ),
  "three channels": (
    all_npz(lambda p: softmax(p, 3)),
    {},
    r"p1_a.npz: has 3 channels, which sum to 1: .*--channel=2, .*--classes=.*--levels",
  ),
  "two sigmoids": (
    all_npz(lambda p: np.stack([p, p])),
    {},
    r"p1_a.npz: has 2 channels, which do not sum to 1.*--channel=1",
  ),
  "no such channel": (
    all_npz(lambda p: softmax(p)),
    {"channel": 4},
    r"p1_a.npz: has 2 channels, numbered from 0; there is no channel 4",
  ),
  "not as many levels": (
    all_npz(lambda p: softmax(p, 5)),
    {"levels": True},
    r"p1_a.npz: --levels: has 5 channels; the panel of 2 raters has 3",
  ),
  "levels that do not sum to 1": (
    all_npz(lambda p: np.stack([p, p, p])),
    {"levels": True},
    r"--levels: its channels do not sum to 1",
  ),
  "label maps of classes": (
    all_png(lambda p: np.digitize(p, [0.3, 0.6]).astype(np.uint8)),
    {},
    r"label maps of several classes\? .*--classes=lesion=2.*--scale=255",
  ),
  "0 and 128": (
    all_png(lambda p: (p > 0.5).astype(np.uint8) * 128),
    {},
    r"p1_a.png: .*hold 0 and 128 alone: label maps\? Then give --scale=128; .*--scale=255",
  ),
  "signed numbers": (
    all_npz(lambda p: np.rint(p * 1000).astype(np.int16)),
    {},
    r"p1_a.npz: holds whole numbers of type int16.*--scale=",
  ),
  "8 and 16 bits": (eight_among_sixteen_bits, {}, r"p1_b.png: holds uint8, the set's first map uint16"),
  "channel of one": (one_wrong(good), {"channel": 1}, r"p1_a.npz: has one channel; channel 1 .*--marked===1"),
  "class of a mask of 255": (one_wrong(good), {"classes": "core=2"}, r"anna/p1_a.png: holds 255, .*'core' is number 2"),
  "colours": (
    all_png(lambda p: np.stack([p * 255, p * 99, p * 5], -1).astype(np.uint8)),
    {},
    r"p1_a.png: is a picture in colours",
  ),
  "no maps": (
    lambda s: (s.maps.mkdir(), (s.maps / "readme.txt").write_text("x")),
    {},
    r"maps: there is no map in it; found readme.txt",
  ),
  "no folder": (lambda _: None, {}, r"maps: there is no such folder of maps"),
  "unknown class": (one_wrong(good), {"classes": "liver"}, r"--classes=liver: no dataset.json .* liver=1"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures(tmp_path, kind):
  make, options, wanted = PICTURES[kind]
  small = Small(tmp_path)
  make(small)
  line = answer(small, Options(**options))
  assert re.search(wanted, line), line


def _elsewhere(at, p):
  moved = AFFINE.copy()
  moved[0, 3] += 2
  save_nifti(at.with_suffix(".nii.gz"), p, moved)


def _flipped_affine(at, p):
  mirrored = AFFINE.copy()
  mirrored[0] *= -1
  save_nifti(at.with_suffix(".nii.gz"), p, mirrored)


def _coarse(at, p):
  save_nifti(at.with_suffix(".nii.gz"), p[:, :, ::2], AFFINE @ np.diag([2.0, 1, 1, 1]))


VOLUMES = {
  "elsewhere": (_elsewhere, {}, r"p1_a.nii.gz: the map lies elsewhere in space .*by \(2, 0, 0\) mm.*--resample"),
  "mirrored": (_flipped_affine, {}, r"p1_a.nii.gz: the map lies elsewhere in space"),
  "coarse label maps": (
    lambda at, p: _coarse(at, (p > 0.5).astype(np.uint8)),
    {"resample": True},
    r"p1_a.nii.gz: the map has voxels of .*Label maps are not interpolated",
  ),
  "coarse": (_coarse, {}, r"p1_a.nii.gz: the map has voxels of .*--resample"),
  "not covered": (_elsewhere, {"resample": True}, r"p1_a.nii.gz: --resample: the map does not cover"),
  "argmax": (other_argmax, {}, r"p1_a.npz: its largest channel is not the label map .*p1_a.nii.gz beside it"),
}


@pytest.mark.parametrize("kind", VOLUMES)
def test_volumes(tmp_path, kind):
  write, options, wanted = VOLUMES[kind]
  small = Small(tmp_path, volumes=True)
  all_wrong(write)(small)
  line = answer(small, Options(**options))
  assert re.search(wanted, line), line


def test_an_array_or_stack_whose_shape_fits_two_orders_needs_its_axes(tmp_path):
  small = Small(tmp_path, volumes=True, shape=(3, 5, 5))
  for write, suffix in ((save_npy, ".npy"), (save_tiff, ".tif")):
    small.maps = tmp_path / suffix[1:]
    for name, p in small.probs.items():
      write(small.maps / f"{name}{suffix}", p)
    assert "fits the grid 3 x 5 x 5" in answer(small) and "--map_axes=zxy or --map_axes=zyx" in answer(small)
    for case in case_files.pair([small.maps], small.masks_at, options=Options(map_axes="zyx")):
      np.testing.assert_array_equal(case.probs["foreground"], small.probs[case.name])
    for case in case_files.pair([small.maps], small.masks_at, options=Options(map_axes="zxy")):
      np.testing.assert_array_equal(case.probs["foreground"], small.probs[case.name].transpose(0, 2, 1))


def test_maps_of_a_set_have_one_order_of_axes(tmp_path):
  small = Small(tmp_path, volumes=True)
  small.each(lambda n, p: good(small, n, p.transpose(2, 1, 0) if n == ODD else p))
  assert "its shape fits the axes xyz" in answer(small)


def test_an_array_on_square_pictures_with_channels_that_may_be_either(tmp_path):
  small = Small(tmp_path, shape=(2, 2))
  small.each(lambda n, p: good(small, n, softmax(p)))
  assert "fits the grid 2 x 2" in answer(small) and "--map_axes=cyx or --map_axes=yxc" in answer(small)


def test_of_an_argmax_that_every_turn_gives_only_the_plain_one_is_taken(tmp_path):
  small = Small(tmp_path, volumes=True, shape=(3, 3, 3))
  for name, p in small.probs.items():
    low = p * 0.4  # nothing is foreground, so that no turn contradicts the label map
    save_npz(small.maps / f"{name}.npz", probabilities=softmax(low))
    save_nifti(small.maps / f"{name}.nii.gz", np.zeros(p.shape, np.uint8))
  for case in case_files.pair([small.maps], small.masks_at):
    np.testing.assert_array_equal(case.probs["foreground"], small.probs[case.name] * np.float32(0.4))


def test_a_pickle_beside_a_map_is_never_opened(tmp_path, monkeypatch):
  small = Small(tmp_path)
  for name, p in small.probs.items():
    good(small, name, p)
    (small.maps / f"{name}.pkl").write_bytes(pickle.dumps({"a": 1}))
  monkeypatch.setattr(pickle, "load", lambda *_: pytest.fail("opened"))
  monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("opened"))
  assert len(list(case_files.pair([small.maps], small.masks_at))) == 3


def test_unknown_maps_and_strange_files_are_listed(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: save_npz(small.maps / f"{n}_prob.npz", p=p))
  save_npz(small.maps / "p9_z_prob.npz", p=small.probs["p1_a"])
  (small.maps / "p1_a.mha").write_bytes(b"x")
  listing = case_files.pair([small.maps], small.masks_at).listing
  assert listing.unknown == ("p9_z",)
  assert [path.name for path in listing.left_out] == ["p1_a.mha"]
  assert listing.odd == ("maps of unknown cases (1): p9_z", "files that are neither (1): p1_a.mha")
