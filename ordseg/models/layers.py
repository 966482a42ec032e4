"""Layers shared by the networks. Activations are [B, H, W, C] (NHWC), parameters float32."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

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

  An odd edge is repeated first, so every pixel is in exactly one window. Among equal maxima the gradient is shared.
  """
  x = pad_to_even(x)
  b, h, w, c = x.shape
  return x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


def depth_to_space(x: Array) -> Array:
  """Turns each pixel's 4 C channels into a 2x2 block: [B, H, W, 4 C] -> [B, 2 H, 2 W, C]; channel order (row, column, C)."""
  b, h, w, c = x.shape
  return x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c // 4)


class GroupNorm(nn.Module):
  """Group normalisation (Wu and He, 2018): per example and group, mean 0 and variance 1, then a scale and a shift.

  Attributes:
    channels_per_group: C / number of groups; 1 is instance normalisation.
    dtype: of the output; the statistics are float32.
    epsilon: added to the variance.
  """

  channels_per_group: int
  dtype: Any = jnp.float32
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, H, W, C]."""
    b, h, w, c = x.shape
    scale = self.param("scale", nn.initializers.ones_init(), (c,), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), (c,), jnp.float32)
    per_group = self.channels_per_group

    def group_mean(y):
      return y.mean(axis=(1, 2)).reshape(b, c // per_group, per_group).mean(-1).repeat(per_group, -1)[:, None, None]

    x = x.astype(jnp.float32)
    mean = group_mean(x)
    centred = x - mean
    variance = group_mean(jnp.square(centred))
    return (centred * (jax.lax.rsqrt(variance + self.epsilon) * scale) + bias).astype(self.dtype)


def norm_layer(name: str, channels: int, dtype: Any) -> nn.Module | None:
  """Returns the normalisation `name` of `NORMS` for `channels` channels; None for 'none'.

  'group' makes gcd(channels, 8) groups: 8 where 8 divides the channels.
  """
  if name == "none":
    return None
  return GroupNorm(1 if name == "instance" else channels // math.gcd(channels, _MAX_GROUPS), dtype=dtype)


class ConvBlock(nn.Module):
  """3x3 convolution, normalisation, ReLU.

  Attributes:
    channels: of the output.
    norm: one of `NORMS`; without one the convolution has a bias.
    dtype: of the computation.
  """

  channels: int
  norm: str
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, H, W, channels]."""
    norm = norm_layer(self.norm, self.channels, self.dtype)
    x = nn.Conv(self.channels, (3, 3), use_bias=norm is None, dtype=self.dtype, kernel_init=he_normal)(x)
    return nn.relu(x if norm is None else norm(x))


class Upsample(nn.Module):
  """Doubles H and W: a transposed 2x2 convolution of stride 2, computed as Dense and `depth_to_space` (30 x faster).

  Attributes:
    channels: of the output.
    dtype: of the computation.
  """

  channels: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, 2 H, 2 W, channels]."""
    kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], 4 * self.channels), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,), jnp.float32)
    x = depth_to_space(x.astype(self.dtype) @ kernel.astype(self.dtype))
    return x + bias.astype(self.dtype)
