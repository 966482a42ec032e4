"""Losses per pixel (docs/method.md, section 4). Nothing here reduces over pixels or images: the step does that, once.

    losses.rps(log_probs, votes, num_valid=None, *, divisor="levels")

takes log-probabilities of the levels [*b, L] and votes [*b], whatever the axes b are, and returns [*b] float32. In
training the arguments are read from the batch's `OrdinalTarget`; what a loss returns where its `weight` is 0 must be
finite and is otherwise ignored.

Adding a loss is one function under `register`, in a module that is imported here: arguments that can be given by
position are attributes of `OrdinalTarget`, keyword-only ones with defaults become fields of ``config.loss``, whose
bounds and help stand in the decorator.
"""

from ordseg.losses.binary import (
  bce_majority,
  bce_mean_vote,
  bce_staple,
  binary_cross_entropy,
  focal,
  label_smoothing,
  majority_logit,
  mbls,
)
from ordseg.losses.contrib.controls import sa_rps, w1
from ordseg.losses.hybrids import BINARY_TERMS, rps_bce, rps_bce_dml
from ordseg.losses.levels import DIVISORS, nll, rps, sord, squared_emd
from ordseg.losses.neighbours import nacl, svls
from ordseg.losses.ranked import ranked_ignorance
from ordseg.losses.regions import bce_dice, bce_ml1_ace, dice, dml
from ordseg.losses.registry import LOSSES, LossFn, LossSpec, get_loss, markdown_table, register

__all__ = [
  "BINARY_TERMS",
  "DIVISORS",
  "LOSSES",
  "LossFn",
  "LossSpec",
  "bce_dice",
  "bce_majority",
  "bce_mean_vote",
  "bce_ml1_ace",
  "bce_staple",
  "binary_cross_entropy",
  "dice",
  "dml",
  "focal",
  "get_loss",
  "label_smoothing",
  "majority_logit",
  "markdown_table",
  "mbls",
  "nacl",
  "nll",
  "ranked_ignorance",
  "register",
  "rps",
  "rps_bce",
  "rps_bce_dml",
  "sa_rps",
  "sord",
  "squared_emd",
  "svls",
  "w1",
]
