import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from ordseg.metrics import calibration, exact_sums
from tests.reference import metrics_np

R = 5


def panel(seed, size=2000, num_raters=R):
  """Probabilities of which some are 0, 1, tiny or on an edge, and masks that follow them badly."""
  rng = np.random.default_rng(seed)
  prob = rng.beta(0.4, 0.8, size).astype(np.float32)
  prob[: size // 8] = rng.choice(np.asarray([0, 1, 0.1, 0.2, 0.5, 1 / 3, 0.9, 1e-9, 1 - 2**-24], np.float32), size // 8)
  masks = (rng.random((size, num_raters)) < prob[:, None] ** 1.3).astype(np.uint8)
  return prob, masks


def votes_bins(prob, masks, num_bins=15, mask=None):
  """`BinSums` of all pairs, [num_bins]."""
  num_raters = masks.shape[-1]
  labels = [jnp.asarray(masks[:, r]) for r in range(num_raters)]
  counts = jax.device_get(calibration.bin_pixels(jnp.asarray(prob), labels, mask, num_bins=num_bins))
  return calibration.BinSums.from_fixed(
    counts.count.astype(np.int64) * num_raters, counts.prob_total() * num_raters, counts.label_count.sum(-1)
  )


def rounded(prob):
  """The probability as the bins hold it."""
  return np.floor(prob.astype(np.float64) * 2**24 + 0.5) / 2**24


@pytest.mark.parametrize("num_bins", [1, 2, 3, 10, 15, 50])
def test_against_the_oracle(num_bins):
  prob, masks = panel(num_bins)
  bins = votes_bins(prob, masks, num_bins)
  p, y = metrics_np.pairs([rounded(prob)], [masks], [np.ones(R)], [np.ones_like(prob)])
  assert float(calibration.ece(bins)) == pytest.approx(metrics_np.ece(p, y, num_bins), abs=1e-12)
  gaps = metrics_np.gaps(p, y, num_bins)
  assert float(calibration.ace(bins)) == pytest.approx(np.mean(gaps), abs=1e-12)
  assert float(calibration.mce(bins)) == pytest.approx(np.max(gaps), abs=1e-12)
  assert calibration.mr_ece(prob, masks, num_bins=num_bins) == float(calibration.ece(bins))


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1024, 5000])
def test_any_number_of_pixels(size):
  prob, masks = panel(0, size)
  p, y = metrics_np.pairs([rounded(prob)], [masks], [np.ones(R)], [np.ones_like(prob)])
  assert calibration.mr_ece(prob, masks) == pytest.approx(metrics_np.ece(p, y, 15), abs=1e-12)


@pytest.mark.parametrize("size", [2**18, 2**18 + 513])
def test_more_than_one_block(size):
  prob, masks = panel(0, size)
  keep = np.arange(size) % 3 > 0
  want = votes_bins(prob[keep], masks[keep])
  assert calibration.mr_ece(prob, masks, keep) == pytest.approx(float(calibration.ece(want)), abs=1e-15)
  in_2d = [x.reshape(size, 1, *x.shape[1:]) for x in (prob, masks, keep)]
  assert calibration.mr_ece(*in_2d) == calibration.mr_ece(prob, masks, keep)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), num_bins=st.sampled_from([1, 5, 15]))
def test_pooled_equals_the_mean_vote_and_never_exceeds_the_rater_mean(seed, num_bins):
  prob, masks = panel(seed, size=300)
  pooled = calibration.mr_ece(prob, masks, num_bins=num_bins)
  assert pooled == pytest.approx(metrics_np.ece(rounded(prob), masks.mean(-1), num_bins), abs=1e-10)
  per_rater = [metrics_np.ece(rounded(prob), masks[:, r].astype(np.float64), num_bins) for r in range(R)]
  assert pooled <= np.mean(per_rater) + 1e-12
  raters = [calibration.mr_ece(prob, masks[:, r : r + 1], num_bins=num_bins) for r in range(R)]
  np.testing.assert_allclose(raters, per_rater, atol=1e-12)


