import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg.metrics.rank_rule import rank_rule


def value(prob, mask):
  """Expected Dice of a mask, as a ratio of expectations; of the empty one, that nothing is there."""
  return 2 * prob[mask].sum() / (mask.sum() + prob.sum()) if mask.any() else np.prod(1 - prob)


@settings(max_examples=150, deadline=None)
@given(probs=st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_no_mask_at_all_has_a_better_value(probs):
  prob = np.asarray(probs)
  masks = [np.asarray(bits, bool) for bits in itertools.product([0, 1], repeat=len(prob))]
  assert value(prob, rank_rule(prob)) == pytest.approx(max(value(prob, mask) for mask in masks), rel=1e-9)


def test_large_maps_against_every_k():
  for seed in range(20):
    prob = np.random.default_rng(seed).beta(0.05, [0.2, 1, 5, 40][seed % 4], (40, 50))
    ordered = np.sort(prob.ravel())[::-1]
    every = 2 * np.cumsum(ordered) / (np.arange(1, ordered.size + 1) + prob.sum())
    best = 0 if np.prod(1 - prob) >= every.max() else int(every.argmax()) + 1
    mask = rank_rule(prob)
    assert mask.shape == prob.shape and mask.sum() == best
    assert not mask.any() or prob[mask].min() >= prob[~mask].max()


def test_what_it_is_for():
  """Forty pixels at .4: one half marks none of them, the rank rule all."""
  prob = np.full(100, 1e-4)
  prob[:40] = 0.4
  np.testing.assert_array_equal(rank_rule(prob), prob == 0.4)
  assert not rank_rule(np.full(100, 1e-4)).any()  # probably nothing is there
  assert not rank_rule(np.zeros((2, 3))).any() and rank_rule(np.ones((2, 3))).all()


def test_ties_go_to_the_first():
  prob = np.asarray([0.5, 0.9, 0.5, 0.5])
  mask = rank_rule(prob)
  assert mask[1] and list(np.flatnonzero(mask)) == sorted(np.flatnonzero(mask))[: mask.sum()]
  assert rank_rule(np.asarray([0.05, 0.9, 0.05])).tolist() == [False, True, False]


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(bad):
  with pytest.raises(ValueError, match="probabilities in"):
    rank_rule(np.asarray([0.5, bad]))
