import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg import heads, models, ordinal
from ordseg.errors import InputError

MODEL = {"name": "unet", "width": 4, "depth": 2, "blocks_per_level": 1, "norm": "group", "dropout": 0.0}
MODEL |= {"dtype": "float32"}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), raters=st.integers(1, 8), scale=st.sampled_from([0.1, 3.0, 100.0, 3e4]))
@pytest.mark.parametrize("name", heads.HEADS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_level_probs_are_a_distribution(name, dtype, seed, raters, scale):
  head = heads.get_head(name)
  logits = jnp.asarray(np.random.default_rng(seed).normal(size=(2, 3, 3, head.num_outputs(raters))) * scale, dtype)
  p = jnp.exp(heads.predict(head, logits, raters))
  chex.assert_shape(p, (2, 3, 3, raters + 1))
  chex.assert_type(p, jnp.float32)
  np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
  assert np.all(np.diff(ordinal.level_cdf(p), axis=-1) >= 0)


def test_every_read_out_of_the_sigmoid_head_is_its_probability():
  logits = jnp.linspace(-6, 6, 20).reshape(1, 4, 5, 1)
  p = jnp.exp(heads.predict(heads.get_head("sigmoid"), logits, 5))
  for name in ("majority", "mean_vote", "at_least_1", "at_least_5"):
    read = ordinal.read_out(p, ordinal.read_out_weights(name, 5))
    np.testing.assert_allclose(read, jax.nn.sigmoid(logits[..., 0]), rtol=1e-5)


@pytest.mark.parametrize("name", heads.HEADS)
def test_initial_bias_predicts_the_level_frequencies(name):
  head = heads.get_head(name)
  freqs = heads.smoothed_level_freqs(np.asarray([900.0, 30.0, 20.0, 50.0]))
  bias = jnp.asarray(head.init_bias(freqs))
  p = jnp.exp(heads.predict(head, bias.reshape(1, 1, 1, -1), 3))[0, 0, 0]
  np.testing.assert_allclose(p @ np.arange(4) / 3, freqs @ np.arange(4) / 3, rtol=1e-4)
  if name in ("softmax", "coral", "cumulative", "corn"):  # the others have fewer parameters than levels
    np.testing.assert_allclose(p, freqs, rtol=1e-4)


def test_level_freqs_are_positive_even_for_levels_never_seen():
  freqs = heads.smoothed_level_freqs(np.asarray([10, 0, 0]))
  assert freqs.min() > 0 and freqs.sum() == pytest.approx(1)


def test_unknown_head():
  with pytest.raises(InputError, match=r"config.model.head='sofmax' is unknown. Did you mean 'softmax'"):
    heads.get_head("sofmax")


def probs_of(name, logits, raters):
  logits = jnp.asarray(logits, jnp.float32).reshape(1, 1, 1, -1)
  return np.asarray(jnp.exp(heads.predict(heads.get_head(name), logits, raters))[0, 0, 0], np.float64)


def sigmoid(x):
  return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


@pytest.mark.parametrize("name", ["coral", "cumulative"])
def test_cumulative_links_against_differences_of_sigmoids(name):
  x = np.asarray([0.4, -1.0, 2.0, 0.3])
  z = x[0] - np.concatenate([[0], np.cumsum(np.log1p(np.exp(x[1:])))])
  tail = np.concatenate([[1], sigmoid(z), [0]])
  np.testing.assert_allclose(probs_of(name, x, 4), tail[:-1] - tail[1:], rtol=1e-5)


def test_corn_multiplies_conditional_probabilities():
  x = np.asarray([1.0, -0.5, 0.2])
  tail = np.concatenate([[1], np.cumprod(sigmoid(x)), [0]])
  np.testing.assert_allclose(probs_of("corn", x, 3), tail[:-1] - tail[1:], rtol=1e-5)


def test_binomial_and_beta_binomial_against_scipy():
  for R, mu, rho in ((5, -1.2, 0.3), (7, 0.5, 2.0), (1, 0.1, 0.0), (3, 2.0, -3.0)):
    k, p = np.arange(R + 1), sigmoid(mu)
    np.testing.assert_allclose(probs_of("binomial", [mu], R), scipy.stats.binom.pmf(k, R, p), rtol=1e-5)
    a, b = p * np.exp(-rho), (1 - p) * np.exp(-rho)  # (1 - rho) / rho = exp(-x_2)
    want = scipy.stats.betabinom.pmf(k, R, a, b)
    np.testing.assert_allclose(probs_of("beta_binomial", [mu, rho], R), want, rtol=2e-5)


def test_beta_binomial_ranges_from_the_binomial_to_a_panel_that_agrees():
  np.testing.assert_allclose(probs_of("beta_binomial", [0.7, -50], 5), probs_of("binomial", [0.7], 5), atol=1e-4)
  agreed = probs_of("beta_binomial", [0.7, 50], 5)
  np.testing.assert_allclose([agreed[0], agreed[5]], [1 - sigmoid(0.7), sigmoid(0.7)], atol=1e-4)


def test_the_nll_of_the_binomial_head_is_the_cross_entropy_of_the_mean_vote():
  R, z = 5, np.linspace(-3, 3, 7)
  for c in range(R + 1):
    nll = [-np.log(probs_of("binomial", [x], R)[c]) for x in z]
    soft = [-R * (c / R * np.log(sigmoid(x)) + (1 - c / R) * np.log(sigmoid(-x))) for x in z]
    np.testing.assert_allclose(np.diff(nll), np.diff(soft), rtol=1e-3, atol=1e-5)


def test_coral_cut_points_are_the_same_at_every_pixel():
  head, raters = heads.get_head("coral"), 4
  assert (head.num_outputs(raters), head.num_constants(raters)) == (4, 3)
  model = models.get_model(MODEL, num_outputs=4, num_constants=3)
  image = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
  logits = model.apply(model.init(jax.random.key(1), image, is_training=False), image, is_training=False)
  chex.assert_shape(logits, (1, 8, 8, 4))
  assert float(jnp.ptp(logits[..., 0])) > 0
  np.testing.assert_array_equal(jnp.ptp(logits[..., 1:], axis=(0, 1, 2)), 0)