def test_a_probability_on_an_edge_belongs_above_and_one_to_the_last_bin():
  edges = np.asarray([0.0, 0.25, 0.5, 0.75, 1.0], np.float32)
  below = edges[1:] - np.float32(2**-24)
  assert calibration.bin_index(edges, 4).tolist() == [0, 1, 2, 3, 3]
  assert calibration.bin_index(below, 4).tolist() == [0, 1, 2, 3]
  counts = calibration.bin_pixels(jnp.asarray(np.concatenate([edges, below])), [], num_bins=4)
  assert counts.count.tolist() == [2, 2, 2, 3]


@pytest.mark.parametrize("num_bins", [3, 10, 15, 50])
def test_host_and_device_agree_on_the_bin(num_bins):
  exact = np.arange(num_bins + 1) / num_bins
  prob = np.concatenate([exact, exact + 2**-24, exact - 2**-24, exact + 2**-26]).clip(0, 1).astype(np.float32)
  want = metrics_np.bins_of(prob, num_bins)
  np.testing.assert_array_equal(calibration.bin_index(prob, num_bins), want)
  counts = calibration.bin_pixels(jnp.asarray(prob), [], num_bins=num_bins)
  np.testing.assert_array_equal(counts.count, np.bincount(want, minlength=num_bins))


def test_every_fraction_lies_on_its_edge_and_in_the_bin_above():
  """The share b of B votes belongs to bin b of B bins, and of any multiple of B: the rule that the text states."""
  for num_bins in range(1, 256):
    shares = np.arange(num_bins, dtype=np.float32) / np.float32(num_bins)
    np.testing.assert_array_equal(calibration.bin_index(shares, num_bins), np.arange(num_bins))
    np.testing.assert_array_equal(calibration.bin_index(np.arange(num_bins) / num_bins, num_bins), np.arange(num_bins))
  fifths = np.asarray([1, 2, 3, 4, 5], np.float32) / np.float32(5)
  for num_bins, want in ((15, [3, 6, 9, 12, 14]), (50, [10, 20, 30, 40, 49])):
    assert np.asarray(calibration.bin_of(jnp.asarray(fifths), num_bins)).tolist() == want
    assert calibration.bin_index(fifths, num_bins).tolist() == want


@settings(max_examples=60, deadline=None)
@given(prob=st.lists(st.floats(0, 1, width=32), min_size=8, max_size=8), num_bins=st.integers(1, 255))
def test_the_bin_is_that_of_the_oracle_on_host_and_device(prob, num_bins):
  p = np.asarray(prob, np.float32)
  want = metrics_np.bins_of(p, num_bins)
  np.testing.assert_array_equal(calibration.bin_index(p, num_bins), want)
  np.testing.assert_array_equal(calibration.bin_of(jnp.asarray(p), num_bins), want)


def test_masked_pixels_count_nowhere():
  prob, masks = panel(1)
  keep = np.random.default_rng(0).integers(0, 2, prob.shape)
  got = votes_bins(np.where(keep, prob, np.nan), masks, mask=jnp.asarray(keep))
  want = votes_bins(prob[keep > 0], masks[keep > 0])
  for name in ("count", "prob_sum", "label_sum"):
    np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


def test_the_order_and_the_grouping_of_pixels_change_no_bit():
  prob, masks = panel(2, size=1000)
  order = np.random.default_rng(1).permutation(1000)
  whole, shuffled = votes_bins(prob, masks), votes_bins(prob[order], masks[order])
  parts = [votes_bins(prob[a:b], masks[a:b]) for a, b in ((0, 1), (1, 130), (130, 1000))]
  for name in ("count", "prob_sum", "label_sum"):
    np.testing.assert_array_equal(getattr(whole, name), getattr(shuffled, name))
    np.testing.assert_array_equal(getattr(whole, name), sum(getattr(part, name) for part in parts))


