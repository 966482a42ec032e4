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
from ordseg.metrics.gaps import GapBins
from ordseg.metrics.pooling import mean_of
from ordseg.metrics.registry import Metric
from ordseg.metrics.sums import ImageSums
from ordseg.metrics.votes import NO_ANSWER


def top_label_bins(sums: ImageSums, read_out: str) -> BinSums:
  """Bins of confidence per image and rater [I, R, NUM_TOP_BINS], 0 where the rater did not answer.

  Bin b holds confidences in [(25 + b) / 50, (26 + b) / 50), the last one 1 too; its label is "the rater agrees".
  """
  o, valid = ordinal.READ_OUTS.index(read_out), sums.rater_valid[:, :, None]
  return BinSums.from_fixed(
    sums.top_count[:, o, None] * valid, sums.top_prob[:, o, None] * valid, sums.top_correct[:, o]
  )


def rater_top_label_bins(sums: ImageSums, read_out: str) -> BinSums:
  """The same [I, NUM_TOP_BINS] over all raters of an image."""
  return top_label_bins(sums, read_out).pooled(axis=1)


def top_label_curve(sums: ImageSums, read_out: str) -> dict[str, list[Any]]:
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
  merged: list[np.ndarray] = []
  for x in (bins.count, bins.prob_sum, bins.label_sum):
    total = np.zeros((num_cases, *x.shape[1:]), x.dtype)
    np.add.at(total, cases, x)
    merged.append(total)
  out = np.full(len(cases), np.nan)
  out[np.unique(cases, return_index=True)[1]] = case_ece(BinSums(*merged))
  return out


METRICS = (
  Metric(
    key="ece_top_label",
    section="read_outs",
    gaps=lambda images: GapBins(images.of(rater_top_label_bins), "pooled"),
    label="ECE, top label",
    hint="Gap between how sure the mask is and how often a rater agrees with it; mean over all pixels.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    definition="ECE of the confidence max(p, 1 − p) against “the rater's label is that of the mask p ≥ ½”, 50 bins",
    extent="0–1",
    hides="that over- and under-segmentation cancel",
  ),
  Metric(
    key="ece_curvas",
    section="read_outs",
    formula=lambda tally: tally.mean(tally.images.of(image_ece_curvas)),
    image=lambda images: images.of(image_ece_curvas),
    label="ECE as in CURVAS",
    hint="The same to one rater at a time within one image; mean over raters, then over images.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    definition="the same per image and rater; mean over raters, then images",
    extent="0–1",
    hides="that a calibrated share of votes is penalised; that small cases are biased upwards",
  ),
  Metric(
    key="ece_curvas_by_group",
    section="read_outs",
    # A pool that takes a group apart has no number worth the name.
    formula=lambda tally: tally.mean(group_ece_curvas(tally.images.of(top_label_bins), tally.images.groups)),
    label="ECE as in CURVAS, groups",
    hint="The same within one group, such as all slices of a volume; mean over groups.",
    better="lower",
    missing=NO_ANSWER,
    table="votes",
    definition="the same per group (patient) and rater; mean over raters, then groups",
    extent="0–1",
    hides="that a calibrated share of votes is penalised",
  ),
)
