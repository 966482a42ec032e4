"""What calibration errors that are sums (or the largest) of absolute gaps are made of, image by image.

The errors themselves are computed in `scores`, `top_label` and `agreement`; their noise is computed from these signed
parts (`ordseg.statistics.noise`). A test holds the two together.
"""

import dataclasses

import numpy as np

from ordseg import ordinal
from ordseg.metrics import calibration
from ordseg.metrics.calibration import BinSums
from ordseg.metrics.pooling import EVERY_IMAGE, Pool, mean_of
from ordseg.metrics.scores import level_bins, majority_bins, rater_bins, vote_bins
from ordseg.metrics.sums import ImageSums
from ordseg.metrics.top_label import top_label_bins

NAMES = frozenset(
  {"mr_ece_pooled", "mr_ece_rater_mean", "ece_majority", "ace", "mce", "ece_top_label", "level_ece", "mr_ece"}
)  # in metrics.json; mr_ece is that of raters.leave_one_out
WEIGHTINGS = ("pooled", "rows", "bins", "worst")


@dataclasses.dataclass(frozen=True)
class GapBins:
  """Bins of each image, and how their gaps are put together.

  With D the sum of (probability - label) in a bin and C the pixels or pairs in it, both over the data set:

  - 'pooled': sum |D| / sum C, over all rows and bins;
  - 'rows': the same within each row (a rater, a level), mean over the rows that hold something;
  - 'bins': mean of |D| / C over the bins that hold something;
  - 'worst': the largest |D| / C.

  Attributes:
    bins: [I, ..., K]; axes between are rows.
    weighting: one of `WEIGHTINGS`.
  """

  bins: BinSums
  weighting: str

  def parts(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns D and C of each image, float64 [I, rows, K]."""
    signed = self.bins.prob_sum - self.bins.label_sum
    shape = (len(signed), -1, signed.shape[-1])
    return signed.reshape(shape), np.asarray(self.bins.count, np.float64).reshape(shape)

  def error(self, pool: Pool = EVERY_IMAGE) -> np.ndarray:
    """Returns the error, [...] float64 as `pool` has it; NaN without pixels."""
    bins = pool.bins(self.bins)
    if self.weighting == "bins":
      return calibration.ace(bins)
    if self.weighting == "worst":
      return calibration.mce(bins)
    if self.weighting == "rows":
      return mean_of(calibration.ece(bins))
    rows = self.bins.count.ndim - 2
    flat = [x.reshape(*x.shape[: x.ndim - 1 - rows], -1) for x in (bins.count, bins.prob_sum, bins.label_sum)]
    return calibration.ece(BinSums(*flat))


def read_out_gaps(sums: ImageSums, read_out: str) -> dict[str, GapBins]:
  """Returns the gaps of a read-out's calibration errors by their names in metrics.json."""
  votes = vote_bins(sums, read_out)
  return {
    "mr_ece_pooled": GapBins(votes, "pooled"),
    "mr_ece_rater_mean": GapBins(rater_bins(sums, read_out), "rows"),
    "ece_majority": GapBins(majority_bins(sums, read_out), "pooled"),
    "ace": GapBins(votes, "bins"),
    "mce": GapBins(votes, "worst"),
    "ece_top_label": GapBins(top_label_bins(sums, read_out).pooled(axis=1), "pooled"),
  }


def all_gaps(sums: ImageSums) -> dict[str, GapBins]:
  """Returns the gaps of every error of the predictor, by dotted path in metrics.json."""
  out = {
    f"read_outs.{name}.{key}": gaps for name in ordinal.READ_OUTS for key, gaps in read_out_gaps(sums, name).items()
  }
  return {**out, "levels.level_ece": GapBins(level_bins(sums), "rows")}
