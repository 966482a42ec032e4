"""Heads: from the network's outputs to the distribution over the levels 0..R.

Adding a head is one function to log-probabilities under `register`, with its bias rule, and a test. Every head yields
log-probabilities of all levels, so every read-out, metric, loss and picture works for each. docs/method.md, section 3,
compares them.
"""

# pyright: reportUnknownMemberType=false

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ordseg.errors import InputError
from ordseg.settings import Registry
from ordseg.types import Array, ArrayLike

# Stands for log 0. Finite, so that 0 * log 0 and its gradient stay 0; exp of it is exactly 0.
LOG_ZERO = -1e9

LogLevelProbs = Callable[[Array, int], Array]
BiasRule = Callable[[np.ndarray], np.ndarray]


def _no_constants(num_raters: int) -> int:
  del num_raters
  return 0


@dataclasses.dataclass(frozen=True)
class Head:
  """One way of writing a distribution over levels.

  Attributes:
    name: its key in `HEADS`.
    summary: one line for people: how the levels get their probabilities, and which distributions that can say.
    log_level_probs: (logits [*b, K], R) -> [*b, L] float32.
    num_outputs: R -> K, the channels the network must produce.
    init_bias: (level_freqs [L], float64, positive, sums to 1) -> [K] float32: the output bias under which the
      untrained network predicts the level frequencies of the training set.
    num_constants: R -> how many of the K outputs, the last ones, are learned constants that no pixel can change.
    ordinal: whether the head can tell the levels apart; False for baselines with one probability per pixel.
  """

  name: str
  summary: str
  log_level_probs: LogLevelProbs
  num_outputs: Callable[[int], int]
  init_bias: BiasRule
  num_constants: Callable[[int], int] = _no_constants
  ordinal: bool = True


HEADS: Registry[Head] = Registry("config.model.head")


def register(
  name: str,
  *,
  num_outputs: Callable[[int], int],
  init_bias: BiasRule,
  summary: str,
  num_constants: Callable[[int], int] = _no_constants,
  ordinal: bool = True,
) -> Callable[[LogLevelProbs], LogLevelProbs]:
  """Adds the function it stands above to `HEADS`; for the arguments see `Head`.

  >>> from ordseg import heads
  >>> @heads.register("uniform", num_outputs=lambda R: 1, init_bias=lambda freqs: np.zeros(1), summary="knows nothing")
  ... def uniform(logits, num_raters):
  ...   return jnp.zeros((*logits.shape[:-1], num_raters + 1)) - jnp.log(num_raters + 1.0)
  >>> heads.get_head("uniform").ordinal
  True
  >>> heads.HEADS.remove("uniform")
  """

  def add(fn: LogLevelProbs) -> LogLevelProbs:
    HEADS.add(name, Head(name, summary, fn, num_outputs, init_bias, num_constants, ordinal))
    return fn

  return add


def get_head(name: str) -> Head:
  """Looks a head up.

  Raises:
    InputError: no head has that name; with the nearest one and all.

  >>> get_head("softmax").num_outputs(4)
  5
  """
  return HEADS.find(name)


def predict(head: Head, logits: Float[ArrayLike, "*b K"], num_raters: int) -> Float[Array, "*b L"]:
  """Turns network outputs into log-probabilities of the levels 0..R, float32.

  Args:
    head: reads them.
    logits: the head's K outputs in the last axis; any axes before it, any float type.
    num_raters: R.

  Raises:
    InputError: the last axis is not the head's.

  >>> jnp.exp(predict(get_head("sigmoid"), jnp.zeros((1,)), 3))
  Array([0.5, 0. , 0. , 0.5], dtype=float32)
  """
  if logits.shape[-1] != head.num_outputs(num_raters):
    raise InputError(
      f"the head {head.name!r} reads {head.num_outputs(num_raters)} outputs for {num_raters} raters, but the logits "
      f"have the shape {logits.shape}."
    )
  return head.log_level_probs(jnp.asarray(logits).astype(jnp.float32), num_raters)


