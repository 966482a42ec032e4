"""Evaluation: batches in, sums per image out, every reported number from those sums.

Nothing is averaged over batches, no image is dropped or counted twice, and no map is kept but those of a few examples.
The order of the images, how they were batched, and which process saw them change no number.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ordseg import metrics, ordinal, statistics
from ordseg.errors import InputError
from ordseg.evaluation import folder as evaluation_folder
from ordseg.evaluation import gallery, scoring
from ordseg.evaluation.gallery import Example
from ordseg.evaluation.scoring import Scores, Stored
from ordseg.input_pipeline import EvalBatch
from ordseg.metrics import ImageSums, Region, calibration, surface
from ordseg.ordinal import folding
from ordseg.types import Batch

NUM_EXAMPLES = gallery.NUM_EXAMPLES  # pictures of each kind
MAX_PIXELS = 2**22  # of an image that are counted at once; a volume is counted in parts
PredictFn = Callable[[Batch], np.ndarray]  # a batch -> level probabilities [B, H, W, L]
Gather = Callable[[Any], Any]  # a pytree of numpy arrays -> the same with those of all processes, concatenated


@dataclasses.dataclass(frozen=True)
class EvalResult:
  """Everything an evaluation found, the same on every process. Images are sorted by id.

  Attributes:
    metrics: nested dict of numbers, NaN where undefined; the content of metrics.json but for the run's description.
    model: what was counted of the predictions.
    oracle: the same of the true distribution, where the data carry it.
    ids: [I].
    groups: [I].
    examples: pictures, by kind: worst, typical, best.
    num_bins: of the calibration errors.
  """

  metrics: dict[str, Any]
  model: Scores
  oracle: Scores | None
  ids: list[str]
  groups: list[str]
  examples: list[tuple[str, Example]]
  num_bins: int


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
      _Counter(num_raters, num_bins, tolerance, what) for what in ("prediction", "level_probs")
    )
    self._pictures, self._region = gallery.Gallery(), region
    self._num_bins, self._tolerance = num_bins, tolerance

  def add(self, level_probs: np.ndarray, item: EvalBatch) -> None:
    """Counts a batch, [B, H, W, L] or [B, D, H, W, L]."""
    item = dataclasses.replace(item, batch=self._region.restrict(item.batch))
    sums = self._model.add(level_probs, item)
    if "level_probs" in item.batch:
      self._oracle.add(np.asarray(item.batch["level_probs"]), item)
    self._pictures.offer(item, level_probs, sums)

  def result(self, gather: Gather) -> EvalResult:
    """Merges over processes."""
    states = self._model.state(), self._oracle.state(), self._pictures.state()
    result = _merge(*states, num_bins=self._num_bins, gather=gather)
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


class _Counter:
  """Sums of one predictor over the batches of this process."""

  def __init__(self, num_raters: int, num_bins: int, tolerance: float | None, what: str):
    self._num_levels, self._tolerance, self._what = num_raters + 1, tolerance, what
    self._count = _count_batch(num_bins)
    self._parts = [metrics.empty(num_raters, num_bins)]
    self._surface = [] if tolerance is None else [surface.empty(num_raters)]
    self._ranks = np.zeros((len(ordinal.READ_OUTS), metrics.NUM_RANKS, 5), np.int64)
    self.ids: list[str] = []
    self._groups: list[str] = []

  def add(self, level_probs: np.ndarray, item: EvalBatch) -> ImageSums:
    """Counts a batch; returns the sums of its real images."""
    want = (*np.shape(item.batch["mask"]), self._num_levels)
    if level_probs.shape != want:
      raise InputError(f"the {self._what} of a batch has shape {level_probs.shape}, expected {want} [B, S, levels].")
    columns = [_columns(x, len(want) - 1) for x in (level_probs, item.batch["rater_masks"], item.batch["mask"])]
    parts = [
      self._add_part([x[:, start : start + MAX_PIXELS] for x in columns], item)
      for start in range(0, columns[0].shape[1], MAX_PIXELS)
    ]
    self._parts.append(metrics.add(parts) if len(parts) > 1 else parts[0])
    if self._tolerance is not None:
      self._surface.append(surface.batch_scores(level_probs, item.batch, item.num_real, self._tolerance))
    self.ids += item.ids
    self._groups += item.groups
    return self._parts[-1]

  def _add_part(self, columns: list[np.ndarray], item: EvalBatch) -> ImageSums:
    """Counts some pixels of each image: [B, P, L], [B, P, R], [B, P]."""
    size = _padded_size(columns[0].shape[1])
    found = jax.device_get(self._count(*(_padded(x, size) for x in columns), np.asarray(item.batch["rater_valid"])))
    proper = found.pop("proper")[: item.num_real]
    if not proper.all():
      name = item.ids[int(np.argmin(proper))]
      raise InputError(
        f"the {self._what} of image {name!r} is no distribution over levels: not finite, or its sum not 1."
      )
    self._ranks += metrics.pooled_ranks(found, item.num_real, size)
    return metrics.to_host(found, item.num_real)

  def state(self) -> dict[str, Any]:
    """Returns a pytree of arrays that `gather` can concatenate, whatever this process saw."""
    names = np.asarray([*zip(self.ids, self._groups, strict=True)], np.str_).reshape(-1, 2)
    state = {"sums": metrics.concatenate(self._parts), "ranks": self._ranks[None], "names": names}
    return {**state, "surface": surface.concatenate(self._surface)} if self._surface else state


@functools.cache
def _count_batch(num_bins: int) -> Callable[..., dict[str, jax.Array]]:
  """Returns the compiled count of a batch: [B, P, L], [B, P, R], [B, P], [B, R] -> sums with a leading axis B."""

  def count(level_probs: Any, rater_masks: Any, mask: Any, rater_valid: Any) -> dict[str, jax.Array]:
    def one(*arrays: Any) -> dict[str, jax.Array]:
      example: dict[str, Any] = dict(zip(("rater_masks", "mask", "rater_valid"), arrays[1:], strict=True))
      return metrics.image_sums(arrays[0], example, num_bins=num_bins)

    return jax.vmap(one)(level_probs, rater_masks, mask, rater_valid)

  return jax.jit(count)


def _padded_size(num_pixels: int) -> int:
  """Rounds up to one of four sizes per octave, so that images of many sizes share few compiled programs."""
  step = max(256, (1 << num_pixels.bit_length()) // 8)
  return -(-num_pixels // step) * step


def _columns(x: Any, axes: int) -> np.ndarray:
  """[B, S, ...] -> [B, P, ...], with `axes` axes before the dots."""
  x = np.asarray(x)
  return x.reshape(len(x), -1, *x.shape[axes:])


def _padded(x: np.ndarray, size: int) -> np.ndarray:
  """[B, P, ...] -> [B, size, ...]; what is added is 0, so its mask is."""
  missing = size - x.shape[1]
  return np.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)) if missing else x


def _merge(
  model: dict[str, Any], oracle: dict[str, Any], pictures: np.ndarray, *, num_bins: int, gather: Gather
) -> EvalResult:
  everything = gather({"model": model, "oracle": oracle, "pictures": pictures})
  scores, ids, groups = _sorted(everything["model"])
  if not ids:
    raise InputError("there is nothing to evaluate: no image came.")
  true_scores = _sorted(everything["oracle"])[0] if len(everything["oracle"]["names"]) else None
  marked = scores.sums.label_area(5) > 0
  middle = np.median(metrics.image_metrics(scores.sums, gallery.READ_OUT)["dice"][marked]) if marked.any() else 0.0
  return EvalResult(
    metrics=_all_metrics(scores, true_scores, groups, num_bins),
    model=scores,
    oracle=true_scores,
    ids=ids,
    groups=groups,
    examples=gallery.choose(everything["pictures"].tolist(), float(middle)),
    num_bins=num_bins,
  )


def _sorted(state: dict[str, Any]) -> tuple[Scores, list[str], list[str]]:
  names = state["names"]
  order = np.argsort(names[:, 0], kind="stable")
  distances = jax.tree.map(lambda x: x[order], state.get("surface"))
  scores = Scores(state["sums"].rows(order), state["ranks"].sum(0), distances)
  return scores, names[order, 0].tolist(), names[order, 1].tolist()


def _all_metrics(model: Scores, oracle: Scores | None, groups: Sequence[str], num_bins: int) -> dict[str, Any]:
  sums = model.sums
  out = {
    "num_images": sums.num_images,
    "num_images_scored": int((sums.num_pixels > 0).sum()),
    "num_images_with_majority": int((sums.label_area(5) > 0).sum()),
    "num_pixels": int(sums.num_pixels.sum()),
    "num_raters": sums.rater_valid.shape[1],
    "num_bins": num_bins,
    **model.metrics(groups),
    **model.panel(),
  }
  if oracle is not None:
    out["oracle"] = oracle.metrics(groups)
  return out


def write(
  result: EvalResult,
  out_dir: str | pathlib.Path,
  info: Mapping[str, Any],
  settings: statistics.Settings = statistics.Settings(),  # noqa: B008
) -> None:
  """Writes metrics.json, per_image.csv, curves.json, sums.npz and examples.npz; together they replace the former ones.

  Args:
    result: from `evaluate`.
    out_dir: made if missing; what users put there stays.
    info: what describes the run: split, step, data, model, versions.
    settings: of the intervals in metrics.json.
  """
  with evaluation_folder.replacing(out_dir) as folder:
    write_files(result, folder, info, settings)


def write_files(
  result: EvalResult,
  folder: pathlib.Path,
  info: Mapping[str, Any],
  settings: statistics.Settings = statistics.Settings(),  # noqa: B008
) -> None:
  """Writes the files of `write` into a new folder, each with the evaluation's id."""
  everything = {**info, **result.metrics, "intervals": intervals(result, settings)}
  names = (info.get("data") or {}).get("raters") or []
  named = {"names": list(names)} if names else {}
  everything["raters"] = {**named, **result.metrics["raters"]}
  content = {
    "per_image.csv": per_image_rows(result, names),
    "curves.json": {**curves(result.model), **({"raters": names} if names else {})},
    "examples.npz": gallery.arrays(result.examples),
    scoring.FILE: scoring.arrays(Stored(result.model, result.ids, result.groups)),
  }
  evaluation_folder.write(folder, everything, content)


