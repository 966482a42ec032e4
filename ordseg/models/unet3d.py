"""3-D U-Net (Cicek et al., 2016) for volumes of any size, made of the 2-D layers.

A volume [B, D, H, W, C] is B D slices to a convolution within slices, and B images of D H rows to a normalisation,
whose moments do not ask where a pixel lies. A 3x3x3 convolution is the sum of three 3x3 convolutions, one of each
neighbouring slice: on CPUs three to five times as fast as XLA's own, forward and backward.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from ordseg.models import layers
from ordseg.models.network import register
from ordseg.models.products import conv3x3, dense
from ordseg.models.unet import UNet
from ordseg.settings import field
from ordseg.types import Array


def _slices(x: Array) -> Array:
  """[B, D, H, W, C] -> [B D, H, W, C]."""
  return x.reshape(-1, *x.shape[2:])


def _rows(x: Array) -> Array:
  """[B, D, H, W, C] -> [B, D H, W, C]."""
  return x.reshape(x.shape[0], -1, *x.shape[3:])


def _over_voxels(x: Array) -> Array:
  """[C] -> [1, 1, 1, 1, C]."""
  return x.reshape(1, 1, 1, 1, -1)


def conv3x3x3(x: Array, kernel: Array) -> Array:
  """3x3x3 convolution with zero padding: x [B, D, H, W, C], kernel [3, 3, 3, C, E] -> [B, D, H, W, E]."""
  depth = x.shape[1]
  padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
  parts = [conv3x3(_slices(padded[:, k : k + depth]), kernel[k]) for k in range(3)]
  return (parts[0] + parts[1] + parts[2]).reshape(*x.shape[:-1], -1)


def max_pool(x: Array, *, across: bool) -> Array:
  """Maximum over 2x2 windows of each slice, and over pairs of slices where `across`; an odd edge is repeated first."""
  x = layers.max_pool(_slices(x)).reshape(*x.shape[:2], -1, -(-x.shape[3] // 2), x.shape[4])
  if not across:
    return x
  x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0), (0, 0)), mode="edge")
  return jnp.maximum(x[:, ::2], x[:, 1::2])


class ConvBlock3D(nn.Module):
  """3x3x3 convolution, or 3x3 within slices, normalisation, ReLU.

  Attributes:
    channels: of the output.
    norm: one of `layers.NORMS`; moments are over the whole volume. Without one the convolution has a bias.
    across: whether the convolution sees the neighbouring slices.
    dtype: of the computation.
  """

  channels: int
  norm: str
  across: bool
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, D, H, W, C] -> [B, D, H, W, channels]."""
    kernel_shape = (3,) * (3 if self.across else 2) + (x.shape[-1], self.channels)
    kernel = self.param("kernel", layers.he_normal, kernel_shape, jnp.float32).astype(self.dtype)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,), jnp.float32)
    shape = (*x.shape[:-1], self.channels)
    x = x.astype(self.dtype)
    x = conv3x3x3(x, kernel) if self.across else conv3x3(_slices(x), kernel).reshape(shape)
    if self.norm == "none":
      return nn.relu(x + _over_voxels(bias.astype(self.dtype)))
    scale = self.param("scale", nn.initializers.ones_init(), (self.channels,), jnp.float32)
    groups = layers.num_groups(self.norm, self.channels)
    return layers.group_norm_relu(_rows(x), scale, bias, groups, 1e-5).reshape(shape)


class Upsample3D(nn.Module):
  """Doubles H and W, and D where `across`: a transposed convolution whose stride is its kernel.

  Attributes:
    channels: of the output.
    across: whether D is doubled too.
    dtype: of the computation.
  """

  channels: int
  across: bool
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, D, H, W, C] -> [B, D or 2 D, 2 H, 2 W, channels]."""
    slices = 2 if self.across else 1
    kernel_shape = (x.shape[-1], slices * 4 * self.channels)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), kernel_shape, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,), jnp.float32)
    b, d, h, w, _ = x.shape
    x = dense(_rows(x).astype(self.dtype), kernel.astype(self.dtype))
    x = x.reshape(b, d, h, w, slices, 4 * self.channels).transpose(0, 1, 4, 2, 3, 5)
    x = layers.depth_to_space(x.reshape(b * d * slices, h, w, 4 * self.channels))
    return x.reshape(b, d * slices, 2 * h, 2 * w, self.channels) + _over_voxels(bias.astype(self.dtype))


def _multiples(own: Mapping[str, Any]) -> tuple[int, int, int]:
  steps = own["depth"] - 1
  return (2 ** max(steps - own["flat_levels"], 0), 2**steps, 2**steps)


@register("unet3d", summary="U-Net for volumes", num_axes=3, size_multiples=_multiples)
class UNet3D(UNet):
  """A `UNet` in three dimensions.

  Slices are often several times as far apart as pixels. The first `flat_levels` levels work within slices, and their
  steps halve H and W alone, until a voxel is about as long as it is wide.

  Attributes:
    flat_levels: finest levels that treat slices apart, 0..depth.
  """

  flat_levels: int = field(
    0, help="unet3d: finest levels that treat slices apart, for slices farther apart than pixels", ge=0
  )

  def _block(self, x: Array, level: int, name: str) -> Array:
    across = level >= self.flat_levels
    return ConvBlock3D(self.width * 2**level, self.norm, across, self.dtype, name=name)(x)

  def _halved(self, x: Array, level: int) -> Array:
    return max_pool(x, across=level >= self.flat_levels)

  def _doubled(self, x: Array, level: int) -> Array:
    across = level >= self.flat_levels
    return Upsample3D(self.width * 2**level, across, self.dtype, name=f"up{level}_resize")(x)
