"""rater_phantom: what is stored is what the panel does, the same everywhere, whole patients per split."""

import hashlib

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

import data
from data.rater_phantom import rater_phantom_dataset_builder as phantom
from data.rater_phantom import scene
from tests.data.helpers import run_python


def config(name="tiny", **overrides):
  named = {c.name: c for c in phantom.Builder.BUILDER_CONFIGS}
  return named[name].with_overrides(overrides)


def draw(num, split="test", **overrides):
  records = [phantom.draw_example(config(**overrides), split, i) for i in range(num)]
  return {name: np.stack([record[name] for record in records]) for name in records[0]}


def mr_ece(prob, label, num_bins=15):
  """Pooled MR-ECE of the mean vote: sum_b |sum p - sum m| / N."""
  bins = np.minimum((prob * num_bins).astype(int), num_bins - 1).ravel()
  gap = np.bincount(bins, prob.ravel(), num_bins) - np.bincount(bins, label.ravel(), num_bins)
  return np.abs(gap).sum() / prob.size


@pytest.fixture(scope="module")
def panel_of_300():
  return draw(300, name="default")


def test_the_stored_distribution_is_calibrated(panel_of_300):
  probs, masks = panel_of_300["level_probs"].astype(np.float64), panel_of_300["rater_masks"]
  mean_vote = masks.mean(-1)
  assert mr_ece(probs @ np.arange(8) / 7, mean_vote) < 0.004
  for j in range(1, 8):  # each event "at least j raters"
    assert mr_ece(probs[..., j:].sum(-1), masks.sum(-1) >= j) < 0.006
  # Not a truism: the read-out of the majority is not calibrated to the mean vote.
  assert mr_ece(probs[..., 4:].sum(-1), mean_vote) > 0.008


def test_count_frequencies_match_the_stored_distribution(panel_of_300):
  probs, counts = panel_of_300["level_probs"].astype(np.float64), panel_of_300["rater_masks"].sum(-1)
  found = np.stack([(counts == k).mean((1, 2)) for k in range(8)], -1)  # [image, level]
  gap = found - probs.mean((1, 2))
  # Images are independent of each other, pixels are not: so the standard error comes from the images.
  error = gap.std(0) / np.sqrt(len(gap))
  assert np.all(np.abs(gap.mean(0)) < 4 * error), (gap.mean(0) / error).round(1)
  assert np.all(error < 0.002)


def test_raters_differ_by_their_biases(panel_of_300):
  prevalence = panel_of_300["rater_masks"].mean((0, 1, 2))
  assert np.all(np.diff(prevalence) > -0.002) and prevalence[-1] > prevalence[0] + 0.02
  level = draw(100, rater_bias=0.0)["rater_masks"].mean((0, 1, 2))
  assert np.ptp(level) < 0.02


def test_disagreement_is_common_but_not_everywhere(panel_of_300):
  counts = panel_of_300["rater_masks"].sum(-1)
  disputed = (counts > 0) & (counts < 7)
  assert 0.35 < disputed.sum() / (counts > 0).sum() < 0.65
  assert 0.1 < (counts > 0).mean() < 0.4
  assert (counts >= 4).any((1, 2)).mean() > 0.9


def test_ambiguity_and_correlation_do_what_they_say():
  def disputed(**settings):
    counts = draw(60, **settings)["rater_masks"].sum(-1)
    return ((counts > 0) & (counts < 7)).mean()

  usual = disputed()
  assert disputed(ambiguity=0.3) < 0.6 * usual < 0.5 * disputed(ambiguity=2.0)
  assert disputed(correlation=0.95) < 0.7 * usual and disputed(correlation=0.0) > 1.1 * usual


def test_ambiguity_can_be_seen():
  # Where the raters' boundary zone is narrow (t steep), the image is steep too.
  steepness, visible = [], []
  for i in range(150):
    rng = np.random.default_rng(i)
    image, t = scene.draw_scene(rng, (64, 64), scene.draw_look(rng), 1.0)
    edge = np.abs(t) < 0.4
    smooth = scipy.ndimage.gaussian_filter(image[..., 0].astype(float), 1.0)
    steepness.append(np.median(np.hypot(*np.gradient(t))[edge]))
    visible.append(np.median(np.hypot(*np.gradient(smooth))[edge]))
  assert scipy.stats.spearmanr(steepness, visible).statistic > 0.7


