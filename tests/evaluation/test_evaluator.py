import csv
import dataclasses
import json

import chex
import numpy as np
import pytest

from ordseg import ordinal
from ordseg.errors import InputError
from ordseg.evaluation import counting, evaluator, gallery
from ordseg.evaluation import result as results
from tests.helpers import panels
from tests.helpers.panels import NUM_BINS, R


@pytest.fixture(scope="module")
def data():
  return panels.images()


@pytest.fixture(scope="module")
def result(data):
  return panels.run(data)


def assert_same(got, want):
  """Every integer and every metric, bit by bit."""
  assert got.ids == want.ids and got.groups == want.groups
  chex.assert_trees_all_equal(dataclasses.astuple(got.model), dataclasses.astuple(want.model))
  assert json.dumps(got.metrics) == json.dumps(want.metrics)
  assert [(kind, e.id) for kind, e in got.examples] == [(kind, e.id) for kind, e in want.examples]


@pytest.mark.parametrize(("batch_size", "order"), [(4, [3, 0, 5, 1, 4, 2]), (1, None), (6, [5, 4, 3, 2, 1, 0])])
def test_order_and_batches_change_no_bit(data, result, batch_size, order):
  assert_same(panels.run(data, batch_size=batch_size, order=order), result)


@pytest.mark.parametrize("orders", [[[0, 1, 2, 3, 4, 5], []], [[1, 3, 5], [0, 2, 4]], [[], [5], [4, 0, 1, 2, 3]]])
@pytest.mark.parametrize("truth", [False, True])
def test_processes_change_no_bit_even_if_one_has_no_image(data, result, orders, truth):
  for got in panels.run_processes(data, orders, truth=truth):
    assert ("oracle" in got.metrics) == truth
    got.metrics.pop("oracle", None)
    assert_same(got, result)


def test_what_is_predicted_for_dummies_and_masked_pixels_does_not_count(data, result):
  def predict(batch):
    out = panels.predict(batch).copy()
    out[np.asarray(batch["mask"]) == 0] = np.nan
    return out

  batches = panels.batches_of(data)
  assert_same(evaluator.evaluate(predict, batches, num_raters=R, num_bins=NUM_BINS), result)


def test_images_of_many_sizes_are_cut_nowhere():
  """Each is as if it were evaluated alone, and sizes that are near each other share a program."""
  parts = [panels.images(seed=k, num=1, size=size) for k, size in enumerate((1, 7, 16, 31))]
  batches = [b for part in parts for b in panels.batches_of((*part[:2], np.ones((1, R), np.uint8), part[3]), 2)]
  named = [dataclasses.replace(b, ids=[f"{k}"]) for k, b in enumerate(batches)]
  together = evaluator.evaluate(panels.predict, named, num_raters=R, num_bins=NUM_BINS)
  assert together.model.sums.num_pixels.tolist() == [1, 49, 256, 961]
  assert together.metrics["num_pixels"] == 1 + 49 + 256 + 961
  for k, item in enumerate(named):
    alone = evaluator.evaluate(panels.predict, [item], num_raters=R, num_bins=NUM_BINS)
    chex.assert_trees_all_equal(alone.model.sums, together.model.sums.rows(np.asarray([k])))


def test_one_program_per_padded_size(data):
  count = counting.count_batch(NUM_BINS)
  panels.run(data)
  before = count._cache_size()
  panels.run(panels.images(seed=1))
  panels.run(panels.images(seed=1, size=16))
  assert count._cache_size() == before
  sizes = {counting.padded_size(n) for n in range(2**16 + 1, 2**18 + 1)}
  assert len(sizes) == 8 and counting.padded_size(256 * 256) == 256 * 256
  assert all(n <= counting.padded_size(n) <= max(n + 255, 1.25 * n) for n in range(1, 5000))


def test_the_oracle_goes_through_the_same_code(data):
  result = panels.run(data, truth=True)
  assert result.metrics["oracle"] == {key: result.metrics[key] for key in ("read_outs", "levels")}


def read_csv(path):
  with path.open(newline="") as file:
    return list(csv.DictReader(file))


