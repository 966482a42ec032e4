"""Evaluation: batches in, sums per image out, every reported number from those sums.

Nothing is averaged over batches, no image is dropped or counted twice, and no map is kept but those of a few examples.
"""

import csv
import dataclasses
import functools
import io
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from ordseg import agreement, calibration, logging_utils, metrics, ordinal
from ordseg.input_pipeline import EvalBatch
from ordseg.metrics import MetricSums
from ordseg.types import Batch

NUM_EXAMPLES = 3  # of each kind, for the report
PredictFn = Callable[[Batch], np.ndarray]  # a batch -> level probabilities [B, H, W, L]
Gather = Callable[[Any], Any]  # a pytree of arrays -> the same with the processes' arrays concatenated


@dataclasses.dataclass(frozen=True)
class Example:
  """Maps of one image, for pictures: image [H, W, C], mean_vote and prob (`mean_vote` read-out) [H, W], float32."""

  id: str
  dice: float
  image: np.ndarray
  mean_vote: np.ndarray
  prob: np.ndarray


@dataclasses.dataclass(frozen=True)
class EvalResult:
  """Everything an evaluation found.

  Attributes:
    metrics: nested dict of numbers; the content of metrics.json but for the run's own description.
    model: merged sums of the model's predictions.
    oracle: the same of the true distribution, where the data carry it.
    ids: [I].
    groups: [I].
    examples: (kind, example), kind in 'worst', 'typical', 'best'.
    num_bins: of the calibration errors.
  """

  metrics: dict[str, Any]
  model: MetricSums
  oracle: MetricSums | None
  ids: list[str]
  groups: list[str]
  examples: list[tuple[str, Example]]
  num_bins: int


@functools.cache
def _batch_sums(num_bins: int) -> Callable[[Any, Any], dict[str, Any]]:
  """Returns the compiled count of a batch: [B, ...] sums per image, and the AUC histograms summed over the batch."""

  def count(level_probs: Any, batch: Any) -> dict[str, Any]:
    sums = jax.vmap(functools.partial(metrics.image_sums, num_bins=num_bins))(level_probs, batch)
    return {name: value.sum(0) if name.endswith("/auc") else value for name, value in sums.items()}

  return jax.jit(count)


class _Collector:
  """Sums of one predictor over the batches."""

  def __init__(self, num_bins: int):
    self._count = _batch_sums(num_bins)
    self._parts: list[dict[str, np.ndarray]] = []
    self._auc: dict[str, np.ndarray] = {}

  def add(self, level_probs: np.ndarray, item: EvalBatch) -> dict[str, np.ndarray]:
    batch = {name: item.batch[name] for name in ("rater_masks", "rater_valid", "mask")}
    sums = jax.device_get(self._count(level_probs, batch))
    for name in ordinal.READ_OUTS:
      histogram = sums.pop(f"{name}/auc").astype(np.int64)
      self._auc[name] = self._auc.get(name, 0) + histogram
    part = metrics.to_host(sums, item.num_real)
    part["rater_valid"] = np.asarray(item.batch["rater_valid"])[: item.num_real].astype(np.int64)
    self._parts.append(part)
    return part

  def merge(self, gather: Gather) -> MetricSums:
    sums = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
    sums = gather(sums)
    auc = {name: np.sum(gather(histogram[None]), axis=0) for name, histogram in self._auc.items()}
    return MetricSums(sums=sums, rater_valid=sums.pop("rater_valid"), auc=auc)