def test_vmap_and_pmap_count_as_the_plain_call():
  prob, masks = panel(3, size=700)
  one = lambda p, y: calibration.bin_pixels(p, [y], num_bins=15)  # noqa: E731
  probs, labels = prob.reshape(2, 350), masks[:, 0].reshape(2, 350)
  want = [one(p, y) for p, y in zip(jnp.asarray(probs), jnp.asarray(labels), strict=True)]
  want = jax.tree.map(lambda *xs: np.stack(xs), *want)
  chex.assert_trees_all_equal(jax.vmap(one)(probs, labels), want)
  chex.assert_trees_all_equal(jax.pmap(one)(probs, labels), want)


def test_fixed_point_is_as_close_as_promised():
  prob = np.random.default_rng(3).random(10_000, dtype=np.float32) ** 8
  total = calibration.bin_pixels(jnp.asarray(prob), [], num_bins=1).prob_total()[0]
  assert total == (rounded(prob) * 2**24).sum()
  assert abs(total / 2**24 - prob.astype(np.float64).sum()) <= 10_000 * 2.0**-25


def test_more_than_2_to_the_24_pixels_in_one_bin():
  """float32 counters would stop at 16,777,216, and an ECE of about .05 would come out for a perfect prediction."""
  num_pixels, odd = 2**24 + 2**20 + 3, 3
  votes = np.full(num_pixels, 3, np.uint8)
  votes[:odd] = 4
  prob = np.full(num_pixels, 0.75, np.float32)
  counts = jax.device_get(calibration.bin_pixels(prob, [votes], num_bins=2, max_label=4))
  assert counts.count.tolist() == [0, num_pixels] and counts.prob_total().tolist() == [0, 3 * 2**22 * num_pixels]
  assert counts.label_count[:, 0].tolist() == [0, 3 * num_pixels + odd]
  bins = calibration.BinSums.from_fixed(counts.count * 4, counts.prob_total() * 4, counts.label_count[:, 0])
  assert float(calibration.ece(bins)) == pytest.approx(odd / 4 / num_pixels, rel=1e-9)
  assert np.float32(2**24) + np.float32(1) == np.float32(2**24)  # the trap this test is about


def test_merging_images_is_exact_past_2_to_the_24():
  """40 images of 2**23 pixels at probability 1, all of them marked but one."""
  count = np.full((40, 1), 2**23, np.int64)
  labels = count.copy()
  labels[7] -= 1
  bins = calibration.BinSums.from_fixed(count, count << 24, labels).pooled()
  assert float(calibration.ece(bins)) == 1 / (40 * 2**23)


def test_the_largest_sums_do_not_overflow():
  """All in the last bin at 1, the largest probability sum there is."""
  for num_bins in (1, 2, 3, 60):
    counts = calibration.bin_pixels(jnp.ones(2000), [jnp.full(2000, 7)], num_bins=num_bins, max_label=7)
    assert counts.prob_total().tolist() == [0] * (num_bins - 1) + [2000 * 2**24]
    assert int(counts.label_count[-1, 0]) == 7 * 2000


def test_too_many_for_one_call_is_an_error_and_no_wrong_number():
  def count(num_pixels, max_label):
    args = [jax.ShapeDtypeStruct((num_pixels,), dtype) for dtype in (jnp.float32, jnp.uint8)]
    return jax.eval_shape(lambda p, y: calibration.bin_pixels(p, [y], num_bins=15, max_label=max_label), *args)

  assert count(2**28, 7).count.shape == (15,)
  for num_pixels, max_label in ((2**28 + 1, 1), (2**28, 8)):
    with pytest.raises(ValueError, match="too many for one call"):
      count(num_pixels, max_label)
  with pytest.raises(ValueError, match="num_bins"):
    calibration.bin_pixels(jnp.zeros(3), [], num_bins=256)
  with pytest.raises(ValueError, match="too large"):
    calibration.bin_pixels(jnp.zeros(3), [jnp.zeros(3, int)], num_bins=15, max_label=2**24)