def test_files(data, tmp_path):
  result = panels.run(data)
  folder = tmp_path / "w/eval"
  evaluator.write(result, folder, {"split": "test", "step": 3})
  evaluator.write(result, folder, {"split": "test", "step": 4})
  assert {p.name for p in folder.iterdir()} == {
    "metrics.json",
    "per_image.csv",
    "curves.json",
    "sums.npz",
    "examples.npz",
  }
  written = json.loads((folder / "metrics.json").read_text())
  assert written["step"] == 4 and written["num_raters"] == R and written["num_bins"] == NUM_BINS
  assert (written["num_images"], written["num_images_scored"], written["num_images_with_majority"]) == (6, 5, 3)
  assert written["num_pixels"] == 4 * 144 + 60 and "oracle" not in written
  rows = read_csv(folder / "per_image.csv")
  assert [r["id"] for r in rows] == [f"image-{k:02d}" for k in range(6)]
  assert [r["group"] for r in rows] == [f"patient-{k // 2}" for k in range(6)]
  assert rows[3]["num_valid"] == "0" and rows[3]["num_pixels"] == "0"
  # Nobody rated it: no score, and not a perfect one.
  assert all(rows[3][f"mean_vote_{name}"] == "" for name in ("mr_ece", "dice", "brier", "nll", "dice_rater_mean"))
  scored = [r for r in rows if r["num_pixels"] != "0"]
  for name in ordinal.READ_OUTS:
    weights = [int(r["num_pixels"]) * int(r["num_valid"]) for r in scored]
    brier = np.average([float(r[f"{name}_brier"]) for r in scored], weights=weights)
    assert brier == pytest.approx(written["read_outs"][name]["brier"])
    dice = [float(r[f"{name}_dice"]) for r in scored if r["majority_pixels"] != "0"]
    assert np.mean(dice) == pytest.approx(written["read_outs"][name]["dice"])


def test_curves_amount_to_the_errors(data, result):
  curves = results.curves(result.model)

  def error(curve):
    gaps = [
      abs(p - y) * n for n, p, y in zip(*(curve[k] for k in ("count", "mean_prob", "mean_label")), strict=True) if n
    ]
    return sum(gaps) / sum(curve["count"])

  for name in ordinal.READ_OUTS:
    got, want = curves["read_outs"][name], result.metrics["read_outs"][name]
    assert error(got["pooled"]) == pytest.approx(want["mr_ece_pooled"])
    assert error(got["majority"]) == pytest.approx(want["ece_majority"])
    assert error(got["equal_mass"]) == pytest.approx(want["mr_ece_equal_mass"])
    assert sum(got["majority"]["count"]) == result.metrics["num_pixels"]
    sizes = [sum(rater["count"]) for rater in got["raters"]]
    assert sizes == [3 * 144 + 60, 3 * 144 + 60, 3 * 144 + 60, 3 * 144 + 60]
    mean = np.mean([error(rater) for rater in got["raters"]])
    assert mean == pytest.approx(want["mr_ece_rater_mean"])
  errors = [error(level) for level in curves["levels"]]
  assert errors == pytest.approx(result.metrics["levels"]["level_ece_per_level"])


def test_undefined_numbers_are_null(tmp_path):
  probs, masks, valid, counts = panels.images()
  nobody = panels.run((probs, masks, 0 * valid, counts))
  evaluator.write(nobody, tmp_path, {})
  written = json.loads((tmp_path / "metrics.json").read_text())
  assert written["num_images"] == 6 and written["num_pixels"] == written["num_images_scored"] == 0
  assert set(written["read_outs"]["majority"].values()) == {None}
  assert written["levels"]["rps"] is None and written["levels"]["level_ece_per_level"] == [None] * R
  assert (
    nobody.examples == [] and json.loads((tmp_path / "curves.json").read_text())["levels"][0]["mean_prob"][0] is None
  )


