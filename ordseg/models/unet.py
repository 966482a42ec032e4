"""U-Net (Ronneberger et al., 2015) with 'same' convolutions, for images of any size."""

import flax.linen as nn
import jax.numpy as jnp

from ordseg.models import layers
from ordseg.models.network import BLOCKS_PER_LEVEL, Segmenter, register
from ordseg.settings import field
from ordseg.types import Array


@register("unet", summary="U-Net for images", size_multiples=lambda own: (2 ** (own["depth"] - 1),) * 2)
class UNet(Segmenter):
  """An encoder and a decoder over `depth` resolutions, joined by skips.

  Level i has width * 2**i channels and blocks_per_level blocks (3x3 convolution, normalisation, ReLU) each way, and
  dropout at its end. Odd sizes are padded by one row or column before halving and cropped after doubling, so any
  H, W >= 1 keeps its shape.

  Attributes:
    depth: levels; 1 is a plain stack of convolutions.
    blocks_per_level: blocks per level, each way.
  """

  depth: int = field(4, help="unet, unet3d: levels of resolution", ge=1, le=12)
  blocks_per_level: int = field(**BLOCKS_PER_LEVEL)

  @nn.compact
  def __call__(self, x: Array, *, is_training: bool) -> Array:
    """Maps images, or volumes where the layers are theirs, to logits; see `Segmenter`."""
    x = x.astype(self.dtype)
    skips: list[Array] = []
    for level in range(self.depth):
      x = self._level(x, level, "down", is_training)
      if level < self.depth - 1:
        skips.append(x)
        x = self._halved(x, level)
    for level in reversed(range(self.depth - 1)):
      skip = skips.pop()
      x = self._doubled(x, level)
      x = jnp.concatenate([skip, layers.crop_like(x, skip)], axis=-1)
      x = self._level(x, level, "up", is_training)
    return self.output(x)

  def _level(self, x: Array, level: int, way: str, is_training: bool) -> Array:
    for block in range(self.blocks_per_level):
      x = self._block(x, level, f"{way}{level}_block{block}")
    return self.drop(x, f"{way}{level}_dropout", is_training=is_training)

  def _block(self, x: Array, level: int, name: str) -> Array:
    return layers.ConvBlock(self.width * 2**level, self.norm, self.dtype, name=name)(x)

  def _halved(self, x: Array, level: int) -> Array:
    del level
    return layers.max_pool(x)

  def _doubled(self, x: Array, level: int) -> Array:
    return layers.Upsample(self.width * 2**level, self.dtype, name=f"up{level}_resize")(x)
