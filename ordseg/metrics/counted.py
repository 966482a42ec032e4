"""What was counted of one predictor on a data set, and every number of it."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ordseg import ordinal
from ordseg.metrics import catalogue as catalogue  # every metric is registered
from ordseg.metrics import registry
from ordseg.metrics.gaps import GapBins
from ordseg.metrics.pooling import EVERY_IMAGE, Pool, Resamples
from ordseg.metrics.registry import Images
from ordseg.metrics.samples import SampleScores
from ordseg.metrics.sums import ImageSums
from ordseg.metrics.surface import SurfaceScores


@dataclasses.dataclass(frozen=True)
class Scores:
  """What was counted of one predictor.

  Attributes:
    sums: of I images.
    ranks: [2, NUM_RANKS, 5] int64, pooled over them, see `metrics.pooled_ranks`; None leaves out what needs it.
    surface: of I images, None where outlines were not asked for.
    has_levels: whether the predictor said how many raters mark a pixel. One that gave a probability of the foreground
      alone has no number of the levels, and no majority.
    samples: of I images, None where there is one map of each.
  """

  sums: ImageSums
  ranks: np.ndarray | None = None
  surface: SurfaceScores | None = None
  has_levels: bool = True
  samples: SampleScores | None = None

  @property
  def num_bins(self) -> int:
    """Bins of the calibration errors."""
    return self.sums.bin_count.shape[-1]

  @property
  def read_outs(self) -> tuple[str, ...]:
    """The read-outs that can be scored."""
    return ordinal.READ_OUTS if self.has_levels else ("mean_vote",)

  def metrics(self, groups: Sequence[str], pool: Pool = EVERY_IMAGE) -> dict[str, Any]:
    """Returns read_outs.<name>.<metric> and levels.<metric>.

    Args:
      groups: [I], '' for an image that belongs to none; a group is one case.
      pool: How the images are put together.
    """
    return self._metrics(groups, pool, with_ranks=True)

  def panel(self, pool: Pool = EVERY_IMAGE) -> dict[str, Any]:
    """Returns floors.<metric>, constant.<metric> and raters.<metric>: of the votes, not of the predictor."""
    images = self.images("", ())
    out = {section: registry.numbers(section, images, pool) for section in ("floors", "constant", "raters")}
    for section in ("leave_one_out", "each"):
      out["raters"][section] = registry.numbers(f"raters.{section}", images, pool)
    return out

  def resampled(self, groups: Sequence[str], pool: Resamples, *, panel: bool = True) -> dict[str, np.ndarray]:
    """Returns every number of `metrics` and `panel` in each resample, by dotted path, [S] each.

    What needs the pooled ranks, and lists and matrices, are left out.

    Args:
      groups: [I].
      pool: S resamples.
      panel: whether to include `panel`.
    """
    tree = self._metrics(groups, pool, with_ranks=False)
    return _columns({**tree, **self.panel(pool)} if panel else tree)

  def gap_bins(self, *, panel: bool = True) -> dict[str, GapBins]:
    """Returns bins per image of each number of `resampled` that is made of absolute gaps, by dotted path."""
    sections = [("read_outs", f"read_outs.{name}", name) for name in self.read_outs]
    sections += [("levels", "levels", "")] if self.has_levels else []
    sections += [("raters.leave_one_out", "raters.leave_one_out", "")] if panel else []
    return {
      f"{prefix}.{key}": gaps
      for section, prefix, name in sections
      for key, gaps in registry.gap_bins(section, self.images(name, ())).items()
    }

  def images(self, read_out: str, groups: Sequence[str]) -> Images:
    """Returns what formulas read, kept between calls so that resamples share what is derived from single images.

    Args:
      read_out: one of `read_outs`, or ''.
      groups: [I]; empty where none is asked for.
    """
    if read_out not in self._images:
      ranks = self.ranks[ordinal.READ_OUTS.index(read_out)] if self.ranks is not None and read_out else None
      self._images[read_out] = Images(self.sums, read_out, ranks=ranks, surface=self.surface, samples=self.samples)
    return self._images[read_out].grouped(groups) if groups else self._images[read_out]

  @functools.cached_property
  def _images(self) -> dict[str, Images]:
    return {}

  def _metrics(self, groups: Sequence[str], pool: Pool, *, with_ranks: bool) -> dict[str, Any]:
    def numbers(section: str, read_out: str) -> dict[str, Any]:
      return registry.numbers(section, self.images(read_out, groups), pool, with_ranks=with_ranks)

    out: dict[str, Any] = {"read_outs": {name: numbers("read_outs", name) for name in self.read_outs}}
    out |= {"levels": numbers("levels", "")} if self.has_levels else {}
    return out | ({"samples": numbers("samples", "")} if self.samples is not None else {})


def _columns(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
  out: dict[str, np.ndarray] = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      out |= _columns(value, f"{prefix}{name}.")
    elif np.ndim(value) == 1:
      out[prefix + name] = value
  return out
