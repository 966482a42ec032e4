import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg import heads, ordinal
from ordseg.validate import InputError


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), raters=st.integers(1, 8), scale=st.sampled_from([0.1, 3.0, 100.0, 3e4]))
@pytest.mark.parametrize("name", heads.HEADS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_level_probs_are_a_distribution(name, dtype, seed, raters, scale):
  head = heads.get_head(name)
  logits = jnp.asarray(np.random.default_rng(seed).normal(size=(2, 3, 3, head.num_outputs(raters))) * scale, dtype)
  p = heads.predict(head, logits, raters).level_probs
  chex.assert_shape(p, (2, 3, 3, raters + 1))
  chex.assert_type(p, jnp.float32)
  np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
  assert np.all(np.diff(ordinal.level_cdf(p), axis=-1) >= 0)


def test_every_read_out_of_the_sigmoid_head_is_its_probability():
  logits = jnp.linspace(-6, 6, 20).reshape(1, 4, 5, 1)
  p = heads.predict(heads.get_head("sigmoid"), logits, 5).level_probs
  for name in ("majority", "mean_vote", "at_least_1", "at_least_5"):
    read = ordinal.foreground_prob(p, ordinal.read_out_weights(name, 5))
    np.testing.assert_allclose(read, jax.nn.sigmoid(logits[..., 0]), rtol=1e-5)


@pytest.mark.parametrize("name", heads.HEADS)
def test_initial_bias_predicts_the_level_frequencies(name):
  head = heads.get_head(name)
  freqs = heads.smoothed_level_freqs(np.asarray([900.0, 30.0, 20.0, 50.0]))
  bias = jnp.asarray(head.init_bias(freqs))
  p = heads.predict(head, bias.reshape(1, 1, 1, -1), 3).level_probs[0, 0, 0]
  np.testing.assert_allclose(p @ np.arange(4) / 3, freqs @ np.arange(4) / 3, rtol=1e-4)
  if head.ordinal:
    np.testing.assert_allclose(p, freqs, rtol=1e-4)


def test_level_freqs_are_positive_even_for_levels_never_seen():
  freqs = heads.smoothed_level_freqs(np.asarray([10, 0, 0]))
  assert freqs.min() > 0 and freqs.sum() == pytest.approx(1)


def test_unknown_head():
  with pytest.raises(InputError, match=r"config.model.head='sofmax' is unknown. Did you mean 'softmax'"):
    heads.get_head("sofmax")
