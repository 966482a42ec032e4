"""Several predictions made into one."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ordseg.errors import InputError
from ordseg.models import ensembles

IMAGES = np.random.default_rng(0).normal(size=(2, 5, 4, 1)).astype(np.float32)


def member(seed, levels=4):
  """A predictor that looks at each pixel alone."""
  slope = np.random.default_rng(seed).normal(size=levels).astype(np.float32)

  def predict(images):
    scores = np.exp(images * slope)
    return scores / scores.sum(-1, keepdims=True)

  return predict


def test_average_is_the_mean_of_the_distributions():
  members = [member(seed) for seed in range(3)]
  want = np.mean([m(IMAGES) for m in members], axis=0)
  np.testing.assert_allclose(ensembles.average(members)(IMAGES), want, rtol=1e-6)


@given(seed=st.integers(0, 2**31), raters=st.integers(1, 7))
def test_poisson_binomial_by_enumeration(seed, raters):
  probs = np.random.default_rng(seed).random(raters)
  want = np.zeros(raters + 1)
  for votes in np.ndindex(*(2,) * raters):
    want[sum(votes)] += np.prod(np.where(votes, probs, 1 - probs))
  np.testing.assert_allclose(ensembles.poisson_binomial(probs), want, atol=1e-12)


def test_a_panel_of_equal_networks_is_binomial():
  def same(images):
    return np.stack([np.full(images.shape[:3], 0.3), np.full(images.shape[:3], 0.7)], axis=-1)

  found = ensembles.panel([same] * 5)(IMAGES)
  np.testing.assert_allclose(found[0, 0, 0], scipy.stats.binom.pmf(np.arange(6), 5, 0.7), rtol=1e-6)


def test_flips_change_nothing_for_a_network_that_has_no_sides():
  np.testing.assert_allclose(ensembles.with_flips(member(0))(IMAGES), member(0)(IMAGES), rtol=1e-6)


def test_flips_give_a_network_with_sides_four_views():
  def with_sides(images):
    p = np.cumsum(np.cumsum(np.abs(images), axis=1), axis=2)
    return np.concatenate([p, p**2], axis=-1) / (p + p**2)

  found = ensembles.with_flips(with_sides)(IMAGES)
  views = [with_sides(IMAGES)]
  views.append(with_sides(IMAGES[:, ::-1])[:, ::-1])
  views.append(with_sides(IMAGES[:, :, ::-1])[:, :, ::-1])
  views.append(with_sides(IMAGES[:, ::-1, ::-1])[:, ::-1, ::-1])
  np.testing.assert_allclose(found, np.mean(views, axis=0), rtol=1e-6)


def test_samples_are_averaged_over_their_numbers():
  def sample(images, k):
    return np.stack([np.full(images.shape[:3], k / 4), np.full(images.shape[:3], 1 - k / 4)], axis=-1)

  np.testing.assert_allclose(ensembles.with_samples(sample, 4)(IMAGES)[0, 0, 0], [0.375, 0.625])


def test_which_members_are_a_panel():
  assert ensembles.check_panel(["2", "0", "1"], 3)
  assert not ensembles.check_panel(["all", "all"], 3)
  assert not ensembles.check_panel(["random", "all"], 3)
  assert not ensembles.check_panel(["1"], 3)
  for raters in (["0", "1"], ["0", "0", "1"], ["0", "1", "all"]):
    with pytest.raises(InputError, match=r"Name one run per rater, 0 to 2"):
      ensembles.check_panel(raters, 3)