def smoothed_level_freqs(level_counts: np.ndarray, *, pseudo_count: float = 1.0) -> np.ndarray:
  """Turns pixel counts per level into frequencies, all positive.

  Args:
    level_counts: [L], pixels (or expected pixels) of each level in the training set.
    pseudo_count: added to each level, in pixels.

  Returns:
    [L] float64, sums to 1.

  >>> smoothed_level_freqs(np.asarray([6, 1, 0]))
  array([0.7, 0.2, 0.1])
  """
  counts = np.asarray(level_counts, np.float64) + pseudo_count
  return counts / counts.sum()


def log_sigmoid(x: Array) -> Array:
  """As `jax.nn.log_sigmoid`, but spelt out: converters to ONNX know that one as log(sigmoid(x)), -inf below -17.

  >>> float(log_sigmoid(jnp.asarray(-100.0)))
  -100.0
  """
  return -jax.nn.softplus(-x)


def _tail(level_freqs: np.ndarray) -> np.ndarray:
  """P(level >= j), j = 1..R."""
  return np.cumsum(level_freqs[::-1])[::-1][1:]


def _logit(prob: np.ndarray) -> np.ndarray:
  return np.log(prob) - np.log1p(-prob)


def _as_last_axis(values: list[float], like: Array) -> Array:
  """[N] -> [1, .., N] with the rank of `like`."""
  return jnp.asarray(values, jnp.float32).reshape((1,) * (like.ndim - 1) + (-1,))


def _log_binomials(num_raters: int, like: Array) -> Array:
  """log C(R, k), k = 0..R."""
  return _as_last_axis([math.log(math.comb(num_raters, k)) for k in range(num_raters + 1)], like)


def _softmax_bias(level_freqs: np.ndarray) -> np.ndarray:
  log_freqs = np.log(level_freqs)
  return (log_freqs - log_freqs.mean()).astype(np.float32)


@register("softmax", num_outputs=lambda R: R + 1, init_bias=_softmax_bias, summary="softmax: any distribution")
def softmax(logits: Float[Array, "*b K"], num_raters: int) -> Float[Array, "*b K"]:
  """Softmax over a logit per level.

  >>> [round(float(x), 3) for x in jnp.exp(softmax(jnp.log(jnp.asarray([1.0, 1.0, 2.0])), 2))]
  [0.25, 0.25, 0.5]
  """
  del num_raters
  return jax.nn.log_softmax(logits, axis=-1)


def _cumulative_bias(level_freqs: np.ndarray) -> np.ndarray:
  z = _logit(_tail(level_freqs))
  gaps = z[:-1] - z[1:]
  inverse_softplus = gaps + np.log(-np.expm1(-gaps))
  return np.concatenate([z[:1], inverse_softplus]).astype(np.float32)


@register(
  "cumulative",
  num_outputs=lambda R: R,
  init_bias=_cumulative_bias,
  summary="P(≥ j) = σ(z_j), z_{j+1} = z_j − softplus(x_{j+1}) at each pixel: any distribution; neighbouring levels "
  "share parameters",
)
@register(
  "coral",
  num_outputs=lambda R: R,
  init_bias=_cumulative_bias,
  num_constants=lambda R: R - 1,
  summary="as cumulative, with cut-points that all pixels share (Cao et al., 2020, ordered by construction): one score "
  "per pixel",
)
def cumulative(logits: Float[Array, "*b R"], num_raters: int) -> Float[Array, "*b L"]:
  """P(level >= j) = sigmoid(z_j), j = 1..R, z_1 = x_1, z_{j+1} = z_j - softplus(x_{j+1}): always ordered.

  p_k = sigmoid(z_k) - sigmoid(z_{k+1}) = sigmoid(z_k) sigmoid(-z_{k+1}) (1 - exp(z_{k+1} - z_k)), whose last factor is
  sigmoid(x_{k+1}) exactly, so nothing cancels.

  With z_1 = 0 and a gap of log 2 down to z_2, P(>= 1) is 1/2 and P(>= 2) is 1/3:

  >>> [round(float(x), 3) for x in jnp.exp(cumulative(jnp.asarray([0.0, 0.0]), 2))]
  [0.5, 0.167, 0.333]
  """
  del num_raters
  first, gaps = logits[..., :1], logits[..., 1:]
  z = jnp.concatenate([first, first - jnp.cumsum(jax.nn.softplus(gaps), axis=-1)], axis=-1)
  above, below = log_sigmoid(z), log_sigmoid(-z)
  between = above[..., :-1] + below[..., 1:] + log_sigmoid(gaps)
  return jnp.concatenate([below[..., :1], between, above[..., -1:]], axis=-1)


