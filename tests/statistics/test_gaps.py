"""Intervals of sums of absolute gaps against a slow reference, and what they promise."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ordseg import statistics
from ordseg.evaluation import result as results
from ordseg.metrics import METRICS, GapBins, Resamples
from ordseg.metrics.calibration import BinSums
from ordseg.reporting import report
from ordseg.reporting.report import noise as noise_words
from ordseg.reporting.report import reading
from ordseg.statistics import gaps, noise
from tests.helpers import evaluations, panels
from tests.reference import gaps_np

S = 120


def images(num):
  return statistics.units_of([""] * num)


def made(seed=0, num=12, shape=(4,), weighting="pooled", error=0.05):
  """Bins of images with missing ones: [I, *shape]."""
  random = np.random.default_rng(seed)
  count = random.poisson(6, (num, *shape)) * (random.random((num, *shape)) < 0.8)
  prob = np.broadcast_to(np.linspace(0.1, 0.8, shape[-1]), count.shape)
  effect = random.normal(0, 0.05, (num, *[1] * len(shape)))
  label = random.binomial(count, np.clip(prob + error + effect, 0, 1))
  return GapBins(BinSums(count, count * prob, label.astype(float)), weighting)


def drawn(num, seed=1):
  return np.random.default_rng(seed).multinomial(num, np.ones(num) / num, S).astype(float)


def _planned(bins, weights, pairs):
  units = images(weights.shape[1])
  parts = {f"e{k}": gaps.gaps_of(x, units) for k, x in enumerate(bins)}
  plan, pool = noise.Plan(parts, pairs), Resamples(weights, units.index)
  found = {**{f"e{k}": x.error(pool) for k, x in enumerate(bins)}, **plan.measure(pool)}
  errors = plan.estimates({f"e{k}": float(x.error()) for k, x in enumerate(bins)}, found)
  return errors, plan.pairs(errors, found)


def measured(bins, weights):
  """The product's estimate in given resamples."""
  return _planned([bins], weights, [])[0]["e0"]


def paired(a, b, weights):
  """The product's difference a - b in given resamples."""
  return _planned([a, b], weights, [("e0", "e1")])[1]["e0", "e1"]


def reference(bins, weights):
  D = (bins.bins.prob_sum - bins.bins.label_sum).reshape(len(weights[0]), -1)
  C = bins.bins.count.reshape(D.shape).astype(float)
  if bins.weighting == "pooled":
    M = np.repeat(C.sum(1, keepdims=True), C.shape[1], 1)
  elif bins.weighting == "rows":
    rows = bins.bins.count.shape[1]
    M = np.repeat(bins.bins.count.sum(-1), C.shape[1] // rows, 1).astype(float) * rows
  else:
    M = C * (C.sum(0) > 0).sum()
  return gaps_np.GapError(D, C, M, weights)


# --- Definitions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
def test_gaps_are_those_of_the_metrics(grouped):
  """Every error that is corrected is put together from its gaps as its own code does it, in resamples too."""
  result = panels.run(panels.images(num=14, seed=4))
  units = statistics.units_of(result.groups if grouped else [""] * 14)
  pool = Resamples(np.random.default_rng(0).integers(0, 3, (20, units.num)), units.index)
  want = result.model.resampled(result.groups, pool)
  once = statistics.estimates(lambda p: result.model.resampled(result.groups, p), units)
  found = result.model.gap_bins()
  assert len(found) == 14 and set(found) <= set(want)
  for path, bins in found.items():
    np.testing.assert_allclose(bins.error(pool), want[path], atol=1e-12, err_msg=path)
    assert gaps.gaps_of(bins, units).error == pytest.approx(once[path], abs=1e-12), path


def test_every_calibration_error_is_corrected():
  """Whatever has an interval and is made of gaps; the others are means, or of the raters alone."""
  result = panels.run(panels.images(num=40, seed=4))
  section = results.intervals(result, statistics.Settings(num_resamples=100))
  assert section["methods"].keys() == section["values"].keys()
  names = {path.split(".")[-1] for path, method in section["methods"].items() if method == noise.METHOD}
  assert names == {m.key for m in METRICS.values() if m.gaps is not None}
  others = {path.split(".")[-1] for path, method in section["methods"].items() if method == "percentile"}
  assert not {name for name in others if "ece" in name} - {
    "mr_ece_per_image_mean",
    "ece_curvas",
    "ece_curvas_by_group",
  }
  assert section["corrected"].keys() == section["miscalibration_p"].keys()
  for path, value in section["corrected"].items():
    low, high = section["values"][path]
    assert low <= value <= high


# --- Against the reference --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [0.0, 0.05, 0.15])
@pytest.mark.parametrize(
  ("weighting", "shape"), [("pooled", (4,)), ("pooled", (2, 3)), ("rows", (2, 3)), ("bins", (4,))]
)
def test_intervals_are_those_of_the_formulas(weighting, shape, error):
  for seed in range(3):
    bins, weights = made(seed, shape=shape, weighting=weighting, error=error), drawn(12)
    got, want = measured(bins, weights), reference(bins, weights)
    assert got.raw == pytest.approx(want.raw) and got.gaps.error == pytest.approx(want.raw)
    # In a resample the reference takes the bins that the data set fills; so does the error but for ACE and raters.
    want.samples = list(got.samples) if weighting != "pooled" else want.samples
    np.testing.assert_allclose(got.samples, want.samples, rtol=1e-12)
    assert got.corrected == pytest.approx(want.corrected)
    for confidence in (0.8, 0.95):
      assert got.ends(confidence) == pytest.approx(want.ends(confidence), abs=1e-12)
      assert (got.p < 1 - confidence) == want.is_beyond_noise(confidence)


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.0), (0.0, 0.15), (0.15, 0.0), (0.15, 0.25)])
def test_differences_are_those_of_the_formulas(first, second):
  a, b, weights = made(0, error=first), made(0, error=second), drawn(12)
  pair = paired(a, b, weights)
  want = reference(a, weights), reference(b, weights)
  assert pair.difference == pytest.approx(want[0].corrected - want[1].corrected)
  for confidence in (0.8, 0.95):
    assert pair.ends(confidence) == pytest.approx(gaps_np.difference(*want, confidence), abs=1e-12)


