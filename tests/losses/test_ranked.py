"""The ranked ignorance score: its formula, its properness, and its bridges to the RPS and to soft BCE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import default
from ordseg import heads, losses, ordinal
from ordseg.config import resolve
from ordseg.errors import InputError
from tests.losses.test_losses import log_probs_of, of_target, target_of
from tests.reference import ordinal_np


def score(p, c, n, raters, **kwargs):
  return float(of_target(losses.ranked_ignorance, log_probs_of(p), target_of(c, n, raters), **kwargs)[0, 0, 0])


def test_golden_values():
  """p = (.3, .3, .4), both of two raters marked it: -(log .7 + log .4) / 2."""
  assert score([0.3, 0.3, 0.4], 2, 2, 2) == pytest.approx(-(np.log(0.7) + np.log(0.4)) / 2, rel=1e-6)
  assert score([0.3, 0.3, 0.4], 1, 2, 2) == pytest.approx(-(np.log(0.7) + np.log(0.6)) / 2, rel=1e-6)
  weighted = -(3 * np.log(0.7) + np.log(0.4)) / 4
  assert score([0.3, 0.3, 0.4], 2, 2, 2, threshold_weights="3,1") == pytest.approx(weighted, rel=1e-6)
  assert score([0.3, 0.7], 1, 1, 1) == pytest.approx(-np.log(0.7), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), raters=st.integers(1, 7), data=st.data())
def test_against_the_oracle_with_any_number_of_raters(seed, raters, data):
  n = data.draw(st.integers(1, raters))
  c = data.draw(st.integers(0, n))
  draws = np.random.default_rng(seed)
  p = draws.dirichlet(np.ones(raters + 1)).astype(np.float32) * 0.98 + 0.02 / (raters + 1)
  assert score(p, c, n, raters) == pytest.approx(ordinal_np.ranked_ignorance(p, c, n), rel=2e-4, abs=1e-6)
  weights = np.round(draws.uniform(0.1, 3, raters), 3)
  got = score(p, c, n, raters, threshold_weights=",".join(map(str, weights)))
  assert got == pytest.approx(ordinal_np.ranked_ignorance(p, c, n, weights), rel=2e-4, abs=1e-6)


@pytest.mark.parametrize("n", [5, 3, 1])
@pytest.mark.parametrize("weights", ["", "5,1,1,1,.5"])
def test_descent_on_the_expected_score_ends_at_what_was_observed(n, weights):
  """Strictly proper: from anywhere, the minimiser of the expectation is the truth, as far as n raters can show it."""
  truth = 0.7 * np.random.default_rng(n).dirichlet(np.ones(6)) + 0.05
  observed = ordinal_np.thin(truth, n)
  target = target_of(np.arange(n + 1), n, 5)

  def expected(z):
    log_p = jnp.broadcast_to(jax.nn.log_softmax(z), (1, 1, n + 1, 6))
    scores = of_target(losses.ranked_ignorance, log_p, target, threshold_weights=weights)
    return jnp.sum(scores[0, 0] * observed)

  start = jnp.asarray(np.random.default_rng(7).normal(size=6), jnp.float32)
  end = jax.jit(lambda z: jax.lax.fori_loop(0, 20_000, lambda _, z: z - 2.0 * jax.grad(expected)(z), z))(start)
  np.testing.assert_allclose(ordinal_np.thin(np.asarray(jax.nn.softmax(end)), n), observed, atol=2e-3)


def test_it_knows_the_order():
  """The same probability at the level that was observed: the rest one level off costs less than three off."""
  near, far = [0.5, 0.5, 0, 0, 0], [0.5, 0, 0, 0, 0.5]
  offset = lambda p: np.asarray(p) * (1 - 5e-6) + 1e-6  # noqa: E731
  assert score(offset(near), 0, 4, 4) < score(offset(far), 0, 4, 4)
  nll = [float(of_target(losses.nll, log_probs_of(offset(p)), target_of(0, 4, 4))[0, 0, 0]) for p in (near, far)]
  assert nll[0] == pytest.approx(nll[1])


def test_near_the_truth_it_is_an_rps_that_weighs_thresholds_by_their_variance():
  """Expected excess: sum_j d_j^2 / (2 t_j (1 - t_j)) / n + O(d^3), where the RPS with divisor n has sum_j d_j^2 / n."""
  truth = np.asarray([0.5, 0.2, 0.15, 0.15])
  moved = truth + 0.004 * np.asarray([1.0, -2.0, 3.0, -2.0])
  tails = [np.cumsum(p[::-1])[::-1][1:] for p in (truth, moved)]
  squares = (tails[1] - tails[0]) ** 2

  def excess(fn):
    return sum(truth[c] * (fn(moved, c, 3) - fn(truth, c, 3)) for c in range(4))

  want = np.mean(squares / (2 * tails[0] * (1 - tails[0])))
  assert excess(ordinal_np.ranked_ignorance) == pytest.approx(want, rel=0.05)
  assert excess(lambda p, c, n: ordinal_np.rps(p, c, n, "thresholds")) == pytest.approx(np.mean(squares), rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(logit=st.floats(-30, 30), n=st.integers(1, 5), data=st.data())
def test_of_a_panel_that_always_agrees_it_is_soft_bce(logit, n, data):
  c = data.draw(st.integers(0, n))
  log_p = heads.predict(heads.get_head("sigmoid"), jnp.full((1, 1, 1, 1), logit, jnp.float32), 5)
  target = target_of(c, n, 5)
  got, want = (
    of_target(losses.ranked_ignorance, log_p, target),
    of_target(losses.bce_mean_vote, log_p, target),
  )
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head_name", [name for name, head in heads.HEADS.items() if head.ordinal])
def test_extremes(head_name):
  """At logits of 1e4 the value is the logit's size, not infinity, and the gradient of a right answer is 0."""
  head, raters = heads.get_head(head_name), 4
  size = head.num_outputs(raters)
  towards_none = jnp.zeros((1, 1, 1, size)).at[..., 0].set(1e4 if head_name == "softmax" else -1e4)
  towards_none = towards_none.at[..., 1:].set(20.0) if head_name == "beta_binomial" else towards_none

  def value(z, c):
    return of_target(losses.ranked_ignorance, heads.predict(head, z, raters), target_of(c, raters, raters)).sum()

  right, right_grad = jax.value_and_grad(value)(towards_none, 0)
  wrong, wrong_grad = jax.value_and_grad(value)(towards_none, raters)
  assert 0 <= right < 1e-6 and np.isfinite(right_grad).all() and np.abs(right_grad).max() < 1e-6
  assert 1e3 < wrong < 1e5 and np.isfinite(wrong_grad).all() and np.abs(wrong_grad).max() > 0.2