@pytest.mark.parametrize("max_value", [1, 3, 200, 2**20])
def test_count_fields_is_the_plain_sum(max_value):
  rng = np.random.default_rng(max_value)
  selectors = rng.integers(0, 2, (4, 1500)).astype(bool)
  fields = rng.integers(0, max_value + 1, (6, 1500))
  got = exact_sums.count_fields(list(jnp.asarray(selectors)), list(jnp.asarray(fields)), max_value=max_value)
  np.testing.assert_array_equal(got, selectors.astype(np.int64) @ fields.T)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), bits=st.sampled_from([10, 26, 30]))
def test_fixed_point_sum(seed, bits):
  rng = np.random.default_rng(seed)
  values = (rng.random(1300, dtype=np.float32) ** 3) * np.float32(2 ** (31 - bits))
  mask = rng.integers(0, 2, 1300).astype(bool)
  got = exact_sums.fixed_point_total(exact_sums.fixed_point_sum(jnp.asarray(values), mask, fraction_bits=bits))
  assert got == np.rint(values.astype(np.float64) * 2.0**bits)[mask].sum()


def test_the_rater_mean_is_plain_however_much_a_rater_answered():
  bins = calibration.BinSums(
    np.asarray([[4, 0], [0, 1], [0, 0]]), np.asarray([[2.0, 0], [0, 1], [0, 0]]), np.zeros((3, 2))
  )
  assert calibration.rater_mean_ece(bins) == pytest.approx((0.5 + 1.0) / 2)


def test_no_pixels_is_nan_and_not_a_perfect_score():
  empty = calibration.BinSums(np.zeros(15, int), np.zeros(15), np.zeros(15))
  assert np.isnan([calibration.ece(empty), calibration.ace(empty), calibration.mce(empty)]).all()
  assert calibration.curve(empty)["mean_prob"] == [None] * 15
  assert math.isnan(calibration.mr_ece(np.zeros(0, np.float32), np.zeros((0, 3), np.uint8)))
  assert math.isnan(calibration.mr_ece(np.zeros(5, np.float32), np.zeros((5, 3), np.uint8), np.zeros(5)))


def test_curve():
  bins = calibration.BinSums(np.asarray([2, 0]), np.asarray([0.5, 0.0]), np.asarray([1.0, 0.0]))
  assert calibration.curve(bins) == {
    "bin_edges": [0.0, 0.5, 1.0],
    "count": [2, 0],
    "mean_prob": [0.25, None],
    "mean_label": [0.5, None],
  }


@pytest.mark.parametrize(
  ("correlation", "majority_range"), [(0.0, (0.07, 0.13)), (0.5, (0.02, 0.05)), (0.9, (0.004, 0.02))]
)
def test_a_perfect_distribution_is_calibrated_in_the_mean_vote_and_not_in_the_majority(correlation, majority_range):
  """R = 7 exchangeable raters: y_r = 1[s + sqrt(rho) z + sqrt(1 - rho) e_r > 0], level probabilities by quadrature."""
  num_raters, num_pixels = 7, 60_000
  rng = np.random.default_rng(5)
  s = rng.normal(0, 1, num_pixels)
  z, weights = np.polynomial.hermite_e.hermegauss(40)
  weights = weights / weights.sum()
  levels = np.arange(num_raters + 1)
  p, ways = np.zeros((num_pixels, num_raters + 1)), special.comb(num_raters, levels)
  for node, weight in zip(z, weights, strict=True):
    q = special.ndtr((s[:, None] + np.sqrt(correlation) * node) / np.sqrt(1 - correlation))
    p += weight * ways * q**levels * (1 - q) ** (num_raters - levels)
  noise = np.sqrt(correlation) * rng.normal(size=(num_pixels, 1))
  masks = s[:, None] + noise + np.sqrt(1 - correlation) * rng.normal(size=(num_pixels, num_raters)) > 0
  assert calibration.mr_ece(p @ levels / num_raters, masks) < 0.004
  low, high = majority_range
  assert low < calibration.mr_ece(p[:, 4:].sum(-1), masks) < high
  majority = masks.sum(-1, keepdims=True) >= 4
  assert calibration.mr_ece(p[:, 4:].sum(-1), majority) < 0.006 < calibration.mr_ece(p @ levels / num_raters, majority)
