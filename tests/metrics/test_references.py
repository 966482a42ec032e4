"""The constant map, single raters and skill, against scikit-learn on pairs that are written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from ordseg.evaluation import MultiRaterMetrics

R = 3


def panel(seed, num=4, bias=0.4):
  """Maps [I, H, W], masks [I, H, W, R], who answered [I, R], pixels that count [I, H, W]."""
  rng = np.random.default_rng(seed)
  probs = rng.random((num, 5, 6)).astype(np.float32)
  masks = (rng.random((num, 5, 6, R)) < bias + 0.3 * (probs[..., None] - 0.5)).astype(np.uint8)
  valid = rng.random((num, R)) < 0.7
  valid[0], valid[1] = True, [True, False, False]  # one image of all, one of a single rater
  return probs, masks, valid, rng.random(probs.shape) < 0.8


def found(data, **options):
  scores = MultiRaterMetrics(**options)
  for probs, masks, valid, counts in zip(*data, strict=True):
    scores.update(probs, masks, valid, mask=counts)
  return scores.compute(None)


def pairs(data, value):
  """All (value of image k and rater r, mark of rater s) for the pairs (r, s) that `value` has."""
  ps, ys = [], []
  for k, (_, masks, valid, counts) in enumerate(zip(*data, strict=True)):
    for s in np.flatnonzero(valid):
      p = value(k, s)
      if p is not None:
        ps.append(np.broadcast_to(p, counts.shape)[counts].astype(float))
        ys.append(masks[..., s][counts])
  return np.concatenate(ps), np.concatenate(ys)


def skill(p, y):
  return 1 - sklearn.brier_score_loss(y, p) / sklearn.brier_score_loss(y, np.full(y.shape, y.mean()))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_constant_map_and_skill(seed):
  data = panel(seed)
  result = found(data)
  p, y = pairs(data, lambda k, _: data[0][k])
  share = np.full(y.shape, y.mean())
  assert result.number("constant.prevalence") == pytest.approx(y.mean(), abs=1e-12)
  assert result.number("constant.brier") == pytest.approx(sklearn.brier_score_loss(y, share), abs=1e-12)
  assert result.number("constant.nll") == pytest.approx(sklearn.log_loss(y, share), abs=1e-12)
  assert result.number("read_outs.mean_vote.brier_skill") == pytest.approx(skill(p, y), abs=1e-7)
  # A map of that value, scored as any other, has the same numbers.
  same = found((np.full(data[0].shape, y.mean(), np.float32), *data[1:]))
  assert same.number("read_outs.mean_vote.brier") == pytest.approx(result.number("constant.brier"), abs=1e-7)
  assert same.number("read_outs.mean_vote.dice") == pytest.approx(result.number("constant.dice"), abs=1e-12)
  assert same.number("read_outs.mean_vote.brier_skill") == pytest.approx(0, abs=1e-6)
  assert same.number("read_outs.mean_vote.mr_ece_pooled") == pytest.approx(0, abs=1e-7)


def test_where_most_is_marked_the_constant_mask_is_everything():
  data = panel(3, bias=0.8)
  result = found(data)
  same = found((np.full(data[0].shape, result.number("constant.prevalence"), np.float32), *data[1:]))
  assert 0.5 < same.number("read_outs.mean_vote.dice") == pytest.approx(result.number("constant.dice"), abs=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("num_bins", [1, 15])
def test_each_rater_as_a_map_against_the_others(seed, num_bins):
  data = panel(seed)
  each = found(data, num_bins=num_bins).metrics["raters"]["each"]
  for r in range(R):
    p, y = pairs(data, lambda k, s, r=r: data[1][k, ..., r] if data[2][k, r] and s != r else None)
    assert each["brier"][r] == pytest.approx(sklearn.brier_score_loss(y, p), abs=1e-12)
    assert each["brier_skill"][r] == pytest.approx(skill(p, y), abs=1e-12)
    bins = np.minimum((p * num_bins).astype(int), num_bins - 1)
    gap = sum(abs((p - y)[bins == b].sum()) for b in range(num_bins)) / len(p)
    assert each["mr_ece"][r] == pytest.approx(gap, abs=1e-12)
    dice = []
    for s in set(range(R)) - {r}:
      both = [k for k in range(len(data[0])) if data[2][k, r] and data[2][k, s]]
      masks = [(data[1][k, ..., r][data[3][k]], data[1][k, ..., s][data[3][k]]) for k in both]
      dice.append(np.mean([sklearn.f1_score(a, b) for a, b in masks if a.any() or b.any()]))
    assert each["dice"][r] == pytest.approx(np.mean(dice), abs=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_skill_of_the_raters_is_over_their_own_votes(seed):
  """An image of one rater has votes, but nobody to foretell them."""
  data = panel(seed)

  def others(k, s):
    left = [r for r in np.flatnonzero(data[2][k]) if r != s]
    return data[1][k][..., left].mean(-1) if left else None

  want = skill(*pairs(data, others))
  assert found(data).number("raters.leave_one_out.brier_skill") == pytest.approx(want, abs=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_no_map_has_more_skill_than_the_votes_themselves(seed):
  result = found(panel(seed))
  best = 1 - result.number("floors.brier") / result.number("constant.brier")
  assert result.number("read_outs.mean_vote.brier_skill") <= best + 1e-7


def test_votes_that_are_all_alike_have_no_skill():
  zeros = np.zeros((1, 4, 4, 2), np.uint8)
  result = found((np.full((1, 4, 4), 0.1, np.float32), zeros, np.ones((1, 2), bool), np.ones((1, 4, 4), bool)))
  assert np.isnan(result.number("read_outs.mean_vote.brier_skill")) and result.number("constant.brier") == 0
  assert result.number("constant.nll") == 0 and np.isnan(result.number("constant.dice"))
