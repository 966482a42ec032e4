"""What calibration errors that are sums (or the largest) of absolute gaps are made of, image by image.

The errors are put together here, in the data set and in resamples of it, and their noise is computed from the same
signed parts (`ordseg.statistics.noise`).
"""

import dataclasses

import numpy as np

from ordseg.metrics import calibration
from ordseg.metrics.calibration import BinSums
from ordseg.metrics.pooling import EVERY_IMAGE, Pool, mean_of

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
    return self.join(pool.bins(self.bins))

  def join(self, bins: BinSums) -> np.ndarray:
    """Returns the error [...] of what a pool made of `bins`, whose axis of images is one of resamples or gone."""
    if self.weighting == "bins":
      return calibration.ace(bins)
    if self.weighting == "worst":
      return calibration.mce(bins)
    if self.weighting == "rows":
      return mean_of(calibration.ece(bins))
    rows = self.bins.count.ndim - 2
    flat = [x.reshape(*x.shape[: x.ndim - 1 - rows], -1) for x in (bins.count, bins.prob_sum, bins.label_sum)]
    return calibration.ece(BinSums(*flat))
