"""What all images or raters share, several structures and volumes; and the page that shows it."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.rater_phantom import rater_phantom_dataset_builder as phantom
from ordseg.data_check import common_faults, examine, survey, surveys, tables
from ordseg.reporting import check_page as page
from tests.data.archives import folder_raters as archive
from tests.data_check import faults
from tests.data_check.test_doctor import phantom_set, run, words


@pytest.fixture(scope="module")
def clean():
  return phantom_set(12)


def every(records, function):
  """All raters' masks changed alike."""
  out = {}
  for split, part in records.items():
    out[split] = [{**r, "rater_masks": function(r["rater_masks"]) * r["rater_valid"].astype(np.uint8)} for r in part]
  return out


def test_every_mask_inverted(clean):
  found = words(every(clean, lambda masks: 1 - masks))
  assert found[0].startswith("every mask looks inverted: ") and "marked='==0'" in found[0]
  one_rater = {split: [{**r, "rater_masks": r["rater_masks"][..., :1], "rater_valid": r["rater_valid"][:1] | True}
                       for r in part] for split, part in clean.items()}  # fmt: skip
  assert words(one_rater) == []
  assert words(every(one_rater, lambda masks: 1 - masks))[0].startswith("every mask looks inverted: 21 of 21")


def test_large_objects_are_not_inverted():
  mask = np.zeros((40, 50), np.uint8)
  mask[1:, 1:] = 1  # more than half, but two borders are free
  records = named([f"x{k}" for k in range(5)])
  for record in records["train"]:
    record["image"], record["rater_masks"] = np.zeros((40, 50, 1), np.uint8), np.repeat(mask[..., None], 3, -1)
  assert not any("inverted" in what for what in words(records))


def test_nobody_and_everybody(clean):
  assert words(every(clean, np.zeros_like))[0].startswith("nobody marks anything in any of the 21 images: are ")
  assert words(every(clean, np.ones_like))[0].startswith("everybody marks everything in all of the ")
  part = {**clean, "test": every({"test": clean["test"]}, np.zeros_like)["test"]}
  assert any(what.startswith(f"nobody marks anything in any of the {len(clean['test'])} images of split test")
             for what in words(part))  # fmt: skip


@pytest.mark.parametrize(
  ("name", "is_merged"),
  [("est_GT", True), ("STAPLE", True), ("consensus", True), ("majority_vote", True), ("Mean", True), ("estGT", True),
   ("groundTruth", True), ("ground truth", True), ("gt_fused", True), ("majorityvote", True), ("averaged", True),
   ("anna", False), ("expert_1", False), ("Dr Staples", False), ("meaney", False), ("rater1_final", False),
   ("Agatha", False), ("Augustus", False)],
)  # fmt: skip
def test_names_of_consensus(clean, name, is_merged):
  found = [s.what for s in examine(survey(clean, raters=["anna", "ben", name, "carl"]))]
  assert found == [] if not is_merged else found[0].startswith(f"{name} is named like a consensus, not like a rater")


def test_raters_that_are_all_called_ground_truth(clean):
  assert examine(survey(clean, raters=["gt_1", "gt_2", "gt_3", "gt_4"])) == []


def test_a_rater_who_is_the_majority_of_the_others():
  config = phantom.PhantomConfig(name="x", num_raters=5)
  records = [phantom.draw_example(config, "train", k) for k in range(8)]
  assert words({"train": records}) == []
  for record in records:
    masks = record["rater_masks"]
    masks[..., 4] = masks[..., :4].sum(-1) >= 2
  assert words({"train": records})[0].startswith("rater 4 is what most of the others marked, pixel by pixel, on 8 ")


def named(names, groups=None, splits=("train",)):
  """Records of these ids; each a group of its own."""
  rng, out = np.random.default_rng(0), {split: [] for split in splits}
  yy, xx = np.mgrid[:32, :32]
  for k, name in enumerate(names):
    y, x = rng.integers(8, 24, 2)
    masks = np.stack([(yy - y) ** 2 + (xx - x - r) ** 2 < 36 for r in range(3)], -1).astype(np.uint8)
    record = {"id": name, "group": (groups or names)[k], "image": rng.integers(0, 255, (32, 32, 1), np.uint8)}
    out[splits[k % len(splits)]].append({**record, "rater_masks": masks, "rater_valid": np.ones(3, bool)})
  return out


