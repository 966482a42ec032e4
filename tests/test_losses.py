import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg import heads, losses, ordinal
from ordseg.validate import InputError
from tests.reference import ordinal_np


def prediction_of(p):
  log_p = jnp.log(jnp.asarray(p, jnp.float32)).reshape(1, 1, -1, np.shape(p)[-1])
  return heads.Prediction(logits=log_p, log_level_probs=log_p)


def target_of(counts, n, raters):
  """A [1, 1, N] target with the given counts, all by the first n raters."""
  counts = np.atleast_1d(counts)
  masks = (np.arange(raters) < counts[:, None]).astype(np.uint8)[None, None]
  valid = (np.arange(raters) < n).astype(np.uint8)[None]
  return ordinal.encode(masks, valid)


def test_golden_values():
  two = target_of(2, 2, 2)
  np.testing.assert_allclose(losses.rps(prediction_of([0.3, 0.3, 0.4]), two, divisor="thresholds"), 0.225, rtol=1e-6)
  certain = prediction_of([1 - 4e-9, 1e-9, 1e-9, 1e-9, 1e-9])
  np.testing.assert_allclose(losses.rps(certain, target_of(4, 4, 4)), 0.8, rtol=1e-6)


@pytest.mark.parametrize(("divisor", "factor"), [("thresholds", 1.0), ("levels", 0.5), ("none", 1.0)])
def test_one_rater_gives_brier(divisor, factor):
  for p, c in ((0.3, 0), (0.3, 1), (0.9, 1)):
    got = losses.rps(prediction_of([1 - p, p]), target_of(c, 1, 1), divisor=divisor)
    np.testing.assert_allclose(got, factor * (p - c) ** 2, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), raters=st.integers(1, 7), data=st.data())
def test_losses_against_the_oracle(seed, raters, data):
  n = data.draw(st.integers(1, raters))
  c = data.draw(st.integers(0, n))
  p = np.random.default_rng(seed).dirichlet(np.ones(raters + 1)).astype(np.float32) * 0.98 + 0.02 / (raters + 1)
  prediction, target = prediction_of(p), target_of(c, n, raters)
  for divisor in losses.DIVISORS:
    got = losses.rps(prediction, target, divisor=divisor)
    np.testing.assert_allclose(got, ordinal_np.rps(p, c, n, divisor), rtol=2e-4, atol=1e-6)
  np.testing.assert_allclose(losses.rps_bce(prediction, target), ordinal_np.hybrid(p, c, n), rtol=2e-4, atol=1e-5)
  soft = ordinal_np.bce(ordinal_np.mean_vote_prob(p), c / n)
  np.testing.assert_allclose(losses.bce_mean_vote(prediction, target), soft, rtol=2e-4, atol=1e-5)


