"""The ResNet encoder (He et al., 2016) as torchvision and timm build it, so that their weights fit.

With stride 2 in the 3x3 convolution of a bottleneck ("v1.5"). Every layer bears the name PyTorch gives it, but for the
dots and `norm` in place of `bn`: ``layer1.0.bn1.weight`` is ``layer1_0/norm1/scale`` (`pretrained.torch_name`).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ordseg.models import layers
from ordseg.types import Array

FROZEN_BATCH = "frozen_batch"
NORMS = ("group", "instance", FROZEN_BATCH)
STAGE_CHANNELS = (64, 128, 256, 512)  # inside a block of each stage
_EPSILON = 1e-5  # also PyTorch's


@dataclasses.dataclass(frozen=True)
class Architecture:
  """What tells one ResNet from another.

  Attributes:
    num_blocks: of each of the four stages.
    is_bottleneck: whether a block is 1x1, 3x3, 1x1 convolutions with four times as many outputs, or 3x3, 3x3.
  """

  num_blocks: tuple[int, int, int, int]
  is_bottleneck: bool

  @property
  def expansion(self) -> int:
    """Outputs of a block over its inner channels."""
    return 4 if self.is_bottleneck else 1


ENCODERS: dict[str, Architecture] = {
  "resnet18": Architecture((2, 2, 2, 2), is_bottleneck=False),
  "resnet34": Architecture((3, 4, 6, 3), is_bottleneck=False),
  "resnet50": Architecture((3, 4, 6, 3), is_bottleneck=True),
}


class Norm(nn.Module):
  """Normalisation, and the ReLU after it where there is one.

  `frozen_batch` is batch normalisation whose statistics are constants: ``scale * (x - mean) / sqrt(var + 1e-5) + bias``
  with `mean` and `var` as a file gives them. They are parameters, so that states, averages and checkpoints need not
  know of them, and `stop_gradient` keeps them as they are: their gradient is exactly 0, so is every optimiser's update
  of a gradient that was never anything else, and weight decay spares what has one axis (`optim.decay_mask`).

  Attributes:
    norm: one of `NORMS`.
    has_relu: whether a ReLU follows.
  """

  norm: str
  has_relu: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> the same, of x's dtype; computed in float32."""
    shape = (x.shape[-1],)
    scale = self.param("scale", nn.initializers.ones_init(), shape, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros_init(), shape, jnp.float32)
    if self.norm != FROZEN_BATCH:
      norm = layers.group_norm_relu if self.has_relu else layers.group_norm
      return norm(x, scale, bias, layers.num_groups(self.norm, x.shape[-1]), _EPSILON)
    mean = jax.lax.stop_gradient(self.param("mean", nn.initializers.zeros_init(), shape, jnp.float32))
    var = jax.lax.stop_gradient(self.param("var", nn.initializers.ones_init(), shape, jnp.float32))
    slope = scale * jax.lax.rsqrt(var + _EPSILON)
    y = x.astype(jnp.float32) * slope[None, None, None] + (bias - mean * slope)[None, None, None]
    return (nn.relu(y) if self.has_relu else y).astype(x.dtype)


def conv(channels: int, size: int, stride: int = 1, *, dtype: DTypeLike, name: str) -> nn.Conv:
  """A convolution without bias that pads size // 2 zeros on each side, as PyTorch does: H -> ceil(H / stride)."""
  init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # torchvision's
  padding = ((size // 2, size // 2),) * 2
  return nn.Conv(channels, (size, size), stride, padding, use_bias=False, dtype=dtype, kernel_init=init, name=name)


class Block(nn.Module):
  """A residual block.

  Attributes:
    channels: inside it.
    stride: of the whole block.
    is_bottleneck: see `Architecture`.
    norm: one of `NORMS`.
    dtype: of the computation.
  """

  channels: int
  stride: int
  is_bottleneck: bool
  norm: str
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), channels * expansion]."""
    c, stride = self.channels, self.stride
    plan = ((c, 1, 1), (c, 3, stride), (4 * c, 1, 1)) if self.is_bottleneck else ((c, 3, stride), (c, 3, 1))
    outputs = plan[-1][0]
    y = x
    for number, (channels, size, step) in enumerate(plan, 1):
      y = conv(channels, size, step, dtype=self.dtype, name=f"conv{number}")(y)
      y = Norm(self.norm, has_relu=number < len(plan), name=f"norm{number}")(y)
    if stride != 1 or x.shape[-1] != outputs:
      x = conv(outputs, 1, stride, dtype=self.dtype, name="downsample_conv")(x)
      x = Norm(self.norm, has_relu=False, name="downsample_norm")(x)
    return nn.relu(x + y)


class ResNetEncoder(nn.Module):
  """Features at five resolutions.

  Attributes:
    encoder: a key of `ENCODERS`.
    norm: one of `NORMS`.
    dtype: of the computation; parameters are float32.
  """

  encoder: str
  norm: str = "group"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> list[Array]:
    """Maps images [B, H, W, C], any H and W >= 1, to features of strides 2, 4, 8, 16 and 32.

    Returns:
      Five arrays [B, ceil(H / stride), ceil(W / stride), D]. The first is what enters the max pooling (D = 64), the
      others leave the four stages.
    """
    architecture = ENCODERS[self.encoder]
    x = conv(64, 7, 2, dtype=self.dtype, name="conv1")(x.astype(self.dtype))
    x = Norm(self.norm, name="norm1")(x)
    features = [x]
    x = layers.max_pool_3x3(x)
    for stage, (channels, num_blocks) in enumerate(zip(STAGE_CHANNELS, architecture.num_blocks, strict=True), 1):
      for number in range(num_blocks):
        stride = 2 if stage > 1 and number == 0 else 1
        name = f"layer{stage}_{number}"
        x = Block(channels, stride, architecture.is_bottleneck, self.norm, self.dtype, name=name)(x)
      features.append(x)
    return features


def encoder_norm(norm: str, encoder_weights: str) -> str:
  """The encoder's normalisation: weights from a file were trained with batch norm and need its statistics."""
  return FROZEN_BATCH if encoder_weights else norm


@functools.cache
def parameter_shapes(encoder: str, norm: str, num_channels: int) -> dict[tuple[str, ...], tuple[int, ...]]:
  """Returns path -> shape of every parameter of an encoder that takes `num_channels` channels."""
  init: Callable[..., Any] = ResNetEncoder(encoder, norm).init
  shapes = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, num_channels), jnp.float32))
  leaves = jax.tree_util.tree_leaves_with_path(shapes["params"])
  return {tuple(str(key.key) for key in path): tuple(leaf.shape) for path, leaf in leaves}
