"""Calibration of the label that is shown: is the mask right as often as its confidence max(p, 1 - p) says?

Right means: the rater's label. Averaged over raters within a case, it is the calibration error of the CURVAS challenge
(Riera-Marin et al., 2024), here of one organ against its background.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ordseg import ordinal
from ordseg.metrics import calibration
from ordseg.metrics.calibration import BinSums
from ordseg.metrics.pooling import EVERY_IMAGE, Pool, mean_of
from ordseg.metrics.sums import ImageSums


def top_label_bins(sums: ImageSums, read_out: str) -> BinSums:
  """Bins of confidence per image and rater [I, R, NUM_TOP_BINS], 0 where the rater did not answer.

  Bin b holds confidences in [(25 + b) / 50, (26 + b) / 50), the last one 1 too; its label is "the rater agrees".
  """
  o, valid = ordinal.READ_OUTS.index(read_out), sums.rater_valid[:, :, None]
  return BinSums.from_fixed(
    sums.top_count[:, o, None] * valid, sums.top_prob[:, o, None] * valid, sums.top_correct[:, o]
  )


def top_label_curve(sums: ImageSums, read_out: str) -> dict[str, list]:
  """Returns the reliability curve of the confidence over all pairs, as `calibration.curve` does; from 1/2 to 1."""
  curve = calibration.curve(top_label_bins(sums, read_out).pooled().pooled())
  return {**curve, "bin_edges": (0.5 + np.asarray(curve["bin_edges"]) / 2).tolist()}


def case_ece(bins: BinSums) -> np.ndarray:
  """Mean over the raters who answered of their own ECE, each rater counting the same.

  Args:
    bins: [..., R, K] of one case each.

  Returns:
    [...] float64; NaN where nobody answered.
  """
  return mean_of(calibration.ece(bins))


def image_ece_curvas(sums: ImageSums, read_out: str) -> np.ndarray:
  """Returns [I] `case_ece` with each image a case."""
  return case_ece(top_label_bins(sums, read_out))


def cases_of(groups: Sequence[str]) -> np.ndarray:
  """Returns [I] int, the number of the case that each image belongs to: its group; an image without one is alone."""
  names = [f"g{group}" if group else f"i{k}" for k, group in enumerate(groups)]
  return np.unique(names, return_inverse=True)[1] if names else np.zeros(0, np.int64)


def group_ece_curvas(bins: BinSums, groups: Sequence[str]) -> np.ndarray:
  """Returns [I] `case_ece` with each group a case, its pixels together: at the group's first image, else NaN.

  Args:
    bins: [I, R, K].
    groups: [I].
  """
  cases = cases_of(groups)
  num_cases = int(cases.max(initial=-1)) + 1
  merged = []
  for x in (bins.count, bins.prob_sum, bins.label_sum):
    total = np.zeros((num_cases, *x.shape[1:]), x.dtype)
    np.add.at(total, cases, x)
    merged.append(total)
  out = np.full(len(cases), np.nan)
  out[np.unique(cases, return_index=True)[1]] = case_ece(BinSums(*merged))
  return out


def top_label_metrics(
  sums: ImageSums, read_out: str, groups: Sequence[str], pool: Pool = EVERY_IMAGE
) -> dict[str, Any]:
  """Returns the top-label errors of a data set.

  Args:
    sums: of I images.
    read_out: one of `ordinal.READ_OUTS`.
    groups: [I]; images of one group, such as the slices of a volume, make one case.
    pool: of the images. One that can take a group apart has no ece_curvas_by_group worth the name.

  Returns:
    ece_top_label: over all pairs (pixel, rater who answered) at once.
    ece_curvas: `case_ece`, mean over images. ece_curvas_by_group: mean over groups, their pixels together.
  """
  bins = top_label_bins(sums, read_out)
  return {
    "ece_top_label": pool.plain(calibration.ece(pool.bins(bins.pooled(axis=1)))),
    "ece_curvas": pool.plain(pool.mean(case_ece(bins))),
    "ece_curvas_by_group": pool.plain(pool.mean(group_ece_curvas(bins, groups))),
  }
