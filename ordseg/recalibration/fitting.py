"""Fits a recalibration map to votes.

Votes are scored as they were given: the distribution of a full panel is thinned to the n raters who answered. Maps of
the mean vote, and predictions that know no level between 0 and R, are scored one vote at a time, against c / n.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from ordseg import ordinal
from ordseg.errors import InputError, check_choice
from ordseg.heads import LOG_ZERO
from ordseg.recalibration import maps, tilting
from ordseg.recalibration.maps import KNOWN, METHODS, Method, Parameter, Parameters, Recalibration
from ordseg.recalibration.sampling import Sample
from ordseg.types import Array

LOSSES = ("nll", "rps")
_CHUNK = 1 << 16  # pixels summed in float32; the sums of chunks are added in float64
_STARTS = np.log(10.0) * np.arange(-4, 2.01, 0.25)  # log of how many times as sure
_NEAR_BOUND = 1e-3
_RESTARTS = 4  # of a search that rounding ended early
_FLAT = 1e-3  # largest gradient, of the objective's share and per unit of a parameter, at which a search has ended


@dataclasses.dataclass(frozen=True)
class Fit:
  """A map and how it was found.

  Attributes:
    recalibration: the map.
    before: objective of the sample as predicted.
    after: objective with the map; never larger than `before` but for rounding.
    at_bounds: parameters that reached a bound: the data do not limit them.
    converged: whether the search ended where the objective is flat, or at a bound.
    ruled_out: share of the sample whose votes the predictions call impossible; no map changes that, and they count 0.
    by_vote: whether the objective is per vote instead of per pixel.
    loss: ``nll`` (nats), or ``rps`` (divided by n + 1; by vote it is the Brier score).
  """

  recalibration: Recalibration
  before: float
  after: float
  at_bounds: tuple[str, ...]
  converged: bool
  ruled_out: float
  by_vote: bool
  loss: str


@dataclasses.dataclass(frozen=True)
class Check:
  """A map on a sample it was not fitted on.

  Attributes:
    before: objective as predicted.
    after: with the map.
    error_pixels: standard error of before - after because pixels were drawn instead of all taken.
    error_images: standard error of before - after over images (or groups): how it would differ for other images; None
      where there is one only.
  """

  before: float
  after: float
  error_pixels: float
  error_images: float | None


def fit_sample(method: str, sample: Sample, *, loss: str = "nll") -> Fit:
  """Fits a map to pixels that were drawn.

  Args:
    method: a key of `METHODS`.
    sample: The pixels to fit on.
    loss: one of `LOSSES`.

  Raises:
    InputError: an unknown method or loss, or a method that needs levels which the predictions rule out.
  """
  check_choice(method, METHODS, field="method")
  check_choice(loss, LOSSES, field="loss")
  line = METHODS[method]
  possible = _possible_levels(sample)
  if line.needs_levels and not possible.all():
    raise InputError(
      f"method={method!r}: it moves levels against each other, but these predictions give the levels "
      f"{', '.join(map(str, np.flatnonzero(~possible)))} no probability anywhere. Take temperature, beta or isotonic."
    )
  objective = _Objective(line, sample, loss, by_vote=line.of_mean_vote or not possible.all())
  before = objective.value(None)
  if line.parameters:
    parameters, at_bounds, converged = _search(objective, line, sample.num_raters)
  else:
    parameters, at_bounds, converged = _isotonic(objective.inputs, sample), (), True
  return Fit(
    recalibration=Recalibration(method, sample.num_raters, parameters),
    before=before,
    after=objective.value(parameters),
    at_bounds=at_bounds,
    converged=converged,
    ruled_out=objective.ruled_out,
    by_vote=objective.by_vote,
    loss=loss,
  )


def has_every_level(sample: Sample) -> bool:
  """Whether the predictions give each level some probability somewhere; heads of one probability do not."""
  return bool(_possible_levels(sample).all())


def _possible_levels(sample: Sample) -> np.ndarray:
  return np.any(sample.log_probs > LOG_ZERO / 2, axis=0, keepdims=False)


def check(found: Fit, sample: Sample) -> Check:
  """Scores a map on another sample."""
  recalibration = found.recalibration
  objective = _Objective(KNOWN[recalibration.method], sample, found.loss, by_vote=found.by_vote)
  before, after = objective.pixels(None), objective.pixels(recalibration.parameters)
  weight, gain = objective.weight / objective.weight.sum(), before - after
  return Check(
    before=float(weight @ before),
    after=float(weight @ after),
    error_pixels=_error_pixels(weight * gain, sample),
    error_images=_error_images(weight, gain, sample.cluster),
  )


def _error_pixels(terms: np.ndarray, sample: Sample) -> float:
  """Standard error of a sum of terms drawn without replacement within strata."""
  _, index, count = np.unique(sample.stratum, return_inverse=True, return_counts=True)
  mean = np.bincount(index, terms) / count
  squares = np.bincount(index, np.square(terms - mean[index]))
  pool = np.bincount(index, sample.weight)  # the weights within a stratum add up to the size of its pool
  missing = np.maximum(1.0 - count / pool, 0.0)
  return float(np.sqrt(np.sum(missing * squares * count / np.maximum(count - 1, 1))))


def _error_images(weight: np.ndarray, gain: np.ndarray, cluster: np.ndarray) -> float | None:
  """Standard error of a ratio of sums over clusters."""
  names, index = np.unique(cluster, return_inverse=True)
  if len(names) < 2:
    return None
  residual = np.bincount(index, weight * (gain - weight @ gain))
  return float(np.sqrt(len(names) / (len(names) - 1) * np.square(residual).sum()))


# --- The objective ----------------------------------------------------------------------------------------------------


class _Objective:
  """The weighted mean of the loss over a sample, and its gradient."""

  def __init__(self, method: Method, sample: Sample, loss: str, *, by_vote: bool):
    self.by_vote = by_vote
    log_probs = sample.log_probs
    self.inputs = _in_chunks(_logit, log_probs) if method.of_mean_vote else log_probs
    impossible = np.zeros(len(sample), bool)
    if not by_vote and loss == "nll":
      observed = _in_chunks(_log_prob_of, log_probs, sample.votes, sample.num_valid)
      impossible = observed < LOG_ZERO / 2
    self.ruled_out = float(sample.weight[impossible].sum() / sample.weight.sum())
    self.weight = sample.weight * (sample.num_valid if by_vote else 1)
    self._share = np.where(impossible, 0.0, self.weight / self.weight.mean())
    self._targets = sample.votes, sample.num_valid
    self._losses, self._total = _compiled(method.apply, method.of_mean_vote, loss, by_vote)

  def pixels(self, parameters: Parameters | None) -> np.ndarray:
    """Returns the loss of each pixel, [N] float64; None changes nothing."""
    columns = (self.inputs, *self._targets)
    found = _in_chunks(lambda *chunk: self._losses(_float32(parameters), *chunk), *columns)
    return np.where(self._share > 0, found.astype(np.float64), 0.0)

  def value(self, parameters: Parameters | None) -> float:
    """Returns the objective."""
    return float(self._share @ self.pixels(parameters)) / len(self._share)

  def value_and_gradient(self, parameters: Parameters) -> tuple[float, dict[str, np.ndarray]]:
    """Returns the objective and its gradient by each parameter, float64."""
    value, gradient = 0.0, {name: np.zeros(np.shape(x)) for name, x in parameters.items()}
    for (*chunk, share), real in _chunks(self.inputs, *self._targets, self._share.astype(np.float32)):
      counted = np.where(np.arange(len(share)) < real, share, 0)
      chunk_value, chunk_gradient = jax.device_get(self._total(_float32(parameters), *chunk, counted))
      value += float(chunk_value)
      for name, x in chunk_gradient.items():
        gradient[name] += x
    count = len(self._share)
    return value / count, {name: x / count for name, x in gradient.items()}


@functools.cache
def _compiled(
  apply: Callable[[Parameters, Array], Array], of_mean_vote: bool, loss: str, by_vote: bool
) -> tuple[Callable[..., Array], Callable[..., Any]]:
  """Returns the losses of pixels, and their weighted sum with its gradient; the same programs for every fit."""
  score = _vote_losses if by_vote else _pixel_losses

  def losses(parameters: Parameters | None, inputs: Array, votes: Array, num_valid: Array) -> Array:
    predicted = inputs if parameters is None else apply(parameters, inputs)
    if by_vote and not of_mean_vote:
      predicted = tilting.mean_vote_logit(predicted)
    return score(predicted, votes, num_valid, loss)

  def total(parameters: Parameters, inputs: Array, votes: Array, num_valid: Array, share: Array) -> Array:
    return jnp.sum(jnp.where(share > 0, losses(parameters, inputs, votes, num_valid), 0.0) * share)

  return jax.jit(losses), jax.jit(jax.value_and_grad(total))


@jax.jit
def _logit(log_probs: Array) -> Array:
  return jnp.clip(tilting.mean_vote_logit(log_probs), -maps.MAX_LOGIT, maps.MAX_LOGIT)


_log_prob_of = jax.jit(ordinal.thinned_log_prob_of)


def _pixel_losses(log_probs: Array, votes: Array, num_valid: Array, loss: str) -> Array:
  """Losses of the distribution [N, L] thinned to n, [N]."""
  if loss == "nll":
    return -ordinal.thinned_log_prob_of(log_probs, votes, num_valid)
  cdf = ordinal.thinned_cdf(jnp.exp(log_probs), num_valid)
  difference = cdf - ordinal.target_cdf(votes, cdf.shape[-1])
  return jnp.sum(jnp.square(difference), axis=-1) / (num_valid + 1).astype(jnp.float32)


def _vote_losses(logit: Array, votes: Array, num_valid: Array, loss: str) -> Array:
  """Mean loss of a pixel's votes under a probability with these log-odds [N], [N]."""
  share = votes.astype(jnp.float32) / num_valid.astype(jnp.float32)
  if loss == "nll":
    return share * jax.nn.softplus(-logit) + (1 - share) * jax.nn.softplus(logit)
  return share * jnp.square(jax.nn.sigmoid(-logit)) + (1 - share) * jnp.square(jax.nn.sigmoid(logit))


