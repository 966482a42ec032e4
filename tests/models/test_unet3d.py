"""The 3-D U-Net against XLA's own convolution, its symmetries and its shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from ordseg import models
from ordseg.errors import InputError
from ordseg.models import unet3d
from ordseg.models.unet3d import UNet3D


def volume(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def apply(net, x, seed=0):
  params = net.init(jax.random.key(seed), x, is_training=False)
  return np.asarray(net.apply(params, x, is_training=False)), params


def test_the_convolution_is_xlas_forward_and_backward():
  x, kernel, weight = volume(2, 5, 7, 6, 3), volume(3, 3, 3, 3, 4, seed=1), volume(2, 5, 7, 6, 4, seed=2)

  def direct(x, kernel):
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), ((1, 1),) * 3, dimension_numbers=numbers)

  for ours, theirs in zip(
    jax.value_and_grad(lambda *a: jnp.sum(unet3d.conv3x3x3(*a) * weight), (0, 1))(x, kernel)[1],
    jax.value_and_grad(lambda *a: jnp.sum(direct(*a) * weight), (0, 1))(x, kernel)[1],
    strict=True,
  ):
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
  np.testing.assert_allclose(unet3d.conv3x3x3(x, kernel), direct(x, kernel), atol=1e-4)


@pytest.mark.parametrize("across", [True, False])
def test_pooling_takes_the_maximum_of_each_block(across):
  x = volume(1, 5, 3, 4, 2)
  found = unet3d.max_pool(jnp.asarray(x), across=across)
  step = 2 if across else 1
  padded = np.pad(x, ((0, 0), (0, 1 if across else 0), (0, 1), (0, 0), (0, 0)), mode="edge")
  b, d, h, w, c = padded.shape
  want = padded.reshape(b, d // step, step, h // 2, 2, w // 2, 2, c).max(axis=(2, 4, 6))
  np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (8, 16, 8)])
@pytest.mark.parametrize("flat_levels", [0, 1, 3])
def test_any_size_keeps_its_shape(shape, flat_levels):
  net = UNet3D(num_outputs=4, width=2, depth=3, blocks_per_level=1, flat_levels=flat_levels)
  out, _ = apply(net, volume(2, *shape, 1))
  assert out.shape == (2, *shape, 4) and out.dtype == np.float32 and np.isfinite(out).all()


def test_flat_levels_treat_slices_apart():
  x = volume(1, 4, 8, 8, 1)
  net = UNet3D(num_outputs=2, width=4, depth=2, norm="none", flat_levels=2)
  whole, params = apply(net, x)
  alone = [np.asarray(net.apply(params, x[:, z : z + 1], is_training=False)) for z in range(4)]
  np.testing.assert_allclose(whole, np.concatenate(alone, axis=1), atol=1e-5)
  mixing = UNet3D(num_outputs=2, width=4, depth=2, norm="none", flat_levels=1)
  whole, params = apply(mixing, x)
  assert np.abs(whole[:, :1] - mixing.apply(params, x[:, :1], is_training=False)).max() > 1e-3


def test_shifts_by_what_is_halved_shift_the_result():
  net = UNet3D(num_outputs=2, width=2, depth=2, blocks_per_level=1, norm="none")
  x = np.zeros((1, 20, 24, 24, 1), np.float32)
  x[:, 8:12, 8:14, 8:14] = volume(1, 4, 6, 6, 1)
  out, params = apply(net, x)
  moved = np.asarray(net.apply(params, np.roll(x, (2, 4, 2), axis=(1, 2, 3)), is_training=False))
  inner = (slice(None), slice(6, 14), slice(6, 16), slice(6, 16))
  np.testing.assert_allclose(np.roll(moved, (-2, -4, -2), axis=(1, 2, 3))[inner], out[inner], atol=1e-5)
  assert models.size_multiples({"name": "unet3d", "depth": 2, "flat_levels": 0}) == (2, 2, 2)


def test_every_parameter_gets_a_gradient():
  net = UNet3D(num_outputs=3, width=4, depth=3, blocks_per_level=1, flat_levels=1, num_classes=2)
  x, weight = volume(1, 4, 8, 8, 1), volume(1, 4, 8, 8, 6, seed=1)
  params = net.init(jax.random.key(0), x, is_training=False)
  grads = jax.grad(lambda p: jnp.sum(net.apply(p, x, is_training=True) * weight))(params)
  leaves = jax.tree_util.tree_leaves_with_path(grads["params"])
  silent = [jax.tree_util.keystr(path) for path, g in leaves if not np.abs(g).max() > 0]
  assert all("bias" in name and "block" in name for name in silent), silent  # a norm takes its convolution's bias away


def test_classes_lie_one_after_the_other_and_share_no_constant():
  net = UNet3D(num_outputs=3, width=2, depth=1, num_constants=2, num_classes=2)
  x = volume(1, 2, 4, 4, 1)
  params = net.init(jax.random.key(0), x, is_training=False)["params"]
  params = models.set_output_bias(params, np.arange(6.0))
  out = np.asarray(net.apply({"params": params}, x, is_training=False))
  for constant in (1, 2, 4, 5):
    np.testing.assert_array_equal(out[..., constant], constant)
  assert out[..., 0].std() > 0 and out[..., 3].std() > 0
  assert params["output"]["kernel"].shape == (2, 2)


def test_config_fields():
  config = default.get_config().model
  config.name, config.flat_levels, config.width = "unet3d", 1, 2
  net = models.get_model(config, num_outputs=2, num_classes=3)
  assert isinstance(net, UNet3D) and (net.flat_levels, net.num_classes) == (1, 3)
  assert models.num_axes(config) == 3 and models.size_multiples(config) == (4, 8, 8)
  config.name = "unet"
  with pytest.raises(InputError, match=r"flat_levels=1 has no effect on config.model.name='unet', only on unet3d"):
    models.check(config)
  config.name, config.flat_levels = "unet3d", -1
  with pytest.raises(InputError, match=r"flat_levels=-1 must be >= 0"):
    models.check(config)
