"""A ResNet encoder with a feature pyramid and the semantic branch of Panoptic FPN, for images of any size."""

import flax.linen as nn

from ordseg.models import layers, resnet_segmenter
from ordseg.models.resnet_segmenter import ResNetSegmenter
from ordseg.types import Array

_PYRAMID, _BRANCH = 16, 8  # channels over width: 256 and 128 at width 16


@resnet_segmenter.register("resnet_fpn", "ResNet encoder, feature pyramid, for images")
class ResNetFPN(ResNetSegmenter):
  """Feature pyramid (Lin et al., 2017), then per level convolutions and doublings to stride 4, a sum, and the logits.

  The semantic branch is that of Kirillov et al. (2019), Panoptic Feature Pyramid Networks: level l of stride 4 * 2**l
  goes through max(l, 1) blocks (3x3 convolution, normalisation, ReLU), doubled after each of the l. The logits are made
  at stride 4 and doubled twice; doubling is linear interpolation. Odd sizes are cropped after doubling. The pyramid has
  16 width channels and the branch 8 width: the paper's 256 and 128 at width 16. Dropout comes before the output.
  """

  @nn.compact
  def __call__(self, x: Array, *, is_training: bool) -> Array:
    """Maps images [B, H, W, C], any H and W >= 1, to logits [B, H, W, K] float32; see `Segmenter`."""
    features = self.features(x)
    branches = [self._branch(level, features, p) for level, p in enumerate(self._pyramid(features[1:]))]
    y = sum(branches[1:], start=branches[0])
    y = self.output(self.drop(y, "dropout", is_training=is_training))
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
