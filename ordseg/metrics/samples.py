"""Scores of several maps of one image as samples: generalised energy distance and normalised cross-correlation.

What is compared are masks: each map cut at 1/2. The formulas are those of `nested`, which are of the masks that a count
model implies; here they are of masks that were drawn.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from flax import struct

from ordseg.metrics.nested import image_ncc_nested, iou_distance
from ordseg.metrics.registry import Metric
from ordseg.metrics.sums import empty as no_sums
from ordseg.metrics.votes import NO_ANSWER

_BLOCK = 2**22  # pixels at a time: float32 counts them exactly


@struct.dataclass
class SampleScores:
  """Scores of I images, NaN where not scored.

  Attributes:
    ged: [I] float64, squared generalised energy distance.
    ncc: [I] float64, see `image_ncc_nested`.
    num_samples: [I] int64; 0 where no samples were given.
  """

  ged: np.ndarray
  ncc: np.ndarray
  num_samples: np.ndarray


def none(num_images: int) -> SampleScores:
  """Returns those of images without samples."""
  return SampleScores(np.full(num_images, np.nan), np.full(num_images, np.nan), np.zeros(num_images, np.int64))


def concatenate(parts: Sequence[SampleScores]) -> SampleScores:
  """Merges the scores of several batches."""
  return SampleScores(*(np.concatenate(x) for x in zip(*((p.ged, p.ncc, p.num_samples) for p in parts), strict=True)))


def image_samples(
  samples: Sequence[np.ndarray], rater_masks: np.ndarray, rater_valid: np.ndarray, mask: np.ndarray
) -> SampleScores:
  """Scores the samples of one image.

  Args:
    samples: S of [*image], probabilities.
    rater_masks: [*image, R].
    rater_valid: [R].
    mask: [*image], whether the pixel counts.
  """
  valid, counts = np.asarray(rater_valid) > 0, np.asarray(mask).ravel() > 0
  num, num_raters = len(samples), len(valid)
  if not valid.any() or not counts.any():
    return dataclasses.replace(none(1), num_samples=np.asarray([num]))
  drawn = [np.asarray(one).ravel() >= 0.5 for one in samples]
  raters = np.asarray(rater_masks).reshape(-1, num_raters) > 0
  both = np.zeros((num + num_raters,) * 2)
  per_count = np.zeros((num_raters + 1, num + 1), np.int64)  # pixels in 0..S of the samples: all, of each rater
  for start in range(0, counts.size, _BLOCK):
    part = slice(start, start + _BLOCK)
    inside = counts[part]
    columns = np.stack([*(x[part][inside] for x in drawn), *(raters[part].T[:, inside] & valid[:, None])])
    both += columns.astype(np.float32) @ columns.astype(np.float32).T
    held = columns[:num].sum(0)
    per_count += np.stack([np.bincount(held[c], minlength=num + 1) for c in (slice(None), *columns[num:])])
  area = np.diagonal(both)
  distance = iou_distance(both, area[:, None], area[None, :])
  people = num + np.flatnonzero(valid)
  ged = 2 * distance[:num, people].mean() - distance[:num, :num].mean() - distance[np.ix_(people, people)].mean()
  sums = dataclasses.replace(
    no_sums(num_raters, 1),
    nested_count=per_count[None, 0],
    nested_rater=per_count[None, 1:],
    rater_valid=valid[None].astype(np.int64),
  )
  return SampleScores(np.asarray([ged]), image_ncc_nested(sums), np.asarray([num]))


METRICS = (
  Metric(
    key="ged",
    section="samples",
    needs="samples",
    formula=lambda tally: tally.mean(tally.images.samples.ged),
    image=lambda images: images.samples.ged,
    label="GED",
    hint="Distance of the maps, cut at 50 % and taken as samples, from the raters' masks; mean over images.",
    better="lower",
    decimals=3,
    missing=NO_ANSWER,
    definition="squared generalised energy distance of the maps of an image, cut at ½, and the raters' masks (Kohl et "
    "al., 2018); mean over images",
    extent="0–2",
    hides="probabilities; many alike masks help",
  ),
  Metric(
    key="ncc",
    section="samples",
    needs="samples",
    formula=lambda tally: tally.mean(tally.images.samples.ncc),
    image=lambda images: images.samples.ncc,
    label="NCC",
    hint="Do these masks differ where they miss a rater's mask? Correlation within an image; mean over images.",
    better="higher",
    decimals=3,
    missing="every mask agrees with every rater everywhere, or nobody answered",
    definition="correlation of the masks' disagreement with the error against a rater (Baumgartner et al., 2019); mean "
    "over raters, then images",
    extent="−1 to 1",
    hides="the size of the error",
  ),
)
