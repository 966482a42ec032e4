"""Whether a map helps on images it was not fitted on: cross-validation over images or groups, by the read-out in use.

A map is fitted to make its own objective small, such as the NLL of the levels; that the mean vote is better calibrated
afterwards does not follow, least of all where there are few images. So each part of the images is scored with a map
that was fitted on the others, and a map that does not beat the predictions as they are is not kept.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ordseg import ordinal
from ordseg.metrics import calibration
from ordseg.recalibration.fitting import fit_sample
from ordseg.recalibration.maps import NONE, Recalibration
from ordseg.recalibration.sampling import Sample

FOLDS = 5
_PIXELS = 200_000  # at most, of all images together
_CHUNK = 1 << 16
_NUM_BINS = 15


@dataclasses.dataclass(frozen=True)
class Score:
  """How well a read-out predicts the votes of images that its map was not fitted on.

  Attributes:
    brier: mean squared distance to each vote; of ``majority``, to the majority of those who answered. Proper: it counts
      calibration and sharpness.
    ece: expected calibration error against the same, 15 bins; for ``mean_vote`` it is the MR-ECE.
  """

  brier: float
  ece: float

  def beats(self, other: "Score") -> bool:
    """Whether the Brier score is lower and the calibration error is not higher: a gain in one must not hide a loss."""
    return self.brier < other.brier and self.ece <= other.ece


@dataclasses.dataclass(frozen=True)
class Judgement:
  """What cross-validation found.

  Attributes:
    kept: the method to use, or ``none``.
    read_out: that was scored.
    folds: parts of the images.
    scores: by method, that of the predictions as they are under ``none``.
  """

  kept: str
  read_out: str
  folds: int
  scores: Mapping[str, Score]


def judge(methods: Sequence[str], sample: Sample, *, loss: str, read_out: str, seed: int = 0) -> Judgement | None:
  """Compares methods with each other and with no map at all.

  Args:
    methods: keys of `METHODS`; all must suit the predictions.
    sample: pixels of several images; of more than 200,000 a random part is taken.
    loss: that the maps are fitted by.
    read_out: ``mean_vote`` or ``majority``.
    seed: Seed of the division into parts.

  Returns:
    The judgement: of the methods that beat ``none`` the one with the lowest Brier score. None where all pixels are of
    one image or group, so that nothing can be left out.
  """
  draws = np.random.default_rng(seed)
  clusters = np.unique(sample.cluster)
  folds = min(FOLDS, len(clusters))
  if folds < 2:
    return None
  part = np.empty(len(clusters), np.int64)
  part[draws.permutation(len(clusters))] = np.arange(len(clusters)) % folds
  rows = np.sort(draws.permutation(len(sample))[:_PIXELS])
  thin = _rows(sample, rows)
  fold = part[np.searchsorted(clusters, thin.cluster)]
  present = np.unique(fold)
  if len(present) < 2:
    return None
  predicted = {method: np.empty(len(thin)) for method in (*methods, NONE)}
  for k in present:
    inside = np.flatnonzero(fold == k)
    held_out, rest = _rows(thin, inside), _rows(thin, np.flatnonzero(fold != k))
    for method in methods:
      predicted[method][inside] = _read_out(fit_sample(method, rest, loss=loss).recalibration, held_out, read_out)
    predicted[NONE][inside] = _read_out(Recalibration(NONE, sample.num_raters, {}), held_out, read_out)
  scores = {method: _score(prob, thin, read_out) for method, prob in predicted.items()}
  better = [method for method in methods if scores[method].beats(scores[NONE])]
  kept = min(better, key=lambda method: scores[method].brier, default=NONE)
  return Judgement(kept, read_out, len(present), scores)


def _rows(sample: Sample, index: np.ndarray) -> Sample:
  return Sample(**{field.name: getattr(sample, field.name)[index] for field in dataclasses.fields(Sample)})


def _read_out(recalibration: Recalibration, sample: Sample, read_out: str) -> np.ndarray:
  """[N] float64, of the n raters who answered each pixel."""

  size = min(_CHUNK, 1 << max(len(sample) - 1, 1).bit_length())  # one program for all chunks
  parts = []
  for start in range(0, len(sample), size):
    chunk = [x[start : start + size] for x in (sample.log_probs, sample.num_valid)]
    missing = size - len(chunk[0])
    padded = [np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) for x in chunk]
    prob = _program(recalibration.method, sample.num_raters, read_out)(recalibration.parameters, *padded)
    parts.append(np.asarray(prob, np.float64)[: size - missing])
  return np.concatenate(parts)


@functools.cache
def _program(method: str, num_raters: int, read_out: str) -> Callable[..., jax.Array]:
  """Returns (parameters, log_probs [N, L], num_valid [N]) -> [N], the read-out after the map."""

  def prob(parameters: Mapping[str, np.ndarray], log_probs: jax.Array, num_valid: jax.Array) -> jax.Array:
    mapped = Recalibration(method, num_raters, parameters)(log_probs)
    return ordinal.read_out(jnp.exp(mapped), ordinal.thinned_weights(read_out, num_valid, num_raters))

  return jax.jit(prob)


def _score(prob: np.ndarray, sample: Sample, read_out: str) -> Score:
  share = sample.votes / sample.num_valid
  if read_out == "majority":
    label, weight = (2 * sample.votes >= sample.num_valid).astype(np.float64), sample.weight
    floor = np.zeros(len(label))
  else:
    label, weight, floor = share, sample.weight * sample.num_valid, share * (1 - share)
  index = calibration.bin_index(prob, _NUM_BINS)
  gaps = np.bincount(index, weight * (prob - label), _NUM_BINS)
  total = weight.sum()
  brier = weight @ (np.square(prob - label) + floor) / total
  return Score(float(brier), float(np.abs(gaps).sum() / total))