def test_one_draw_depends_on_nothing_but_settings_split_and_index():
  full = [phantom.draw_example(config(), "train", i) for i in range(3)]
  few = phantom.draw_example(config(num_train=3, num_validation=1), "train", 2)
  for name, value in full[2].items():
    np.testing.assert_array_equal(few[name], value)
  others = [
    phantom.draw_example(config(), "train", 1),
    phantom.draw_example(config(), "test", 2),
    phantom.draw_example(config(seed=5), "train", 2),
  ]
  for other in others:
    assert np.mean(other["image"] != full[2]["image"]) > 0.5


def test_records_of_this_version():
  # If this fails, the same settings now give other images: raise Builder.VERSION, then the values here.
  digest = hashlib.sha256()
  for split in ("train", "validation", "test"):
    record = phantom.draw_example(config(missing_share=0.3), split, 3)
    for name in ("image", "rater_masks", "rater_valid"):
      digest.update(record[name].tobytes())
  assert (str(phantom.Builder.VERSION), digest.hexdigest()[:16]) == ("1.0.0", "80f2c95365f6cbbb")


def test_two_processes_build_the_same(tmp_path):
  code = f"""
import data
builder = data.get_builder("rater_phantom", config_name="tiny", data_dir={str(tmp_path / "other")!r})
data.prepare(builder)
print(data.fingerprint(builder))
"""
  other = run_python(code, cwd=tmp_path, PYTHONHASHSEED="7", OMP_NUM_THREADS="1").stdout.splitlines()[-1]
  builder = data.get_builder("rater_phantom", config_name="tiny", data_dir=str(tmp_path / "here"))
  data.prepare(builder)
  assert data.fingerprint(builder) == other
  changed = data.get_builder(
    "rater_phantom", config_name="tiny", data_dir=str(tmp_path / "here"), overrides={"seed": 2}
  )
  data.prepare(changed)
  assert data.fingerprint(changed) != other


def test_built_records_are_those_drawn_and_patients_stay_in_one_split(tmp_path):
  builder = data.get_builder("rater_phantom", config_name="tiny", data_dir=str(tmp_path))
  data.prepare(builder)
  groups, ids = {}, set()
  for split, count in (("train", 16), ("validation", 8), ("test", 8)):
    source = data.data_source(builder, split)
    assert len(source) == count
    groups[split] = {record["group"] for record in source}
    assert len(groups[split]) == count // 2
    for record in source:
      ids.add(record["id"])
      drawn = phantom.draw_example(config(), split, int(record["id"].decode().split("-")[1]))
      assert set(drawn) == set(record)
      for name, value in drawn.items():
        if name in ("id", "group"):
          assert record[name].decode() == value
        else:
          np.testing.assert_array_equal(record[name], value)
          assert record[name].dtype == value.dtype
  assert len(ids) == 32
  assert not (groups["train"] & groups["test"] or groups["train"] & groups["validation"])
  assert not groups["validation"] & groups["test"]


def test_missing_raters_are_missing_at_random():
  records = draw(200, name="missing", height=16, width=16, num_raters=3)
  valid, masks = records["rater_valid"], records["rater_masks"]
  assert not masks[np.broadcast_to(~valid[:, None, None, :], masks.shape)].any()
  assert valid.any(1).all()
  share = 1 - valid.mean(0)
  expected = 0.3 - 0.3**3 / 3  # one always answers
  assert np.all(np.abs(share - expected) < 4 * np.sqrt(0.3 * 0.7 / 200))
  full = draw(200, name="default", height=16, width=16, num_raters=3)
  np.testing.assert_array_equal(records["level_probs"], full["level_probs"])  # always of the full panel
  np.testing.assert_array_equal(masks, full["rater_masks"] * valid[:, None, None, :])
  assert full["rater_valid"].all()


def test_nearly_everybody_missing_still_leaves_one():
  valid = draw(50, name="tiny", missing_share=0.99, height=16, width=16)["rater_valid"]
  assert (valid.sum(1) >= 1).all() and (valid.sum(1) == 1).mean() > 0.8
  assert valid.any(0).all()  # not always the same one


@pytest.mark.parametrize(("height", "width", "raters"), [(16, 16, 1), (33, 50, 2), (96, 40, 11)])
def test_other_sizes_and_panels(height, width, raters):
  record = phantom.draw_example(config(height=height, width=width, num_raters=raters), "train", 0)
  assert record["image"].shape == (height, width, 1) and record["image"].dtype == np.uint8
  assert record["rater_masks"].shape == (height, width, raters)
  assert record["level_probs"].shape == (height, width, raters + 1)
  assert np.ptp(record["image"]) > 40


def test_a_split_of_no_images_is_left_out(tmp_path):
  builder = data.get_builder(
    "rater_phantom", config_name="tiny", data_dir=str(tmp_path), overrides={"num_validation": 0, "num_train": 2}
  )
  data.prepare(builder)
  assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 2, "test": 8}
