"""Intervals and tests against brute force, other programs, and what they promise."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ordseg import metrics, records, statistics
from ordseg.errors import InputError
from ordseg.evaluation import evaluator, scoring
from ordseg.metrics import Resamples
from ordseg.reporting import report
from tests.helpers import evaluations, panels
from tests.reference import metrics_np


@pytest.fixture(scope="module")
def result():
  return panels.run(panels.images(), truth=True)


def mean_measure(values):
  """Measures the mean of one value per image."""
  return lambda pool: {"mean": pool.mean(np.asarray(values, np.float64))}


def images(num):
  return statistics.units_of([""] * num)


# --- One set of formulas ----------------------------------------------------------------------------------------------


def test_the_identity_resample_is_the_evaluation(result):
  """Every number of metrics.json but those of the pooled ranks, and lists."""
  got = statistics.estimates(lambda pool: result.model.resampled(result.groups, pool), images(6))
  want = records.numbers(json.loads(json.dumps({k: v for k, v in result.metrics.items() if k != "oracle"})))
  on_ranks = {"mr_ece_equal_mass", "smooth_ece", "auc_majority", "auc_pooled"}
  left_out = {path for path in want if path.split(".")[-1] in on_ranks or "." not in path}
  assert set(want) - left_out == set(got) and len(got) > 40
  for path, value in got.items():
    assert value == pytest.approx(want[path], rel=1e-12, abs=1e-15, nan_ok=True), path


@pytest.mark.parametrize("grouped", [False, True])
def test_weights_are_repeats(result, grouped):
  """A resample has the numbers of a data set in which its images stand as often as they were drawn."""
  groups = result.groups if grouped else [""] * 6
  units = statistics.units_of(groups)
  weights = np.random.default_rng(0).multinomial(units.num, np.ones(units.num) / units.num, 20)
  weights[0] = np.eye(units.num, dtype=int)[0] * 3
  got = result.model.resampled(groups, Resamples(weights, units.index))
  for s, drawn in enumerate(weights):
    rows = [
      (i, copy) for u, times in enumerate(drawn) for copy in range(times) for i in np.flatnonzero(units.index == u)
    ]
    repeated = metrics.Scores(result.model.sums.rows(np.asarray([i for i, _ in rows])))
    names = [groups[i] and f"{groups[i]} {copy}" for i, copy in rows]
    want = records.numbers({**repeated.metrics(names), **repeated.panel()})
    for path, values in got.items():
      assert values[s] == pytest.approx(want[path], rel=1e-9, abs=1e-12, nan_ok=True), path


def test_bootstrap_against_brute_force():
  """Pixels drawn with their images, and the metrics computed anew from all pairs, without any sums."""
  probs, masks, valid, counts = panels.images(seed=3, num=5)
  scores = panels.run((probs, masks, valid, np.ones_like(counts))).model
  prob = probs @ (np.arange(panels.R + 1) / panels.R)
  random, S = np.random.default_rng(7), 40

  def brute(drawn):
    p = np.repeat(prob[drawn][..., None], panels.R, -1).ravel()
    y = masks[drawn].ravel().astype(float)
    votes = masks[drawn].sum(-1) * 2 >= panels.R
    dice = [metrics_np.dice(a, b) for a, b in zip(prob[drawn] >= 0.5, votes, strict=True) if b.any()]
    return metrics_np.ece(p, y, panels.NUM_BINS), np.mean((p - y) ** 2), np.mean(dice)

  draws = random.integers(5, size=(S, 5))
  weights = np.stack([np.bincount(d, minlength=5) for d in draws])
  got = scores.resampled([""] * 5, Resamples(weights, np.arange(5)))
  paths = [f"read_outs.mean_vote.{name}" for name in ("mr_ece_pooled", "brier", "dice")]
  want = np.asarray([brute(d) for d in draws])
  np.testing.assert_allclose(np.stack([got[path] for path in paths], -1), want, atol=2e-6)


def test_draws_are_uniform_with_replacement_and_fixed_by_the_seed():
  seen = []

  def measure(pool):
    seen.append(pool.total(np.eye(6)))
    return {"first": seen[-1][:, 0]}

  first = statistics.bootstrap(measure, images(6), num_resamples=5000, seed=1)["first"]
  counts = np.concatenate(seen)
  assert len(counts) == 5000 and np.all(counts.sum(1) == 6) and counts.min() == 0 and counts.max() > 3
  share = np.bincount(counts.astype(int).ravel(), minlength=7) / counts.size
  np.testing.assert_allclose(share, stats.binom.pmf(np.arange(7), 6, 1 / 6), atol=0.01)
  again = statistics.bootstrap(measure, images(6), num_resamples=5000, seed=1)["first"]
  other = statistics.bootstrap(measure, images(6), num_resamples=5000, seed=2)["first"]
  assert np.array_equal(first, again) and not np.array_equal(first, other)


# --- Intervals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", statistics.METHODS)
def test_intervals_cover_as_often_as_they_say(method):
  """Means of 30 skewed values, 300 data sets: 95 % but for what the bootstrap is known to lack at this size."""
  random, settings, hits = np.random.default_rng(0), statistics.Settings(num_resamples=500, method=method), 0
  for k in range(300):
    measure = mean_measure(random.gamma(2.0, 1.0, 30))
    low, high = statistics.intervals(measure, images(30), changed(settings, seed=k))["values"]["mean"]
    hits += low <= 2.0 <= high
  assert 0.89 <= hits / 300 <= 0.975


def changed(settings, **changes):
  return statistics.Settings(**{**vars(settings), **changes})


def test_groups_that_agree_within_widen_the_interval():
  """Forty copies of five patients are five observations: an interval over images would be far too narrow."""
  random, hits = np.random.default_rng(0), {"image": 0, "group": 0}
  settings = statistics.Settings(num_resamples=300)
  groups = [f"p{k // 10}" for k in range(100)]
  for k in range(150):
    measure = mean_measure(np.repeat(random.normal(size=10), 10) + 0.1 * random.normal(size=100))
    for by in hits:
      low, high = statistics.intervals(measure, statistics.units_of(groups, by), changed(settings, seed=k))["values"][
        "mean"
      ]
      hits[by] += low <= 0 <= high
  assert hits["image"] / 150 < 0.6 and hits["group"] / 150 > 0.8


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_bca_is_scipy_s(seed, confidence):
  values = np.random.default_rng(seed).lognormal(size=40)
  settings = statistics.Settings(num_resamples=2000, confidence=confidence, method="bca", seed=seed)
  measure = mean_measure(values)
  samples = statistics.bootstrap(measure, images(40), num_resamples=2000, seed=seed)["mean"]

  class Drawn:
    bootstrap_distribution = samples

  want = stats.bootstrap(
    (values,), np.mean, n_resamples=0, confidence_level=confidence, method="BCa", bootstrap_result=Drawn()
  ).confidence_interval
  got = statistics.intervals(measure, images(40), settings)
  assert got["values"]["mean"] == pytest.approx([want.low, want.high], rel=1e-9)
  assert got["method"] == "bca" and got["num_units"] == 40 and got["unit"] == "images"
  plain = statistics.intervals(measure, images(40), changed(settings, method="percentile"))
  tails = [(1 - confidence) / 2, (1 + confidence) / 2]
  assert plain["values"]["mean"] == pytest.approx(np.quantile(samples, tails)) and plain != got


def test_no_interval_where_there_is_nothing_to_resample():
  settings = statistics.Settings(num_resamples=1000)
  assert statistics.intervals(mean_measure([0.5]), images(1), settings)["values"] == {}
  nine = statistics.intervals(mean_measure(np.arange(9.0)), images(9), settings)
  assert nine["values"] == {} and nine["none"].startswith("9 images: too few")
  one_scored = mean_measure([0.3] + 11 * [np.nan])  # a third of the resamples have no value
  assert statistics.intervals(one_scored, images(12), settings)["values"] == {}
  four_scored = mean_measure([0.3, 0.4, 0.5, 0.6] + 8 * [np.nan])
  assert statistics.intervals(four_scored, images(12), settings)["values"]
  below = np.linspace(0, 1, 500)  # all samples on one side of the estimate: BCa has no bias correction to offer
  assert np.isnan(statistics.interval(below, statistics.Settings(method="bca"), 2.0, np.arange(5.0))[0])


def test_units():
  assert statistics.units_of(["", "", ""]).kind == "images"
  alone = statistics.units_of(["a", "b", ""])
  assert (alone.kind, alone.num) == ("images", 3)
  units = statistics.units_of(["a", "", "a", "b", ""])
  assert (units.kind, units.num) == ("groups", 4) and units.index[0] == units.index[2]
  forced = statistics.units_of(["a", "", "a"], "image")
  assert (forced.kind, forced.num, forced.splits_groups) == ("images", 3, True)
  with pytest.raises(InputError, match="belong to no groups"):
    statistics.units_of(["", ""], "group")


@pytest.mark.parametrize(
  ("fields", "message"),
  [({"confidence": 95}, "between 0 and 1"), ({"num_resamples": 10}, "at least 100"), ({"method": "bsa"}, "'bca'")],
)
def test_wrong_settings(fields, message):
  with pytest.raises(InputError, match=message):
    statistics.Settings(**fields)


# --- Tests of differences ---------------------------------------------------------------------------------------------


def swapped(a, b, num_resamples=1000, seed=0):
  measure = mean_measure(np.concatenate([a, b]))
  differences, exact = statistics.swap_differences(measure, images(len(a)), num_resamples=num_resamples, seed=seed)
  return differences["mean"], exact


def test_few_units_are_tested_exactly():
  a, b = np.asarray([1.0, 2.0, 4.0]), np.zeros(3)
  differences, exact = swapped(a, b)
  assert exact and differences[0] == pytest.approx(7 / 3)
  np.testing.assert_allclose(sorted(np.abs(differences) * 3), [1, 3, 5, 7])
  assert statistics.permutation_p(differences) == 0.25  # 2 of the 8 patterns
  a = np.random.default_rng(0).normal(0.4, 1, 9)
  want = stats.permutation_test((a, np.zeros(9)), lambda x, y: np.mean(x - y), permutation_type="samples").pvalue
  assert statistics.permutation_p(swapped(a, np.zeros(9))[0]) == pytest.approx(want)


def test_many_units_are_sampled_and_p_is_never_zero():
  random = np.random.default_rng(0)
  a = random.normal(size=40)
  differences, exact = swapped(a + 5, a, 999)
  assert not exact and len(differences) == 1000
  assert statistics.permutation_p(differences) == 1 / 1000
  same = statistics.permutation_p(swapped(a, a)[0])
  assert same == 1.0
  assert np.isnan(statistics.permutation_p(np.asarray([np.nan, 1.0])))
  near = random.normal(0.3, 1, 40)
  ours = statistics.permutation_p(swapped(near, np.zeros(40), 20_000)[0])
  assert ours == pytest.approx(stats.wilcoxon(near).pvalue, abs=0.05)


def test_p_is_uniform_where_there_is_no_difference():
  random = np.random.default_rng(1)
  p = [statistics.permutation_p(swapped(*random.gamma(1, 1, (2, 15)), 400, seed=k)[0]) for k in range(300)]
  assert stats.kstest(p, "uniform").pvalue > 0.001


def test_swaps_against_swapped_rows(result):
  """Pooled metrics of two runs, each pattern of swaps done by hand."""
  probs, *votes = panels.images()
  sharper = probs**3 / (probs**3).sum(-1, keepdims=True)
  runs = result.model.sums, panels.run((sharper, *votes)).model.sums
  both, groups = metrics.Scores(metrics.concatenate(list(runs))), [""] * 12
  found, exact = statistics.swap_differences(
    lambda pool: both.resampled(groups, pool), images(6), num_resamples=64, seed=0
  )
  assert exact
  for number in range(32):
    first = (number >> np.arange(6)) & 1
    numbers = []
    for chosen in (first, 1 - first):
      sums = both.sums.rows(np.arange(6) + 6 * chosen)
      numbers.append(records.numbers(metrics.Scores(sums).metrics(groups[:6])))
    for path in ("read_outs.mean_vote.mr_ece_pooled", "read_outs.majority.dice", "levels.level_ece"):
      assert found[path][number] == pytest.approx(numbers[0][path] - numbers[1][path], abs=1e-12)


def test_holm_golden():
  got = statistics.holm([0.01, 0.04, 0.03, float("nan"), 0.005])
  np.testing.assert_allclose(got, [0.03, 0.06, 0.06, np.nan, 0.02])
  assert statistics.holm([0.6, 0.7]) == [1.0, 1.0] and statistics.holm([]) == []


def test_holm_is_statsmodels():
  multitest = pytest.importorskip("statsmodels.stats.multitest")
  p = np.random.default_rng(0).uniform(0, 0.1, 20)
  np.testing.assert_allclose(statistics.holm(p), multitest.multipletests(p, method="holm")[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_or_reorders(p_values):
  got = np.asarray(statistics.holm(p_values))
  assert np.all(got >= np.asarray(p_values) - 1e-12) and got.max() <= 1
  assert np.all(np.diff(got[np.argsort(p_values, kind="stable")]) >= -1e-12)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_s_levels_decide_as_holm_s_p(p_values, level):
  own, corrected = statistics.holm_levels(p_values, level), statistics.holm(p_values)
  for p, at, p_holm in zip(p_values, own, corrected, strict=True):
    if abs(p - at) > 1e-9 * at:  # but for rounding on the edge
      assert (p < at) == (p_holm < level)
    assert level / len(p_values) <= at <= level


def test_holm_levels_golden():
  got = statistics.holm_levels([0.001, 0.03, float("nan"), 0.02], 0.05)
  assert got == pytest.approx([0.05 / 3, 0.05, 0.05, 0.025])
  assert statistics.holm_levels([0.03, 0.04], 0.05) == [0.025, 0.025]  # the first fails, so do all


def test_welch():
  a, b = [0.1, 0.2, 0.3], [0.4, 0.9]
  want = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
  assert statistics.welch(a, b, 0.9) == pytest.approx((want.low, want.high))
  assert np.isnan(statistics.welch(a, [0.4], 0.9)[0])
  assert statistics.welch([1, 1], [0.5, 0.5], 0.95) == (0.5, 0.5)


# --- Files ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return evaluations.write(tmp_path_factory.mktemp("e") / "test", surface_tolerance=2.0)


def test_sums_come_back(folder):
  stored = scoring.read(folder)
  written = json.loads((folder / "metrics.json").read_text())
  assert stored.ids == [f"image-{k:02d}" for k in range(12)] and set(stored.groups) == {"p"}
  assert stored.scores.num_bins == 15 and stored.scores.sums.nll.dtype == np.int64
  again = json.loads(json.dumps(records.jsonable(stored.scores.metrics(stored.groups))))
  for read_out, numbers in again["read_outs"].items():
    assert numbers.items() <= written["read_outs"][read_out].items() and "hd95" in numbers
  assert not [p for p in folder.iterdir() if p.name.endswith(".tmp.npz")]


def test_intervals_of_an_evaluation(tmp_path):
  result = panels.run(panels.images(num=20), truth=True)
  evaluator.write(result, tmp_path, {}, statistics.Settings(num_resamples=400))
  found = json.loads((tmp_path / "metrics.json").read_text())["intervals"]
  per_metric = {"values", "methods", "corrected", "miscalibration_p"}
  assert {k: v for k, v in found.items() if k not in per_metric} == {
    "confidence": 0.95,
    "method": "percentile",
    "num_resamples": 400,
    "unit": "groups",
    "num_units": 10,
    "none": "",
  }
  assert found["methods"]["levels.rps"] == "percentile"
  assert found["methods"]["oracle.levels.level_ece"] == "noise-corrected"
  assert {"read_outs.majority.dice", "levels.rps", "floors.brier", "raters.fleiss_kappa", "oracle.levels.rps"} <= set(
    found["values"]
  )
  low, high = found["values"]["read_outs.mean_vote.brier"]
  assert low < result.metrics["read_outs"]["mean_vote"]["brier"] < high
  evaluator.write(result, tmp_path, {}, statistics.Settings(num_resamples=400))
  assert json.loads((tmp_path / "metrics.json").read_text())["intervals"] == found


def test_people_are_told_the_intervals(folder, tmp_path):
  summary = report.text_summary(folder)
  assert "No intervals: 1 group: too few for an interval that holds what it says; it takes 10." in summary
  assert "bootstrap" not in summary and "noise" not in summary

  def intervals(m):
    m["intervals"] |= {"num_units": 9, "values": {"read_outs.majority.dice": [0.5, 0.75], "levels.rps": [0.1, 0.12345]}}
    m["intervals"]["none"] = ""

  copy = shutil.copytree(folder, tmp_path / "copy")
  evaluations.change(copy, "metrics.json", intervals)
  summary = "95 % bootstrap interval (9 groups resampled): Dice 0.500 to 0.750, RPS 0.1000 to 0.1235."
  assert summary in report.text_summary(copy)


def change_arrays(path, **changes):
  with np.load(path) as file:
    arrays = {**file, **changes}
  np.savez(path, **{name: x for name, x in arrays.items() if x is not None})


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (lambda path: path.unlink(), r"holds no sums\.npz, as older evaluations do not. Evaluate again: python run_eval"),
    (lambda path: path.write_bytes(path.read_bytes()[:200]), "is damaged, was changed, or is of another evaluation"),
    (lambda path: path.write_text("nonsense"), "is damaged, was changed, or is of another evaluation"),
    (lambda path: change_arrays(path, version=99), "has format version 99, expected "),
    (lambda path: change_arrays(path, rps=None), "is damaged: it lacks rps"),
    (lambda path: change_arrays(path, bin_rater=np.zeros(3)), r"is damaged: bin_rater has shape \(3,\), expected"),
    (lambda path: change_arrays(path, ids=np.asarray(["a"])), r"is damaged: ids has shape \(1,\), expected \(12,\)"),
  ],
)
def test_spoilt_sums_get_one_line(spoil, message, folder, tmp_path):
  copy = shutil.copytree(folder, tmp_path / "copy")
  if spoil.__code__.co_names[0] == "change_arrays":  # by somebody who knows how: the digest fits
    spoil(copy / "sums.npz")
    evaluations.sign(copy)
  else:
    spoil(copy / "sums.npz")
  with pytest.raises(InputError, match=message) as error:
    scoring.read(copy)
  assert "\n" not in str(error.value)
