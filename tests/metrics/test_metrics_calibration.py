"""Calibration errors beyond equal-width bins: fine cells, equal mass, smooth, top-label, CURVAS."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg import metrics, ordinal
from ordseg.evaluation import evaluator
from ordseg.evaluation import result as results
from ordseg.metrics import calibration, cells
from tests.helpers import panels
from tests.helpers.panels import NUM_BINS, R
from tests.reference import metrics_np, scores_np


@pytest.fixture(scope="module")
def data():
  return panels.images()


@pytest.fixture(scope="module")
def result(data):
  return panels.run(data)


def read_out(data, name):
  """[I, H, W] float32, as the device has it but for the last bit."""
  return panels.read_out(data, name).astype(np.float32)


def ranks_of(p, y):
  """The cells [T, 5] of pairs, one rater."""
  p, y = np.asarray(p, np.float32), np.asarray(y, int)
  index = np.asarray(cells.rank_cell(jnp.asarray(p)))
  low = cells.low_sums(jnp.asarray(p), jnp.asarray(index), jnp.ones(p.shape, bool))
  votes = [np.bincount(index[y == k], minlength=cells.NUM_RANKS) for k in (0, 1)]
  total = cells.prob_total(low, votes[0] + votes[1], p.size)
  return np.stack([*votes, *votes, total], -1).astype(np.int64)


def network_like(seed, num=20_000):
  """Probabilities as networks have them, most within 1e-3 of 0 or 1, and votes that follow them loosely."""
  rng = np.random.default_rng(seed)
  logit = 3 * rng.normal(-2, 2, num)
  p = (1 / (1 + np.exp(-logit))).astype(np.float32)
  return p, rng.random(num) < 1 / (1 + np.exp(-0.7 * logit))


# --- Cells ------------------------------------------------------------------------------------------------------------


def test_cells_hold_what_lies_between_their_edges():
  p = np.concatenate([network_like(0)[0], [0, 2**-6, 0.25, 0.5, 1 - 2**-6, 1]]).astype(np.float32)
  index, edges = np.asarray(cells.rank_cell(jnp.asarray(p))), cells.cell_edges()
  assert len(edges) == cells.NUM_RANKS and np.all(np.diff(edges) >= 0) and edges[0] == 0 < 1 - edges[-1] < 1e-7
  below, upper = p < 0.5, np.append(edges[1:], 1.0)
  assert np.all(edges[index] <= p) and np.all(p <= upper[index])
  assert np.all(p[below] < upper[index][below]) and np.all(p[p > 0.5] > edges[index][p > 0.5])
  assert np.max(np.diff(edges)) == 2**-11 and np.all(np.diff(edges)[(edges[1:] > 2**-6) & (edges[1:] < 0.98)] <= 2**-12)
  assert [scores_np.cell(x) for x in np.sort(p)] == sorted(scores_np.cell(x) for x in p)
  pairs = {(int(a), scores_np.cell(b)) for a, b in zip(index, p, strict=True)}
  assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})  # the oracle's cells are the same


@pytest.mark.parametrize("bits", [None, 5])
def test_sums_of_cells_are_exact(monkeypatch, bits):
  """Against integers; images too large for one 32-bit sum are counted in several."""
  if bits:
    monkeypatch.setattr(cells, "_limb_bits", lambda _: bits)
  p, _ = network_like(1)
  mask = np.arange(p.size) % 3 > 0
  index = np.asarray(cells.rank_cell(jnp.asarray(p)))
  low = cells.low_sums(jnp.asarray(p), jnp.asarray(index), jnp.asarray(mask))
  assert low.shape == (cells.NUM_RANKS, 3 if bits else 1)
  got = cells.prob_total(low, np.bincount(index[mask], minlength=cells.NUM_RANKS), p.size)
  wide = p[mask].astype(np.float64) * 2**24
  want = np.zeros(cells.NUM_RANKS, np.int64)
  np.add.at(want, index[mask], np.where(wide < 2**23, np.floor(wide), np.ceil(wide)).astype(np.int64))
  np.testing.assert_array_equal(got, want)


def test_no_number_of_pixels_overflows_a_sum():
  for num_pixels in (1, 2**18, 2**19, 2**24, 2**28):
    bits = cells._limb_bits(num_pixels)
    assert bits >= 1 and (2**bits - 1) * num_pixels < 2**32


# --- Equal mass -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ordinal.READ_OUTS)
def test_equal_mass_against_every_pair(data, result, name):
  _, masks, valid, counts = data
  p, y = metrics_np.pairs(read_out(data, name), masks, valid, counts)
  got = result.metrics["read_outs"][name]["mr_ece_equal_mass"]
  assert got == pytest.approx(scores_np.equal_mass_ece(p, y, NUM_BINS), abs=2e-3)  # p may differ in its last bit
  own = metrics.equal_mass_bins(result.model.ranks[ordinal.READ_OUTS.index(name)], NUM_BINS)
  assert own.count.sum() == len(p) and own.label_sum.sum() == y.sum()
  assert own.prob_sum.sum() == pytest.approx(p.sum(), rel=1e-6)


def test_equal_mass_is_the_oracle_s_number_on_equal_floats():
  for seed in range(3):
    p, y = network_like(seed, 3000)
    got = calibration.ece(metrics.equal_mass_bins(ranks_of(p, y), 15))
    assert got == pytest.approx(scores_np.equal_mass_ece(p.astype(np.float64), y, 15), abs=1e-7)


def test_equal_mass_bins_are_quantiles_where_nothing_ties():
  """60 probabilities in cells of their own: five bins of twelve, as sorting and splitting gives them."""
  rng = np.random.default_rng(0)
  p = rng.permutation((np.arange(60) + 0.5) / 60)
  y = rng.random(60) < p**2
  bins = metrics.equal_mass_bins(ranks_of(p, y), 5)
  assert bins.count.tolist() == [12] * 5
  parts = [(p[i].mean(), y[i].mean()) for i in np.array_split(np.argsort(p), 5)]
  assert calibration.ece(bins) == pytest.approx(np.mean([abs(a - b) for a, b in parts]), abs=1e-7)
  curve = metrics.equal_mass_curve(ranks_of(p, y), 5)
  np.testing.assert_allclose(curve["mean_prob"], [a for a, _ in parts], atol=1e-7)
  np.testing.assert_allclose(curve["bin_edges"][1:-1], [0.2, 0.4, 0.6, 0.8], atol=1 / 60 + 2**-11)


def test_ties_are_never_separated():
  p = np.asarray([0.0] * 90 + [0.3] * 5 + [0.9] * 5)
  y = np.arange(100) % 2
  curve = metrics.equal_mass_curve(ranks_of(p, y), 10)
  assert curve["count"] == [90, 10] and curve["bin_edges"][1] == pytest.approx(0.3, abs=2**-12)
  assert metrics.equal_mass_curve(ranks_of([], []), 10)["count"] == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), num_bins=st.integers(1, 40))
def test_equal_mass_invariants(seed, num_bins):
  p, y = network_like(seed, 500)
  ranks = ranks_of(p, y)
  bins = metrics.equal_mass_bins(ranks, num_bins)
  heaviest = (ranks[:, 2] + ranks[:, 3]).max()
  assert bins.count.sum() == 500 and np.all(np.abs(bins.count - 500 / num_bins) <= max(heaviest, 500 / num_bins) + 1)
  means = calibration.ratio(bins.prob_sum, bins.count)[bins.count > 0]
  assert np.all(np.diff(means) >= -1e-7)
  # One bin can only cancel more.
  assert calibration.ece(bins) >= abs(p.mean() - y.mean()) - 1e-6


# --- Smooth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_smooth_ece_against_the_integral(seed):
  p, y = network_like(seed, 2000)
  got, bandwidth = metrics.smooth_ece(ranks_of(p, y))
  assert got == pytest.approx(bandwidth, abs=1e-6)  # the fixed point, and the oracle's value there
  assert got == pytest.approx(scores_np.smooth_ece_at(p.astype(np.float64), y, bandwidth), rel=2e-3)


def test_smooth_ece_at_the_smallest_bandwidth():
  """A calibrated forecast: the score is below the smallest bandwidth, where cells are coarsest."""
  rng = np.random.default_rng(3)
  p = np.repeat(rng.random(400), 1000).astype(np.float32)
  y = np.arange(p.size) % 1000 < np.repeat(np.rint(p[::1000] * 1000 + rng.normal(0, 1, 400)), 1000)
  got, bandwidth = metrics.smooth_ece(ranks_of(p, y))
  assert got < bandwidth == 1e-3
  assert got == pytest.approx(scores_np.smooth_ece_at(p.astype(np.float64), y, 1e-3, 8000), rel=0.03)


def test_smooth_ece_of_one_forecast_is_its_gap():
  """Everything at 0.5: any bandwidth leaves the gap whole."""
  assert metrics.smooth_ece(ranks_of(np.full(100, 0.5), np.arange(100) < 80))[0] == pytest.approx(0.3, abs=1e-6)
  assert np.isnan(metrics.smooth_ece(ranks_of([], []))).all()


def test_smooth_ece_against_its_authors_code():
  """Away from 0 and 1: at its ends its reflection halves the weight of forecasts, which the definition does not."""
  relplot = pytest.importorskip("relplot", reason="needs relplot, the code of the paper")
  rng = np.random.default_rng(2)
  p = rng.uniform(0.02, 0.98, 20_000).astype(np.float32)
  y = rng.random(p.size) < p**1.4
  assert metrics.smooth_ece(ranks_of(p, y))[0] == pytest.approx(relplot.smECE(p.astype(float), y), rel=5e-3)


def test_smooth_ece_of_the_evaluation(data, result):
  _, masks, valid, counts = data
  for name in ordinal.READ_OUTS:
    p, y = metrics_np.pairs(read_out(data, name), masks, valid, counts)
    got, bandwidth = metrics.smooth_ece(result.model.ranks[ordinal.READ_OUTS.index(name)])
    assert result.metrics["read_outs"][name]["smooth_ece"] == got == pytest.approx(bandwidth, abs=1e-6)
    assert got == pytest.approx(scores_np.smooth_ece_at(p, y, bandwidth), rel=2e-3)


# --- Top label and CURVAS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ordinal.READ_OUTS)
def test_curvas_against_the_published_definition(data, result, name):
  _, masks, valid, counts = data
  prob = read_out(data, name).astype(np.float64)

  def case(images):
    """Mean over raters; a rater is scored on the images that they answered."""
    scores = []
    for r in range(R):
      own = [k for k in images if valid[k, r]]
      if own:
        p = np.concatenate([prob[k][counts[k] > 0] for k in own])
        y = np.concatenate([masks[k, ..., r][counts[k] > 0] for k in own])
        scores.append(scores_np.curvas_ece(p, [y]))
    return np.mean(scores)

  got = result.metrics["read_outs"][name]
  rated = np.flatnonzero(valid.any(1))
  assert got["ece_curvas"] == pytest.approx(np.mean([case([k]) for k in rated]), abs=1e-6)
  groups = [[0, 1], [2], [4, 5]]  # image 3 was not rated
  assert got["ece_curvas_by_group"] == pytest.approx(np.mean([case(images) for images in groups]), abs=1e-6)
  rows = results.per_image_rows(result)
  assert rows[1][f"{name}_ece_curvas"] == pytest.approx(case([1]), abs=1e-6) and np.isnan(rows[3][f"{name}_ece_curvas"])
  p, y = metrics_np.pairs(prob, masks, valid, counts)
  confidence, correct = scores_np.top_label(p, y)
  assert got["ece_top_label"] == pytest.approx(metrics_np.ece(confidence, correct, 50), abs=1e-6)


def test_curvas_against_torchmetrics():
  """The challenge's own code, one image and rater. It gives a confidence of exactly 1 a bin of its own: none here."""
  torch, classification = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.classification")
  probs, masks, _, counts = panels.images(seed=4, num=1)
  valid = np.eye(R, dtype=np.uint8)[:1]
  found = panels.run((probs, masks, valid, counts))
  for name in ordinal.READ_OUTS:
    p = read_out((probs, masks, valid), name).ravel()
    metric = classification.MulticlassCalibrationError(num_classes=2, n_bins=50)
    want = metric(torch.tensor(np.stack([1 - p, p], -1)), torch.tensor(masks[..., 0].ravel()).long())
    assert p.max() < 1 and p.min() > 1e-7
    assert found.metrics["read_outs"][name]["ece_curvas"] == pytest.approx(float(want), abs=1e-6)


