"""Recalibration of arrays: fits a map to votes, and applies it, without a run or files.

For more pixels than memory holds, `Sampler` draws from images and `fit_sample` takes what it drew.
"""

import jax.numpy as jnp
import numpy as np

from ordseg.errors import InputError
from ordseg.heads import LOG_ZERO
from ordseg.recalibration.fitting import Fit, fit_sample
from ordseg.recalibration.maps import Recalibration
from ordseg.recalibration.sampling import Sample
from ordseg.types import Array, ArrayLike

_ROUNDING = 1e-3  # by which the probabilities of the levels may miss 1


def fit(
  log_probs: ArrayLike,
  votes: ArrayLike,
  num_valid: ArrayLike | None = None,
  *,
  method: str = "temperature",
  loss: str = "nll",
  mask: ArrayLike | None = None,
) -> Fit:
  """Fits a recalibration map to the votes of pixels.

  Take pixels of images that the network was not trained on; docs/recalibration.md compares the methods.

  Args:
    log_probs: [..., L] log-probabilities of the levels of a full panel of R = L - 1 raters, such as ``jnp.log(probs)``;
      -inf, or `heads.LOG_ZERO`, where a level is impossible.
    votes: [...] integers, how many of those who answered marked the pixel.
    num_valid: how many answered; of a shape that broadcasts to [...], such as [B, 1, 1]. All R by default. Pixels that
      nobody answered do not count.
    method: a key of `METHODS`.
    loss: one of `LOSSES`.
    mask: [...], nonzero where the pixel counts; all do by default.

  Returns:
    The map, ``Fit.recalibration``, and how it was found.

  Raises:
    InputError: shapes that do not belong together, no log-probabilities, votes that cannot be, no pixel that counts, an
      unknown method or loss, or a method that needs levels which the predictions rule out.

  >>> log_probs = np.log([[0.1, 0.9]] * 10)  # of one rater, who marks 6 of 10 such pixels
  >>> found = fit(log_probs, [1] * 6 + [0] * 4)
  >>> np.exp(apply(found.recalibration, np.log([0.1, 0.9]))).round(3).tolist()
  [0.4000000059604645, 0.6000000238418579]
  """
  z = _checked(log_probs)
  c = _integers(votes, "votes")
  n = np.asarray(z.shape[-1] - 1) if num_valid is None else _integers(num_valid, "num_valid")
  if c.shape != z.shape[:-1]:
    raise InputError(f"votes has shape {c.shape}, expected {z.shape[:-1]}, as log_probs has {z.shape}.")
  n = _broadcast(n, "num_valid", c.shape)
  counts = np.ones(c.shape, bool) if mask is None else _broadcast(np.asarray(mask) != 0, "mask", c.shape)
  counts = counts & (n > 0)
  if not counts.any():
    raise InputError("there is nothing to fit to: no pixel counts, or nobody answered any.")
  if (wrong := counts & ((c < 0) | (c > n) | (n >= z.shape[-1]))).any():
    at = tuple(int(k) for k in np.argwhere(wrong)[0])
    raise InputError(
      f"votes{list(at)} is {c[at]} of num_valid {n[at]}, expected 0 <= votes <= num_valid <= {z.shape[-1] - 1}."
    )
  num = int(counts.sum())
  same = np.zeros(num, np.int64)
  sample = Sample(z[counts], c[counts].astype(np.int32), n[counts].astype(np.int32), np.ones(num), same, same)
  return fit_sample(method, sample, loss=loss)


def apply(recalibration: Recalibration, log_probs: ArrayLike) -> Array:
  """Maps log-probabilities of the levels; for jit and vmap call the map itself, which checks nothing.

  Args:
    recalibration: The fitted map, from `fit` or `read`.
    log_probs: [..., L], as `fit` takes them, of any leading axes.

  Returns:
    [..., L] float32 log-probabilities; impossible levels have `heads.LOG_ZERO`.

  Raises:
    InputError: no log-probabilities, or those of another number of raters.

  >>> sharper = Recalibration("temperature", 1, {"temperature": np.array([0.5])})
  >>> np.exp(apply(sharper, np.log([0.25, 0.75]))).round(3).tolist()  # squares, normalised
  [0.10000000149011612, 0.8999999761581421]
  """
  z = _checked(log_probs)
  if z.shape[-1] != recalibration.num_raters + 1:
    raise InputError(
      f"log_probs has {z.shape[-1]} levels, but the map is of {recalibration.num_raters} raters: it takes "
      f"{recalibration.num_raters + 1}."
    )
  return recalibration(jnp.asarray(z))


def _checked(log_probs: ArrayLike) -> np.ndarray:
  """Returns [..., L] float32 log-probabilities, impossible levels as `LOG_ZERO`."""
  z = np.asarray(log_probs)
  if z.dtype.kind != "f" or z.ndim < 1 or z.shape[-1] < 2:
    raise InputError(f"log_probs is {z.dtype} {list(z.shape)}, expected floats [..., R + 1] with R >= 1.")
  sums = np.exp(np.maximum(z.astype(np.float64), LOG_ZERO)).sum(-1)  # NaN stays NaN
  if (wrong := ~(np.abs(sums - 1) <= _ROUNDING)).any():
    at = tuple(int(k) for k in np.argwhere(wrong)[0])
    raise InputError(
      f"exp(log_probs{list(at)}) sums to {sums[at]:g} over the levels, expected 1: give log-probabilities, "
      "jax.nn.log_softmax of logits or the logarithm of probabilities."
    )
  return np.maximum(z, LOG_ZERO).astype(np.float32)


def _integers(x: object, what: str) -> np.ndarray:
  array = np.asarray(x)
  if array.dtype.kind not in "biu" and not (array.dtype.kind == "f" and (array == np.floor(array)).all()):
    raise InputError(f"{what} has type {array.dtype}, expected whole numbers: how many raters, not a share of them.")
  return array.astype(np.int64)


def _broadcast(x: np.ndarray, what: str, shape: tuple[int, ...]) -> np.ndarray:
  try:
    return np.broadcast_to(x, shape)
  except ValueError as error:
    raise InputError(f"{what} has shape {x.shape}, which does not broadcast to {shape}, that of votes.") from error
