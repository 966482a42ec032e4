"""The panel's distribution against scipy's adaptive quadrature, enumeration and simulation."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from data.rater_phantom import panel


def enumerated(probs):
  """Distribution of the number of successes, by listing all 2^R outcomes."""
  outcomes = np.array(list(itertools.product([0, 1], repeat=len(probs))))
  chances = np.prod(np.where(outcomes, probs, 1 - np.asarray(probs)), axis=1)
  return np.bincount(outcomes.sum(1), chances, len(probs) + 1)


def integrated(t, biases, rho):
  """The definition, by adaptive quadrature over Z; the integrand's steps are given as break points."""

  def density(z, k):
    votes = scipy.special.ndtr((t + biases + np.sqrt(rho) * z) / np.sqrt(1 - rho))
    return enumerated(votes)[k] * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

  steps = np.clip(-(t + biases) / np.sqrt(rho), -8, 8) if rho else None
  return np.array(
    [scipy.integrate.quad(density, -9, 9, args=(k,), points=steps, epsabs=1e-9, limit=400)[0]
     for k in range(len(biases) + 1)]
  )  # fmt: skip


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_poisson_binomial_against_enumeration(probs):
  np.testing.assert_allclose(panel.poisson_binomial(np.array(probs)), enumerated(probs), atol=1e-12)


@pytest.mark.parametrize(
  ("num_raters", "spread", "rho"), [(1, 0.0, 0.5), (3, 0.25, 0.0), (3, 0.5, 0.5), (4, 0.25, 0.9), (2, 1.0, 0.99)]
)
def test_level_probs_against_scipy(num_raters, spread, rho):
  biases = panel.rater_biases(num_raters, spread)
  for t in (-3.1, -0.737, 0.0, 0.4, 1.99):
    exact = integrated(t, biases, rho)
    np.testing.assert_allclose(panel.quadrature(np.array([t]), biases, rho)[0], exact, atol=1e-8)
    np.testing.assert_allclose(panel.level_probs(np.array(t), biases, correlation=rho), exact, atol=2e-7)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.99])
def test_interpolation_is_as_good_as_the_quadrature(rho):
  biases = panel.rater_biases(7, 0.25)
  t = np.random.default_rng(0).uniform(-10, 10, 120)
  direct = panel.quadrature(t, biases, rho)
  np.testing.assert_allclose(panel.level_probs(t, biases, correlation=rho), direct, atol=1e-7)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_level_probs_against_simulated_raters(rho):
  rng, num = np.random.default_rng(1), 400_000
  biases = panel.rater_biases(5, 0.4)
  shared, own = rng.standard_normal((num, 1)), rng.standard_normal((num, 5))
  for t in (-1.0, 0.3):
    votes = (t + biases + np.sqrt(rho) * shared + np.sqrt(1 - rho) * own > 0).sum(1)
    found = np.bincount(votes, minlength=6) / num
    exact = panel.level_probs(np.array(t), biases, correlation=rho)
    assert np.all(np.abs(found - exact) < 4.5 * np.sqrt(exact * (1 - exact) / num) + 1e-6)


def test_level_probs_form_a_distribution_of_the_right_shape_and_mean():
  biases = panel.rater_biases(7, 0.25)
  t = np.linspace(-12, 12, 600).reshape(30, 20)
  probs = panel.level_probs(t, biases, correlation=0.5)
  assert probs.shape == (30, 20, 8) and probs.dtype == np.float32
  assert np.all(probs >= 0)
  np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-6)
  # Marginally each rater marks with probability Phi(t + b_r), whatever the correlation.
  mean = scipy.stats.norm.cdf(t[..., None] + biases).sum(-1)
  np.testing.assert_allclose(probs @ np.arange(8), mean, atol=5e-6)
  assert probs[0, 0, 0] == 1 and probs[-1, -1, 7] == 1


def test_one_rater_is_a_coin():
  probs = panel.level_probs(np.array([0.0, 1.0]), np.zeros(1), correlation=0.5)
  np.testing.assert_allclose(probs[:, 1], scipy.stats.norm.cdf([0.0, 1.0]), atol=1e-7)


@given(st.integers(1, 20), st.floats(0, 2))
def test_biases_are_symmetric_and_ordered(num_raters, spread):
  biases = panel.rater_biases(num_raters, spread)
  np.testing.assert_allclose(biases, -biases[::-1], atol=1e-12)
  assert np.all(np.diff(biases) >= 0)
  assert np.any(biases) == (num_raters > 1 and spread > 0)


@pytest.mark.parametrize(("shape", "scale"), [((16, 16), 3.5), ((17, 24), 2.0), ((32, 32), 0.1), ((16, 20), 50.0)])
def test_fields_have_variance_1_at_every_pixel(shape, scale):
  # The field is linear in the noise: its variance at a pixel is the sum of squares of its response to unit impulses.
  class Impulses:
    def standard_normal(self, size):
      assert size == (np.prod(shape), *shape)
      return np.eye(np.prod(shape)).reshape(size)

  response = panel.smooth_fields(Impulses(), int(np.prod(shape)), shape, scale)
  np.testing.assert_allclose(np.sum(response**2, axis=0), 1, atol=1e-10)


def test_fields_are_gaussian_independent_and_smooth():
  fields = panel.smooth_fields(np.random.default_rng(0), 4000, (16, 16), 2.0)
  pixel, near, far = fields[:, 3, 3], fields[:, 3, 7], fields[:, 11, 11]
  assert scipy.stats.kstest(pixel, "norm").pvalue > 1e-3
  assert abs(np.corrcoef(pixel, near)[0, 1] - np.exp(-1)) < 0.06  # two pixels 2 * scale apart
  assert abs(np.corrcoef(pixel, far)[0, 1]) < 0.06
  assert abs(np.corrcoef(fields[::2, 3, 3], fields[1::2, 3, 3])[0, 1]) < 0.08


def test_masks_follow_the_definition():
  clarity = np.tile(np.linspace(-2, 2, 16), (16, 1))
  biases = np.array([-0.5, 0.0, 0.5])
  masks = panel.draw_masks(np.random.default_rng(7), clarity, biases, correlation=0.3, scale=2.0)
  fields = panel.smooth_fields(np.random.default_rng(7), 4, (16, 16), 2.0)
  for r in range(3):
    latent = clarity + biases[r] + np.sqrt(0.3) * fields[0] + np.sqrt(0.7) * fields[1 + r]
    np.testing.assert_array_equal(masks[..., r], latent > 0)
  assert masks.dtype == np.uint8 and masks.shape == (16, 16, 3)