def test_rps_is_brier_of_the_mean_plus_a_shape_term():
  p = np.random.default_rng(0).dirichlet(np.ones(6), 30).astype(np.float32)
  counts = np.random.default_rng(1).integers(0, 6, 30)
  target = target_of(counts, 5, 5)
  rps = losses.rps(prediction_of(p), target, divisor="thresholds")[0, 0]
  difference = np.cumsum(p, -1)[:, :-1] - (counts[:, None] <= np.arange(5))
  mean = p @ np.arange(6) / 5
  np.testing.assert_allclose(rps, (mean - counts / 5) ** 2 + difference.var(-1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n", [5, 3, 1])
@pytest.mark.parametrize("divisor", losses.DIVISORS)
def test_rps_is_proper_for_what_was_observed(n, divisor):
  """The expected score under the thinned truth is least at the truth, among distributions moved away from it."""
  rng = np.random.default_rng(n)
  truth = rng.dirichlet(np.ones(6))
  observed = ordinal_np.thin(truth, n)

  def expected(p):
    scores = losses.rps(prediction_of(np.tile(p, (n + 1, 1))), target_of(np.arange(n + 1), n, 5), divisor=divisor)
    return float(observed @ np.asarray(scores[0, 0], np.float64))

  best = expected(truth)
  for _ in range(20):
    other = 0.9 * truth + 0.1 * rng.dirichlet(np.ones(6))
    margin = np.abs(ordinal_np.thin(other, n) - observed).max()
    assert expected(other) > best - 1e-7
    if margin > 0.02:
      assert expected(other) > best


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("head_name", heads.HEADS)
def test_gradients_match_finite_differences(name, head_name):
  head, raters = heads.get_head(head_name), 4
  if losses.LOSSES[name].needs_ordinal_head and not head.ordinal:
    return
  loss = losses.get_loss(name, head, {})
  rng = np.random.default_rng(0)
  masks = rng.integers(0, 2, (2, 2, 3, raters), dtype=np.uint8)
  valid = np.asarray([[1, 1, 1, 1], [0, 1, 1, 0]], np.uint8)
  target = ordinal.encode(masks, valid)
  logits = jnp.asarray(rng.normal(size=(2, 2, 3, head.num_outputs(raters))), jnp.float32)

  def total(z):
    return jnp.sum(loss(heads.predict(head, z, raters), target))

  chex.assert_numerical_grads(total, (logits,), order=1, atol=2e-2, rtol=2e-2, eps=1e-2)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("head_name", heads.HEADS)
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_finite_at_extreme_logits_and_for_images_nobody_rated(name, head_name, scale):
  head, raters = heads.get_head(head_name), 3
  if losses.LOSSES[name].needs_ordinal_head and not head.ordinal:
    return
  loss = losses.get_loss(name, head, {})
  rng = np.random.default_rng(0)
  target = ordinal.encode(
    rng.integers(0, 2, (3, 4, 4, raters), dtype=np.uint8), np.asarray([[1, 1, 1], [1, 0, 1], [0, 0, 0]], np.uint8)
  )
  for dtype in (jnp.float32, jnp.bfloat16):
    logits = (rng.normal(size=(3, 4, 4, head.num_outputs(raters))) * scale).astype(dtype)

    def total(z):
      return jnp.sum(loss(heads.predict(head, z, raters), target) * target.weight)

    value, grad = jax.value_and_grad(total)(jnp.asarray(logits))
    chex.assert_tree_all_finite((value, grad))
    assert value >= 0
    assert float(jnp.abs(grad[2].astype(jnp.float32)).max()) == 0


def test_the_binary_term_repairs_the_vanishing_gradient():
  """Confidently wrong: RPS alone barely pulls, the hybrid does."""
  z = jnp.zeros((1, 1, 1, 4)).at[..., 0].set(9.0)
  target = target_of(3, 3, 3)

  def pull(name):
    loss = losses.get_loss(name, heads.get_head("softmax"), {})
    grad = jax.grad(lambda x: loss(heads.predict(heads.get_head("softmax"), x, 3), target).sum())(z)
    return float(jnp.abs(grad).max())

  assert pull("rps") < 2e-3 and pull("rps_bce") > 0.9


def test_registry_refuses_what_makes_no_sense():
  softmax, sigmoid = heads.get_head("softmax"), heads.get_head("sigmoid")
  with pytest.raises(InputError, match=r"config.loss.name='rsp' is unknown. Did you mean 'rps'"):
    losses.get_loss("rsp", softmax, {})
  with pytest.raises(InputError, match="one probability per pixel"):
    losses.get_loss("rps", sigmoid, {})
  with pytest.raises(InputError, match=r"config.loss.divisor='level' is unknown. Did you mean 'levels'"):
    losses.get_loss("rps", softmax, {"divisor": "level"})
  with pytest.raises(InputError, match="must be a number >= 0"):
    losses.get_loss("rps_bce", softmax, {"alpha": -1.0})
  with pytest.raises(InputError, match="has no effect"):
    losses.get_loss("rps", softmax, {"alpha": 0.5})
  with pytest.raises(InputError, match="alpah"):
    losses.get_loss("rps", softmax, {"alpah": 0.5})


def test_alpha_weights_the_rps():
  p, target = prediction_of([0.1, 0.2, 0.3, 0.4]), target_of(1, 3, 3)
  fn = losses.get_loss("rps_bce", heads.get_head("softmax"), {"alpha": 2.0})
  chex.assert_trees_all_close(fn(p, target), losses.bce_majority(p, target) + 2 * losses.rps(p, target), rtol=1e-6)


def test_one_trace_serves_every_pattern_of_missing_raters():
  loss = losses.get_loss("rps_bce", heads.get_head("softmax"), {})

  @jax.jit
  @chex.assert_max_traces(n=1)
  def mean(logits, masks, valid):
    prediction = heads.predict(heads.get_head("softmax"), logits, 3)
    return jnp.mean(loss(prediction, ordinal.encode(masks, valid)))

  logits, masks = jnp.zeros((2, 4, 4, 4)), jnp.ones((2, 4, 4, 3), jnp.uint8)
  values = [float(mean(logits, masks, jnp.asarray(v))) for v in ([[1, 1, 1]] * 2, [[1, 0, 0]] * 2, [[1, 1, 0]] * 2)]
  assert len(set(values)) == 3
