import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ordseg import models
from ordseg.errors import InputError
from ordseg.models import layers, products

SMALL = {
  "name": "unet",
  "width": 4,
  "depth": 3,
  "blocks_per_level": 1,
  "norm": "group",
  "dropout": 0.0,
  "dtype": "float32",
}


def draw(*shape, seed=0, dtype=jnp.float32):
  """Standard normal noise."""
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


# Unoptimised: compiling the random numbers of an initialisation well takes far longer than drawing them.
QUICK = {"xla_backend_optimization_level": 0}


@functools.cache
def build(num_outputs=3, channels=1, **changes):
  model = models.get_model({**SMALL, **changes}, num_outputs=num_outputs)
  image = jnp.zeros((1, 8, 8, channels))
  init = jax.jit(lambda key: model.init(key, image, is_training=False), compiler_options=QUICK)
  return model, init(jax.random.key(0))


@functools.cache
def compiled(model, is_training):
  return jax.jit(lambda variables, x, rngs: model.apply(variables, x, is_training=is_training, rngs=rngs))


def apply(model, variables, x, *, is_training=False, key=None):
  return compiled(model, is_training)(variables, x, {} if key is None else {"dropout": key})


def value_and_grads(fn, *args):
  """The value and the gradients of its product with fixed noise, everything float32."""

  @jax.jit
  def both(args, seen):
    value, pullback = jax.vjp(fn, *args)
    return value, pullback(seen)

  shape = jax.eval_shape(fn, *args)
  return jax.tree.map(lambda a: np.asarray(a, np.float32), both(args, draw(*shape.shape, seed=9, dtype=shape.dtype)))


def assert_same(actual, expected, tolerance):
  """Equal up to `tolerance` times the largest entry of each array."""
  chex.assert_trees_all_equal_shapes(actual, expected)
  for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * max(np.abs(e).max(), 1e-6))


# The whole network


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (5, 8), (9, 13), (8, 8)])
@pytest.mark.parametrize("channels", [1, 4])
def test_any_size_and_channel_count_keeps_its_shape(size, channels):
  model, variables = build(channels=channels)
  logits = apply(model, variables, draw(2, *size, channels))
  chex.assert_shape(logits, (2, *size, 3))
  chex.assert_type(logits, jnp.float32)
  chex.assert_tree_all_finite(logits)


@pytest.mark.parametrize("norm", layers.NORMS)
@pytest.mark.parametrize("dtype", models.DTYPES)
def test_parameters_and_logits_are_float32_and_params_is_the_only_collection(norm, dtype):
  model, variables = build(norm=norm, dtype=dtype)
  assert set(variables) == {"params"}
  chex.assert_type(jax.tree.leaves(variables), jnp.float32)
  chex.assert_type(apply(model, variables, draw(2, 8, 8, 1)), jnp.float32)


def test_bfloat16_computes_in_bfloat16_and_is_near_float32():
  x = draw(2, 16, 16, 1)
  model, variables = build(width=8)
  low = models.get_model({**SMALL, "width": 8, "dtype": "bfloat16"}, num_outputs=3)
  wide, narrow = (apply(m, variables, x) for m in (model, low))
  assert 0 < np.abs(wide - narrow).max() < 0.1 * np.abs(wide).max()


def num_parameters(width, depth, blocks, channels, outputs, norm):
  """From the formula of each layer: weights, then one bias (and, with a norm, one scale) per output channel."""
  per_channel = 1 if norm == "none" else 2
  widths = [width * 2**level for level in range(depth)]
  total = width * outputs + outputs
  for level, c in enumerate(widths):
    first = channels if level == 0 else widths[level - 1]
    total += 9 * first * c + per_channel * c + (blocks - 1) * (9 * c * c + per_channel * c)
    if level < depth - 1:
      total += 4 * (2 * c) * c + c
      total += 9 * (2 * c) * c + per_channel * c + (blocks - 1) * (9 * c * c + per_channel * c)
  return total