def evaluate(
  predict_fn: PredictFn,
  batches: Iterable[EvalBatch],
  *,
  num_raters: int,
  num_bins: int = 15,
  gather: Gather = lambda tree: tree,
  progress: Callable[[int], None] | None = None,
) -> EvalResult:
  """Evaluates a predictor.

  Args:
    predict_fn: batch -> level probabilities [B, H, W, R + 1].
    batches: whole images; every process its own share. Where they carry ``level_probs``, the true distribution is
      scored by the same code as the oracle.
    num_raters: R.
    num_bins: bins of equal width of the calibration errors.
    gather: merges over processes (`parallel.gather_across_processes`); all processes then hold the same result, but
      each its own examples.
    progress: called with the number of images done after each batch.

  Returns:
    The result.

  Raises:
    ValueError: no batch, or a prediction of another shape.
  """
  model, oracle = _Collector(num_bins), _Collector(num_bins)
  gallery = _Gallery()
  names: list[tuple[str, str]] = []
  for item in batches:
    level_probs = np.asarray(predict_fn(item.batch))
    want = (*np.shape(item.batch["mask"]), num_raters + 1)
    if level_probs.shape != want:
      raise ValueError(f"predicted level probabilities have shape {level_probs.shape}, expected {want}.")
    part = model.add(level_probs, item)
    if "level_probs" in item.batch:
      oracle.add(np.asarray(item.batch["level_probs"]), item)
    gallery.offer(item, level_probs, part)
    names += zip(item.ids, item.groups, strict=True)
    if progress is not None:
      progress(len(names))
  if not names:
    raise ValueError("there is nothing to evaluate: no batch came.")
  model_sums = model.merge(gather)
  oracle_sums = oracle.merge(gather) if oracle._parts else None
  table = gather(np.asarray(names))
  return EvalResult(
    metrics=_all_metrics(model_sums, oracle_sums, num_raters, num_bins),
    model=model_sums,
    oracle=oracle_sums,
    ids=table[:, 0].tolist(),
    groups=table[:, 1].tolist(),
    examples=gallery.choose(),
    num_bins=num_bins,
  )


def _predictor_metrics(sums: MetricSums) -> dict[str, Any]:
  return {
    "read_outs": {name: metrics.read_out_metrics(sums, name) for name in ordinal.READ_OUTS},
    "levels": metrics.level_metrics(sums),
  }


def _all_metrics(model: MetricSums, oracle: MetricSums | None, num_raters: int, num_bins: int) -> dict[str, Any]:
  has_majority = (model.sums["majority/majority"] > 0) & (model.sums["num_valid"] > 0)
  out = {
    "num_images": model.num_images,
    "num_pixels": int(model.sums["num_pixels"].sum()),
    "num_images_with_majority": int(has_majority.sum()),
    "num_raters": num_raters,
    **_predictor_metrics(model),
    "floors": metrics.floor_metrics(model),
    "raters": agreement.rater_metrics(model, num_bins=num_bins),
  }
  if oracle is not None:
    out["oracle"] = _predictor_metrics(oracle)
  return out


class _Gallery:
  """Keeps the maps of a few images: the best and worst by Dice, and a spread of others to find typical ones in."""

  def __init__(self) -> None:
    self._best: list[Example] = []
    self._worst: list[Example] = []
    self._spread: list[Example] = []
    self._all_dice: list[float] = []
    self._stride = 1

  def offer(self, item: EvalBatch, level_probs: np.ndarray, part: Mapping[str, np.ndarray]) -> None:
    s = part
    scores = metrics.dice(s["mean_vote/overlap"], s["mean_vote/predicted"], s["mean_vote/majority"])
    for k in np.flatnonzero(np.isfinite(scores) & (s["mean_vote/majority"] > 0)):
      self._consider(float(scores[k]), functools.partial(_example, item, level_probs, int(k), float(scores[k])))

  def _consider(self, score: float, make: Callable[[], Example]) -> None:
    self._all_dice.append(score)
    if len(self._worst) < NUM_EXAMPLES or score < self._worst[-1].dice:
      self._worst = sorted([*self._worst, make()], key=lambda e: e.dice)[:NUM_EXAMPLES]
    if len(self._best) < NUM_EXAMPLES or score > self._best[-1].dice:
      self._best = sorted([*self._best, make()], key=lambda e: -e.dice)[:NUM_EXAMPLES]
    if len(self._all_dice) % self._stride == 0:
      self._spread.append(make())
      if len(self._spread) == 16 * NUM_EXAMPLES:  # every second one leaves: still spread evenly, still bounded
        self._spread, self._stride = self._spread[1::2], 2 * self._stride

  def choose(self) -> list[tuple[str, Example]]:
    """Returns worst, typical and best; no image twice."""
    taken = {e.id for e in (*self._worst, *self._best)}
    middle = float(np.median(self._all_dice)) if self._all_dice else 0.0
    typical = sorted((e for e in self._spread if e.id not in taken), key=lambda e: abs(e.dice - middle))
    worst_ids = {e.id for e in self._worst}
    kinds = [("worst", self._worst), ("typical", typical[:NUM_EXAMPLES])]
    kinds.append(("best", [e for e in self._best if e.id not in worst_ids]))
    return [(kind, example) for kind, group in kinds for example in group]