def intervals(result: EvalResult, settings: statistics.Settings) -> dict[str, Any]:
  """Returns the intervals of what `scoring.Scores.resampled` resamples, the oracle's under ``oracle.``."""
  units = statistics.units_of(result.groups)

  def measure(pool: metrics.Resamples) -> dict[str, np.ndarray]:
    out = result.model.resampled(result.groups, pool)
    if result.oracle is not None:
      truth = result.oracle.resampled(result.groups, pool, panel=False)
      out |= {f"oracle.{name}": values for name, values in truth.items()}
    return out

  gaps = result.model.gap_bins()
  if result.oracle is not None:
    gaps |= {f"oracle.{name}": bins for name, bins in result.oracle.gap_bins(panel=False).items()}
  return statistics.intervals(measure, units, settings, gaps)


def per_image_rows(result: EvalResult, names: Sequence[str] = ()) -> list[dict[str, Any]]:
  """Returns one row per image, sorted by id: counts, and the metrics that an image has alone (NaN: not scored).

  Args:
    result: from `evaluate`.
    names: of the raters; their numbers from 1 on where they have none. ``raters`` are those who answered.
  """
  sums = result.model.sums
  names = names or [str(number) for number in range(1, sums.rater_valid.shape[1] + 1)]
  answered = [";".join(name for name, there in zip(names, row, strict=True) if there) for row in sums.rater_valid]
  columns: dict[str, np.ndarray] = {
    "num_valid": sums.num_valid,
    "num_pixels": sums.num_pixels,
    "majority_pixels": sums.label_area(5),
  }
  for o, name in enumerate(ordinal.READ_OUTS):
    columns[f"{name}_predicted_pixels"] = sums.predicted[:, o, metrics.AT_HALF]
    columns |= {f"{name}_{key}": values for key, values in metrics.image_metrics(sums, name).items()}
    columns[f"{name}_ece_curvas"] = metrics.image_ece_curvas(sums, name)
    if result.model.surface is not None:
      distances = metrics.image_surface(result.model.surface, name)
      columns |= {f"{name}_{key}": values for key, values in distances.items()}
  columns["rps"] = metrics.image_rps(sums)
  columns |= {"ged_nested": metrics.image_ged_nested(sums), "ncc_nested": metrics.image_ncc_nested(sums)}
  columns["brier_floor"] = calibration.ratio(sums.vote_variance, sums.num_pixels)
  columns["nll_floor"] = calibration.ratio(sums.vote_entropy, sums.num_pixels)
  images = zip(result.ids, result.groups, answered, strict=True)
  return [
    {"id": name, "group": group, "raters": who, **{column: values[k].item() for column, values in columns.items()}}
    for k, (name, group, who) in enumerate(images)
  ]


def curves(scores: Scores) -> dict[str, Any]:
  """Returns the pooled reliability curves, each as `calibration.curve`, for curves.json.

  read_outs.<name>.pooled against all votes, .equal_mass the same in bins of equal mass, .majority against the majority
  vote, .raters[r] against one rater, .top_label of the confidence, and levels[j - 1] of at_least_j.
  """
  assert scores.ranks is not None
  sums, ranks, curve = scores.sums, scores.ranks, calibration.curve
  return {
    "read_outs": {
      name: {
        "pooled": curve(metrics.vote_bins(sums, name).pooled()),
        "equal_mass": metrics.equal_mass_curve(ranks[o], scores.num_bins),
        "majority": curve(metrics.majority_bins(sums, name).pooled()),
        "raters": [curve(bins) for bins in metrics.rater_bins(sums, name).pooled()],
        "top_label": metrics.top_label_curve(sums, name),
      }
      for o, name in enumerate(ordinal.READ_OUTS)
    },
    "levels": [curve(bins) for bins in metrics.level_bins(sums).pooled()],
  }
