"""Losses per pixel (docs/method.md, section 4). Nothing here reduces over pixels or images: the step does that, once.

Adding a loss is one function and one line in `LOSSES`. A loss takes a `Prediction` and an `OrdinalTarget` and, as
keyword-only arguments with defaults, its hyper-parameters, which are the fields of ``config.loss`` it reads. It
returns [B, H, W] float32. What it returns where `target.weight` is 0 must be finite and is otherwise ignored.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable

import numpy as np

from ordseg.errors import InputError, check_choice
from ordseg.heads import Head, Prediction
from ordseg.losses.binary import (
  bce_majority,
  bce_mean_vote,
  bce_staple,
  binary_cross_entropy,
  focal,
  label_smoothing,
  majority_logit,
  mbls,
  nacl,
  svls,
)
from ordseg.losses.hybrids import BINARY_TERMS, rps_bce, rps_bce_dml
from ordseg.losses.levels import DIVISORS, nll, rps, sa_rps, sord, squared_emd, w1
from ordseg.losses.ranked import parse_weights, ranked_ignorance
from ordseg.losses.regions import bce_dice, bce_ml1_ace, dice, dml
from ordseg.ordinal import OrdinalTarget, staple
from ordseg.types import Array

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
  "mbls",
  "nacl",
  "nll",
  "ranked_ignorance",
  "rps",
  "rps_bce",
  "rps_bce_dml",
  "sa_rps",
  "sord",
  "squared_emd",
  "svls",
  "w1",
]

LossFn = Callable[[Prediction, OrdinalTarget], Array]
LabelWeights = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class LossSpec:
  """A registry line.

  Attributes:
    fn: the loss; keyword-only arguments are its hyper-parameters.
    summary: one line for people.
    needs_ordinal_head: whether heads with one probability per pixel are refused.
    proper: whether the true distribution of the read-out it trains minimises it in expectation.
    for_volumes: False where the loss looks at a pixel's neighbours, which it knows within an image only.
    label_weights: (rater_masks [H, W, R], rater_valid [R]) -> [R + 1] float32, estimated from a whole image before it
      is cropped; it comes back as `OrdinalTarget.label_weights`. None: the loss needs no such estimate.
  """

  fn: Callable[..., Array]
  summary: str
  needs_ordinal_head: bool = False
  proper: bool = True
  for_volumes: bool = True
  label_weights: LabelWeights | None = None

  @property
  def hyper_parameters(self) -> dict[str, object]:
    """Names and defaults of the keyword-only arguments."""
    parameters = inspect.signature(self.fn).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _levels(fn: Callable[..., Array], summary: str, *, proper: bool = True) -> LossSpec:
  return LossSpec(fn, summary, needs_ordinal_head=True, proper=proper)


LOSSES: dict[str, LossSpec] = {
  "rps_bce": _levels(rps_bce, "majority cross-entropy + alpha RPS (the paper's hybrid)"),
  "rps": _levels(rps, "Ranked Probability Score alone"),
  "rps_bce_dml": _levels(rps_bce_dml, "the hybrid + a soft-label Dice term", proper=False),
  "nll": _levels(nll, "likelihood of the count under the head; nominal cross-entropy with softmax"),
  "ranked_ignorance": _levels(ranked_ignorance, "mean log score of 'at least j': a logarithmic RPS"),
  "squared_emd": _levels(squared_emd, "squared earth mover's distance: the RPS by another name"),
  "sord": _levels(sord, "cross-entropy against levels softened by distance", proper=False),
  "w1": _levels(w1, "Wasserstein-1: a negative control", proper=False),
  "sa_rps": _levels(sa_rps, "squared absolute RPS: a negative control", proper=False),
  "bce_majority": LossSpec(bce_majority, "cross-entropy against the majority vote, the usual baseline"),
  "bce_soft": LossSpec(bce_mean_vote, "cross-entropy against the share of votes (soft labels)"),
  "bce_staple": LossSpec(
    bce_staple, "cross-entropy against the STAPLE estimate", proper=False, label_weights=staple.label_weights
  ),
  "bce_dice": LossSpec(bce_dice, "cross-entropy + Dice on the majority", proper=False),
  "bce_ml1_ace": LossSpec(bce_ml1_ace, "cross-entropy + Dice + calibration error within the image", proper=False),
  "dml": LossSpec(dml, "Dice semimetric loss on the share of votes", proper=False),
  "label_smoothing": LossSpec(label_smoothing, "cross-entropy against smoothed labels", proper=False),
  "svls": LossSpec(svls, "label smoothing near outlines", proper=False, for_volumes=False),
  "focal": LossSpec(focal, "focal loss", proper=False),
  "mbls": LossSpec(mbls, "cross-entropy + a margin on the logits", proper=False),
  "nacl": LossSpec(nacl, "cross-entropy + logits near the neighbourhood's labels", proper=False, for_volumes=False),
}

# Allowed values of hyper-parameters that are words, and lower bounds of those that are numbers.
_CHOICES = {"divisor": DIVISORS, "binary_term": BINARY_TERMS}
_AT_LEAST = {"alpha": 0.0, "dml_weight": 0.0, "sord_scale": 0.0, "smoothing": 0.0, "gamma": 0.0, "margin": 0.0}
_AT_LEAST |= {"penalty": 0.0, "ace_weight": 0.0, "ace_bins": 1, "dice_weight": 0.0, "svls_sigma": 1e-3}


def get_loss(name: str, head: Head, hyper_parameters: dict[str, object]) -> LossFn:
  """Builds a loss from the fields of ``config.loss``.

  Args:
    name: a key of `LOSSES`.
    head: the head it will be used with.
    hyper_parameters: field -> value. A field the loss does not read must be left at its default.

  Returns:
    (prediction, target) -> [B, H, W].

  Raises:
    InputError: unknown loss, a value out of range, a head that does not fit, or a field changed without effect.
  """
  check_choice(name, LOSSES, field="config.loss.name")
  spec = LOSSES[name]
  if spec.needs_ordinal_head and not head.ordinal:
    raise InputError(
      f"config.loss.name={name!r} scores a distribution over levels, but config.model.head={head.name!r} gives one "
      f"probability per pixel. Use an ordinal head (softmax, coral, ...) or a binary loss (bce_soft, ...)."
    )
  own = spec.hyper_parameters
  known: dict[str, object] = {}
  for other in LOSSES.values():
    known.update(other.hyper_parameters)
  chosen = {}
  for field, value in hyper_parameters.items():
    check_choice(field, known, field="a field of config.loss")
    if field in _CHOICES:
      check_choice(str(value), _CHOICES[field], field=f"config.loss.{field}")
    low = _AT_LEAST.get(field)
    if low is not None and not (isinstance(value, int | float) and value >= low):
      raise InputError(f"config.loss.{field}={value!r} must be a number >= {low:g}.")
    if field == "threshold_weights":
      parse_weights(str(value))
    if field in own:
      chosen[field] = value
    elif value != known[field]:
      raise InputError(f"config.loss.{field}={value!r} has no effect on config.loss.name={name!r}: leave it out.")
  return functools.partial(spec.fn, **chosen)