def test_closed_forms_are_what_endless_resamples_give():
  bins, units = made(3, num=15), images(15)
  parts = gaps.gaps_of(bins, units)
  weights = np.random.default_rng(0).multinomial(15, np.ones(15) / 15, 200_000)
  moved = (weights - 1.0) @ parts.residual[:, 0]
  np.testing.assert_allclose(moved.std(0), parts.bin_noise[0], rtol=0.01)
  assert moved.sum(1).std() == pytest.approx(parts.drift, rel=0.01)
  added = np.abs(parts.smallest + np.random.default_rng(1).normal(0, parts.bin_noise, (400_000, 4))) - parts.smallest
  assert added.sum(1).mean() == pytest.approx(parts.plausible_bias(), rel=0.02)
  linear = (weights - 1.0) @ parts.linear
  one = made(3, num=15, error=0.4)  # no gap near 0, so the error is linear in them
  exact = one.error(Resamples(weights[:50_000], units.index)).std()
  assert np.sqrt((gaps.gaps_of(one, units).linear ** 2).sum()) == pytest.approx(exact, rel=0.05)
  assert linear.std() == pytest.approx(np.sqrt((parts.linear**2).sum()), rel=0.01)


def test_golden():
  """Ten units, one bin, gaps +-.1 and .3 of one pixel each: all by hand."""
  label = np.asarray([0.2, 0.4] * 5)[:, None]  # gaps .3 and .1
  bins = GapBins(BinSums(np.ones((10, 1), int), np.full((10, 1), 0.5), label), "pooled")
  weights = np.ones((99, 10))
  weights[:33] = [2, 0] * 5  # gap .3
  weights[33:66] = [0, 2] * 5  # gap .1
  got = measured(bins, weights)
  assert got.raw == pytest.approx(0.2) and got.corrected == pytest.approx(0.2)
  spread = 0.1 * np.sqrt(2 / 3)  # of .3, .1, .2 a third each; the linearised one is .1 / sqrt(10)
  assert got.spread == pytest.approx(spread)
  assert got.gaps.drift == pytest.approx(0.1 / 3) and got.gaps.bin_noise[0, 0] == pytest.approx(0.1 / 3)
  # Noise alone: .1 times sqrt(10/9) in two thirds of the resamples, below .2.
  assert got.p == pytest.approx(2 / 100)
  t = stats.t.ppf(0.975, 9) * np.sqrt(10 / 9)
  bias = stats.foldnorm.mean(5.0 - 1e-12, scale=0.1 / 3) - (0.2 - 0.1 / 3)
  assert got.ends(0.95) == pytest.approx((max(0.0, 0.2 - bias - t * spread), 0.2 + t * spread), abs=1e-6)
  assert got.ends(0.99)[0] == 0.0  # at 99 % the same p is not enough


