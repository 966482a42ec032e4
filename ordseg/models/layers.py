"""Layers shared by the networks. Activations are [B, H, W, C] (NHWC), parameters float32."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ordseg.models.products import conv3x3, dense
from ordseg.types import Array

NORMS = ("group", "instance", "none")
_MAX_GROUPS = 8

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def pad_to_even(x: Array) -> Array:
  """Repeats the last row and column of [B, H, W, C] where H or W is odd."""
  odd_h, odd_w = x.shape[1] % 2, x.shape[2] % 2
  return jnp.pad(x, ((0, 0), (0, odd_h), (0, odd_w), (0, 0)), mode="edge") if odd_h or odd_w else x


def max_pool(x: Array) -> Array:
  """Maximum over 2x2 windows: [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C].

  An odd edge is repeated first, so every pixel is in a window. Equal maxima share the gradient.
  """
  return _max_pool_even(pad_to_even(x))


def _windows(x: Array) -> Array:
  b, h, w, c = x.shape
  return x.reshape(b, h // 2, 2, w // 2, 2, c)


@jax.custom_vjp
def _max_pool_even(x: Array) -> Array:
  return _windows(x).max(axis=(2, 4))


def _max_pool_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
  y = _max_pool_even(x)
  return y, (x, y)


def _max_pool_backward(residuals: tuple[Array, Array], grad: Array) -> tuple[Array]:
  # Both operands outlive the step anyway; the rule JAX derives writes a window-sized mask and sums it.
  x, y = residuals
  windows = _windows(x)
  corners = [windows[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]
  share = grad / sum((corner == y).astype(grad.dtype) for corner in corners)
  chosen = windows == y[:, :, None, :, None]
  return (jnp.where(chosen, share[:, :, None, :, None], 0).reshape(x.shape),)


_max_pool_even.defvjp(_max_pool_forward, _max_pool_backward)


def depth_to_space(x: Array) -> Array:
  """Makes 2x2 blocks of channels (row, column, C): [B, H, W, 4 C] -> [B, 2 H, 2 W, C]."""
  b, h, w, c = x.shape
  return x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c // 4)


def max_pool_3x3(x: Array) -> Array:
  """Maximum over 3x3 windows around every second pixel: [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C].

  As PyTorch's MaxPool2d(3, stride=2, padding=1); written as maxima of slices, whose gradient takes a CPU a fraction of
  the time that `flax.linen.max_pool`'s does. Equal maxima share the gradient.
  """
  return _max_of_3(_max_of_3(x, 1), 2)


def _max_of_3(x: Array, axis: int) -> Array:
  size = x.shape[axis]
  padding = [(1, 1 + size % 2) if a == axis else (0, 0) for a in range(x.ndim)]
  x = jnp.pad(x, padding, constant_values=-jnp.inf)
  start = lambda first: jax.lax.slice_in_dim(x, first, first + size + size % 2 - 1, 2, axis)  # noqa: E731
  return jnp.maximum(jnp.maximum(start(0), start(1)), start(2))


def double_linear(x: Array) -> Array:
  """Doubles H and W of [B, H, W, C] by linear interpolation between pixel centres, edges repeated.

  `jax.image.resize` with method 'linear', as slices: its matrix products take three times as long.
  """
  return _double_linear(_double_linear(x, 1), 2)


def _double_linear(x: Array, axis: int) -> Array:
  size = x.shape[axis]
  part = lambda start, stop: jax.lax.slice_in_dim(x, start, stop, axis=axis)  # noqa: E731
  before = jnp.concatenate([part(0, 1), part(0, size - 1)], axis)
  after = jnp.concatenate([part(1, size), part(size - 1, size)], axis)
  doubled = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
  return doubled.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def double_nearest(x: Array) -> Array:
  """Repeats every pixel of [B, H, W, C] twice along H and W."""
  return x.repeat(2, axis=1).repeat(2, axis=2)


def crop_like(x: Array, other: Array) -> Array:
  """Cuts [B, H, W, C] or [B, D, H, W, C] at the end of each axis of pixels to the size of `other`."""
  return x[(slice(None), *(slice(size) for size in other.shape[1:-1]))]


def group_norm_relu(x: Array, scale: Array, bias: Array, num_groups: int, epsilon: float) -> Array:
  """relu(scale * (x - mean) / sqrt(variance + epsilon) + bias), moments per example and group of channels.

  Group normalisation (Wu and He, 2018) and the ReLU in one, with the gradient written by hand: the backward pass reads
  x and the incoming gradient twice and keeps nothing else of their size. Moments are float32 and taken in two passes,
  so a large mean costs no accuracy. Reverse mode only.

  Args:
    x: [B, H, W, C], float32 or bfloat16.
    scale: [C] float32.
    bias: [C] float32.
    num_groups: divides C; C gives instance normalisation.
    epsilon: added to the variance.

  Returns:
    [B, H, W, C] of x's dtype.
  """
  return _group_norm(x, scale, bias, num_groups, epsilon, True)


def group_norm(x: Array, scale: Array, bias: Array, num_groups: int, epsilon: float) -> Array:
  """`group_norm_relu` without the ReLU."""
  return _group_norm(x, scale, bias, num_groups, epsilon, False)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _group_norm(x: Array, scale: Array, bias: Array, num_groups: int, epsilon: float, has_relu: bool) -> Array:
  return _group_norm_forward(x, scale, bias, num_groups, epsilon, has_relu)[0]


def _sum_pixels(x: Array) -> Array:
  """[B, H, W, C] -> [B, C]. In two stages: the first adds whole rows, which vectorises however few the channels."""
  b, _, w, c = x.shape
  return x.sum(axis=1).reshape(b, w, c).sum(axis=1)


def _group_mean(pixel_sums: Array, num_groups: int, num_pixels: int) -> Array:
  """Sums per channel [B, C] -> means per group, repeated for each of its channels [B, C]."""
  b, c = pixel_sums.shape
  return (pixel_sums.reshape(b, num_groups, -1).mean(axis=-1) / num_pixels).repeat(c // num_groups, axis=-1)


def _over_pixels(x: Array) -> Array:
  """[C] or [B, C] -> [1 or B, 1, 1, C]."""
  return x.reshape(-1, 1, 1, x.shape[-1])


def _group_norm_forward(
  x: Array, scale: Array, bias: Array, num_groups: int, epsilon: float, has_relu: bool
) -> tuple[Array, Any]:
  num_pixels = x.shape[1] * x.shape[2]
  wide = x.astype(jnp.float32)
  mean = _group_mean(_sum_pixels(wide), num_groups, num_pixels)
  variance = _group_mean(_sum_pixels(jnp.square(wide - _over_pixels(mean))), num_groups, num_pixels)
  inverse_std = jax.lax.rsqrt(variance + epsilon)
  slope = inverse_std * scale[None]
  y = (wide - _over_pixels(mean)) * _over_pixels(slope) + _over_pixels(bias)
  y = nn.relu(y) if has_relu else y
  return y.astype(x.dtype), (x, scale, bias, mean, inverse_std)


def _group_norm_backward(
  num_groups: int, epsilon: float, has_relu: bool, residuals: Any, grad: Array
) -> tuple[Array, Array, Array]:
  del epsilon
  x, scale, bias, mean, inverse_std = residuals
  num_pixels = x.shape[1] * x.shape[2]
  slope = inverse_std * scale[None]
  centred = x.astype(jnp.float32) - _over_pixels(mean)
  grad = grad.astype(jnp.float32)
  if has_relu:
    grad = jnp.where(centred * _over_pixels(slope) + _over_pixels(bias) > 0, grad, 0)
  grad_sum = _sum_pixels(grad)
  grad_dot = _sum_pixels(grad * centred) * inverse_std  # with the normalised x
  mean_grad = _group_mean(grad_sum * scale[None], num_groups, num_pixels)
  mean_dot = _group_mean(grad_dot * scale[None], num_groups, num_pixels)
  grad_x = (
    grad * _over_pixels(slope)
    - centred * _over_pixels(jnp.square(inverse_std) * mean_dot)
    - _over_pixels(inverse_std * mean_grad)
  )
  return grad_x.astype(x.dtype), grad_dot.sum(axis=0), grad_sum.sum(axis=0)


_group_norm.defvjp(_group_norm_forward, _group_norm_backward)


def num_groups(norm: str, channels: int) -> int:
  """Groups that the normalisation `norm` makes of `channels`: 'instance' all, 'group' gcd(channels, 8), 'none' 0."""
  return {"instance": channels, "group": math.gcd(channels, _MAX_GROUPS), "none": 0}[norm]


class ConvBlock(nn.Module):
  """3x3 convolution, normalisation, ReLU.

  Attributes:
    channels: of the output.
    norm: one of `NORMS`; without one the convolution has a bias.
    dtype: of the computation.
  """

  channels: int
  norm: str
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, H, W, channels]."""
    kernel_shape = (3, 3, x.shape[-1], self.channels)
    kernel = self.param("kernel", he_normal, kernel_shape, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,), jnp.float32)
    x = conv3x3(x.astype(self.dtype), kernel.astype(self.dtype))
    if self.norm == "none":
      return nn.relu(x + _over_pixels(bias.astype(self.dtype)))
    scale = self.param("scale", nn.initializers.ones_init(), (self.channels,), jnp.float32)
    return group_norm_relu(x, scale, bias, num_groups(self.norm, self.channels), 1e-5)