def test_examples_are_the_best_the_worst_and_typical_and_never_twice(tmp_path):
  result = panels.run(panels.images(seed=2, num=20), batch_size=5)
  scores = {r["id"]: r["mean_vote_dice"] for r in results.per_image_rows(result) if r["majority_pixels"] > 0}
  ranked = sorted(scores, key=scores.__getitem__)
  kinds = {kind: [e.id for k, e in result.examples if k == kind] for kind in ("worst", "typical", "best")}
  assert kinds["worst"] == ranked[:3] and kinds["best"] == ranked[:-4:-1]
  middle = np.median(list(scores.values()))
  rest = sorted(ranked[3:-3], key=lambda name: abs(scores[name] - middle))
  assert kinds["typical"] == rest[:3] and len({e.id for _, e in result.examples}) == 9
  np.savez(tmp_path / "examples.npz", **gallery.arrays(result.examples))
  with np.load(tmp_path / "examples.npz") as arrays:
    meta = json.loads(str(arrays["meta"]))
    assert [m["id"] for m in meta] == kinds["worst"] + kinds["typical"] + kinds["best"]
    row = next(r for r in results.per_image_rows(result) if r["id"] == meta[0]["id"])
    assert [meta[0][k] for k in ("dice", "mr_ece", "brier")] == [
      row[f"mean_vote_{k}"] for k in ("dice", "mr_ece", "brier")
    ]
    probs, masks, valid, _ = panels.images(seed=2, num=20)
    index = int(meta[0]["id"].removeprefix("image-"))
    np.testing.assert_allclose(arrays["prob_0"], probs[index] @ (np.arange(R + 1) / R), rtol=1e-5)
    np.testing.assert_allclose(arrays["mean_vote_0"], masks[index][..., valid[index] > 0].mean(-1), rtol=1e-6)
    np.testing.assert_array_equal(arrays["image_0"], probs[index][..., :1])


def test_the_gallery_stays_small_and_does_not_depend_on_the_order():
  def example(k):
    none = np.zeros((1, 1))  # no picture is looked at
    return gallery.Example(f"{k}", {"dice": (k * 37 % 200) / 200, "mr_ece": 0.0, "brier": 0.0}, none, none, none, none)

  chosen = []
  for order in (range(200), range(199, -1, -1)):
    kept = []
    for k in order:
      kept = gallery._worth_keeping([*kept, example(k)])
      assert len(kept) <= 30
    chosen.append([(kind, e.id) for kind, e in gallery.choose(kept, 0.5)])
  assert chosen[0] == chosen[1] and len(chosen[0]) == 9
  rank = sorted(range(200), key=lambda k: k * 37 % 200)
  assert [name for _, name in chosen[0][:3]] == [f"{k}" for k in rank[:3]]
  assert [name for _, name in chosen[0][-3:]] == [f"{k}" for k in rank[:-4:-1]]


def test_large_pictures_are_thinned_out():
  masks = np.ones((1, 3, 2050, 1), np.uint8)
  batch = {"image": np.zeros((1, 3, 2050, 1)), "rater_masks": masks, "rater_valid": np.ones((1, 1), np.uint8)}
  example = gallery._example(batch, "a", np.full((1, 3, 2050, 2), 0.5, np.float32), 0, {"dice": 1.0})
  assert example.image.shape == (1, 684, 1) and example.prob.shape == example.mean_vote.shape == (1, 684)


def test_progress_and_errors(data):
  seen = []
  evaluator.evaluate(panels.predict, panels.batches_of(data), num_raters=R, num_bins=NUM_BINS, progress=seen.append)
  assert seen == [4, 6]
  with pytest.raises(InputError, match="nothing to evaluate"):
    evaluator.evaluate(panels.predict, [], num_raters=R)
  with pytest.raises(InputError, match=r"shape \(4, 12, 12, 5\), expected \(4, 12, 12, 6\)"):
    evaluator.evaluate(panels.predict, panels.batches_of(data), num_raters=R + 1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 2.0])
def test_a_prediction_that_is_no_distribution_names_its_image(data, wrong):
  def predict(batch):
    out = panels.predict(batch).copy()
    out[2, 3, 3, 1] = wrong
    return out

  with pytest.raises(InputError, match="'image-02' is no distribution"):
    evaluator.evaluate(predict, panels.batches_of(data), num_raters=R, num_bins=NUM_BINS)