def test_units_that_agree_leave_no_doubt():
  bins = GapBins(BinSums(np.full((10, 2), 5), np.full((10, 2), 2.0), np.full((10, 2), 1.0)), "pooled")
  got = measured(bins, drawn(10))
  assert got.ends(0.95) == pytest.approx((0.2, 0.2)) and got.p == 2 / (S + 1)


def test_a_bin_of_one_unit_may_be_noise_alone():
  """One pixel of one image makes the gap: no other image tells whether that was chance."""
  count = np.zeros((12, 2), int)
  count[:, 0], count[0, 1] = 100, 1
  prob = np.where(np.arange(2) == 0, 0.0, 0.5)
  bins = GapBins(BinSums(count, count * prob, np.zeros((12, 2))), "bins")
  got = measured(bins, drawn(12))
  assert got.raw == pytest.approx(0.25) and got.p > 0.05 and got.ends(0.95)[0] == 0.0


# --- Properties -------------------------------------------------------------------------------------------------------

seeds, weightings = st.integers(0, 10_000), st.sampled_from(["pooled", "bins", "worst"])


@settings(max_examples=40, deadline=None)
@given(seeds, weightings, st.sampled_from([0.0, 0.03, 0.2]))
def test_an_interval_holds_its_estimate_and_grows_with_confidence(seed, weighting, error):
  a, b = made(seed, weighting=weighting, error=error), made(seed, weighting=weighting, error=0.1 - error)
  weights = drawn(12, seed)
  one = measured(a, weights)
  pair = paired(a, b, weights)
  before = {}
  for confidence in (0.5, 0.8, 0.95, 0.999):
    for name, estimate, ends in (("one", one.corrected, one.ends), ("pair", pair.difference, pair.ends)):
      low, high = ends(confidence)
      assert low <= estimate <= high
      if name in before:
        assert low <= before[name][0] + 1e-12 and high >= before[name][1] - 1e-12
      before[name] = (low, high)
  assert before["one"][0] >= 0


@settings(max_examples=30, deadline=None)
@given(seeds, weightings, st.sampled_from([0.0, 0.03, 0.2]))
def test_a_difference_turned_round_changes_its_sign(seed, weighting, error):
  a, b = made(seed, weighting=weighting, error=error), made(seed, weighting=weighting, error=0.1)
  weights = drawn(12, seed)
  there, back = paired(a, b, weights), paired(b, a, weights)
  low, high = there.ends(0.95)
  assert back.ends(0.95) == pytest.approx((-high, -low), abs=1e-12)
  assert paired(a, a, weights).ends(0.95) == (0.0, 0.0)


@settings(max_examples=20, deadline=None)
@given(seeds, weightings)
def test_order_of_units_and_empty_bins_change_nothing(seed, weighting):
  bins, weights = made(seed, weighting=weighting), drawn(12, seed)
  want = measured(bins, weights)
  order = np.random.default_rng(seed).permutation(12)
  parts = (bins.bins.count, bins.bins.prob_sum, bins.bins.label_sum)
  padded = [np.insert(x, [0, 2, 4], 0, axis=1)[order] for x in parts]
  got = measured(GapBins(BinSums(*padded), weighting), weights[:, order])
  assert got.ends(0.95) == pytest.approx(want.ends(0.95), abs=1e-12)
  assert (got.corrected, got.p) == pytest.approx((want.corrected, want.p), abs=1e-12)