@pytest.mark.parametrize(
  ("width", "depth", "blocks", "channels", "outputs", "norm"),
  [(4, 1, 1, 1, 1, "none"), (4, 3, 2, 3, 5, "instance"), (6, 2, 3, 2, 2, "group"), (16, 4, 2, 1, 8, "group")],
)
def test_number_of_parameters(width, depth, blocks, channels, outputs, norm):
  config = {**SMALL, "width": width, "depth": depth, "blocks_per_level": blocks, "norm": norm}
  model = models.get_model(config, num_outputs=outputs)
  params = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, channels)), is_training=False))
  count = sum(p.size for p in jax.tree.leaves(params))
  assert count == num_parameters(width, depth, blocks, channels, outputs, norm)
  if width == 16:
    assert count == 482_568  # the net that benchmarks/train_step.py builds in PyTorch, counted there


def test_a_pixel_sees_its_surroundings_at_every_level():
  model, variables = build(depth=4, norm="none")
  x = draw(1, 64, 64, 1)
  gradient = jax.jit(jax.grad(lambda x: apply(model, variables, x)[0, 32, 32].sum()))(x)[0, :, :, 0]
  rows, columns = np.nonzero(np.asarray(gradient))
  assert np.ptp(rows) > 20 and np.ptp(columns) > 20
  assert np.ptp(rows) < 63  # and is local without a norm


def test_moving_the_image_by_the_coarsest_step_moves_the_logits():
  model, variables = build(norm="none")
  small = draw(1, 8, 8, 1)
  place = lambda at: jnp.zeros((1, 48, 48, 1)).at[:, at : at + 8, at : at + 8].set(small)  # noqa: E731
  here, there = (apply(model, variables, place(at)) for at in (16, 20))
  np.testing.assert_allclose(there[:, 16:32, 16:32], here[:, 12:28, 12:28], atol=1e-5)


def test_flipping_image_and_kernels_flips_the_logits():
  model, variables = build()

  def flip(path, p):
    if p.ndim == 4:
      return p[:, ::-1]
    if "resize" in str(path) and p.ndim == 2:  # [C, (row, column, D)]
      return p.reshape(p.shape[0], 2, 2, -1)[:, :, ::-1].reshape(p.shape)
    return p

  flipped = jax.tree_util.tree_map_with_path(flip, variables)
  x = draw(2, 8, 8, 1)
  out = apply(model, variables, x)
  np.testing.assert_allclose(apply(model, flipped, x[:, :, ::-1]), out[:, :, ::-1], atol=1e-5)


def test_examples_do_not_mix():
  model, variables = build()
  x = draw(3, 8, 8, 1)
  together = apply(model, variables, x, is_training=True)
  np.testing.assert_allclose(apply(model, variables, x[1:2], is_training=True), together[1:2], atol=1e-5)


def test_every_parameter_gets_a_gradient():
  model, variables = build(blocks_per_level=2)
  loss = lambda v: jnp.square(model.apply(v, draw(2, 8, 8, 1), is_training=True) - 1).sum()  # noqa: E731
  grads = jax.jit(jax.grad(loss))(variables)
  chex.assert_tree_all_finite(grads)
  assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))


def test_initial_logits_are_of_unit_order():
  model, variables = build(width=16, depth=4, blocks_per_level=2, norm="none")
  spread = float(apply(model, variables, draw(4, 32, 32, 1)).std())
  assert 0.1 < spread < 10


def test_one_shape_is_traced_once():
  model, variables = build()
  apply = jax.jit(chex.assert_max_traces(lambda v, x: model.apply(v, x, is_training=True), n=1))
  for seed in range(3):
    apply(variables, draw(2, 8, 8, 1, seed=seed))


def test_dropout_acts_in_training_only_and_drops_whole_channels():
  model, variables = build(dropout=0.5, depth=1, norm="none", num_outputs=1)
  x = draw(1, 8, 8, 1)
  run = lambda seed: apply(model, variables, x, is_training=True, key=jax.random.key(seed))  # noqa: E731
  still = apply(model, variables, x)
  np.testing.assert_array_equal(run(0), run(0))
  assert any(np.abs(run(seed) - run(0)).max() > 0 for seed in range(1, 5))
  mean = np.mean([run(seed) for seed in range(200)], axis=0)
  np.testing.assert_allclose(mean, still, atol=0.25 * np.abs(still).max())
  activations = nn.Dropout(0.5, broadcast_dims=(1, 2)).apply(
    {}, jnp.ones((2, 3, 3, 8)), deterministic=False, rngs={"dropout": jax.random.key(0)}
  )
  assert np.ptp(activations, axis=(1, 2)).max() == 0 and np.ptp(activations) == 2


