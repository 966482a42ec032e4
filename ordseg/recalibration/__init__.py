"""Recalibration: maps from one distribution over the levels to another, fitted on the votes of a validation split.

One interface: log_level_probs [..., L] in, log_level_probs [..., L] out, whatever the head; so every read-out, metric
and picture works afterwards. `fit` finds a map for arrays and `apply` applies it; `METHODS` are the maps. For data sets
`Sampler` draws pixels, `fit_sample` finds parameters on some of them and `check` scores the map on others; `judge`
tells by cross-validation over images whether it is to be kept; `read` loads a fitted map. docs/recalibration.md.
"""

from ordseg.recalibration.arrays import apply, fit
from ordseg.recalibration.fitting import LOSSES, Check, Fit, check, fit_sample, has_every_level
from ordseg.recalibration.judging import Judgement, judge
from ordseg.recalibration.maps import METHODS, NONE, Method, Parameter, Recalibration, from_plain, identity, read
from ordseg.recalibration.sampling import Sample, Sampler
from ordseg.recalibration.tilting import mean_vote_logit, tilt

AUTO = "auto"  # stands for the method that cross-validation chose, or none

__all__ = [
  "AUTO",
  "LOSSES",
  "METHODS",
  "NONE",
  "Check",
  "Fit",
  "Judgement",
  "Method",
  "Parameter",
  "Recalibration",
  "Sample",
  "Sampler",
  "apply",
  "check",
  "fit",
  "fit_sample",
  "from_plain",
  "has_every_level",
  "identity",
  "judge",
  "mean_vote_logit",
  "read",
  "tilt",
]
