"""How images are put together: all of them once, or in thousands of resamples at a time.

Every metric of a data set that can be resampled is written once, as arithmetic on the totals and means of a `Pool`.
"""

from typing import Any

import numpy as np

from ordseg.metrics.calibration import BinSums, ratio


def mean_of(values: np.ndarray) -> np.ndarray:
  """Returns the mean of what is not NaN along the last axis, [...] float64; NaN if nothing is left."""
  return ratio(np.nan_to_num(values).sum(-1), (~np.isnan(values)).sum(-1))


class Pool:
  """All images, each once."""

  def total(self, x: np.ndarray) -> np.ndarray:
    """Sums over images, [I, ...] -> [...]."""
    return x.sum(0)

  def mean(self, values: np.ndarray) -> np.ndarray:
    """Means over the images that have a value (are not NaN), [I, ...] -> [...] float64; NaN where none has."""
    has = ~np.isnan(values)
    both = self.total(np.stack([np.where(has, values, 0.0), has], axis=-1))
    return ratio(both[..., 0], both[..., 1])

  def bins(self, bins: BinSums) -> BinSums:
    """Sums bins over images."""
    return BinSums(self.total(bins.count), self.total(bins.prob_sum), self.total(bins.label_sum))

  def plain(self, value: np.ndarray) -> Any:
    """Returns a result as it goes into metrics.json: a float or lists of floats."""
    return np.asarray(value).tolist()


EVERY_IMAGE = Pool()


class Resamples(Pool):
  """S resamples of the images, or of groups of them; what `Pool` returns has a leading axis S here.

  Totals are products of weights and sums, which makes thousands of resamples a matrix product.
  """

  def __init__(self, weights: np.ndarray, unit: np.ndarray):
    """Makes a pool.

    Args:
      weights: [S, U], how often each unit counts.
      unit: [I] in 0..U-1, the unit that each image belongs to.
    """
    self._weights, self._unit = np.asarray(weights, np.float64), np.asarray(unit)
    self._alone = np.array_equal(self._unit, np.arange(self._weights.shape[1]))

  @property
  def weights(self) -> np.ndarray:
    """[S, U] float64, how often each unit counts."""
    return self._weights

  def total(self, x: np.ndarray) -> np.ndarray:
    """Sums over the images of each resample, [I, ...] -> [S, ...] float64."""
    columns = np.asarray(x, np.float64).reshape(len(self._unit), -1)
    if not self._alone:
      per_image, columns = columns, np.zeros((self._weights.shape[1], columns.shape[1]))
      np.add.at(columns, self._unit, per_image)
    return (self._weights @ columns).reshape(-1, *x.shape[1:])

  def plain(self, value: np.ndarray) -> Any:
    """Returns [S, ...] as it is."""
    return value