def test_curvas_of_maps_on_fractions_against_torchmetrics():
  """Votes of five people, and one-hot maps, lie on edges: p and 1 - p are equally sure, .8 is in [.8, .82)."""
  torch, classification = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.classification")
  rng = np.random.default_rng(0)
  for fifths in (rng.integers(0, 6, 4000), 5 * rng.integers(0, 2, 4000), np.repeat([1, 4], 2000)):
    p = fifths.astype(np.float32) / np.float32(5)
    y = (rng.random(p.size) < p).astype(np.uint8)
    metric = classification.MulticlassCalibrationError(num_classes=2, n_bins=50)
    want = float(metric(torch.tensor(np.stack([1 - p, p], -1)), torch.tensor(y).long()))
    got = one_row(p, y).metrics["read_outs"]["majority"]
    assert got["ece_curvas"] == pytest.approx(want, abs=1e-4)  # which adds up in float32
    apart = np.maximum(p, 1 - p).astype(np.float64) - ((p >= 0.5) == y)
    exact = sum(abs(apart[np.maximum(fifths, 5 - fifths) == k].sum()) for k in (3, 4, 5)) / p.size
    assert got["ece_curvas"] == got["ece_top_label"] == pytest.approx(exact, abs=1e-9)
  # As many pixels at .2 without a vote as at .8 with one, four in five right: no error, where splitting them finds .2.
  right = np.arange(2000) % 5 > 0
  votes = np.concatenate([np.where(right, 0, 1), np.where(right, 1, 0)])
  assert one_row(np.repeat(np.float32([0.2, 0.8]), 2000), votes).metrics["read_outs"]["majority"]["ece_curvas"] < 1e-6


