import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from ordseg import losses, metrics, ordinal
from tests.helpers import evaluations, panels
from tests.helpers.panels import NUM_BINS, R, read_out
from tests.reference import metrics_np, ordinal_np


@pytest.fixture(scope="module")
def data():
  return panels.images()


@pytest.fixture(scope="module")
def result(data):
  return panels.run(data)


def votes_and_n(data):
  _, masks, valid, _ = data
  return (masks * valid[:, None, None]).sum(-1), valid.sum(-1)


@pytest.mark.parametrize("name", ordinal.READ_OUTS)
def test_probability_metrics_against_every_pair(data, result, name):
  _, masks, valid, counts = data
  prob = read_out(data, name)
  p, y = metrics_np.pairs(prob, masks, valid, counts)
  got = result.metrics["read_outs"][name]
  assert got["mr_ece_pooled"] == pytest.approx(metrics_np.ece(p, y, NUM_BINS), abs=1e-6)
  assert got["ace"] == pytest.approx(np.mean(metrics_np.gaps(p, y, NUM_BINS)), abs=1e-6)
  assert got["mce"] == pytest.approx(np.max(metrics_np.gaps(p, y, NUM_BINS)), abs=1e-6)
  assert got["brier"] == pytest.approx(np.mean((p - y) ** 2), rel=1e-6)
  assert got["nll"] == pytest.approx(metrics_np.cross_entropy(p, y, metrics.PROB_EPSILON), rel=1e-5)
  assert got["auc_pooled"] == pytest.approx(sklearn_metrics.roc_auc_score(y, p), abs=2e-4)
  raters = [metrics_np.pairs(prob, masks, valid * (np.arange(R) == r), counts) for r in range(R)]
  want = np.mean([metrics_np.ece(p, y, NUM_BINS) for p, y in raters])
  assert got["mr_ece_rater_mean"] == pytest.approx(want, abs=1e-6)
  images = [k for k in range(len(masks)) if valid[k].any()]
  per_image = [metrics_np.ece(*metrics_np.pairs(*(x[k : k + 1] for x in (prob, *data[1:]))), NUM_BINS) for k in images]
  assert got["mr_ece_per_image_mean"] == pytest.approx(np.mean(per_image), abs=1e-6)


@pytest.mark.parametrize("name", ordinal.READ_OUTS)
def test_mask_metrics_against_the_oracle(data, result, name):
  _, masks, valid, counts = data
  votes, n = votes_and_n(data)
  rated = np.flatnonzero(n)
  p = read_out(data, name)
  inside = counts > 0
  predicted = {k: (p[k] >= 0.5) & inside[k] for k in rated}
  majority = {k: (2 * votes[k] >= n[k]) & inside[k] for k in rated}
  dice = {k: metrics_np.dice(predicted[k], majority[k]) for k in rated}
  marked = [k for k in rated if majority[k].any()]
  got = result.metrics["read_outs"][name]
  assert 0 < len(marked) < len(rated) < len(masks)
  assert got["dice"] == pytest.approx(np.mean([dice[k] for k in marked]))
  assert got["dice_all"] == pytest.approx(np.mean([dice[k] for k in rated]))
  areas = [sum(int(x[k].sum()) for k in rated) for x in (predicted, majority)]
  both = sum(int((predicted[k] & majority[k]).sum()) for k in rated)
  assert got["dice_pooled"] == pytest.approx(2 * both / sum(areas))
  iou = [(predicted[k] & majority[k]).sum() / (predicted[k] | majority[k]).sum() for k in marked]
  assert got["iou"] == pytest.approx(np.mean(iou))
  per_image = [
    np.mean([metrics_np.dice(predicted[k], (masks[k, ..., r] > 0) & inside[k]) for r in np.flatnonzero(valid[k])])
    for k in marked
  ]
  assert got["dice_rater_mean"] == pytest.approx(np.mean(per_image))
  for key, tenths in (("soft_dice_5", (1, 3, 5, 7, 9)), ("soft_dice_9", range(1, 10))):
    every, of_image = [], []
    for k in rated:
      cuts = [((p[k] >= t / 10) & inside[k], (10 * votes[k] >= t * n[k]) & inside[k]) for t in tenths]
      every += [metrics_np.dice(a, b) for a, b in cuts]
      of_image += [np.mean([metrics_np.dice(a, b) for a, b in cuts if b.any()])] if cuts[0][1].any() else []
    assert got[f"{key}_all"] == pytest.approx(np.mean(every))
    assert got[key] == pytest.approx(np.mean(of_image))
  marks = [predicted[k].sum() for k in rated if not majority[k].any()]
  assert got["empty_marked_share"] == pytest.approx(np.mean([m > 0 for m in marks]))
  assert got["empty_marked_pixels"] == pytest.approx(np.mean(marks))
  labels = np.concatenate([majority[k][inside[k]] for k in rated])
  scores = np.concatenate([p[k][inside[k]] for k in rated])
  assert got["auc_majority"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=2e-4)
  assert got["ece_majority"] == pytest.approx(metrics_np.ece(scores, labels.astype(float), NUM_BINS), abs=1e-6)