def _example(item: EvalBatch, level_probs: np.ndarray, k: int, score: float) -> Example:
  masks, valid = np.asarray(item.batch["rater_masks"][k]), np.asarray(item.batch["rater_valid"][k])
  weights = ordinal.read_out_weights("mean_vote", level_probs.shape[-1] - 1)
  return Example(
    id=item.ids[k],
    dice=score,
    image=np.asarray(item.batch["image"][k], np.float32),
    mean_vote=((masks * valid).sum(-1) / max(int(valid.sum()), 1)).astype(np.float32),
    prob=(level_probs[k] @ weights).astype(np.float32),
  )


def write(result: EvalResult, out_dir: str | pathlib.Path, info: Mapping[str, Any]) -> None:
  """Writes metrics.json, per_image.csv, curves.json and examples.npz; each replaces its predecessor at once.

  Args:
    result: from `evaluate`.
    out_dir: made if missing.
    info: what describes the run: split, step, data, model, versions.
  """
  out_dir = pathlib.Path(out_dir)
  out_dir.mkdir(parents=True, exist_ok=True)
  logging_utils.write_text(out_dir / "per_image.csv", _per_image_csv(result))
  logging_utils.write_json(out_dir / "curves.json", _curves(result.model))
  _write_examples(out_dir / "examples.npz", result.examples)
  logging_utils.write_json(out_dir / "metrics.json", {**info, **result.metrics})


def per_image_rows(result: EvalResult) -> list[dict[str, Any]]:
  """Returns one row per image, in the order of the ids' arrival: counts, and the metrics that an image has alone."""
  m = result.model
  columns: dict[str, np.ndarray] = {
    "num_valid": m.sums["num_valid"],
    "num_pixels": m.sums["num_pixels"],
    "majority_pixels": m.sums["majority/majority"],
  }
  pairs = np.maximum(m.sums["num_valid"] * m.sums["num_pixels"], 1)
  for name in ordinal.READ_OUTS:
    s = {key: m.sums[f"{name}/{key}"] for key in ("overlap", "predicted", "majority", "brier", "nll")}
    columns[f"{name}_predicted_pixels"] = s["predicted"]
    columns[f"{name}_dice"] = metrics.dice(s["overlap"], s["predicted"], s["majority"])
    columns[f"{name}_mr_ece"] = calibration.ece(m.votes_bins(name))
    columns[f"{name}_brier"] = s["brier"] / pairs
    columns[f"{name}_nll"] = s["nll"] / pairs
  columns["rps"] = m.sums["rps"] / np.maximum(m.sums["num_pixels"], 1)
  columns["brier_floor"] = m.sums["brier_floor"] / pairs
  rows = []
  for k, (name, group) in enumerate(zip(result.ids, result.groups, strict=True)):
    rows.append({"id": name, "group": group, **{column: values[k].item() for column, values in columns.items()}})
  return rows


def _per_image_csv(result: EvalResult) -> str:
  rows = per_image_rows(result)
  text = io.StringIO()
  writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
  writer.writeheader()
  for row in rows:
    writer.writerow({k: "" if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()})
  return text.getvalue()


def _curves(m: MetricSums) -> dict[str, Any]:
  def axis_0(bins: calibration.BinSums) -> list[dict[str, list]]:
    parts = zip(bins.count, bins.prob_sum, bins.label_sum, strict=True)
    return [calibration.curve(calibration.BinSums(*part)) for part in parts]

  return {
    "read_outs": {
      name: {
        "pooled": calibration.curve(m.votes_bins(name).pooled()),
        "majority": calibration.curve(m.majority_bins(name).pooled()),
        "raters": axis_0(m.rater_bins(name).pooled()),
      }
      for name in ordinal.READ_OUTS
    },
    "levels": axis_0(m.level_bins().pooled()),
  }


def _write_examples(path: pathlib.Path, examples: list[tuple[str, Example]]) -> None:
  arrays: dict[str, Any] = {}
  meta = []
  for k, (kind, example) in enumerate(examples):
    arrays |= {f"image_{k}": example.image, f"mean_vote_{k}": example.mean_vote, f"prob_{k}": example.prob}
    meta.append({"k": k, "id": example.id, "kind": kind, "dice": example.dice})
  temporary = path.with_name(f".{path.name}.tmp.npz")
  np.savez_compressed(temporary, meta=np.asarray(json.dumps(meta)), **arrays)
  temporary.replace(path)
