"""Losses per pixel (docs/method.md, section 4). Nothing here reduces over pixels or images: the step does that, once.

Adding a loss is one function and one line in `LOSSES`. A loss takes a `Prediction` and an `OrdinalTarget` and, as
keyword-only arguments with defaults, its hyper-parameters, which are the fields of ``config.loss`` it reads. It
returns [B, H, W] float32. What it returns where `target.weight` is 0 must be finite and is otherwise ignored.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ordseg import ordinal
from ordseg.heads import Head, Prediction
from ordseg.ordinal import OrdinalTarget
from ordseg.types import Array
from ordseg.validate import InputError, check_choice

LossFn = Callable[[Prediction, OrdinalTarget], Array]

DIVISORS = ("levels", "thresholds", "none")
BINARY_TERMS = ("majority", "mean_vote")


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
  """Element-wise cross-entropy of Bernoulli(sigmoid(logits)) against labels in [0, 1], in nats; any equal shapes."""
  return jax.nn.softplus(logits) - labels * logits


def rps(prediction: Prediction, target: OrdinalTarget, *, divisor: str = "levels") -> Array:
  """Ranked Probability Score: sum_{j=0..n} (P_j - F_j)^2 / divisor (Epstein 1969), of the prediction thinned to n.

  Where n < R raters answered, the full-panel prediction is thinned to n raters first (hypergeometric), so that the
  score stays strictly proper for what was observed and nothing is imputed.

  Args:
    prediction: any head's.
    target: [B, H, W].
    divisor: ``levels`` n + 1 (the paper's, as a public re-implementation has it), ``thresholds`` n (then one rater
      gives the Brier score), or ``none`` 1.

  Returns:
    [B, H, W] float32, 0 where n = 0.
  """
  n = target.num_valid
  cdf = ordinal.thinned_cdf(prediction.level_probs, n)
  difference = cdf - ordinal.target_cdf(target.vote_counts, cdf.shape[-1])
  score = jnp.sum(jnp.square(difference), axis=-1)
  if divisor == "none":
    return score
  terms = jnp.maximum(n + 1 if divisor == "levels" else n, 1)
  return score / terms.astype(jnp.float32)[:, None, None]


def bce_majority(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Cross-entropy of the `majority` read-out, thinned to the raters that answered, against 1[c >= n / 2]."""
  weights = ordinal.thinned_majority_weights(target.num_valid, target.num_raters)
  return binary_cross_entropy(ordinal.foreground_logit(prediction.log_level_probs, weights), target.majority)


def bce_mean_vote(prediction: Prediction, target: OrdinalTarget) -> Array:
  """Cross-entropy of the `mean_vote` read-out against the share of votes m (soft labels); thinning keeps the mean."""
  weights = ordinal.read_out_weights("mean_vote", target.num_raters)
  return binary_cross_entropy(ordinal.foreground_logit(prediction.log_level_probs, weights), target.mean_vote)


def rps_bce(
  prediction: Prediction,
  target: OrdinalTarget,
  *,
  alpha: float = 0.8,
  divisor: str = "levels",
  binary_term: str = "majority",
) -> Array:
  """The paper's hybrid: BCE + alpha RPS.

  RPS alone is strictly proper, but its gradient vanishes where the network is confidently wrong; the binary term
  repairs that.

  Args:
    prediction: any ordinal head's.
    target: [B, H, W].
    alpha: weight of the RPS, >= 0.
    divisor: see `rps`.
    binary_term: the read-out the cross-entropy is taken of: ``majority`` (the paper's) or ``mean_vote``.

  Returns:
    [B, H, W] float32.
  """
  binary = bce_majority if binary_term == "majority" else bce_mean_vote
  return binary(prediction, target) + alpha * rps(prediction, target, divisor=divisor)


@dataclasses.dataclass(frozen=True)
class LossSpec:
  """A registry line.

  Attributes:
    fn: the loss; keyword-only arguments are its hyper-parameters.
    summary: one line for people.
    needs_ordinal_head: whether heads with one probability per pixel are refused.
    proper: whether the true distribution of the read-out it trains minimises it in expectation.
  """

  fn: Callable[..., Array]
  summary: str
  needs_ordinal_head: bool = False
  proper: bool = True

  @property
  def hyper_parameters(self) -> dict[str, object]:
    """Names and defaults of the keyword-only arguments."""
    parameters = inspect.signature(self.fn).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


LOSSES: dict[str, LossSpec] = {
  "rps_bce": LossSpec(rps_bce, "majority cross-entropy + alpha RPS (the paper's hybrid)", needs_ordinal_head=True),
  "rps": LossSpec(rps, "Ranked Probability Score alone", needs_ordinal_head=True),
  "bce_majority": LossSpec(bce_majority, "cross-entropy against the majority vote, the usual baseline"),
  "bce_soft": LossSpec(bce_mean_vote, "cross-entropy against the share of votes (soft labels)"),
}

# Allowed values of hyper-parameters that are words, and lower bounds of those that are numbers.
_CHOICES = {"divisor": DIVISORS, "binary_term": BINARY_TERMS}
_AT_LEAST = {"alpha": 0.0}


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
      f"probability per pixel. Use an ordinal head (softmax) or a binary loss (bce_majority, bce_soft)."
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
    if field in own:
      chosen[field] = value
    elif value != known[field]:
      raise InputError(f"config.loss.{field}={value!r} has no effect on config.loss.name={name!r}: leave it out.")
  return functools.partial(spec.fn, **chosen)
