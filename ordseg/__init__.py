"""Segmentation networks whose probabilities say how much the raters disagree.

The pieces of the method, without training, files or programs; each is imported when it is first used:

>>> import numpy as np, ordseg
>>> masks = np.array([[[[1, 1, 0]]]])  # [B, H, W, R] = [1, 1, 1, 3]: two of three raters marked the pixel
>>> target = ordseg.encode(masks, rater_valid=np.ones((1, 3)))
>>> round(float(target.mean_vote[0, 0, 0]), 4)
0.6667
"""

import importlib
from typing import TYPE_CHECKING, Any

from ordseg.errors import extras, interrupts

__version__ = "0.1.0"

if TYPE_CHECKING:
  from ordseg import heads, losses, metrics, models, ordinal, recalibration
  from ordseg.evaluation import MultiRaterMetrics, score
  from ordseg.models.level_model import LevelModel
  from ordseg.ordinal import encode, read_out, thin
  from ordseg.prediction import load

__all__ = [
  "LevelModel",
  "MultiRaterMetrics",
  "__version__",
  "encode",
  "heads",
  "load",
  "losses",
  "metrics",
  "models",
  "ordinal",
  "read_out",
  "recalibration",
  "score",
  "thin",
]
# Where the names are that are no rooms: module, and name there.
_FRONT = {
  "LevelModel": ("ordseg.models.level_model", "LevelModel"),
  "MultiRaterMetrics": ("ordseg.evaluation", "MultiRaterMetrics"),
  "encode": ("ordseg.ordinal", "encode"),
  "load": ("ordseg.prediction", "load"),
  "read_out": ("ordseg.ordinal", "read_out"),
  "score": ("ordseg.evaluation", "score"),
  "thin": ("ordseg.ordinal", "thin"),
}


def __getattr__(name: str) -> Any:
  """Imports a piece when it is first used."""
  if name not in __all__:
    raise AttributeError(f"module 'ordseg' has no attribute {name!r}")
  module, attribute = _FRONT.get(name, (f"ordseg.{name}", ""))
  try:
    found = importlib.import_module(module)
  except ModuleNotFoundError as error:
    if not (line := extras.explain(error, f"ordseg.{name}")):
      raise
    raise ModuleNotFoundError(line, name=error.name) from error
  globals()[name] = found = getattr(found, attribute) if attribute else found
  return found


def __dir__() -> list[str]:
  return sorted(__all__)


if interrupts.is_program():  # before the slow imports
  interrupts.leave_at_once()


# `python -m ordseg.predict` and its kin, from before there was one command, are modules of this folder.
__path__.append(f"{__path__[0]}/cli/aliases")
