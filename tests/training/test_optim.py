import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordseg.config import Optim
from ordseg.training import optim


def optim_config(**changes):
  return Optim(**changes)


def test_cosine_schedule_golden_values():
  schedule = optim.get_schedule(
    optim_config(learning_rate=1.0, schedule="cosine", warmup_steps=3, final_lr_fraction=0.2), num_steps=11
  )
  rates = [float(schedule(t)) for t in range(12)]
  np.testing.assert_allclose(rates[:4], [0.25, 0.5, 0.75, 1.0], rtol=1e-6)
  np.testing.assert_allclose(rates[7], 0.2 + 0.8 * 0.5, rtol=1e-6)  # half of the way down
  np.testing.assert_allclose(rates[11], 0.2, rtol=1e-6)


def test_constant_schedule_stays():
  schedule = optim.get_schedule(optim_config(learning_rate=0.5, schedule="constant", warmup_steps=1), num_steps=5)
  np.testing.assert_allclose([schedule(t) for t in range(5)], [0.25, 0.5, 0.5, 0.5, 0.5])


@settings(max_examples=30, deadline=None)
@given(
  warmup=st.integers(0, 40),
  num_steps=st.integers(1, 60),
  final=st.floats(0, 1),
  schedule=st.sampled_from(["constant", "cosine"]),
)
def test_schedules_rise_then_never_rise_again(warmup, num_steps, final, schedule):
  config = optim_config(learning_rate=2.0, warmup_steps=warmup, final_lr_fraction=final, schedule=schedule)
  rates = np.asarray(optim.get_schedule(config, num_steps)(jnp.arange(60)))[:num_steps]
  assert rates.dtype == np.float32
  assert (rates > 0).all() and (rates <= 2.0).all()
  assert (np.diff(rates[: warmup + 1]) > 0).all()
  assert (np.diff(rates[warmup:]) <= 1e-6).all()


def adamw_by_hand(p, grads, *, lr, b1, b2, decay):
  m = v = np.zeros_like(p)
  for t, g in enumerate(grads, 1):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    direction = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    p = p - lr[t - 1] * (direction + decay * p)
  return p


def sgd_by_hand(p, grads, *, lr, momentum, decay):
  trace = np.zeros_like(p)
  for t, g in enumerate(grads):
    trace = momentum * trace + g
    p = p - lr[t] * (trace + decay * p)
  return p


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_updates_follow_the_formula_and_decay_only_weights(name):
  config = optim_config(name=name, learning_rate=0.1, warmup_steps=1, b1=0.8, b2=0.9, weight_decay=0.3, clip_norm=0.0)
  draws = np.random.default_rng(0)
  params = {"kernel": draws.normal(size=(2, 3)), "bias": draws.normal(size=3), "scale": draws.normal(size=3)}
  grads = [jax.tree.map(lambda p: draws.normal(size=p.shape), params) for _ in range(4)]
  rate = [float(optim.get_schedule(config, 10)(t)) for t in range(4)]

  tx = optim.get_tx(config, 10)
  got = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
  opt_state = tx.init(got)
  for g in grads:
    updates, opt_state = tx.update(jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), g), opt_state, got)
    got = optax.apply_updates(got, updates)

  for leaf, decay in (("kernel", 0.3), ("bias", 0.0), ("scale", 0.0)):
    history = [g[leaf] for g in grads]
    if name == "adamw":
      want = adamw_by_hand(params[leaf], history, lr=rate, b1=0.8, b2=0.9, decay=decay)
    else:
      want = sgd_by_hand(params[leaf], history, lr=rate, momentum=0.8, decay=decay)
    np.testing.assert_allclose(got[leaf], want, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_clipped_before_the_optimiser_sees_it():
  grads = {"kernel": jnp.asarray([[3.0, 0.0]]), "bias": jnp.asarray([4.0])}  # global norm 5
  for clip_norm, factor in ((2.5, 0.5), (10.0, 1.0), (0.0, 1.0)):
    config = optim_config(
      name="sgd", learning_rate=1.0, schedule="constant", warmup_steps=0, weight_decay=0.0, clip_norm=clip_norm
    )
    tx = optim.get_tx(config, 10)
    params = jax.tree.map(jnp.zeros_like, grads)
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], [[-3.0 * factor, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], [-4.0 * factor], rtol=1e-6)
