import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ordseg import calibration
from tests.reference import metrics_np

R = 5


def votes_bins(prob, votes, n, num_bins=15, mask=None):
  """One image's `BinSums` against n raters' votes."""
  bins = jax.device_get(
    calibration.bin_pixels(jnp.asarray(prob), jnp.asarray(votes), mask, num_bins=num_bins, num_labels=R + 1)
  )
  count = bins.count[None].astype(np.int64)
  return calibration.against_votes(count, calibration.prob_sums(bins.prob_limbs)[None], np.asarray([n])).pooled()


def panel(seed, size=2000):
  rng = np.random.default_rng(seed)
  prob = rng.beta(0.4, 0.8, size).astype(np.float32)
  masks = (rng.random((size, R)) < prob[:, None] ** 1.3).astype(np.uint8)
  return prob, masks


@pytest.mark.parametrize("num_bins", [1, 10, 15, 50])
def test_against_the_oracle(num_bins):
  prob, masks = panel(0)
  bins = votes_bins(prob, masks.sum(-1, dtype=np.int32), R, num_bins)
  p, y = metrics_np.pairs([prob], [masks], [np.ones(R)], [np.ones_like(prob)])
  np.testing.assert_allclose(calibration.ece(bins), metrics_np.ece(p, y, num_bins), atol=1e-7)
  np.testing.assert_allclose(calibration.ace(bins), np.mean(metrics_np.gaps(p, y, num_bins)), atol=1e-6)
  np.testing.assert_allclose(calibration.mce(bins), np.max(metrics_np.gaps(p, y, num_bins)), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_pooled_equals_the_mean_vote_and_never_exceeds_the_rater_mean(seed):
  prob, masks = panel(seed, size=300)
  votes = masks.sum(-1, dtype=np.int32)
  pooled = float(calibration.ece(votes_bins(prob, votes, R)))
  # The same sums, against the share of votes instead of against every vote.
  bins = votes_bins(prob, votes, R)
  mean_vote = np.abs(bins.prob_sum / R - bins.label_sum / R).sum() / (bins.count.sum() / R)
  assert pooled == pytest.approx(mean_vote, abs=1e-10)
  per_rater = [metrics_np.ece(prob.astype(np.float64), masks[:, r].astype(np.float64), 15) for r in range(R)]
  assert pooled <= np.mean(per_rater) + 1e-7


def test_bin_edges():
  prob = jnp.asarray([0.0, 0.0999, 0.1, 0.5, 0.9999, 1.0])
  np.testing.assert_array_equal(calibration.bin_index(prob, 10), [0, 0, 1, 5, 9, 9])


def test_masked_pixels_count_nowhere():
  prob, masks = panel(1)
  votes = masks.sum(-1, dtype=np.int32)
  keep = np.random.default_rng(0).integers(0, 2, prob.shape)
  got = votes_bins(prob, votes, R, mask=jnp.asarray(keep))
  want = votes_bins(prob[keep > 0], votes[keep > 0], R)
  np.testing.assert_array_equal(got.count, want.count)
  np.testing.assert_array_equal(got.label_sum, want.label_sum)
  np.testing.assert_array_equal(got.prob_sum, want.prob_sum)  # fixed point: the same bits in any order


def test_the_order_and_the_grouping_of_pixels_change_no_bit():
  prob, masks = panel(2, size=1000)
  votes = masks.sum(-1, dtype=np.int32)
  order = np.random.default_rng(1).permutation(1000)
  whole, shuffled = votes_bins(prob, votes, R), votes_bins(prob[order], votes[order], R)
  parts = [votes_bins(prob[a:b], votes[a:b], R) for a, b in ((0, 1), (1, 130), (130, 1000))]
  for name in ("count", "prob_sum", "label_sum"):
    np.testing.assert_array_equal(getattr(whole, name), getattr(shuffled, name))
    np.testing.assert_array_equal(getattr(whole, name), sum(getattr(part, name) for part in parts))


def test_fixed_point_is_as_close_as_promised():
  prob = np.random.default_rng(3).random(10_000, dtype=np.float32) ** 8
  bins = calibration.bin_pixels(jnp.asarray(prob), jnp.zeros(10_000, jnp.int32), num_bins=1, num_labels=1)
  error = calibration.prob_sums(jax.device_get(bins.prob_limbs))[0] - prob.astype(np.float64).sum()
  assert abs(error) <= 10_000 * 2.0**-25


def test_more_than_2_to_the_24_pixels_in_one_bin():
  """float32 counters would stop at 16,777,216, and an ECE of about 0.1 would come out for a perfect prediction."""
  num_pixels, odd = 2**24 + 2**20 + 3, 3
  prob = np.full(num_pixels, 0.75, np.float32)
  votes = np.tile(np.asarray([3, 3, 3, 3], np.int32), num_pixels // 4 + 1)[:num_pixels]
  votes[:odd] = 4
  count_of_4 = jax.jit(lambda p, c: calibration.bin_pixels(p, c, num_bins=2, num_labels=5))
  bins = jax.device_get(count_of_4(prob, votes))
  assert bins.count[1, 3] == num_pixels - odd and bins.count[1, 4] == odd and bins.count[0].sum() == 0
  total = calibration.prob_sums(bins.prob_limbs)
  assert total[1] == 0.75 * num_pixels and total[0] == 0
  sums = calibration.against_votes(bins.count[None].astype(np.int64), total[None], np.asarray([4])).pooled()
  assert float(calibration.ece(sums)) == pytest.approx(odd / 4 / num_pixels, rel=1e-9)
  assert np.float32(2**24) + np.float32(1) == np.float32(2**24)  # the trap this test is about


def test_merging_images_is_exact_past_2_to_the_24():
  count = np.full((40, 1, 2), 2**23, np.int64)
  sums = calibration.against_votes(count, np.full((40, 1), 2.0**23), np.ones(40, int)).pooled()
  assert sums.count[0] == 40 * 2**24 and sums.label_sum[0] == 40 * 2**23
  assert calibration.ece(sums) == 0.0


def test_images_with_fewer_raters_weigh_by_their_pairs():
  rng = np.random.default_rng(4)
  probs = [rng.random(50, dtype=np.float32) for _ in range(3)]
  masks = [rng.integers(0, 2, (50, R), dtype=np.uint8) for _ in range(3)]
  valid = np.asarray([[1, 1, 1, 1, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]])
  device = [
    jax.device_get(calibration.bin_pixels(p, (m * v).sum(-1).astype(np.int32), num_bins=15, num_labels=R + 1))
    for p, m, v in zip(probs, masks, valid, strict=True)
  ]
  count = np.stack([d.count for d in device]).astype(np.int64)
  prob_sum = np.stack([calibration.prob_sums(d.prob_limbs) for d in device])
  p, y = metrics_np.pairs(probs, masks, valid, [np.ones(50)] * 3)
  bins = calibration.against_votes(count, prob_sum, valid.sum(-1)).pooled()
  np.testing.assert_allclose(calibration.ece(bins), metrics_np.ece(p, y, 15), atol=1e-6)


def test_no_pixels_is_nan_and_not_a_perfect_score():
  empty = calibration.BinSums(np.zeros(15, int), np.zeros(15), np.zeros(15))
  assert np.isnan(calibration.ece(empty)) and np.isnan(calibration.ace(empty)) and np.isnan(calibration.mce(empty))
  assert calibration.curve(empty)["mean_prob"] == [None] * 15


def test_curve():
  bins = calibration.BinSums(np.asarray([2, 0]), np.asarray([0.5, 0.0]), np.asarray([1.0, 0.0]))
  assert calibration.curve(bins) == {
    "bin_edges": [0.0, 0.5, 1.0],
    "count": [2, 0],
    "mean_prob": [0.25, None],
    "mean_label": [0.5, None],
  }


@pytest.mark.parametrize(("correlation", "majority_range"), [(0.0, (0.06, 0.13)), (0.9, (0.004, 0.02))])
def test_a_perfect_distribution_is_calibrated_in_the_mean_vote_and_not_in_the_majority(correlation, majority_range):
  """R = 7 exchangeable raters: y_r = 1[s + sqrt(rho) z + sqrt(1 - rho) e_r > 0], level probabilities by quadrature."""
  num_raters, num_pixels = 7, 40_000
  rng = np.random.default_rng(5)
  s = rng.normal(0, 1, num_pixels)
  z, weights = np.polynomial.hermite_e.hermegauss(60)
  weights = weights / weights.sum()
  q = stats.norm.cdf((s[:, None] + np.sqrt(correlation) * z) / np.sqrt(1 - correlation))
  levels = np.arange(num_raters + 1)
  ways = np.asarray([math.comb(num_raters, k) for k in levels])
  binomial = ways * q[..., None] ** levels * (1 - q[..., None]) ** (num_raters - levels)
  p = (binomial * weights[:, None]).sum(1)
  noise = np.sqrt(correlation) * rng.normal(size=(num_pixels, 1))
  votes = (s[:, None] + noise + np.sqrt(1 - correlation) * rng.normal(size=(num_pixels, num_raters)) > 0).sum(-1)

  def mr_ece(read_out):
    device = calibration.bin_pixels(
      jnp.asarray(np.clip(read_out, 0, 1), jnp.float32), jnp.asarray(votes, jnp.int32), num_bins=15, num_labels=8
    )
    device = jax.device_get(device)
    count = device.count[None].astype(np.int64)
    sums = calibration.against_votes(count, calibration.prob_sums(device.prob_limbs)[None], np.asarray([7]))
    return float(calibration.ece(sums.pooled()))

  assert mr_ece(p @ levels / num_raters) < 0.005
  low, high = majority_range
  assert low < mr_ece(p[:, 4:].sum(-1)) < high
