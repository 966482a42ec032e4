"""Scores of the predicted nested masks as samples: generalised energy distance and normalised cross-correlation.

A count model draws no masks. What it does say is a stack of R masks, mask j where P(c >= j) >= 1/2, each inside the one
before. Taken as R samples of equal weight they can be set against the raters' masks with the metrics of generative
models, but they are no samples: nested masks cannot show two readings that exclude each other. Hence the name.
"""

import numpy as np

from ordseg.metrics.calibration import ratio
from ordseg.metrics.pooling import mean_of
from ordseg.metrics.registry import Metric
from ordseg.metrics.sums import ImageSums
from ordseg.metrics.votes import NO_ANSWER


def iou_distance(overlap: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns 1 - IoU from counts; 0 where both masks are empty."""
  return 1.0 - np.where(a + b > 0, ratio(overlap, a + b - overlap), 1.0)


def image_ged_nested(sums: ImageSums) -> np.ndarray:
  """Returns [I] the squared generalised energy distance 2 E d(S, Y) - E d(S, S') - E d(Y, Y').

  NaN where nobody answered. S is one of the R nested masks, Y one of the masks of the raters who answered, d = 1 - IoU;
  every pair counts, a mask with itself too (Szekely, Rizzo, 2013; for segmentations Kohl et al., NeurIPS 2018).
  """
  counts, marked = sums.nested_count[:, 1:], sums.nested_rater[:, :, 1:]
  area = np.flip(np.cumsum(np.flip(counts, -1), -1), -1)  # [I, R], by j
  overlap = np.flip(np.cumsum(np.flip(marked, -1), -1), -1)  # [I, raters, j]
  inner = np.minimum(area[:, :, None], area[:, None, :])  # of two nested masks, the smaller one
  rater = np.diagonal(sums.both_marked, axis1=1, axis2=2)
  valid = (sums.rater_valid > 0) & (sums.num_pixels > 0)[:, None]
  cross = iou_distance(overlap, rater[:, :, None], area[:, None, :]).mean(-1)
  samples = iou_distance(inner, area[:, :, None], area[:, None, :]).mean((1, 2))
  raters = iou_distance(sums.both_marked, rater[:, :, None], rater[:, None, :])
  pairs = valid[:, :, None] & valid[:, None, :]
  between = ratio((cross * valid).sum(-1), valid.sum(-1))
  return 2 * between - samples - ratio((raters * pairs).sum((1, 2)), pairs.sum((1, 2)))


def image_ncc_nested(sums: ImageSums) -> np.ndarray:
  """Returns [I] the correlation of the predicted disagreement with the error against a rater, mean over raters.

  Over the pixels of an image, m the share of the nested masks that hold the pixel: the correlation of m (1 - m) with
  |m - y_r|. These are, up to a factor, the mean cross-entropies of the masks with their mean and with rater r, so this
  is the NCC of Baumgartner et al. (MICCAI 2019) for masks that are 0 or 1.

  0 where the masks are all the same but not the rater's: no disagreement was predicted. NaN where the error is the same
  everywhere (masks and rater agree in every pixel), and where nobody answered.
  """
  num_levels = sums.nested_count.shape[-1]
  k, R = np.arange(num_levels), num_levels - 1
  marked = sums.nested_rater  # [I, R, L]
  unmarked = (sums.nested_count[:, None] - marked) * (sums.rater_valid[:, :, None] > 0)
  weight = np.stack([unmarked, marked], -1).astype(np.float64)  # [I, R, L, 2]
  # In integers, times R: constant values have a variance of exactly 0.
  uncertainty = np.stack([k * (R - k)] * 2, -1).astype(np.float64)
  error = np.stack([k, R - k], -1).astype(np.float64)

  def mean(values: np.ndarray) -> np.ndarray:
    return ratio((weight * values).sum((-2, -1)), weight.sum((-2, -1)))[..., None, None]

  u, e = uncertainty - mean(uncertainty), error - mean(error)
  var_u, var_e, cov = (mean(x)[..., 0, 0] for x in (u * u, e * e, u * e))
  scores = np.where(var_e > 0, np.nan_to_num(ratio(cov, np.sqrt(var_u * var_e))), np.nan)
  return mean_of(scores)


METRICS = (
  Metric(
    key="ged_nested",
    section="levels",
    formula=lambda tally: tally.mean(tally.images.of(image_ged_nested)),
    image=lambda images: images.of(image_ged_nested),
    label="GED, nested masks",
    hint="Distance of the masks “at least j raters”, taken as samples, from the raters' masks; mean over images.",
    better="lower",
    decimals=3,
    missing=NO_ANSWER,
    definition="squared generalised energy distance of the nested masks and the raters', see below; mean over images",
    extent="0–2",
    hides="probabilities; many alike masks help",
  ),
  Metric(
    key="ncc_nested",
    section="levels",
    formula=lambda tally: tally.mean(tally.images.of(image_ncc_nested)),
    image=lambda images: images.of(image_ncc_nested),
    label="NCC, nested masks",
    hint="Do these masks differ where they miss a rater's mask? Correlation within an image; mean over images.",
    better="higher",
    decimals=3,
    missing="every mask agrees with every rater everywhere, or nobody answered",
    definition="correlation of the nested masks' disagreement with the error against a rater, see below; mean over "
    "raters, then images",
    extent="−1 to 1",
    hides="the size of the error",
  ),
)
