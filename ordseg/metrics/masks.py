"""Metrics of the mask that a read-out makes when it is cut: overlap with the raters, and false alarms.

Means are over the images in which a majority marked something, unless a metric says otherwise.
"""

from collections.abc import Callable

import numpy as np

from ordseg import ordinal
from ordseg.metrics.registry import Column, Images, Metric, Tally
from ordseg.metrics.scores import dice, image_metrics
from ordseg.metrics.sums import AT_HALF, ImageSums

NO_MAJORITY = "in no image did a majority mark anything"
_NO_IMAGE = "there is no image"
_FULL = "in every image a majority marked something"
_EMPTY = "Of the images in which no majority marked anything, "


def marked_images(sums: ImageSums) -> np.ndarray:
  """Returns [I] 1 where a majority marked something, NaN elsewhere."""
  return np.where(sums.label_area(5) > 0, 1.0, np.nan)


def empty_images(sums: ImageSums) -> np.ndarray:
  """Returns [I] 1 where somebody answered and no majority marked anything, NaN elsewhere."""
  return np.where((sums.label_area(5) == 0) & (sums.num_pixels > 0), 1.0, np.nan)


def predicted_pixels(sums: ImageSums, read_out: str) -> np.ndarray:
  """Returns [I] pixels whose probability is at least 1/2."""
  return sums.predicted[:, ordinal.READ_OUTS.index(read_out), AT_HALF]


def _of_image(key: str) -> Callable[[Images], np.ndarray]:
  return lambda images: images.of(image_metrics)[key]


def _mean(key: str) -> Callable[[Tally], np.ndarray]:
  return lambda tally: tally.mean(tally.images.of(image_metrics)[key])


def _mean_of_marked(key: str) -> Callable[[Tally], np.ndarray]:
  return lambda tally: tally.mean(tally.images.of(image_metrics)[key] * marked_images(tally.sums))


def _dice_pooled(tally: Tally) -> np.ndarray:
  o = ordinal.READ_OUTS.index(tally.images.read_out)
  pixels = (tally.sums.overlap[:, o, AT_HALF], tally.images.of(predicted_pixels), tally.sums.label_area(5))
  overlap, predicted, majority = (tally.total(x) for x in pixels)
  return np.where(predicted + majority > 0, dice(overlap, predicted, majority), np.nan)


def _soft_dice(cuts: str, number: str, where: str, definition: str, tags: frozenset[str]) -> tuple[Metric, Metric]:
  key, label = f"soft_dice_{cuts}", f"Soft Dice, {number} cuts"
  some = Metric(
    key=key,
    section="read_outs",
    formula=_mean(key),
    image=_of_image(key),
    label=label,
    hint=f"Overlap of the map and the share of votes, both cut at {where}; means over cuts and images with votes.",
    better="higher",
    decimals=3,
    missing="nobody marked anything",
    table="masks",
    tags=tags,
    definition=definition,
    extent="0–1",
    hides="marks where nobody marked anything",
  )
  every = Metric(
    key=f"{key}_all",
    section="read_outs",
    formula=_mean(f"{key}_all"),
    image=_of_image(f"{key}_all"),
    label=f"{label}, all images",
    hint="The same over all images and cuts; two empty masks count as 1.",
    better="higher",
    decimals=3,
    missing=_NO_IMAGE,
    table="masks",
    definition="the same over all images and cuts, two empty masks counting 1, as published",
    extent="0–1",
    hides="how empty images flatter it: marking nothing ever scores .95 where 1 of 20 images has a lesion",
  )
  return some, every


