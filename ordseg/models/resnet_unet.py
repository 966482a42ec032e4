"""A ResNet encoder with the decoder of a U-Net, for images of any size."""

import flax.linen as nn
import jax.numpy as jnp

from ordseg.models import layers, network, resnet_segmenter
from ordseg.models.resnet_segmenter import ResNetSegmenter
from ordseg.settings import field
from ordseg.types import Array


@resnet_segmenter.register("resnet_unet", "ResNet encoder, U-Net decoder, for images")
class ResNetUNet(ResNetSegmenter):
  """The encoder's features at strides 2..16 are the skips of a U-Net decoder that ends at the full resolution.

  Level i of the decoder, of stride 2**i, has width * 2**i channels: 256, 128, 64, 32, 16 at width 16. The finest has no
  skip. Dropout comes at the end of each level. Odd sizes are cropped after doubling.

  Attributes:
    blocks_per_level: blocks (3x3 convolution, normalisation, ReLU) of each decoder level.
  """

  blocks_per_level: int = field(**network.BLOCKS_PER_LEVEL)

  @nn.compact
  def __call__(self, x: Array, *, is_training: bool) -> Array:
    """Maps images [B, H, W, C], any H and W >= 1, to logits [B, H, W, K] float32; see `Segmenter`."""
    *skips, y = self.features(x)
    for level in reversed(range(len(skips) + 1)):
      channels = self.width * 2**level
      y = layers.Upsample(channels, dtype=self.dtype, name=f"up{level}_resize")(y)
      if level:
        y = jnp.concatenate([skips[level - 1], layers.crop_like(y, skips[level - 1])], axis=-1)
      y = layers.crop_like(y, x)
      for block in range(self.blocks_per_level):
        y = layers.ConvBlock(channels, self.norm, self.dtype, name=f"up{level}_block{block}")(y)
      y = self.drop(y, f"up{level}_dropout", is_training=is_training)
    return self.output(y)
