"""What the section ``config.eval`` means to an evaluation."""

from typing import TypedDict

from ordseg import models
from ordseg.config import Config, Eval
from ordseg.metrics import Region
from ordseg.models.sliding_window import Windows


class Options(TypedDict):
  """What `evaluator.evaluate` takes from the config."""

  num_bins: int
  region: Region
  surface_tolerance: float | None


def options(section: Eval) -> Options:
  """Returns what is counted, and where."""
  return {
    "num_bins": section.num_bins,
    "region": Region(section.roi, section.roi_margin),
    "surface_tolerance": section.surface_tolerance if section.surface else None,
  }


def windows(config: Config) -> Windows:
  """Returns the windows of ``config.eval``, aligned with what the network halves."""
  section = config.eval
  multiples = models.size_multiples(config.model)
  return Windows(size=section.window, slices=section.window_slices, overlap=section.overlap, multiples=multiples)
