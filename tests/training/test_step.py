import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.helpers import learning
from tests.reference import ordinal_np


@pytest.fixture(scope="module")
def jitted():
  first, local_gradients, apply_update = learning.pieces(ema_decay=0.99, clip_norm=0.0)
  return first, jax.jit(local_gradients), jax.jit(apply_update)


def predicted_levels(params, image):
  net = learning.TinyNet()
  return np.asarray(jax.nn.softmax(net.apply({"params": params}, image, is_training=False), -1))


def test_the_loss_sum_is_the_papers_loss_summed_over_the_pixels_that_count(jitted):
  first, local_gradients, _ = jitted
  batch = learning.uneven_batch()
  sums = local_gradients(first.params, batch, jax.random.key(0))
  probs = predicted_levels(first.params, batch["image"])
  valid = batch["rater_valid"].astype(bool)
  want, count = 0.0, 0
  for b, h, w in zip(*np.nonzero(batch["mask"]), strict=True):
    n = int(valid[b].sum())
    if n:
      want += ordinal_np.hybrid(probs[b, h, w], int(batch["rater_masks"][b, h, w, valid[b]].sum()), n)
      count += 1
  assert float(sums.weight_sum) == count < batch["mask"].size
  np.testing.assert_allclose(sums.loss_sum, want, rtol=1e-4)


def test_the_gradient_is_that_of_the_sum(jitted):
  first, local_gradients, _ = jitted
  batch, key = learning.uneven_batch(), jax.random.key(0)
  sums = local_gradients(first.params, batch, key)
  slope = np.sqrt(sum(float(np.vdot(g, g)) for g in jax.tree.leaves(sums.grads)))  # along the gradient itself

  def loss_at(t):
    params = jax.tree.map(lambda p, g: p + t * g / slope, first.params, sums.grads)
    return float(local_gradients(params, batch, key).loss_sum)

  np.testing.assert_allclose((loss_at(3e-3) - loss_at(-3e-3)) / 6e-3, slope, rtol=5e-3)


def test_sums_of_parts_add_up_to_the_sums_of_the_whole(jitted):
  first, local_gradients, _ = jitted
  batch, key = learning.uneven_batch(), jax.random.key(0)
  parts = [local_gradients(first.params, {k: x[i : i + 2] for k, x in batch.items()}, key) for i in range(0, 8, 2)]
  assert len({float(p.weight_sum) for p in parts}) == 3  # the parts differ, or this would show nothing
  total = jax.tree.map(lambda *xs: sum(xs), *parts)
  whole = local_gradients(first.params, batch, key)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), total, whole)


def test_the_update_divides_by_the_weight_once():
  first, local_gradients, apply_update = learning.pieces(
    name="sgd", b1=0.0, learning_rate=0.5, schedule="constant", warmup_steps=0, weight_decay=0.0, clip_norm=0.0
  )
  sums = jax.jit(local_gradients)(first.params, learning.uneven_batch(), jax.random.key(0))
  after, metrics = jax.jit(apply_update)(first, sums)
  want = jax.tree.map(lambda p, g: p - 0.5 * g / float(sums.weight_sum), first.params, sums.grads)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after.params, want)
  assert int(after.step) == 1
  squares = [np.sum(np.square(np.asarray(g) / float(sums.weight_sum))) for g in jax.tree.leaves(sums.grads)]
  np.testing.assert_allclose(metrics["grad_norm"], np.sqrt(sum(squares)), rtol=1e-5)
  np.testing.assert_allclose(metrics["loss"], sums.loss_sum / sums.weight_sum, rtol=1e-6)
  assert float(metrics["learning_rate"]) == 0.5 and float(metrics["finite"]) == 1.0


def test_a_batch_in_which_nothing_counts_leaves_the_parameters_alone(jitted):
  first, local_gradients, apply_update = jitted
  warm, _ = apply_update(first, local_gradients(first.params, learning.uneven_batch(), jax.random.key(0)))
  batch = learning.uneven_batch()
  batch["mask"] = np.zeros_like(batch["mask"])
  after, metrics = apply_update(warm, local_gradients(warm.params, batch, jax.random.key(0)))
  jax.tree.map(np.testing.assert_array_equal, after.params, warm.params)
  assert int(after.step) == 2
  assert float(metrics["loss"]) == 0.0 and float(metrics["weight_sum"]) == 0.0 and float(metrics["finite"]) == 1.0
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))


@pytest.mark.parametrize("broken", ["loss_sum", "grads", "overflow"])
def test_what_is_not_finite_never_reaches_the_state(jitted, broken):
  first, local_gradients, apply_update = jitted
  sums = local_gradients(first.params, learning.uneven_batch(), jax.random.key(0))
  if broken == "loss_sum":
    sums = sums.replace(loss_sum=jnp.nan)
  else:
    value = jnp.nan if broken == "grads" else 3e38  # the norm overflows, though each entry is finite
    sums = sums.replace(grads=jax.tree.map(lambda g: jnp.full_like(g, value), sums.grads), weight_sum=jnp.float32(1))
  after, metrics = apply_update(first, sums)
  assert float(metrics["finite"]) == 0.0
  jax.tree.map(np.testing.assert_array_equal, after, first)


def test_an_update_that_overflows_is_refused():
  first, local_gradients, apply_update = learning.pieces(
    name="sgd", learning_rate=1e38, schedule="constant", warmup_steps=0, clip_norm=0.0
  )
  sums = jax.jit(local_gradients)(first.params, learning.uneven_batch(), jax.random.key(0))
  after, metrics = jax.jit(apply_update)(first, sums.replace(weight_sum=jnp.float32(1)))
  assert np.isfinite(float(metrics["grad_norm"])) and float(metrics["finite"]) == 0.0
  jax.tree.map(np.testing.assert_array_equal, after, first)


def test_the_average_follows_its_formula(jitted):
  now, local_gradients, apply_update = jitted
  want = now.params
  for t in range(4):
    sums = local_gradients(now.params, learning.uneven_batch(t), jax.random.key(0))
    now, _ = apply_update(now, sums)
    decay = min(0.99, (1 + t) / (10 + t))
    want = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, want, now.params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), now.ema_params, want)
  late = now.replace(step=jnp.int32(10**6))
  after, _ = apply_update(late, sums)
  want = jax.tree.map(lambda e, p: 0.99 * e + 0.01 * p, late.ema_params, after.params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.ema_params, want)


def test_dropout_draws_from_the_key():
  first, local_gradients, _ = learning.pieces(dropout=0.5)
  batch, local_gradients = learning.uneven_batch(), jax.jit(local_gradients)
  losses = [float(local_gradients(first.params, batch, jax.random.key(k)).loss_sum) for k in (0, 1, 0)]
  assert losses[0] == losses[2] != losses[1]


def test_predicted_levels_sum_to_one_and_need_no_key():
  first, _, _ = learning.pieces(dropout=0.5)
  image = learning.uneven_batch()["image"]
  levels = learning.tiny_model(dropout=0.5).level_probs(first.params, image)
  np.testing.assert_allclose(levels.sum(-1), 1.0, rtol=1e-5)
  np.testing.assert_allclose(levels, predicted_levels(first.params, image), atol=1e-6)


def test_what_is_deprecated_in_our_own_calls_fails_the_suite():
  """Optax warns in its own name, not in its caller's."""
  with pytest.raises(DeprecationWarning, match=r"optax\.tree\.norm"):
    optax.global_norm({"a": jnp.ones(2)})
