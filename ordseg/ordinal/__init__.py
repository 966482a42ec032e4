"""From rater masks to ordered targets, and from level probabilities to read-outs (docs/method.md, sections 1, 2 and 5).

A read-out is the probability of some event "enough raters marked this pixel". Each one is a weighted sum of the level
probabilities with weights in [0, 1], which is why `read_out_weights`, `read_out` and `foreground_logit` serve the
majority, the mean vote, every "at least j", and all of these for a panel with missing raters.
"""

from ordseg.ordinal.read_outs import READ_OUTS, foreground_logit, log_weighted_sum, read_out, read_out_weights
from ordseg.ordinal.shapes import NumValid, as_num_valid, spread
from ordseg.ordinal.targets import (
  OrdinalTarget,
  count_votes,
  encode,
  level_cdf,
  level_tail,
  majority_label,
  mean_vote,
  target_cdf,
)
from ordseg.ordinal.thinning import (
  thin,
  thinned_cdf,
  thinned_log_prob_of,
  thinned_log_probs,
  thinned_majority_weights,
  thinned_weights,
  thinning_matrices,
)

__all__ = [
  "READ_OUTS",
  "NumValid",
  "OrdinalTarget",
  "as_num_valid",
  "count_votes",
  "encode",
  "foreground_logit",
  "level_cdf",
  "level_tail",
  "log_weighted_sum",
  "majority_label",
  "mean_vote",
  "read_out",
  "read_out_weights",
  "spread",
  "target_cdf",
  "thin",
  "thinned_cdf",
  "thinned_log_prob_of",
  "thinned_log_probs",
  "thinned_majority_weights",
  "thinned_weights",
  "thinning_matrices",
]
