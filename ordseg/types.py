"""Shared type aliases. Letters: B batch, (D) H W pixels, C channels, K classes, R raters, L = R + 1 levels."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Array = jax.Array
ArrayLike = jax.Array | np.ndarray
PRNGKey = jax.Array
Params = Any  # a pytree of arrays, as flax.linen returns it
# 'image' [B,H,W,C] float32, 'rater_masks' [B,H,W,R] uint8 in {0,1}, 'rater_valid' [B,R] uint8 in {0,1},
# 'mask' [B,H,W] uint8 in {0,1}: 1 where a pixel counts, 0 where it is padding; for losses that estimate the truth also
# 'label_weights' [B,R+1] float32 (`ordinal.OrdinalTarget`). Volumes have [B,D,H,W,..]; with several classes rater_masks
# are [..,K,R], rater_valid [B,K,R], label_weights [B,K,R+1] (`folding`).
Batch = Mapping[str, ArrayLike]