@pytest.mark.parametrize(
  ("names", "pattern", "first"),
  [
    (["patient07_0", "patient07_1", "patient12_0", "patient3_0"], r"(patient\d+)", "patient07"),
    (["p01a", "p01b", "p02a", "p02b"], r"(p\d+)", "p01"),
    (["12_left", "12_right", "7_left"], r"(\d+)", "12"),
    (["LIDC-0001_s3", "LIDC-0001_s4", "LIDC-0002_s3"], r"(LIDC-\d+)", "LIDC-0001"),
    (["site1/a", "site1/b", "site2/a"], r"^([^/]+)/", "site1"),
    (["A7_x_1", "A7_x_2", "B7_x_1"], r"^(\D*\d+)\D", "A7"),
    (["x1y_a", "x1y_b", "x1z_a"], r"^([^_]+)_", "x1y"),
  ],
)
def test_the_regex_that_keeps_patients_together(names, pattern, first):
  records = named(names, splits=("train", "test"))
  (found,) = words(records)
  suggested = re.search(r"group_regex='(.+?)'; if not", found)
  assert suggested is not None and "more than one split" in found
  match = re.search(suggested[1], names[0])
  assert match is not None and match[1] == first
  if pattern.startswith("("):
    assert suggested[1] == pattern
  groups = [m[1] for name in names if (m := re.search(suggested[1], name))]
  assert words({"train": named(names, groups)["train"]}) == []
  assert [s.what for s in examine(survey(records), has_groups=True)] == []


@pytest.mark.parametrize(
  "names",
  [
    ["scan1", "scan2", "scan10"],
    ["img_001", "img_002", "img_003"],
    ["0001", "0002", "0004"],
    ["case01_image", "case02_image"],
    ["siteA_001", "siteA_002", "siteB_001"],
    ["a", "b", "c"],
    ["s1/z0000", "s1/z0001", "s2/z0000"],
  ],
)
def test_names_that_say_nothing(names):
  groups = [name.split("/z")[0] for name in names]
  assert words(named(names, groups)) == []


@given(st.lists(st.text("ab1_-/ .", min_size=1, max_size=6), min_size=2, max_size=8, unique=True))
def test_a_suggested_regex_always_finds_what_it_says(names):
  pattern, stems = common_faults.group_regex(sorted(names))
  for name in names if pattern else []:
    match = re.search(pattern, name)
    assert match is not None and match[1] == stems[name]
  assert not pattern or 1 < len(set(stems.values())) < len(names)


# --- Volumes, structures


def volumes(count=6, classes=2, raters=4, seed=0):
  """Balls of two radii that the raters draw a little differently; one rater missing for one structure once."""
  rng = np.random.default_rng(seed)
  zz, yy, xx = np.mgrid[:6, :40, :44]
  records = []
  for k in range(count):
    masks = np.zeros((6, 40, 44, classes, raters), np.uint8)
    valid = np.ones((classes, raters), bool)
    for c in range(classes):
      y, x = 12 + 14 * c + rng.integers(-2, 3), 14 + 5 * c + rng.integers(-2, 3)
      for r in range(raters):
        grown = 60 + 30 * c + rng.integers(-8, 9)
        masks[..., c, r] = (yy - y) ** 2 + (xx - x) ** 2 / (1 + c) + 9 * (zz - 3) ** 2 < grown
    if k == 1:
      valid[1, 2], masks[..., 1, 2] = False, 0
    image = rng.integers(0, 255, (6, 40, 44, 1), np.uint8)
    records.append({"id": f"v{k}", "group": f"v{k}", "image": image, "rater_masks": masks, "rater_valid": valid})
  return records


def test_volumes_of_several_structures_against_counts_by_hand():
  records = volumes()
  looked = surveys({"train": records}, structures=("liver", "spleen"))
  assert [one.structure for one in looked] == ["liver", "spleen"]
  assert examine(looked) == []
  for k, one in enumerate(looked):
    assert one.sizes[0] == (6, 40, 44) and one.num_pixels[0] == 6 * 40 * 44
    for i, record in enumerate(records):
      flat = record["rater_masks"][..., k, :].reshape(-1, 4).astype(int)
      np.testing.assert_array_equal(one.sums.both_marked[i], flat.T @ flat)
      np.testing.assert_array_equal(one.sums.level_count[i], np.bincount(flat.sum(1), minlength=5))
      np.testing.assert_array_equal(one.sums.rater_valid[i], record["rater_valid"][k])
  said = tables.text(looked, [], "x")
  assert "The raters: liver" in said and "The raters: spleen" in said and "pixels (D x H x W)" in said
  assert "6 x 40 x 44" in said


@pytest.mark.parametrize("move", ["mirrored left-right", "mirrored up-down", "inverted"])
def test_faults_in_one_structure_of_volumes(move):
  records = volumes()
  for record in records:
    one = record["rater_masks"][..., 1, 3]
    record["rater_masks"][..., 1, 3] = np.stack([faults.MOVES[move](p) for p in one])
  found = examine(surveys({"train": records}, structures=("liver", "spleen")))
  assert found[0].what.startswith(f"spleen: rater 3 looks {move}") and found[0].structure == 1
  assert not any(s.what.startswith("liver") for s in found)


