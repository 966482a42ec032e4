"""Evaluation: batches in, sums per image out, every reported number from those sums.

Nothing is averaged over batches, no image is dropped or counted twice, and no map is kept but those of a few examples.
The order of the images, how they were batched, and which process saw them change no number.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ordseg import metrics
from ordseg.errors import InputError
from ordseg.evaluation import gallery
from ordseg.evaluation.counting import Counter, scores_of
from ordseg.evaluation.result import EvalResult, all_metrics, write, write_files
from ordseg.input_pipeline import EvalBatch
from ordseg.metrics import Region, surface
from ordseg.ordinal import folding
from ordseg.types import Batch

__all__ = ["EvalResult", "evaluate", "evaluate_classes", "mean_metrics", "write", "write_files"]

NUM_EXAMPLES = gallery.NUM_EXAMPLES  # pictures of each kind
PredictFn = Callable[[Batch], np.ndarray]  # a batch -> level probabilities [B, H, W, L]
Gather = Callable[[Any], Any]  # a pytree of numpy arrays -> the same with those of all processes, concatenated


def evaluate(predict_fn: PredictFn, batches: Iterable[EvalBatch], **kwargs: Any) -> EvalResult:
  """`evaluate_classes` of one structure."""
  (result,) = evaluate_classes(predict_fn, batches, **kwargs)
  return result


def evaluate_classes(
  predict_fn: PredictFn,
  batches: Iterable[EvalBatch],
  *,
  num_raters: int,
  num_classes: int = 1,
  num_bins: int = 15,
  region: Region | None = None,
  surface_tolerance: float | None = None,
  gather: Gather = lambda tree: tree,
  progress: Callable[[int], None] | None = None,
) -> list[EvalResult]:
  """Evaluates a predictor.

  Args:
    predict_fn: batch -> level probabilities [B, H, W, R + 1] of images, [B, D, H, W, R + 1] of volumes, with an axis
      of classes before the last where there are several; what it says of dummies is ignored.
    batches: whole images, every process its own share, which may be empty. Where they carry ``level_probs``, the true
      distribution is scored by the same code as the oracle.
    num_raters: R.
    num_classes: structures that are segmented side by side.
    num_bins: bins of the calibration errors, of equal width and of equal mass, 1..255.
    region: the pixels that count for everything; all by default.
    surface_tolerance: of the surface Dice, in mm where batches carry a ``spacing`` > 0, else in pixels; None leaves all
      distances between outlines out, which take longer than all the rest.
    gather: merges over processes (`parallel.gather_across_processes`); called equally often by all of them.
    progress: called with the number of images done on this process after each batch.

  Returns:
    One result per class.

  Raises:
    InputError: no image on any process, or a prediction that is not a distribution over R + 1 levels.
  """
  classes = [_Class(num_raters, num_bins, region or Region(), surface_tolerance) for _ in range(num_classes)]
  num_done = 0
  for item in batches:
    level_probs = np.asarray(predict_fn(item.batch))
    for k, one in enumerate(classes):
      own = dataclasses.replace(item, batch=folding.class_batch(item.batch, k))
      one.add(level_probs[..., k, :] if num_classes > 1 else level_probs, own)
    num_done += item.num_real
    if progress is not None:
      progress(num_done)
  return [one.result(gather) for one in classes]


class _Class:
  """The evaluation of one structure on this process."""

  def __init__(self, num_raters: int, num_bins: int, region: Region, tolerance: float | None):
    self._model, self._oracle = (
      Counter(num_raters, num_bins, tolerance, what) for what in ("prediction", "level_probs")
    )
    self._pictures, self._region = gallery.Gallery(), region
    self._tolerance = tolerance

  def add(self, level_probs: np.ndarray, item: EvalBatch) -> None:
    """Counts a batch, [B, H, W, L] or [B, D, H, W, L]."""
    batch, names = self._region.restrict(item.batch), (item.ids, item.groups)
    sums = self._model.add(level_probs, batch, *names)
    if "level_probs" in batch:
      self._oracle.add(np.asarray(batch["level_probs"]), batch, *names)
    self._pictures.offer(batch, item.ids, level_probs, sums)

  def result(self, gather: Gather) -> EvalResult:
    """Merges over processes."""
    states = self._model.state(), self._oracle.state(), self._pictures.state()
    result = _merge(*states, gather=gather)
    result.metrics["roi"] = self._region.describe()
    if result.model.surface is not None:
      result.metrics["surface"] = {"tolerance": self._tolerance, "unit": surface.unit(result.model.surface)}
    return result


def mean_metrics(results: Sequence[EvalResult]) -> dict[str, Any]:
  """Returns the metrics of one result, or the mean of each over the classes that have it (are not NaN).

  Of several classes ``classes_with`` has the same tree, with the number of classes behind each mean: one of which no
  majority marked anything has no Dice, and must not take the others' away.
  """
  if len(results) == 1:
    return results[0].metrics
  trees = [result.metrics for result in results]
  return {**_over_classes(trees, _mean_of_known), "classes_with": _over_classes(trees, _num_known)}


def _over_classes(trees: list[Any], join: Callable[[np.ndarray], Any]) -> Any:
  """Joins each number of several trees of one shape; what is no number is the first's."""
  first = trees[0]
  if isinstance(first, Mapping):
    return {name: _over_classes([tree[name] for tree in trees], join) for name in first}
  if isinstance(first, list):
    return [_over_classes(list(items), join) for items in zip(*trees, strict=True)]
  if isinstance(first, int | float) and not isinstance(first, bool):
    return join(np.asarray(trees, np.float64))
  return first


def _mean_of_known(values: np.ndarray) -> float:
  return float(metrics.mean_of(values))


def _num_known(values: np.ndarray) -> int:
  return int((~np.isnan(values)).sum())


def _merge(model: dict[str, Any], oracle: dict[str, Any], pictures: np.ndarray, *, gather: Gather) -> EvalResult:
  everything = gather({"model": model, "oracle": oracle, "pictures": pictures})
  scores, ids, groups, votes = scores_of(everything["model"])
  if not ids:
    raise InputError("there is nothing to evaluate: no image came.")
  true_scores = scores_of(everything["oracle"])[0] if len(everything["oracle"]["names"]) else None
  return EvalResult(
    metrics=all_metrics(scores, true_scores, groups),
    model=scores,
    oracle=true_scores,
    ids=ids,
    groups=groups,
    examples=gallery.choose(everything["pictures"].tolist(), gallery.middle(scores.sums)),
    num_bins=scores.num_bins,
    votes=votes,
  )