def _corn_bias(level_freqs: np.ndarray) -> np.ndarray:
  at_least = np.concatenate([[1.0], _tail(level_freqs)])
  return _logit(at_least[1:] / at_least[:-1]).astype(np.float32)


@register(
  "corn",
  num_outputs=lambda R: R,
  init_bias=_corn_bias,
  summary="P(≥ j+1 | ≥ j) = σ(x_j), multiplied up (Shi et al., 2023): any distribution",
)
def corn(logits: Float[Array, "*b R"], num_raters: int) -> Float[Array, "*b L"]:
  """P(level >= j + 1 | level >= j) = sigmoid(x_j), j = 0..R-1 (Shi, Cao, Raschka, 2023), multiplied up.

  >>> [round(float(x), 3) for x in jnp.exp(corn(jnp.asarray([0.0, 0.0]), 2))]
  [0.5, 0.25, 0.25]
  """
  del num_raters
  up, stop = log_sigmoid(logits), log_sigmoid(-logits)
  reached = jnp.cumsum(up, axis=-1)  # log P(level >= j), j = 1..R
  first = stop[..., :1]
  return jnp.concatenate([first, reached[..., :-1] + stop[..., 1:], reached[..., -1:]], axis=-1)


def _mean_bias(level_freqs: np.ndarray) -> np.ndarray:
  num_raters = len(level_freqs) - 1
  mean = float(np.sum(level_freqs * np.arange(num_raters + 1)) / num_raters)
  return np.asarray([np.log(mean) - np.log1p(-mean)], np.float32)


@register(
  "binomial",
  num_outputs=lambda _: 1,
  init_bias=_mean_bias,
  summary="R independent raters of equal probability: only a mean; its NLL is R × soft-label BCE + const",
)
def binomial(logits: Float[Array, "*b 1"], num_raters: int) -> Float[Array, "*b L"]:
  """R raters who mark the pixel independently, each with probability sigmoid(x).

  >>> [round(float(x), 3) for x in jnp.exp(binomial(jnp.asarray([0.0]), 2))]
  [0.25, 0.5, 0.25]
  """
  k = _as_last_axis([*range(num_raters + 1)], logits)
  marked, unmarked = log_sigmoid(logits), log_sigmoid(-logits)
  return _log_binomials(num_raters, logits) + k * marked + (num_raters - k) * unmarked


_MAX_LOG_ODDS = 12.0  # of the raters' correlation: beyond it nothing changes any more in float32


def _beta_binomial_bias(level_freqs: np.ndarray) -> np.ndarray:
  num_raters = len(level_freqs) - 1
  k = np.arange(num_raters + 1)
  mean = float(level_freqs @ k) / num_raters
  variance = float(level_freqs @ (k - mean * num_raters) ** 2)
  # The variance of a beta-binomial is R mu (1 - mu) (1 + (R - 1) rho).
  excess = variance / (num_raters * mean * (1 - mean)) - 1
  rho = np.clip(excess / max(num_raters - 1, 1), 0.01, 0.99)
  return _logit(np.asarray([mean, rho])).astype(np.float32)