def one_row(prob, votes):
  """Evaluates an image of one row, one rater, with the given probabilities."""
  p = np.asarray(prob, np.float32)[None, None]
  data = np.stack([1 - p, p], -1), np.asarray(votes, np.uint8)[None, None, :, None], np.ones((1, 1), np.uint8)
  batch = {"rater_masks": data[1], "rater_valid": data[2], "mask": np.ones(p.shape, np.uint8), "image": p[..., None]}
  item = panels.EvalBatch(["a"], [""], batch, 1)
  return evaluator.evaluate(lambda _: data[0], [item], num_raters=1, num_bins=10)


def test_golden_values_of_top_labels():
  # Confidences .9, .8, .8 and .6; the labels are right, right, wrong, wrong.
  found = one_row([0.9, 0.2, 0.8, 0.4], [1, 0, 0, 1])
  assert found.metrics["read_outs"]["majority"]["ece_top_label"] == pytest.approx((0.1 + 0.6 + 0.6) / 4, abs=1e-6)
  # A tie is foreground; 0 and 1 are certain.
  found = one_row([0.5, 0.0, 1.0], [1, 0, 1])
  assert found.metrics["read_outs"]["majority"]["ece_curvas"] == pytest.approx(0.5 / 3, abs=1e-6)
  assert found.metrics["read_outs"]["majority"]["smooth_ece"] > 0.1


def test_top_label_curve(result):
  curve = results.curves(result.model)["read_outs"]["mean_vote"]["top_label"]
  assert len(curve["count"]) == 25 and curve["bin_edges"][0] == 0.5 and curve["bin_edges"][-1] == 1.0
  for low, high, mean in zip(curve["bin_edges"], curve["bin_edges"][1:], curve["mean_prob"], strict=False):
    assert mean is None or low - 1e-6 <= mean <= high + 1e-6
  gaps = [
    n * abs(p - y) for n, p, y in zip(*(curve[k] for k in ("count", "mean_prob", "mean_label")), strict=True) if n
  ]
  want = result.metrics["read_outs"]["mean_vote"]["ece_top_label"]
  assert sum(gaps) / sum(curve["count"]) == pytest.approx(want)


def test_images_without_a_group_are_cases_of_their_own(result):
  sums = result.model.sums
  alone = metrics.numbers("read_outs", metrics.Images(sums, "majority", groups=[""] * 6))
  assert alone["ece_curvas_by_group"] == pytest.approx(alone["ece_curvas"])
  together = metrics.numbers("read_outs", metrics.Images(sums, "majority", groups=["p"] * 6))
  assert together["ece_curvas_by_group"] != pytest.approx(alone["ece_curvas"])
