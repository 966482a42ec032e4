"""The recalibration maps: log-probabilities of the levels in, log-probabilities of the levels out.

Adding one is a function, its parameters, and a line in `METHODS`. docs/recalibration.md compares them.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ordseg import records
from ordseg.errors import InputError, check_choice
from ordseg.heads import HEADS, LOG_ZERO, log_sigmoid
from ordseg.recalibration import tilting
from ordseg.types import Array, ArrayLike

FORMAT = 1  # of the files
MAX_LOGIT = 1e4  # of a mean vote; larger ones are cut to it
Parameters = Mapping[str, Any]  # name -> array


@dataclasses.dataclass(frozen=True)
class Parameter:
  """A parameter of a map.

  Attributes:
    size: R -> number of entries.
    identity: the value that changes nothing.
    low: smallest value that a fit may give, whatever the data.
    high: largest.
    log: whether it is positive and fitted on the logarithm.
    sharpness: +1 where larger values make the map surer, -1 where less sure, 0 where neither.
  """

  size: Callable[[int], int]
  identity: float
  low: float
  high: float
  log: bool = False
  sharpness: int = 0


@dataclasses.dataclass(frozen=True)
class Method:
  """A registry line.

  Attributes:
    apply: (parameters, log_probs [..., L]) -> log_probs [..., L]. For a map of the mean vote: (parameters, log-odds of
      the mean vote [...]) -> the new log-odds [...], to which the distribution is tilted.
    summary: one line for people.
    parameters: by name; empty for a map that is no formula.
    of_mean_vote: whether it is a map of the mean vote.
    needs_levels: whether it says nothing of predictions that know only level 0 and level R.
  """

  apply: Callable[[Parameters, Array], Array]
  summary: str
  parameters: Mapping[str, Parameter]
  of_mean_vote: bool = False
  needs_levels: bool = False


def _normalised(log_probs: Array, like: Array) -> Array:
  """Normalises over the levels; those that were impossible stay so, as `LOG_ZERO`."""
  possible = like > LOG_ZERO / 2
  return jnp.where(possible, jax.nn.log_softmax(jnp.where(possible, log_probs, LOG_ZERO), axis=-1), LOG_ZERO)


def _along_levels(values: ArrayLike, like: Array) -> Array:
  values = jnp.asarray(values, like.dtype)
  return values.reshape((1,) * (like.ndim - 1) + (-1,))


def temperature(parameters: Parameters, log_probs: Array) -> Array:
  """p_k^(1/T), normalised (Guo et al., 2017); the logit of a head of one probability becomes logit / T."""
  return _normalised(log_probs / _along_levels(parameters["temperature"], log_probs), log_probs)


def vector(parameters: Parameters, log_probs: Array) -> Array:
  """exp(b_k) p_k^(a_k), normalised: vector scaling of log p (Guo et al., 2017; the diagonal of Kull et al., 2019)."""
  scaled = log_probs * _along_levels(parameters["scale"], log_probs)
  return _normalised(scaled + _along_levels(parameters["bias"], log_probs), log_probs)


def bias(parameters: Parameters, log_probs: Array) -> Array:
  """exp(b_k) p_k, normalised: other frequencies of the levels than in training (Saerens et al., 2002)."""
  return _normalised(log_probs + _along_levels(parameters["bias"], log_probs), log_probs)


def cumulative_parameters(log_probs: Array) -> Array:
  """Inverts the cumulative head: [..., L] -> [..., R], z_1 and x_k = log(exp(z_k - z_{k+1}) - 1), k = 1..R-1.

  z_k = logit P(>= k). With A = P(< k) and B = P(> k), exp(z_k - z_{k+1}) - 1 = p_k / (A B) exactly: nothing cancels.
  """
  z = jax.nn.log_softmax(log_probs, axis=-1)
  below, above = _log_cumsum(z), jnp.flip(_log_cumsum(jnp.flip(z, -1)), -1)
  first = above[..., 1:2] - below[..., :1]
  return jnp.concatenate([first, z[..., 1:-1] - below[..., :-2] - above[..., 2:]], axis=-1)


def _log_cumsum(z: Array) -> Array:
  """log of the cumulative sums of exp(z); a few levels only, and every converter knows logaddexp."""
  sums = [z[..., 0]]
  for k in range(1, z.shape[-1]):
    sums.append(jnp.logaddexp(sums[-1], z[..., k]))
  return jnp.stack(sums, axis=-1)


def cutpoints(parameters: Parameters, log_probs: Array) -> Array:
  """Shifts the cut-points of the cumulative logits and keeps them in order, at every pixel.

  z_1 moves by d_1; the gap between neighbours moves in the cumulative head's own parameter, exp(gap') - 1 =
  exp(d_k) (exp(gap) - 1), k = 2..R: a shift of the cut-point by d_k where the gap is wide, and never less than 0. With
  a slope s all logits are first multiplied by it. For the `coral` head without slope it fits its constants anew.
  """
  x = cumulative_parameters(log_probs)
  if "slope" in parameters:
    slope = _along_levels(parameters["slope"], x)
    x = jnp.concatenate([x[..., :1] * slope, _scaled_gaps(x[..., 1:], slope)], axis=-1)
  shifted = x + _along_levels(parameters["shift"], x)
  return _normalised(HEADS["cumulative"].log_level_probs(shifted, x.shape[-1]), log_probs)


def _scaled_gaps(x: Array, slope: Array) -> Array:
  """x' with softplus(x') = slope softplus(x)."""
  narrow = x < -15.0  # there softplus(x) = exp(x) to all digits
  gap = slope * jax.nn.softplus(jnp.where(narrow, 0.0, x))
  return jnp.where(narrow, x + jnp.log(slope), gap + jnp.log(-jnp.expm1(-gap)))


def beta(parameters: Parameters, logit: Array) -> Array:
  """a log m - b log(1 - m) + c, the log-odds of beta calibration (Kull, Silva Filho, Flach, 2017)."""
  a, b, c = (jnp.asarray(parameters[name], logit.dtype).reshape((1,) * logit.ndim) for name in "abc")
  return a * log_sigmoid(logit) - b * log_sigmoid(-logit) + c


def isotonic(parameters: Parameters, logit: Array) -> Array:
  """A never falling function through knots (Zadrozny, Elkan, 2002), straight between them and constant beyond."""
  knots, values = (jnp.asarray(parameters[name], logit.dtype) for name in ("logit", "value"))
  if not knots.size > 1:
    return jnp.broadcast_to(values[0], logit.shape)
  x = jnp.clip(logit, knots[0], knots[-1])
  right = jnp.clip(jnp.searchsorted(knots, x, side="right", method="compare_all"), 1, knots.size - 1)
  low, high, value, next_value = knots[right - 1], knots[right], values[right - 1], values[right]
  return value + (next_value - value) * ((x - low) / (high - low))


def _one(num_raters: int) -> int:
  del num_raters
  return 1


def _per_level(num_raters: int) -> int:
  return num_raters + 1


def _per_rater(num_raters: int) -> int:
  return num_raters


_TEMPERATURE = Parameter(_one, low=1e-2, high=1e4, identity=1.0, log=True, sharpness=-1)
_SLOPE = Parameter(_one, low=1e-4, high=1e2, identity=1.0, log=True, sharpness=1)
_SCALES = dataclasses.replace(_SLOPE, size=_per_level)
_SHIFT = Parameter(_one, low=-30.0, high=30.0, identity=0.0)
_SHIFTS = dataclasses.replace(_SHIFT, size=_per_rater)
_BIASES = dataclasses.replace(_SHIFT, size=_per_level)

METHODS: dict[str, Method] = {
  "temperature": Method(temperature, "one temperature for all levels", {"temperature": _TEMPERATURE}),
  "bias": Method(bias, "a weight per level", {"bias": _BIASES}, needs_levels=True),
  "vector": Method(
    vector,
    "a scale and a weight per level",
    {"scale": _SCALES, "bias": _BIASES},
    needs_levels=True,
  ),
  "cutpoints": Method(cutpoints, "a shift per ordinal cut-point", {"shift": _SHIFTS}, needs_levels=True),
  "cutpoints_slope": Method(
    cutpoints,
    "a shift per ordinal cut-point and a common slope",
    {"slope": _SLOPE, "shift": _SHIFTS},
    needs_levels=True,
  ),
  "beta": Method(
    beta,
    "beta calibration of the mean vote",
    {"a": _SLOPE, "b": _SLOPE, "c": _SHIFT},
    of_mean_vote=True,
  ),
  "isotonic": Method(isotonic, "isotonic regression of the mean vote", {}, of_mean_vote=True),
}

NONE = "none"  # what a file holds where no map was better than the predictions as they are
KNOWN = {**METHODS, NONE: Method(lambda _, log_probs: log_probs, "no map", {})}


@dataclasses.dataclass(frozen=True, eq=False)
class Recalibration:
  """A fitted map.

  Attributes:
    method: a key of `METHODS`, or `NONE`.
    num_raters: R.
    parameters: name -> float64 array [entries].
  """

  method: str
  num_raters: int
  parameters: Mapping[str, np.ndarray]

  def __call__(self, log_probs: Array) -> Array:
    """Maps log-probabilities [..., L] to log-probabilities [..., L] of the same dtype; pure, for jit and vmap."""
    method = KNOWN[self.method]
    if not method.of_mean_vote:
      return method.apply(self.parameters, log_probs)
    return tilting.tilt(log_probs, method.apply(self.parameters, tilting.mean_vote_logit(log_probs)))

  def plain(self) -> dict[str, Any]:
    """Returns what a file of the map must hold, ready for JSON."""
    return {
      "format": FORMAT,
      "method": self.method,
      "num_raters": self.num_raters,
      "parameters": {name: np.asarray(values).tolist() for name, values in self.parameters.items()},
    }


def identity(method: str, num_raters: int) -> dict[str, np.ndarray]:
  """Returns the parameters of a formula that change nothing."""
  specs = METHODS[method].parameters
  return {name: np.full(spec.size(num_raters), spec.identity) for name, spec in specs.items()}


def from_plain(content: object, where: str) -> Recalibration:
  """Reads a map from the content of its file.

  Raises:
    InputError: it is no map, one of a newer version, or damaged; begins with `where`.
  """
  if not isinstance(content, Mapping) or not isinstance(content.get("parameters"), Mapping):
    raise InputError(f"{where}: is no recalibration map; expected an object with 'parameters'.")
  if content.get("format") != FORMAT:
    raise InputError(f"{where}: format {content.get('format')!r} is unknown, expected {FORMAT}; update ordseg.")
  name, num_raters = str(content.get("method")), content.get("num_raters")
  check_choice(name, KNOWN, field=f"{where}: method")
  if not isinstance(num_raters, int) or num_raters < 1:
    raise InputError(f"{where}: num_raters={num_raters!r} must be a whole number >= 1.")
  if name == NONE:
    return Recalibration(NONE, num_raters, {})
  sizes = {p: spec.size(num_raters) for p, spec in METHODS[name].parameters.items()}
  sizes = sizes or {"logit": None, "value": None}
  found: dict[str, np.ndarray] = {}
  for p, size in sizes.items():
    values = _numbers(content["parameters"].get(p))
    if values is None or not values.size or size not in (None, values.size):
      raise InputError(f"{where}: parameters.{p} must be a list of {size or 'at least one'} finite numbers.")
    found[p] = values
  if name == "isotonic" and not _is_rising(**found):
    raise InputError(f"{where}: parameters.logit must rise and parameters.value never fall, and be as many.")
  return Recalibration(name, num_raters, found)


def _numbers(values: object) -> np.ndarray | None:
  """Returns a list of finite numbers as float64 [N]; None for anything else."""
  try:
    array = np.asarray(values, np.float64)
  except (TypeError, ValueError):
    return None
  return array if array.ndim == 1 and np.isfinite(array).all() else None


def _is_rising(logit: np.ndarray, value: np.ndarray) -> bool:
  return logit.shape == value.shape and bool((np.diff(logit) > 0).all() and (np.diff(value) >= 0).all())


def read(path: str | pathlib.Path) -> tuple[Recalibration, dict[str, Any]]:
  """Reads a map that ``ordseg recalibrate`` stored.

  Returns:
    The map, and all that its file says of how it was fitted.

  Raises:
    InputError: no such file, or it is damaged.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"{path}: there is no such recalibration map. Fit one with ordseg recalibrate.")
  content = records.read_json(path, "Fit it anew with ordseg recalibrate.")
  return from_plain(content, str(path)), content
