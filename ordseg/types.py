"""Shared types. Letters: B batch, (D) H W pixels, C channels, K classes, R raters, L = R + 1 levels."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

Array = jax.Array
ArrayLike = jax.Array | np.ndarray
PRNGKey = jax.Array
Params = Mapping[str, "Params | Array"]  # as flax.linen returns them: nested dicts of arrays
# 'image' [B,H,W,C] float32, 'rater_masks' [B,H,W,R] uint8 in {0,1}, 'rater_valid' [B,R] uint8 in {0,1},
# 'mask' [B,H,W] uint8 in {0,1}: 1 where a pixel counts, 0 where it is padding; for losses that estimate the truth also
# 'label_weights' [B,R+1] float32 (`ordinal.OrdinalTarget`). Volumes have [B,D,H,W,..]; with several classes rater_masks
# are [..,K,R], rater_valid [B,K,R], label_weights [B,K,R+1] (`folding`).
Batch = Mapping[str, ArrayLike]


@dataclasses.dataclass(frozen=True)
class Panel:
  """The sizes that all examples of a data set share.

  Attributes:
    num_channels: C.
    num_raters: R.
    num_axes: 2 for images, 3 for volumes.
    num_classes: K; with several, rater_masks and rater_valid have an axis for them before the raters'.
  """

  num_channels: int
  num_raters: int
  num_axes: int = 2
  num_classes: int = 1

  @property
  def num_levels(self) -> int:
    """L = R + 1: 0, 1, .., R votes."""
    return self.num_raters + 1