def test_without_dropout_no_random_key_is_needed():
  model, variables = build()
  x = draw(1, 8, 8, 1)
  train, test = (apply(model, variables, x, is_training=is_training) for is_training in (True, False))
  np.testing.assert_array_equal(train, test)


def test_output_bias_is_what_a_net_of_zero_weights_says():
  model, variables = build()
  bias = np.array([-1.0, 0.5, 2.0])
  before = jax.tree.map(np.array, variables["params"])
  params = models.set_output_bias(variables["params"], bias)
  chex.assert_trees_all_equal(variables["params"], before)
  shift = [apply(model, {"params": p}, draw(1, 8, 8, 1)) for p in (params, before)]
  np.testing.assert_allclose(shift[0] - shift[1], np.broadcast_to(bias, (1, 8, 8, 3)), atol=1e-5)
  with pytest.raises(InputError, match="3 outputs"):
    models.set_output_bias(params, np.zeros(4))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"name": "unett"}, "config.model.name='unett'.*Did you mean 'unet'"),
    ({"norm": "grup"}, "config.model.norm='grup'.*Did you mean 'group'"),
    ({"dtype": "bfloat"}, "config.model.dtype='bfloat'.*Did you mean 'bfloat16'"),
    ({"width": 0}, r"config.model.width=0 must be in \[1, 16384\]"),
    ({"depth": 2.5}, "config.model.depth=2.5 must be an int"),
    ({"dropout": 1.0}, r"config.model.dropout=1.0 must be in \[0, 1\)"),
  ],
)
def test_wrong_fields_are_named(change, message):
  with pytest.raises(InputError, match=message):
    models.get_model({**SMALL, **change}, num_outputs=2)


# Layers


def test_upsample_is_a_transposed_convolution():
  x = draw(2, 3, 5, 6)
  upsample = layers.Upsample(4)
  kernel, bias = draw(6, 16, seed=1), draw(4, seed=2)
  rival = nn.ConvTranspose(4, (2, 2), strides=(2, 2), padding="VALID", transpose_kernel=True)

  def ours(x, kernel, bias):
    return upsample.apply({"params": {"kernel": kernel, "bias": bias}}, x)

  def theirs(x, kernel, bias):
    taps = kernel.reshape(6, 2, 2, 4).transpose(1, 2, 3, 0)  # [row, column, D, C]
    return rival.apply({"params": {"kernel": taps, "bias": bias}}, x)

  assert_same(value_and_grads(ours, x, kernel, bias), value_and_grads(theirs, x, kernel, bias), 1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_max_pool_is_reduce_window(dtype):
  order = np.random.default_rng(0).permuted(np.tile(np.arange(4.0), (2 * 3 * 2 * 3, 1)), axis=1)  # no ties in a window
  x = jnp.asarray(order.reshape(2, 3, 2, 3, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(2, 6, 4, 3), dtype)
  rival = lambda x: nn.max_pool(x, (2, 2), strides=(2, 2))  # noqa: E731
  assert_same(value_and_grads(layers.max_pool, x), value_and_grads(rival, x), 0)


def test_max_pool_shares_the_gradient_among_equal_maxima_and_keeps_its_sum():
  x = jnp.zeros((1, 3, 3, 1)).at[0, 0, 1].set(1.0)
  y, pullback = jax.vjp(layers.max_pool, x)
  np.testing.assert_array_equal(y[0, :, :, 0], [[1, 0], [0, 0]])
  grad = pullback(jnp.ones_like(y))[0][0, :, :, 0]
  np.testing.assert_array_equal(grad, [[0, 1, 0.5], [0, 0, 0.5], [0.5, 0.5, 1]])


@pytest.mark.parametrize("groups", [1, 4, 12])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_group_norm_relu_is_flax_group_norm_and_relu(groups, dtype, tolerance):
  x = (2 * draw(2, 5, 7, 12) + 1).astype(dtype)
  scale, bias = 1 + 0.3 * draw(12, seed=1), 0.5 * draw(12, seed=2)
  rival = nn.GroupNorm(groups, epsilon=1e-5, use_fast_variance=False, dtype=dtype)

  def theirs(x, scale, bias):
    return nn.relu(rival.apply({"params": {"scale": scale, "bias": bias}}, x))

  ours = lambda x, scale, bias: layers.group_norm_relu(x, scale, bias, groups, 1e-5)  # noqa: E731
  assert_same(value_and_grads(ours, x, scale, bias), value_and_grads(theirs, x, scale, bias), tolerance)


def test_group_norm_survives_a_large_mean():
  noise = np.random.default_rng(0).normal(size=(1, 16, 16, 4))
  x = (1e4 + noise).astype(np.float32)
  exact = x.astype(np.float64)
  exact = (exact - exact.mean((1, 2), keepdims=True)) / exact.std((1, 2), keepdims=True)
  y = layers.group_norm_relu(jnp.asarray(x), jnp.ones(4), jnp.zeros(4), 4, 0.0)
  np.testing.assert_allclose(y, np.maximum(exact, 0), atol=2e-3)


def test_a_constant_image_is_normalised_to_the_bias():
  bias = jnp.array([0.5, -1.0])
  y, pullback = jax.vjp(lambda x: layers.group_norm_relu(x, jnp.ones(2), bias, 2, 1e-5), jnp.full((1, 4, 4, 2), 3.0))
  np.testing.assert_allclose(y[0, 0, 0], [0.5, 0.0])
  chex.assert_tree_all_finite(pullback(jnp.ones_like(y)))


@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (12, 4), (6, 2), (5, 1), (4, 4)])
def test_number_of_groups(channels, groups):
  assert layers.num_groups("group", channels) == groups
  assert layers.num_groups("instance", channels) == channels


