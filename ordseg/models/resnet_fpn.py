"""A ResNet encoder with a feature pyramid and the semantic branch of Panoptic FPN, for images of any size."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ordseg.models import layers, resnet
from ordseg.types import Array

_PYRAMID, _BRANCH = 16, 8  # channels over width: 256 and 128 at width 16


class ResNetFPN(nn.Module):
  """Feature pyramid (Lin et al., 2017), then per level convolutions and doublings to stride 4, a sum, and the logits.

  The semantic branch is that of Kirillov et al. (2019), Panoptic Feature Pyramid Networks: level l of stride 4 * 2**l
  goes through max(l, 1) blocks (3x3 convolution, normalisation, ReLU), doubled after each of the l. The logits are made
  at stride 4 and doubled twice; doubling is linear interpolation. Odd sizes are cropped after doubling.

  Attributes:
    num_outputs: K, channels of the logits.
    width: 16 width channels in the pyramid, 8 width in the branch; 16 gives the 256 and 128 of the paper.
    norm: of the decoder, and of the encoder where it has no weights from a file: group or instance.
    dropout: probability that a whole channel of an example is dropped, before the output.
    dtype: of the computation; parameters, statistics and logits are float32.
    num_constants: see `layers.Output`.
    num_classes: see `layers.Output`.
    encoder: a key of `resnet.ENCODERS`.
    encoder_weights: the file the encoder's parameters will come from, or ''; see `resnet.encoder_norm`.
  """

  num_outputs: int
  width: int = 16
  norm: str = "group"
  dropout: float = 0.0
  dtype: Any = jnp.float32
  num_constants: int = 0
  num_classes: int = 1
  encoder: str = "resnet18"
  encoder_weights: str = ""

  @nn.compact
  def __call__(self, x: Array, *, is_training: bool) -> Array:
    """Maps images [B, H, W, C], any H and W >= 1, to logits [B, H, W, K] float32; see `UNet`."""
    norm = resnet.encoder_norm(self.norm, self.encoder_weights)
    features = resnet.ResNetEncoder(self.encoder, norm, self.dtype, name="encoder")(x)
    branches = [self._branch(level, features, p) for level, p in enumerate(self._pyramid(features[1:]))]
    y = sum(branches[1:], start=branches[0])
    y = nn.Dropout(self.dropout, broadcast_dims=(1, 2), name="dropout")(y, deterministic=not is_training)
    y = layers.Output(self.num_outputs, self.num_constants, self.num_classes, name="output")(y)
    for size_of in (features[0], x):
      y = layers.crop_like(layers.double_linear(y), size_of)
    return y

  def _pyramid(self, features: list[Array]) -> list[Array]:
    """Features of strides 4..32 -> as many arrays of 16 width channels, each with what all coarser ones know."""
    pyramid: list[Array] = []
    for level in reversed(range(len(features))):
      lateral = nn.Conv(_PYRAMID * self.width, (1, 1), dtype=self.dtype, name=f"lateral{level}")(features[level])
      above = layers.crop_like(layers.double_nearest(pyramid[0]), lateral) if pyramid else 0
      pyramid.insert(0, lateral + above)
    return pyramid

  def _branch(self, level: int, features: list[Array], y: Array) -> Array:
    for block in range(max(level, 1)):
      y = layers.ConvBlock(_BRANCH * self.width, self.norm, self.dtype, name=f"branch{level}_block{block}")(y)
      if level:
        y = layers.crop_like(layers.double_linear(y), features[level - block])
    return y
