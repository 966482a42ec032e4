"""U-Net (Ronneberger et al., 2015) with 'same' convolutions, for images of any size."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ordseg.models import layers
from ordseg.types import Array


class UNet(nn.Module):
  """An encoder and a decoder over `depth` resolutions, joined by skips.

  Level i has width * 2**i channels and blocks_per_level blocks (3x3 convolution, normalisation, ReLU) each way. Odd
  sizes are padded by one row or column before halving and cropped after doubling, so any H, W >= 1 keeps its shape.

  Attributes:
    num_outputs: K, channels of the logits.
    width: channels of the first level.
    depth: levels; 1 is a plain stack of convolutions.
    blocks_per_level: blocks per level, each way.
    norm: one of `layers.NORMS`.
    dropout: probability that a whole channel of an example is dropped, at the end of each level.
    dtype: of the computation; parameters, statistics and logits are float32.
    num_constants: see `layers.Output`.
    num_classes: see `layers.Output`.
  """

  num_outputs: int
  width: int = 16
  depth: int = 4
  blocks_per_level: int = 2
  norm: str = "group"
  dropout: float = 0.0
  dtype: Any = jnp.float32
  num_constants: int = 0
  num_classes: int = 1

  @nn.compact
  def __call__(self, x: Array, *, is_training: bool) -> Array:
    """Maps images to logits.

    Args:
      x: [B, H, W, C], any H and W >= 1.
      is_training: whether dropout is active (then the rng ``dropout`` is needed unless its probability is 0).

    Returns:
      [B, H, W, K] float32.
    """
    x = x.astype(self.dtype)
    skips: list[Array] = []
    for level in range(self.depth):
      x = self._level(x, level, "down", is_training)
      if level < self.depth - 1:
        skips.append(x)
        x = layers.max_pool(x)
    for level in reversed(range(self.depth - 1)):
      skip = skips.pop()
      x = layers.Upsample(self.width * 2**level, dtype=self.dtype, name=f"up{level}_resize")(x)
      x = jnp.concatenate([skip, x[:, : skip.shape[1], : skip.shape[2]]], axis=-1)
      x = self._level(x, level, "up", is_training)
    return layers.Output(self.num_outputs, self.num_constants, self.num_classes, name="output")(x)

  def _level(self, x: Array, level: int, way: str, is_training: bool) -> Array:
    for block in range(self.blocks_per_level):
      x = layers.ConvBlock(self.width * 2**level, self.norm, self.dtype, name=f"{way}{level}_block{block}")(x)
    return nn.Dropout(self.dropout, broadcast_dims=(1, 2), name=f"{way}{level}_dropout")(
      x, deterministic=not is_training
    )