@pytest.mark.parametrize("answered", [4, 3, 2, 1])
def test_the_truth_is_calibrated_to_the_majority_of_those_who_answered(answered):
  """With the full panel's majority as the prediction it would be off by .08 to .1 where raters are missing."""
  _, masks, levels = evaluations.blobs(120, 4, seed=1)
  valid = np.broadcast_to((np.arange(4) < answered).astype(np.uint8), (120, 4))
  found = panels.run((levels, masks, valid, np.ones(masks.shape[:3], np.uint8)), batch_size=120).metrics
  assert found["read_outs"]["majority"]["ece_majority"] < 0.006
  assert found["read_outs"]["mean_vote"]["mr_ece_pooled"] < 0.006


def test_floors_are_floors_and_met_by_the_mean_vote(data, result):
  _, masks, valid, counts = data
  votes, n = votes_and_n(data)
  p, y = metrics_np.pairs(votes / np.maximum(n, 1)[:, None, None], masks, valid, counts)
  floors = result.metrics["floors"]
  assert floors["brier"] == pytest.approx(np.mean((p - y) ** 2), rel=1e-9)
  assert floors["nll"] == pytest.approx(metrics_np.cross_entropy(p, y, 1e-15), rel=1e-9)
  for name in ordinal.READ_OUTS:
    for key in ("brier", "nll"):
      assert result.metrics["read_outs"][name][key] >= floors[key]


def test_level_metrics_against_the_oracle(data, result):
  probs, _, _, counts = data
  votes, n = votes_and_n(data)
  scores, tails = [], {j: ([], []) for j in range(1, R + 1)}
  for k in np.flatnonzero(n):
    for y, x in zip(*np.nonzero(counts[k]), strict=True):
      p, c = probs[k, y, x].astype(np.float64), int(votes[k, y, x])
      scores.append(ordinal_np.rps(p, c, int(n[k])))
      q = ordinal_np.thin(p, int(n[k]))
      for j in range(1, int(n[k]) + 1):
        tails[j][0].append(q[j:].sum())
        tails[j][1].append(float(c >= j))
  got = result.metrics["levels"]
  assert got["rps"] == pytest.approx(np.mean(scores), rel=1e-6)
  want = [metrics_np.ece(np.asarray(p), np.asarray(y), NUM_BINS) for p, y in tails.values()]
  np.testing.assert_allclose(got["level_ece_per_level"], want, atol=1e-6)
  assert got["level_ece"] == pytest.approx(np.mean(want), abs=1e-6)


def test_rps_is_the_loss(data, result):
  probs, masks, valid, counts = data
  target = ordinal.encode(masks, valid, counts)
  score = losses.rps(jnp.log(probs), target.votes, target.num_valid)
  want = float(jnp.sum(score * target.weight) / jnp.sum(target.weight))
  assert result.metrics["levels"]["rps"] == pytest.approx(want, rel=1e-5)


@functools.cache
def counter(num_raters):
  def count(level_probs, rater_masks, rater_valid):
    batch = {"rater_masks": rater_masks[None], "rater_valid": rater_valid, "mask": jnp.ones(1)}
    return metrics.image_sums(level_probs[None], batch, num_bins=5)

  return jax.jit(jax.vmap(count))


def one_pixel(level_probs, votes, num_valid=None):
  """Sums of an image of one pixel; the first `num_valid` raters answered, the first `votes` marked it."""
  raters = np.arange(len(level_probs) - 1)
  valid = raters < (len(raters) if num_valid is None else num_valid)
  sums = counter(len(raters))(np.asarray([level_probs], np.float32), (raters < votes)[None], valid[None])
  return metrics.to_host(jax.device_get(sums), 1)


def test_golden_values():
  # RPS of [.3, .3, .4] at level 2 is .225 with divisor n = 2, so .15 with n + 1.
  sums = one_pixel([0.3, 0.3, 0.4], 2)
  assert metrics.numbers("levels", metrics.Images(sums))["rps"] == pytest.approx(0.15, abs=1e-7)
  # E[k] / R = .55 against m = 1: gap .45; (1 - .55)^2 = .2025 and no variance.
  assert metrics.image_metrics(sums, "mean_vote")["mr_ece"] == pytest.approx(0.45, abs=1e-7)
  assert metrics.image_metrics(sums, "mean_vote")["brier"] == pytest.approx(0.2025, abs=1e-7)
  assert metrics.image_metrics(sums, "majority")["nll"] == pytest.approx(-np.log(0.7), abs=1e-7)
  # One rater of two answered, and P(1 | n = 1) = .1 / 2 + .25 = .3: RPS with divisor n + 1 is half the Brier score.
  sums = one_pixel([0.65, 0.1, 0.25], 1, num_valid=1)
  assert metrics.numbers("levels", metrics.Images(sums))["rps"] == pytest.approx(0.245, abs=1e-7)
  assert metrics.image_metrics(sums, "mean_vote")["brier"] == pytest.approx(0.49, abs=1e-7)
  assert metrics.image_metrics(sums, "majority")["brier"] == pytest.approx(0.7**2, abs=1e-7)  # of one rater, too
  # All on level 0, all four raters marked it.
  assert metrics.numbers("levels", metrics.Images(one_pixel([1, 0, 0, 0, 0], 4)))["rps"] == pytest.approx(0.8, abs=1e-7)