class Upsample(nn.Module):
  """Doubles H and W: a transposed 2x2 convolution of stride 2, computed as Dense and `depth_to_space` (30 x faster).

  Attributes:
    channels: of the output.
    dtype: of the computation.
  """

  channels: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, 2 H, 2 W, channels]."""
    kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], 4 * self.channels), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,), jnp.float32)
    x = depth_to_space(dense(x.astype(self.dtype), kernel.astype(self.dtype)))
    return x + _over_pixels(bias.astype(self.dtype))


class Output(nn.Module):
  """The last layer: a linear map per pixel, in float32.

  Attributes:
    num_outputs: K, of each class.
    num_constants: how many of them, the last ones, are a bias alone: cut-points that all pixels share.
    num_classes: structures that are segmented side by side; class after class along the last axis.
  """

  num_outputs: int
  num_constants: int = 0
  num_classes: int = 1

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, H, W, num_classes K] float32."""
    num_maps, total = self.num_outputs - self.num_constants, self.num_classes * self.num_outputs
    kernel = self.param(
      "kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.num_classes * num_maps), jnp.float32
    )
    bias = self.param("bias", nn.initializers.zeros_init(), (total,), jnp.float32)
    maps = dense(x.astype(jnp.float32), kernel)
    if self.num_constants:
      by_class = maps.reshape(*maps.shape[:-1], self.num_classes, num_maps)
      maps = jnp.pad(by_class, ((0, 0),) * maps.ndim + ((0, self.num_constants),)).reshape(*maps.shape[:-1], total)
    return maps + _over_pixels(bias)