def _float32(parameters: Parameters | None) -> dict[str, np.ndarray] | None:
  return None if parameters is None else {name: np.asarray(x, np.float32) for name, x in parameters.items()}


def _chunks(*columns: np.ndarray) -> Iterator[tuple[list[np.ndarray], int]]:
  """Yields columns [N, ...] in chunks of one size, and how many rows are real; the last is filled with its last row."""
  size = min(_CHUNK, 1 << max(len(columns[0]) - 1, 1).bit_length())
  for start in range(0, len(columns[0]), size):
    chunk = [column[start : start + size] for column in columns]
    real = len(chunk[0])
    yield [np.concatenate([x, np.repeat(x[-1:], size - real, axis=0)]) if real < size else x for x in chunk], real


def _in_chunks(function: Callable[..., Array], *columns: np.ndarray) -> np.ndarray:
  return np.concatenate([np.asarray(function(*chunk))[:real] for chunk, real in _chunks(*columns)])


# --- The search -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Space:
  """Parameters as one vector: positive ones by their logarithm."""

  specs: Mapping[str, Parameter]
  num_raters: int

  def pack(self, parameters: Parameters) -> np.ndarray:
    return np.concatenate([np.log(parameters[n]) if spec.log else parameters[n] for n, spec in self.specs.items()])

  def unpack(self, vector: np.ndarray) -> dict[str, np.ndarray]:
    out, start = {}, 0
    for name, spec in self.specs.items():
      size = spec.size(self.num_raters)
      values = vector[start : start + size]
      out[name] = np.exp(values) if spec.log else np.array(values)
      start += size
    return out

  def of(self, value: Callable[[Parameter], float]) -> np.ndarray:
    """Returns the vector whose entries are a function of the parameter."""
    return self.pack({name: np.full(spec.size(self.num_raters), value(spec)) for name, spec in self.specs.items()})

  def sharpened(self, vector: np.ndarray, log_factor: float) -> np.ndarray:
    """Returns `vector` with the parameters that decide how sure the map is set to exp(log_factor) times as sure."""
    signs = np.concatenate([np.full(spec.size(self.num_raters), spec.sharpness) for spec in self.specs.values()])
    low, high, here = (self.of(value) for value in _CORNERS)
    return np.where(signs != 0, np.clip(here + signs * log_factor, low, high), vector)

  def names(self) -> list[str]:
    sizes = {name: spec.size(self.num_raters) for name, spec in self.specs.items()}
    return [name if size == 1 else f"{name}[{k}]" for name, size in sizes.items() for k in range(size)]


