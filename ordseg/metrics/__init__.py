"""Metrics as arithmetic on exact sums per image: `sums` counts, the other modules read the counts.

Every number is declared once, a `Metric` of the `METRICS` (`registry`); `Scores` computes all of them from what was
counted. `surface` is apart: distances between outlines are no sums.
"""

from ordseg.metrics.calibration import mr_ece
from ordseg.metrics.cells import NUM_RANKS, rank_cell
from ordseg.metrics.counted import Scores
from ordseg.metrics.gaps import GapBins
from ordseg.metrics.histogram import equal_mass_bins, equal_mass_curve, smooth_ece
from ordseg.metrics.masks import predicted_pixels
from ordseg.metrics.nested import image_ged_nested, image_ncc_nested
from ordseg.metrics.pooling import EVERY_IMAGE, Pool, Resamples, mean_of
from ordseg.metrics.region import Region
from ordseg.metrics.registry import (
  METRICS,
  Column,
  Images,
  Metric,
  Tally,
  counterpart,
  find,
  image_values,
  known,
  numbers,
  register,
  select,
)
from ordseg.metrics.samples import SampleScores, image_samples
from ordseg.metrics.scores import (
  auc,
  dice,
  image_metrics,
  image_rps,
  level_bins,
  majority_bins,
  rater_bins,
  rater_dice,
  vote_bins,
)
from ordseg.metrics.sums import (
  AT_HALF,
  PROB_EPSILON,
  SOFT_DICE_TENTHS,
  ImageSums,
  add,
  concatenate,
  empty,
  image_sums,
  pooled_ranks,
  to_host,
)
from ordseg.metrics.surface import SurfaceScores, image_surface
from ordseg.metrics.top_label import image_ece_curvas, top_label_bins, top_label_curve

__all__ = [
  "AT_HALF",
  "EVERY_IMAGE",
  "METRICS",
  "NUM_RANKS",
  "PROB_EPSILON",
  "SOFT_DICE_TENTHS",
  "Column",
  "GapBins",
  "ImageSums",
  "Images",
  "Metric",
  "Pool",
  "Region",
  "Resamples",
  "SampleScores",
  "Scores",
  "SurfaceScores",
  "Tally",
  "add",
  "auc",
  "concatenate",
  "counterpart",
  "dice",
  "empty",
  "equal_mass_bins",
  "equal_mass_curve",
  "find",
  "image_ece_curvas",
  "image_ged_nested",
  "image_metrics",
  "image_ncc_nested",
  "image_rps",
  "image_samples",
  "image_sums",
  "image_surface",
  "image_values",
  "known",
  "level_bins",
  "majority_bins",
  "mean_of",
  "mr_ece",
  "numbers",
  "pooled_ranks",
  "predicted_pixels",
  "rank_cell",
  "rater_bins",
  "rater_dice",
  "register",
  "select",
  "smooth_ece",
  "to_host",
  "top_label_bins",
  "top_label_curve",
  "vote_bins",
]