def test_a_tie_is_foreground_and_the_cut_is_inclusive():
  sums = one_pixel([0.5, 0, 0.5], 1)
  assert sums.label_area(5) == [1] and metrics.image_metrics(sums, "mean_vote")["dice"] == [1.0]


def test_dice_of_nothing_is_one_and_of_something_missed_zero():
  assert metrics.dice(np.asarray([0, 0, 3]), np.asarray([0, 0, 3]), np.asarray([0, 4, 5])).tolist() == [1.0, 0.0, 0.75]


def test_auc_conventions():
  assert metrics.auc(np.asarray([2, 0]), np.asarray([0, 3])) == (1.0, 0.0)
  assert metrics.auc(np.asarray([0, 2]), np.asarray([3, 0])) == (0.0, 0.0)
  assert metrics.auc(np.asarray([1, 1]), np.asarray([1, 1])) == (0.5, 0.25)
  assert np.isnan(metrics.auc(np.asarray([1, 1]), np.asarray([0, 0]))).all()


@pytest.mark.parametrize("sharpness", [1, 6])
def test_auc_is_within_its_own_bound_of_the_exact_one(sharpness):
  """With probabilities as networks have them: most within 1e-6 of 0 or 1."""
  rng = np.random.default_rng(sharpness)
  logit = sharpness * rng.normal(-2, 2, 40_000)
  p = (1 / (1 + np.exp(-logit))).astype(np.float32)
  y = rng.random(p.size) < 1 / (1 + np.exp(-0.5 * logit / sharpness))
  cells = np.asarray(metrics.rank_cell(jnp.asarray(p)))
  value, bound = metrics.auc(*(np.bincount(cells[y == k], minlength=metrics.NUM_RANKS) for k in (0, 1)))
  exact = sklearn_metrics.roc_auc_score(y, p)
  assert abs(value - exact) <= bound < 0.02 and abs(value - exact) < 2e-5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=20, max_size=20))
def test_ranks_never_decrease_in_the_probability(values):
  p = np.sort(np.asarray([*values, 0.0, 0.5, np.nextafter(np.float32(0.5), np.float32(0)), 1.0], np.float32))
  cells = np.asarray(metrics.rank_cell(jnp.asarray(p)))
  assert np.all(np.diff(cells) >= 0) and cells[0] == 0 and cells[-1] == metrics.NUM_RANKS - 1


def test_sums_are_64_bit_and_rows_choose_images(result):
  sums = result.model.sums
  for field in dataclasses.fields(sums):
    assert getattr(sums, field.name).dtype == np.int64, field.name
  assert jax.tree.map(np.shape, metrics.empty(R, NUM_BINS)) == jax.tree.map(lambda x: (0, *x.shape[1:]), sums)
  twice = sums.rows(np.asarray([0, 0, 5]))
  assert twice.num_images == 3 and twice.num_pixels.tolist() == sums.num_pixels[[0, 0, 5]].tolist()
  doubled = metrics.concatenate([sums, sums])
  groups = [group and f"{copy} {group}" for copy in "ab" for group in result.groups]
  got = metrics.numbers("read_outs", metrics.Images(doubled, "mean_vote", groups=groups))
  assert got == pytest.approx({name: result.metrics["read_outs"]["mean_vote"][name] for name in got})


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_invariants(seed):
  data = panels.images(seed)
  found = panels.run(data).metrics
  complete = panels.run((*data[:2], np.ones_like(data[2]), data[3])).metrics
  for name in ordinal.READ_OUTS:
    got = found["read_outs"][name]
    whole = complete["read_outs"][name]
    assert whole["mr_ece_pooled"] <= whole["mr_ece_rater_mean"] + 1e-12
    assert got["mr_ece_pooled"] <= got["mce"] + 1e-12 and got["ace"] <= got["mce"] + 1e-12
    assert got["brier"] >= found["floors"]["brier"] and got["nll"] >= found["floors"]["nll"] - 1e-9
    assert got["iou"] <= got["dice"] <= 1 and 0 <= got["auc_pooled"] <= 1
