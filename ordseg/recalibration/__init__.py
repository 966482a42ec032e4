"""Recalibration: maps from one distribution over the levels to another, fitted on the votes of a validation split.

One interface: log_level_probs [..., L] in, log_level_probs [..., L] out, whatever the head; so every read-out, metric and
picture works afterwards. `METHODS` are the maps, `fit` finds their parameters, `read` loads a fitted one.
docs/recalibration.md.
"""

from ordseg.recalibration.fitting import OBJECTIVES, Fit, Sample, check_fits, fit
from ordseg.recalibration.maps import METHODS, Method, Parameter, Recalibration, from_plain, read
from ordseg.recalibration.tilting import mean_vote_logit, tilt

__all__ = [
  "METHODS",
  "OBJECTIVES",
  "Fit",
  "Method",
  "Parameter",
  "Recalibration",
  "Sample",
  "check_fits",
  "fit",
  "from_plain",
  "mean_vote_logit",
  "read",
  "tilt",
]