_CORNERS: tuple[Callable[[Parameter], float], ...] = (lambda s: s.low, lambda s: s.high, lambda s: s.identity)
_OPTIONS: dict[str, Any] = {"maxiter": 300, "maxfun": 600, "ftol": 1e-12, "gtol": 1e-7}
_SHARPEST = 100.0  # on the logarithm: beyond every bound


def _search(
  objective: _Objective, method: Method, num_raters: int
) -> tuple[dict[str, np.ndarray], tuple[str, ...], bool]:
  """Returns the parameters, the names of those at a bound, and whether the search ended where nothing is to be gained.

  A search from the identity alone would stay there where the logits are so large that the losses are flat, so it starts
  from the best of many sharpnesses. Where votes are perfectly separated the objective falls for ever, too slowly to be
  followed: so the sharpest map is tried as well, and where it is as good as any it is the answer, at its bound.
  """
  space = _Space(method.parameters, num_raters)
  low, high, here = (space.of(value) for value in _CORNERS)
  starts = [here]
  if any(spec.sharpness for spec in method.parameters.values()):
    starts += [space.sharpened(here, factor) for factor in _STARTS]
  values = [objective.value_and_gradient(space.unpack(start))[0] for start in starts]
  best, value = starts[int(np.argmin(values))], min(values)
  if values[0] <= 0:
    return space.unpack(here), (), True  # nothing is left to gain

  scale = max(value, 1e-9 * values[0])

  def share(vector: np.ndarray) -> tuple[float, np.ndarray]:
    parameters = space.unpack(vector)
    found, by_name = objective.value_and_gradient(parameters)
    slopes = {n: by_name[n] * (parameters[n] if spec.log else 1.0) for n, spec in space.specs.items()}
    return found / scale, np.concatenate(list(slopes.values())) / scale

  def is_flat(vector: np.ndarray) -> bool:
    at_bound = (vector - low < _NEAR_BOUND) | (high - vector < _NEAR_BOUND)
    return bool((np.abs(share(vector)[1][~at_bound]) < _FLAT).all())

  candidates = [best]
  for _ in range(_RESTARTS):
    found = scipy.optimize.minimize(
      share, candidates[-1], jac=True, method="L-BFGS-B", bounds=[*zip(low, high, strict=True)], options=_OPTIONS
    )
    candidates.append(np.clip(found.x, low, high))
    if is_flat(candidates[-1]):
      break
  candidates.append(space.sharpened(candidates[-1], _SHARPEST))
  values = [objective.value(space.unpack(candidate)) for candidate in candidates]
  chosen = candidates[-1] if values[-1] <= min(values) else candidates[int(np.argmin(values))]
  at_bound = (chosen - low < _NEAR_BOUND) | (high - chosen < _NEAR_BOUND)
  names = tuple(name for name, is_there in zip(space.names(), at_bound, strict=True) if is_there)
  return space.unpack(chosen), names, is_flat(chosen)


