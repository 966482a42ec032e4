"""Maps and masks in arrays, scored in one call."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ordseg import statistics
from ordseg.errors import InputError
from ordseg.evaluation.accumulator import MultiRaterMetrics
from ordseg.evaluation.result import EvalResult
from ordseg.metrics import Region

_END = object()


def score(
  probs: Iterable[Any],
  masks: Iterable[Any],
  rater_valid: Iterable[Any] | None = None,
  *,
  names: Iterable[str] | None = None,
  groups: Iterable[str] | None = None,
  pixel_valid: Iterable[Any] | None = None,
  spacing: Iterable[Any] | None = None,
  num_bins: int = 15,
  region: Region | None = None,
  surface_tolerance: float | None = None,
  settings: statistics.Settings | None = statistics.Settings(),  # noqa: B008
) -> EvalResult:
  """Scores probability maps against the masks of several raters.

  Every argument but the settings gives one thing per image, in the same order: a list, an array whose first axis is
  the images, or a generator, of which one image at a time is in memory. Images may differ in size.

  Args:
    probs: maps, [*image] probability of the foreground or [*image, R + 1] of 0..R raters; see
      `MultiRaterMetrics.update`, which has more of all of these.
    masks: [*image, R] each, booleans, or 0 and 1. R is that of the first: raters who did not answer keep a place.
    rater_valid: [R] each, who answered; all by default.
    names: of the images.
    groups: patients, which are what intervals are resampled over; '' for an image that belongs to none.
    pixel_valid: [*image] each, pixels that count; None for an image of which all do.
    spacing: [image axes] each, mm; None for an image without.
    num_bins: of the calibration errors.
    region: which pixels count, of those.
    surface_tolerance: of the surface Dice; None leaves distances between outlines out.
    settings: of the intervals; None leaves them out.

  Returns:
    The result; `EvalResult.number` reads it, `EvalResult.write` makes the folder that reports and comparisons take.

  Raises:
    InputError: not as many of one as of another, an array of one image where a list of images belongs, or what
      `MultiRaterMetrics.update` refuses.

  >>> masks = [np.array([[[1, 1], [0, 1]]])]  # one image of 1 x 2 pixels, by two raters
  >>> found = score([np.array([[0.9, 0.2]])], masks)
  >>> round(found.number("read_outs.mean_vote.brier"), 4)
  0.175
  >>> round(found.number("constant.brier"), 4)  # three of four votes mark: 3/4 * 1/4
  0.1875
  """
  counted = MultiRaterMetrics(num_bins=num_bins, region=region, surface_tolerance=surface_tolerance)
  if isinstance(masks, np.ndarray) and masks.ndim < 4:
    raise InputError(
      f"masks has shape {masks.shape}: expected [images, *image, raters], or a list of [*image, raters]. Of one image, "
      "give lists: score([probs], [masks])."
    )
  given = {"probs": probs, "rater_masks": masks, "rater_valid": rater_valid, "name": names, "group": groups}
  given |= {"mask": pixel_valid, "spacing": spacing}
  for image in _together({name: values for name, values in given.items() if values is not None}):
    counted.update(**image)
  return counted.compute(settings)


def _together(columns: dict[str, Iterable[Any]]) -> Iterator[dict[str, Any]]:
  """Yields one image after the other; refuses columns of different lengths when the shorter one ends."""
  called = {"rater_masks": "masks", "name": "names", "group": "groups", "mask": "pixel_valid"}
  for k, values in enumerate(itertools.zip_longest(*columns.values(), fillvalue=_END)):
    image = dict(zip(columns, values, strict=True))
    if ended := [called.get(name, name) for name, value in image.items() if value is _END]:
      there = next(called.get(name, name) for name, value in image.items() if value is not _END)
      raise InputError(f"{ended[0]} has {k} images, {there} has more: give as many of each.")
    yield image