@register(
  "beta_binomial",
  num_outputs=lambda _: 2,
  init_bias=_beta_binomial_bias,
  summary="a mean, and the raters' correlation: from independent raters to a panel that always agrees",
)
def beta_binomial(logits: Float[Array, "*b 2"], num_raters: int) -> Float[Array, "*b L"]:
  """Raters who share a random probability: Beta with mean mu = sigmoid(x_1) and correlation rho = sigmoid(x_2).

  p_k = C(R, k) prod_{i<k} (mu + i t) prod_{i<R-k} (1 - mu + i t) / prod_{i<R} (1 + i t) with
  t = rho / (1 - rho) = exp(x_2): the form without gamma functions, which loses no digits where rho is small. rho = 0 is
  the binomial head.

  With mu = 1/2 and rho = 1/3 the shared probability is uniform, and so is the number of votes:

  >>> [round(float(x), 3) for x in jnp.exp(beta_binomial(jnp.log(jnp.asarray([1.0, 0.5])), 3))]
  [0.25, 0.25, 0.25, 0.25]
  """
  log_t = jnp.clip(logits[..., 1:2], -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
  steps = log_t + _as_last_axis([math.log(i) for i in range(1, num_raters)], log_t)  # log(i t), i = 1..R-1
  zero = jnp.zeros_like(log_t)

  def products(first: Array) -> Array:  # log prod_{i<k}, k = 0..R
    factors = jnp.concatenate([first, jnp.logaddexp(first, steps)], axis=-1)
    return jnp.concatenate([zero, jnp.cumsum(factors, axis=-1)], axis=-1)

  mu = logits[..., :1]
  marked, unmarked = products(log_sigmoid(mu)), products(log_sigmoid(-mu))
  log_probs = _log_binomials(num_raters, logits) + marked + jnp.flip(unmarked, axis=-1)
  return jax.nn.log_softmax(log_probs, axis=-1)  # the denominator, and the rounding of the sums


@register(
  "sigmoid",
  num_outputs=lambda _: 1,
  init_bias=_mean_bias,
  ordinal=False,
  summary="level R with p, level 0 with 1 − p, so that every read-out equals p: a binary model; losses of the levels "
  "refuse it",
)
def sigmoid(logits: Float[Array, "*b 1"], num_raters: int) -> Float[Array, "*b L"]:
  """One probability per pixel, read as a panel that agrees: level R with p, level 0 with 1 - p, nothing between.

  Under this reading `majority`, `mean_vote` and every `at_least_j` equal p, as a binary model means it.

  >>> [round(float(x), 3) for x in jnp.exp(sigmoid(jnp.log(jnp.asarray([3.0])), 2))]
  [0.25, 0.0, 0.75]
  """
  none, all_ = log_sigmoid(-logits), log_sigmoid(logits)
  # Always LOG_ZERO, but not a constant: XLA would spend seconds of compilation on folding constants of this size.
  between = jnp.broadcast_to(jnp.minimum(none, LOG_ZERO), (*logits.shape[:-1], num_raters - 1))
  return jnp.concatenate([none, between, all_], axis=-1)


def markdown_table() -> str:
  """Returns the heads as the table that docs/method.md has, in Markdown.

  >>> print(markdown_table().splitlines()[2])
  | `softmax` | 5 | softmax: any distribution |
  """

  def outputs(head: Head) -> str:
    constants = head.num_constants(4)
    return f"{head.num_outputs(4) - constants}" + (f" + {constants} constants" if constants else "")

  rows = [
    f"| `{head.name}` | {outputs(head)} | {head.summary.replace('|', chr(92) + '|')} |" for head in HEADS.values()
  ]
  return "\n".join(
    ["| `config.model.head` | outputs, R = 4 | level probabilities, and what they can say |", "|---|---|---|", *rows]
  )