def _isotonic(logit: np.ndarray, sample: Sample) -> dict[str, np.ndarray]:
  """Returns the knots of the best never falling function: two per block of the pool-adjacent-violators solution.

  It is the best for every proper score of a vote at once. Blocks without a vote, or full of them, would be sure beyond
  what was seen: they say at most what 2 N votes could have shown, unless the prediction itself is surer.
  """
  place, index = np.unique(logit.astype(np.float64), return_inverse=True)
  weight = np.bincount(index, sample.weight * sample.num_valid)
  share = np.bincount(index, sample.weight * sample.votes) / weight
  found = scipy.optimize.isotonic_regression(share, weights=weight)
  first, last = found.blocks[:-1], found.blocks[1:] - 1
  value = np.clip(np.asarray(found.x)[first], 0.0, 1.0)
  inside = (value > 0) & (value < 1)
  most = np.log(2.0 * sample.num_valid.sum())
  odds = np.log(value[inside]) - np.log1p(-value[inside])
  most_low, most_high = min([-most, *odds[:1]]), max([most, *odds[-1:]])
  ends = np.stack([place[first], place[last]], axis=-1)  # [blocks, 2]
  values = np.where((value == 0)[:, None], np.minimum(ends, most_low), np.maximum(ends, most_high))
  values[inside] = odds[:, None]
  knots, kept = np.unique(ends.astype(np.float32), return_index=True)
  return {"logit": knots.astype(np.float64), "value": np.maximum.accumulate(values.ravel()[kept])}