METRICS = (
  Metric(
    key="dice",
    section="read_outs",
    formula=_mean_of_marked("dice"),
    image=_of_image("dice"),
    label="Dice",
    hint="Overlap with the majority's mask, mean over images with one.",
    better="higher",
    decimals=3,
    missing=NO_MAJORITY,
    table="masks",
    tags=frozenset({"summary", "headline", "card", "recalibrated"}),
    columns=(Column("Dice", 0, "majority"),),
    definition="Dice of the mask p ≥ ½ against the majority vote; mean over images where a majority marked something",
    extent="0–1",
    hides="calibration, entirely",
  ),
  Metric(
    key="dice_all",
    section="read_outs",
    formula=_mean("dice"),
    label="Dice, all images",
    hint="The same over all images; two empty masks count as 1.",
    better="higher",
    decimals=3,
    missing=_NO_IMAGE,
    table="masks",
    definition="mean of the same over all scored images, two empty masks counting 1",
    extent="0–1",
    hides="how empty images flatter it",
  ),
  Metric(
    key="dice_pooled",
    section="read_outs",
    formula=_dice_pooled,
    label="Dice, pixels pooled",
    hint="The same over all pixels at once, so large objects weigh more.",
    better="higher",
    decimals=3,
    missing="neither the map nor the majority marked a pixel",
    table="masks",
    definition="Dice of all pixels pooled",
    extent="0–1",
    hides="small objects",
  ),
  Metric(
    key="dice_rater_mean",
    section="read_outs",
    formula=_mean_of_marked("dice_rater_mean"),
    image=_of_image("dice_rater_mean"),
    label="Dice, each rater",
    hint="Overlap with one rater's mask at a time, mean over raters.",
    better="higher",
    decimals=3,
    missing=NO_MAJORITY,
    table="masks",
    tags=frozenset({"card"}),
    columns=(Column("Dice\neach\nrater", 1, "majority"),),
    definition="Dice of the mask against each rater, mean; compare with the raters' own Dice",
    extent="0–1",
    hides="calibration, entirely",
  ),
  Metric(
    key="iou",
    section="read_outs",
    formula=_mean_of_marked("iou"),
    image=_of_image("iou"),
    label="IoU",
    hint="Shared area over joint area, with the majority's mask.",
    better="higher",
    decimals=3,
    missing=NO_MAJORITY,
    table="masks",
    definition="as `dice`, intersection over union",
    extent="0–1",
    hides="calibration, entirely",
  ),
  *_soft_dice(
    "5",
    "five",
    "10, 30, 50, 70 and 90 % (MRNet, D-Persona)",
    "Dice of p ≥ t against m ≥ t; mean over the cuts t at which the votes hold a pixel, then over images; t = .1 .3 .5 "
    ".7 .9 (MRNet, D-Persona)",
    frozenset({"summary"}),
  ),
  *_soft_dice("9", "nine", "10, 20, .. 90 % (QUBIQ)", "the same, t = .1 to .9 (QUBIQ entrants)", frozenset()),
  Metric(
    key="empty_marked_share",
    section="read_outs",
    formula=lambda tally: tally.mean((tally.images.of(predicted_pixels) > 0) * empty_images(tally.sums)),
    label="Empty images marked",
    hint=_EMPTY + "the share with a mark of the map.",
    better="lower",
    decimals=3,
    missing=_FULL,
    table="masks",
    tags=frozenset({"summary"}),
    columns=(Column("marked\nof the\nempty", 9, "majority"),),
    definition="of the images in which no majority marked anything: the share in which the mask p ≥ ½ marks something; "
    "false alarms, which Dice with a majority does not see",
    extent="0–1",
    hides="where the marks are",
  ),
  Metric(
    key="empty_marked_pixels",
    section="read_outs",
    formula=lambda tally: tally.mean(tally.images.of(predicted_pixels) * empty_images(tally.sums)),
    label="Pixels marked there",
    hint=_EMPTY + "the mean number of these.",
    better="lower",
    decimals=1,
    missing=_FULL,
    table="masks",
    tags=frozenset({"summary"}),
    definition="the pixels that the mask marks in such an image, mean over these images",
    extent="≥ 0",
    hides="where the marks are",
  ),
)
