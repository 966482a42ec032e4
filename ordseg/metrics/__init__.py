"""Metrics as arithmetic on exact sums per image: `sums` counts, the other modules read the counts.

`surface` is apart: distances between outlines are no sums.
"""

from ordseg.metrics.cells import NUM_RANKS, rank_cell
from ordseg.metrics.gaps import GapBins, all_gaps
from ordseg.metrics.histogram import equal_mass_bins, equal_mass_curve, histogram_metrics, smooth_ece
from ordseg.metrics.nested import image_ged_nested, image_ncc_nested, nested_metrics
from ordseg.metrics.pooling import EVERY_IMAGE, Pool, Resamples, mean_of
from ordseg.metrics.region import Region
from ordseg.metrics.scores import (
  auc,
  dice,
  floor_metrics,
  image_metrics,
  image_rps,
  level_bins,
  level_metrics,
  majority_bins,
  rater_bins,
  rater_dice,
  read_out_metrics,
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
from ordseg.metrics.surface import SurfaceScores, image_surface, surface_metrics
from ordseg.metrics.top_label import image_ece_curvas, top_label_bins, top_label_curve, top_label_metrics

__all__ = [
  "AT_HALF",
  "EVERY_IMAGE",
  "NUM_RANKS",
  "PROB_EPSILON",
  "SOFT_DICE_TENTHS",
  "GapBins",
  "ImageSums",
  "Pool",
  "Region",
  "Resamples",
  "SurfaceScores",
  "add",
  "all_gaps",
  "auc",
  "concatenate",
  "dice",
  "empty",
  "equal_mass_bins",
  "equal_mass_curve",
  "floor_metrics",
  "histogram_metrics",
  "image_ece_curvas",
  "image_ged_nested",
  "image_metrics",
  "image_ncc_nested",
  "image_rps",
  "image_sums",
  "image_surface",
  "level_bins",
  "level_metrics",
  "majority_bins",
  "mean_of",
  "nested_metrics",
  "pooled_ranks",
  "rank_cell",
  "rater_bins",
  "rater_dice",
  "read_out_metrics",
  "smooth_ece",
  "surface_metrics",
  "to_host",
  "top_label_bins",
  "top_label_curve",
  "top_label_metrics",
  "vote_bins",
]