def test_pull_on_a_small_wrong_probability():
  """Nobody marks the pixel, "at least 1" has 1e-3: the log score pulls with e / n, the RPS with 2 e^2 / (n + 1)."""
  e, raters = 1e-3, 4
  log_p = jnp.log(jnp.asarray([1 - e, *[e * 1e-3 / 3] * 3])).at[1].set(np.log(e))
  log_p = jnp.concatenate([log_p, jnp.full(raters + 1 - len(log_p), -30.0)])

  def pull(name):
    fn = losses.get_loss(name, heads.get_head("softmax"), {})
    grad = jax.grad(
      lambda z: fn(heads.predict(heads.get_head("softmax"), z.reshape(1, 1, 1, -1), raters), target_of(0, 4, 4)).sum()
    )(log_p)
    return float(grad[1])

  assert pull("ranked_ignorance") == pytest.approx(e / raters, rel=0.01)
  assert pull("rps") == pytest.approx(2 * e**2 / (raters + 1), rel=0.01)


@pytest.mark.parametrize("text", ["1,0,1", "1,-1,1", "1,x,1", "1,,1", "1,nan,1", "1,inf,1"])
def test_wrong_weights_are_refused_before_anything_runs(text):
  config = default.get_config()
  config.loss.name, config.loss.threshold_weights = "ranked_ignorance", text
  with pytest.raises(InputError, match=r"config.loss.threshold_weights=.* must be numbers > 0"):
    resolve(config)


def test_weights_must_fit_the_panel_and_the_loss():
  with pytest.raises(InputError, match="has 2 numbers; the panel has 4 raters"):
    score(np.full(5, 0.2), 1, 4, 4, threshold_weights="1,2")
  with pytest.raises(InputError, match=r"has no effect on config.loss.name='rps'"):
    losses.get_loss("rps", heads.get_head("softmax"), {"threshold_weights": "1,2"})


def test_images_nobody_rated_count_nothing():
  masks = np.ones((1, 1, 2, 3), np.uint8)
  target = ordinal.encode(masks, np.zeros((1, 3), np.uint8))
  log_p = jnp.log(jnp.full((1, 1, 2, 4), 0.25))
  np.testing.assert_array_equal(of_target(losses.ranked_ignorance, log_p, target), 0.0)
