"""Recalibration: maps from one distribution over the levels to another, fitted on the votes of a validation split.

One interface: log_level_probs [..., L] in, log_level_probs [..., L] out, whatever the head; so every read-out, metric
and picture works afterwards. `METHODS` are the maps; `Sampler` draws pixels, `fit` finds parameters on some of them and
`check` scores the map on others; `read` loads a fitted map. docs/recalibration.md.
"""

from ordseg.recalibration.fitting import LOSSES, Check, Fit, check, fit
from ordseg.recalibration.maps import METHODS, Method, Parameter, Recalibration, from_plain, identity, read
from ordseg.recalibration.sampling import Sample, Sampler
from ordseg.recalibration.tilting import mean_vote_logit, tilt

__all__ = [
  "LOSSES",
  "METHODS",
  "Check",
  "Fit",
  "Method",
  "Parameter",
  "Recalibration",
  "Sample",
  "Sampler",
  "check",
  "fit",
  "from_plain",
  "identity",
  "mean_vote_logit",
  "read",
  "tilt",
]