def test_seeds_are_averaged():
  """Twice the same seed is one; two seeds have the mean of their errors, and bounds of paired or all gaps."""
  a, b, units = made(0), made(0, error=0.2), images(12)
  one, other = (gaps.gaps_of(x, units) for x in (a, b))
  twice = gaps.mean_over_seeds([one, one])
  assert twice.error == one.error and twice.drift == pytest.approx(one.drift)
  np.testing.assert_allclose(twice.linear, one.linear)
  assert twice.plausible_bias() == pytest.approx(one.plausible_bias())
  both = gaps.mean_over_seeds([one, other])
  assert both.error == pytest.approx((one.error + other.error) / 2)
  assert gaps.minus(both, twice).error == pytest.approx(gaps.minus(other, one).error / 2)
  assert gaps.minus(both, one).error == pytest.approx(gaps.minus(other, one).error / 2)
  assert gaps.minus(both, one).error >= abs(both.error - one.error)


# --- Few units --------------------------------------------------------------------------------------------------------


def test_below_ten_units_there_is_no_interval(tmp_path):
  result = panels.run(panels.images(num=18))  # 9 patients
  section = results.intervals(result, statistics.Settings(num_resamples=100))
  assert section["values"] == section["methods"] == section["miscalibration_p"] == {}
  assert section["none"] == "9 groups: too few for an interval that holds what it says; it takes 10"
  assert len(section["corrected"]) == 14
  more = results.intervals(panels.run(panels.images(num=20)), statistics.Settings(num_resamples=100))
  assert more["none"] == "" and len(more["values"]) > 40


def test_units_without_pixels_do_not_count():
  bins = made(0, num=12)
  for x in (bins.bins.count, bins.bins.prob_sum, bins.bins.label_sum):
    x[:3] = 0
  got = measured(bins, drawn(12))
  assert got.gaps.num_units == 9 and np.isnan(got.ends(0.95)[0])


# --- Old files --------------------------------------------------------------------------------------------------------


def test_old_evaluations_lose_intervals_that_do_not_cover(tmp_path):
  folder = evaluations.write(tmp_path / "e")
  path = "read_outs.mean_vote.mr_ece_pooled"
  old = {"confidence": 0.95, "method": "percentile", "unit": "images", "num_units": 12, "num_resamples": 10_000}
  old["values"] = {path: [0.001, 0.002], "read_outs.majority.dice": [0.5, 0.75]}
  evaluations.change(folder, "metrics.json", lambda m: m.update(intervals=old))
  e = reading.load(folder)
  assert e.interval(path) is None and e.interval("read_outs.majority.dice") == (0.5, 0.75)
  assert noise_words.rows(e) == [] and noise_words.sentence(e) == ""
  summary = report.text_summary(folder)
  assert (
    "Dice 0.500 to 0.750" in summary
    and "Evaluate again" in summary.replace("\n", " ")
    and "MR-ECE 0.0010" not in summary
  )


# --- What people read ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return evaluations.write(tmp_path_factory.mktemp("e") / "test")


@pytest.mark.parametrize(
  ("p", "units", "want"),
  [
    (0.0321, 12, "The mean vote is miscalibrated beyond noise (MR-ECE 0.0"),
    (0.0711, 12, "With 12 images, an error of this size may be noise."),
    (0.0711, 20, "No miscalibration of the mean vote beyond noise is shown (MR-ECE 0.0"),
  ],
)
def test_people_are_told_of_noise(folder, tmp_path, p, units, want):
  path = "read_outs.mean_vote.mr_ece_pooled"

  def noisy(m):
    m["intervals"] |= {"unit": "images", "num_units": units, "none": "", "values": {path: [0.0, 0.0223]}}
    m["intervals"] |= {"corrected": {path: 0.00711}, "miscalibration_p": {path: p}}

  copy = shutil.copytree(folder, tmp_path / "copy")
  evaluations.change(copy, "metrics.json", noisy)
  summary = " ".join(report.text_summary(copy).split())
  assert want in summary and "corrected for noise 0.0071, 95 % interval 0.0000 to 0.0223" in summary
  assert f"p of noise alone {p + 0.0005:.3f})"[:23] in summary and "Corrected for noise" in summary
  assert ("may be noise" in summary) == (p > 0.05 and units < 20)
  answers = [row.answer for row in noise_words.rows(reading.load(copy))]
  assert answers == ["yes" if p < 0.05 else "not shown"]
  if p > 0.05 or units != 12:
    return
  page = report.write_report(copy).read_text()
  assert "Is there miscalibration beyond noise?" in page and "corrected for noise 0.0071" in page
  assert "<td>yes</td>" in page
