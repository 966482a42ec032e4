"""Metrics of outlines, where distances were asked for: means over the images in which a majority marked something."""

from collections.abc import Callable

import numpy as np

from ordseg.metrics.masks import NO_MAJORITY, marked_images
from ordseg.metrics.registry import Images, Metric
from ordseg.metrics.surface import image_surface


def _declared(
  key: str, *, label: str, hint: str, better: str, decimals: int, definition: str, extent: str, hides: str
) -> Metric:
  values = _values(key)
  return Metric(
    key=key,
    section="read_outs",
    formula=lambda tally: tally.mean(values(tally.images) * marked_images(tally.sums)),
    image=values,
    needs="surface",
    label=label,
    hint=hint,
    better=better,
    decimals=decimals,
    missing=NO_MAJORITY,
    table="outlines",
    definition=definition,
    extent=extent,
    hides=hides,
  )


def _values(key: str) -> Callable[[Images], np.ndarray]:
  def values(images: Images) -> np.ndarray:
    assert images.surface is not None
    return image_surface(images.surface, images.read_out)[key]

  return values


_EACH = "The same with one rater's mask at a time, mean over raters."
_ISLANDS = "how much of the outline is off; a small false island far away may count fully or not at all"
_SHARE = "share of the pixels of both outlines within `config.eval.surface_tolerance` of the other outline"

METRICS = (
  _declared(
    "hd95",
    label="Hausdorff distance, 95 %",
    hint="How far apart the outlines of mask and majority are, but for the farthest 5 %.",
    better="lower",
    decimals=2,
    definition="the larger of the two directed 95th percentiles of the distances from each outline to the other, "
    "against the majority's mask; mm, or pixels",
    extent="0 to the image's diagonal",
    hides=_ISLANDS,
  ),
  _declared(
    "hd95_rater_mean",
    label="Hausdorff distance, 95 %, each rater",
    hint=_EACH,
    better="lower",
    decimals=2,
    definition="the same against each rater's mask, mean",
    extent="0 to the image's diagonal",
    hides=_ISLANDS,
  ),
  _declared(
    "surface_dice",
    label="Surface Dice",
    hint="Share of both outlines, mask and majority, that lies within the tolerance of the other.",
    better="higher",
    decimals=3,
    definition=f"{_SHARE}, against the majority's mask",
    extent="0–1",
    hides="by how much the rest is off",
  ),
  _declared(
    "surface_dice_rater_mean",
    label="Surface Dice, each rater",
    hint=_EACH,
    better="higher",
    decimals=3,
    definition="the same against each rater's mask, mean",
    extent="0–1",
    hides="by how much the rest is off",
  ),
)