# Products: (inputs, outputs) on both sides of the rule that chooses the CPU's way


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 4), (4, 4), (8, 3), (40, 16), (16, 40)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_conv3x3_is_flax_conv(inputs, outputs, dtype, tolerance):
  x, kernel = draw(3, 5, 7, inputs, dtype=dtype), draw(3, 3, inputs, outputs, seed=1, dtype=dtype)
  rival = nn.Conv(outputs, (3, 3), use_bias=False, dtype=dtype)
  theirs = lambda x, kernel: rival.apply({"params": {"kernel": kernel}}, x)  # noqa: E731
  assert_same(value_and_grads(products.conv3x3, x, kernel), value_and_grads(theirs, x, kernel), tolerance)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 2)])
def test_conv3x3_of_tiny_images(shape):
  x, kernel = draw(2, *shape, 6), draw(3, 3, 6, 2, seed=1)
  theirs = lambda x, kernel: products._conv(x, kernel)  # noqa: E731
  assert_same(value_and_grads(products.conv3x3, x, kernel), value_and_grads(theirs, x, kernel), 1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_dense_is_a_matrix_product(dtype, tolerance):
  x, kernel = draw(3, 5, 7, 6, dtype=dtype), draw(6, 8, seed=1, dtype=dtype)
  expected = value_and_grads(lambda x, kernel: x @ kernel, x, kernel)
  assert_same(value_and_grads(products.dense, x, kernel), expected, tolerance)


def test_other_platforms_keep_the_ordinary_gradient():
  """The gradient of a kernel of 8 -> 4 channels is another program on CPUs, and JAX's own on GPUs."""
  x, kernel, grad = draw(2, 6, 6, 8), draw(3, 3, 8, 4), draw(2, 6, 6, 4)

  def lowered(fn, platform):
    pullback = lambda x, kernel, grad: jax.vjp(fn, x, kernel)[1](grad)[1]  # noqa: E731
    text = jax.jit(pullback).trace(x, kernel, grad).lower(lowering_platforms=(platform,)).as_text()
    return [line.split("dim_numbers")[1].split("{")[0] for line in text.splitlines() if "stablehlo.convolution" in line]

  assert lowered(products.conv3x3, "cuda") == lowered(products._conv, "cuda")
  assert lowered(products.conv3x3, "cpu") != lowered(products._conv, "cpu")
