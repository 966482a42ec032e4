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

from ordseg.errors import InputError
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
from ordseg.settings import Registry, Setting
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
  def default_head(self) -> str:
    """The head that it is compared with others on: of a binary loss, that of a binary model, as its name promises."""
    return "softmax" if self.needs_ordinal_head else "sigmoid"

  @property
  def hyper_parameters(self) -> dict[str, object]:
    """Names and defaults of the keyword-only arguments."""
    parameters = inspect.signature(self.fn).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _levels(fn: Callable[..., Array], summary: str, *, proper: bool = True) -> LossSpec:
  return LossSpec(fn, summary, needs_ordinal_head=True, proper=proper)


_ALL: dict[str, LossSpec] = {
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

_SETTINGS = {
  "alpha": Setting("weight of the RPS", ge=0),
  "divisor": Setting("of the RPS: levels n + 1, thresholds n, none 1", choices=DIVISORS),
  "binary_term": Setting("read-out of the cross-entropy", choices=BINARY_TERMS),
  "threshold_weights": Setting(
    "of 'at least 1' .. 'at least R': 1,2,2,1; '' is all alike", check=lambda text: "" * len(parse_weights(text))
  ),
  "dml_weight": Setting("weight of the Dice term", ge=0),
  "sord_scale": Setting("decay per level of distance", ge=0),
  "smoothing": Setting("share taken from the label", ge=0, le=1),
  "gamma": Setting("exponent", ge=0),
  "svls_sigma": Setting("of the 3 x 3 Gaussian, pixels", ge=1e-3),
  "margin": Setting("of the logit", ge=0),
  "penalty": Setting("its weight", ge=0),
  "ace_weight": Setting("weight of the calibration error", ge=0),
  "ace_bins": Setting("bins", ge=1),
  "dice_weight": Setting("weight of the Dice term; 0 leaves it out", ge=0),
}
LOSSES: Registry[LossSpec] = Registry("config.loss.name")
for _name, _spec in _ALL.items():
  _own = _spec.hyper_parameters
  LOSSES.add(_name, _spec, defaults=_own, settings={key: _SETTINGS[key] for key in _own})


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
  spec = LOSSES.find(name)
  if spec.needs_ordinal_head and not head.ordinal:
    raise InputError(
      f"config.loss.name={name!r} scores a distribution over levels, but config.model.head={head.name!r} gives one "
      f"probability per pixel. Use an ordinal head (softmax, coral, ...) or a binary loss (bce_soft, ...)."
    )
  return functools.partial(spec.fn, **LOSSES.choose(name, hyper_parameters))