def test_the_same_volume_in_two_splits():
  records = volumes()
  copy = {**records[2], "id": "copy", "group": "other"}
  found = examine(surveys({"train": records, "test": [copy]}, structures=("liver", "spleen")))
  assert found[0].what.startswith("1 pair(s) of images in different splits look the same (1 pixel by pixel)")
  assert sum("look the same" in s.what for s in found) == 1


def test_the_page_that_tells_most():
  record = volumes()[0]
  picture = np.asarray(page.draw(record, 1))
  want = record["rater_masks"][..., 1, :].sum(axis=(1, 2, 3)).argmax()
  flat = {**record, "image": record["image"][want], "rater_masks": record["rater_masks"][want, ..., 1, :],
          "rater_valid": record["rater_valid"][1]}  # fmt: skip
  np.testing.assert_array_equal(picture, np.asarray(page.draw(flat)))


# --- The page


@pytest.mark.parametrize("count", [1, 7, 8, 20, 40])
def test_every_rater_has_a_colour_of_its_own(count):
  colours = page.colours(count)
  assert len(set(colours)) == count and colours[:7] == page.colours(7)[:count]
  apart = [np.abs(np.subtract(a, b)).max() for i, a in enumerate(colours) for b in colours[:i]]
  assert not apart or min(apart) >= 40


def test_pictures_where_nothing_is_found(clean, tmp_path):
  looked = survey(clean)
  records = [record for part in clean.values() for record in part]
  keys = page.wanted_images([], looked)
  assert len(keys) == page.EXAMPLES and keys == page.wanted_images(examine(looked), looked)
  page.write(tmp_path / "a.html", looked, [], {(k, i): page.draw(records[i]) for k, i in keys}, "x")
  html = (tmp_path / "a.html").read_text()
  assert html.count("data:image/png") == page.EXAMPLES and "Nothing looks wrong" in html and "Outlines:" in html


def write_set(root, label):
  made = archive.cases({f"scan{k}": ("anna", "ben") for k in range(6)}, size=(40, 36))
  for k, (key, (image, masks)) in enumerate(made.items()):
    archive.save(root / "images" / f"{key}.png", image[..., 0])
    for rater, mask in masks.items():
      archive.save(root / "raters" / rater / f"{key}.png", mask * np.uint8(label(k, rater)))


@pytest.mark.parametrize(
  ("label", "said"),
  [
    (lambda _k, _rater: 255, ""),
    (lambda _k, rater: 255 if rater == "anna" else 1, ""),
    (lambda k, rater: 2 if k == 4 and rater == "ben" else 1, "label values differ between images: ben: 1 in 5, 2 in 1"),
    (lambda _k, rater: 1 if rater == "anna" else 2, "raters mark with different label values: 1 by anna; 2 by ben"),
  ],
)
def test_label_values(tmp_path, capsys, label, said):
  write_set(tmp_path / "raw", label)
  where = ("--builder=folder_raters", f"--manual_dir={tmp_path / 'raw'}", f"--data_dir={tmp_path / 'built'}")
  code, out, _ = run(capsys, *where, f"--out={tmp_path / 'a'}")
  assert (code, said in out) == (int(bool(said)), True)
  if said and "ben: " in said:
    assert "raters/ben/scan4.png" in out
    code, out, _ = run(capsys, *where, f"--out={tmp_path / 'a'}", "--set=marked===1")
    assert "label values" not in out


def test_the_program_finds_the_leak_of_the_docs(tmp_path, capsys):
  from data.folder_raters import example

  example.write(tmp_path / "mydata")
  where = ("--builder=folder_raters", f"--manual_dir={tmp_path / 'mydata'}", f"--data_dir={tmp_path / 'built'}")
  code, out, _ = run(capsys, *where, f"--out={tmp_path / 'a'}")
  assert code == 1 and "8 of 15 lie in more than one split" in out and r"group_regex='(patient\d+)'" in out
  code, out, _ = run(capsys, *where, f"--out={tmp_path / 'a'}", f"--set=group_regex={example.GROUPS}")
  assert code == 0 and "Nothing looks wrong" in out
  assert (tmp_path / "a/doctor.html").read_text().count("data:image/png") == page.EXAMPLES
  said = example.next_commands(tmp_path / "mydata")
  assert said.count(example.GROUPS) == 2 and "run_train.py" in said


def test_the_program_takes_volumes_and_structures(tmp_path, capsys):
  args = ("--builder=rater_phantom", "--config=two_organs", f"--data_dir={tmp_path / 'built'}", f"--out={tmp_path}")
  small = [
    f"--set={name}={value}" for name, value in (("num_train", 3), ("num_validation", 1), ("num_test", 2), ("depth", 8))
  ]
  code, out, _ = run(capsys, *args, *small)
  assert code in (0, 1) and "6 volumes of 2 structures, 5 raters" in out
  assert "The raters: bright" in out and "The raters: dark" in out
  picture = re.search(r"data:image/png;base64,([^\"]+)", (tmp_path / "doctor.html").read_text())
  assert picture is not None
