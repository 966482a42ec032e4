"""Which pixels an evaluation looks at: the whole image, or the surroundings of what any rater marked."""

import dataclasses

import numpy as np
from scipy import ndimage

from ordseg.errors import InputError, check_choice
from ordseg.types import Batch

KINDS = ("image", "union_dilated")


@dataclasses.dataclass(frozen=True)
class Region:
  """A region of interest.

  Attributes:
    kind: 'image', or 'union_dilated': within `margin` of a pixel that a rater who answered marked.
    margin: pixels, >= 1, Euclidean; of a volume too, whatever its spacing.

  Raises:
    InputError: the kind is unknown, or the margin is less than a pixel. Without a margin the region would be chosen by
      the truth alone: a map too wide everywhere would look perfect.
  """

  kind: str = "image"
  margin: int = 16

  def __post_init__(self) -> None:
    check_choice(self.kind, KINDS, field="config.eval.roi")
    if self.margin < 1:
      raise InputError(f"config.eval.roi_margin={self.margin!r} must be >= 1 pixel.")

  def restrict(self, batch: Batch) -> Batch:
    """Returns the batch with `mask` 0 outside the region.

    Images in which nobody marked anything count whole: leaving them out would select by the truth.

    Args:
      batch: with rater_masks [B, H, W, R], rater_valid [B, R] and mask [B, H, W], or volumes.
    """
    if self.kind == "image":
      return batch
    masks, valid = np.asarray(batch["rater_masks"]) > 0, np.asarray(batch["rater_valid"]) > 0
    unions = np.any(masks & valid.reshape(len(valid), *(1,) * (masks.ndim - 2), -1), axis=-1)
    mask = np.asarray(batch["mask"]).copy()
    for k in np.flatnonzero(unions.reshape(len(unions), -1).any(1)).tolist():
      mask[k][_distance(unions[k]) > self.margin] = 0
    return {**batch, "mask": mask}

  def describe(self) -> dict[str, str | int]:
    """Returns what metrics.json says of it."""
    return {"kind": self.kind} if self.kind == "image" else {"kind": self.kind, "margin": self.margin}


def _distance(inside: np.ndarray) -> np.ndarray:
  """Pixels to the nearest pixel inside."""
  if inside.ndim == 2:
    import cv2  # only where a region is asked for

    return cv2.distanceTransform(np.ascontiguousarray(~inside, np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
  return np.asarray(ndimage.distance_transform_edt(~inside))
