"""How large is it, and how sure is that: areas and volumes from the nested masks."""

import dataclasses

import numpy as np

from ordseg.ordinal import read_out
from ordseg.prediction import maps


@dataclasses.dataclass
class Extent:
  """Counts pixels while pages come by.

  The area by the majority lies between that of what all raters would mark and that of what anyone would: the masks
  "at least j raters, more likely than not" are nested.

  Attributes:
    pixels: of the image so far.
    majority: pixels of the mask.
    anybody: pixels that at least one rater marks, more likely than not.
    everybody: the same of all R raters.
    expected: sum of the mean vote: the size that a rater drawn from the panel would outline, on average.
  """

  pixels: int = 0
  majority: int = 0
  anybody: int = 0
  everybody: int = 0
  expected: float = 0.0

  def add(self, level_probs: np.ndarray) -> None:
    """Counts a page or a strip of one, [..., L]."""
    num_raters = level_probs.shape[-1] - 1
    self.pixels += level_probs[..., 0].size
    self.majority += int(maps.mask(level_probs).sum())
    self.anybody += int((read_out(level_probs, "at_least_1") >= 0.5).sum())
    self.everybody += int((read_out(level_probs, f"at_least_{num_raters}") >= 0.5).sum())
    self.expected += float(read_out(level_probs, "mean_vote").sum(dtype=np.float64))

  def measures(self, spacing: tuple[float, float, float], num_pages: int) -> dict[str, float | str]:
    """Returns size, size_low, size_high, size_expected and their unit.

    Args:
      spacing: mm along pages, rows, columns; 0 = unknown.
      num_pages: one page is an area, several are a volume.
    """
    unit, scale = "pixels", 1.0
    if num_pages > 1 and all(spacing):
      unit, scale = "ml", float(np.prod(spacing)) / 1000
    elif num_pages == 1 and all(spacing[1:]):
      unit, scale = "mm2", spacing[1] * spacing[2]
    return {
      "size": self.majority * scale,
      "size_low": self.everybody * scale,
      "size_high": self.anybody * scale,
      "size_expected": self.expected * scale,
      "unit": unit,
    }
