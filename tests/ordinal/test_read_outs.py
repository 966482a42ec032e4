"""`read_out` of numpy and JAX arrays, against the probability of the event written out."""

import doctest

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import ordseg
from ordseg import ordinal
from ordseg.errors import InputError
from ordseg.ordinal import read_outs


def probs(*shape, raters=5, seed=0, dtype=np.float32):
  return np.random.default_rng(seed).dirichlet(np.ones(raters + 1), shape).astype(dtype)


def event(p, name):
  """The same in float64, by its definition: the expected share of votes, or the chance of enough of them."""
  p, raters = p.astype(np.float64), p.shape[-1] - 1
  if name == "mean_vote":
    return sum(p[..., k] * k for k in range(raters + 1)) / raters
  least = -(-raters // 2) if name == "majority" else int(name.removeprefix("at_least_"))
  return sum(p[..., k] for k in range(least, raters + 1))


def test_doctests():
  assert doctest.testmod(read_outs).failed == 0


def test_it_stands_at_the_front_door():
  assert ordseg.read_out is ordinal.read_out
  with pytest.raises(AttributeError, match="red_out"):
    _ = ordseg.red_out


@pytest.mark.parametrize("name", ["mean_vote", "majority", "at_least_1", "at_least_4"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5, 4), (2, 3, 5, 4)])
@pytest.mark.parametrize("raters", [1, 4, 5])
def test_numpy_and_jax_agree_with_the_event(name, shape, raters):
  if name == "at_least_4" and raters < 4:
    name = "at_least_1"
  p = probs(*shape, raters=raters)
  host, device = ordinal.read_out(p, name), ordinal.read_out(jnp.asarray(p), name)
  assert isinstance(host, np.ndarray | np.generic) and isinstance(device, jax.Array)
  assert host.dtype == device.dtype == np.float32
  np.testing.assert_allclose(host, event(p, name), rtol=1e-6)
  np.testing.assert_allclose(device, event(p, name), rtol=1e-6)


@hypothesis.given(raters=st.integers(1, 8), seed=st.integers(0, 100))
@hypothesis.settings(deadline=None, max_examples=25)
def test_at_least_is_nested_and_its_mean_is_the_mean_vote(raters, seed):
  p = probs(7, raters=raters, seed=seed, dtype=np.float64)
  tails = np.stack([ordinal.read_out(p, f"at_least_{j}") for j in range(1, raters + 1)])
  assert (np.diff(tails, axis=0) <= 1e-12).all()
  np.testing.assert_allclose(tails.mean(0), ordinal.read_out(p, "mean_vote"), rtol=1e-6)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_weights_may_differ_by_image(array):
  p, n = probs(3, 4, 5), np.array([5, 2, 1])
  weights = np.asarray(ordinal.thinned_weights("majority", n, 5))
  found = np.asarray(ordinal.read_out(array(p), weights))
  for b in range(3):
    np.testing.assert_allclose(found[b], p[b].astype(np.float64) @ weights[b], rtol=1e-6)


def test_what_rounding_puts_beyond_1_is_1():
  p = np.array([[0, 0.5, 0.5000001]], np.float32)
  assert p.sum() > 1
  assert ordinal.read_out(p, "at_least_1") == ordinal.read_out(jnp.asarray(p), "at_least_1") == 1


@pytest.mark.parametrize("name", ["median", "at_least_0", "at_least_6", "at_least_", "at_least_x"])
def test_unknown_ones_are_refused(name):
  with pytest.raises(InputError, match=rf"read-out '{name}' is unknown\. Choices: majority, mean_vote, at_least_1"):
    ordinal.read_out(probs(2), name)
