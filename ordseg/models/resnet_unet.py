"""A ResNet encoder with the decoder of a U-Net, for images of any size."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ordseg.models import layers, resnet
from ordseg.types import Array


class ResNetUNet(nn.Module):
  """The encoder's features at strides 2..16 are the skips of a U-Net decoder that ends at the full resolution.

  Level i of the decoder, of stride 2**i, has width * 2**i channels: 256, 128, 64, 32, 16 at width 16. The finest has no
  skip. Odd sizes are cropped after doubling.

  Attributes:
    num_outputs: K, channels of the logits.
    width: channels of the decoder's finest level.
    blocks_per_level: blocks (3x3 convolution, normalisation, ReLU) of each decoder level.
    norm: of the decoder, and of the encoder where it has no weights from a file: group or instance.
    dropout: probability that a whole channel of an example is dropped, at the end of each decoder level.
    dtype: of the computation; parameters, statistics and logits are float32.
    num_constants: see `layers.Output`.
    num_classes: see `layers.Output`.
    encoder: a key of `resnet.ENCODERS`.
    encoder_weights: the file the encoder's parameters will come from, or ''; see `resnet.encoder_norm`.
  """

  num_outputs: int
  width: int = 16
  blocks_per_level: int = 2
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
    *skips, y = resnet.ResNetEncoder(self.encoder, norm, self.dtype, name="encoder")(x)
    for level in reversed(range(len(skips) + 1)):
      channels = self.width * 2**level
      y = layers.Upsample(channels, dtype=self.dtype, name=f"up{level}_resize")(y)
      if level:
        y = jnp.concatenate([skips[level - 1], layers.crop_like(y, skips[level - 1])], axis=-1)
      y = layers.crop_like(y, x)
      for block in range(self.blocks_per_level):
        y = layers.ConvBlock(channels, self.norm, self.dtype, name=f"up{level}_block{block}")(y)
      dropout = nn.Dropout(self.dropout, broadcast_dims=(1, 2), name=f"up{level}_dropout")
      y = dropout(y, deterministic=not is_training)
    return layers.Output(self.num_outputs, self.num_constants, self.num_classes, name="output")(y)
