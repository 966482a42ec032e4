"""What an evaluation found: every number, its interval, and the files that hold them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ordseg import metrics, statistics
from ordseg.errors import InputError
from ordseg.evaluation import folder as evaluation_folder
from ordseg.evaluation import gallery, scoring
from ordseg.evaluation.gallery import Example
from ordseg.evaluation.scoring import Stored
from ordseg.metrics import Scores, calibration


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
    votes: [I, votes.NUM_BYTES] digests of the votes on each image.
  """

  metrics: dict[str, Any]
  model: Scores
  oracle: Scores | None
  ids: list[str]
  groups: list[str]
  examples: list[tuple[str, Example]]
  num_bins: int
  votes: np.ndarray | None = None

  def number(self, path: str) -> float:
    """Returns the number at a dotted path of `metrics`; NaN where it is undefined.

    Raises:
      InputError: there is no such metric, with the nearest path; or this evaluation does not have it, as that of a
        probability of the foreground has no levels.
    """
    value: Any = self.metrics
    for name in path.split("."):
      value = value.get(name) if isinstance(value, Mapping) else None
    if value is None or isinstance(value, Mapping):
      metrics.find(path)
      raise InputError(f"{path}: this evaluation does not have it; it has {', '.join(self.metrics)}.")
    return value

  def interval(self, path: str) -> tuple[float, float] | None:
    """Returns the confidence interval of the number at a dotted path; None where it has none, or none were made."""
    ends = (self.metrics.get("intervals") or {}).get("values", {}).get(path)
    return None if ends is None else (float(ends[0]), float(ends[1]))

  def write(self, out_dir: str | pathlib.Path, info: Mapping[str, Any] | None = None) -> None:
    """Writes the files of an evaluation, which together replace the former ones; see `write`.

    Args:
      out_dir: made if missing; what users put there stays.
      info: what describes maps and data: ``model``, ``data`` with ``raters``, the names, ``split``.
    """
    write(self, out_dir, info or {})


def all_metrics(model: Scores, oracle: Scores | None, groups: Sequence[str]) -> dict[str, Any]:
  """Returns the numbers of metrics.json.

  Args:
    model: what was counted of I images.
    oracle: the same of the true distribution.
    groups: [I].
  """
  sums = model.sums
  out = {
    "num_images": sums.num_images,
    "num_images_scored": int((sums.num_pixels > 0).sum()),
    "num_images_with_majority": int((sums.label_area(5) > 0).sum()),
    "num_pixels": int(sums.num_pixels.sum()),
    "num_raters": sums.rater_valid.shape[1],
    "num_bins": model.num_bins,
    **model.metrics(groups),
    **model.panel(),
  }
  if oracle is not None:
    out["oracle"] = oracle.metrics(groups)
  return out


def intervals(result: EvalResult, settings: statistics.Settings) -> dict[str, Any]:
  """Returns the intervals of what `Scores.resampled` resamples, the oracle's under ``oracle.``."""
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


# --- Files ------------------------------------------------------------------------------------------------------------


def write(
  result: EvalResult,
  out_dir: str | pathlib.Path,
  info: Mapping[str, Any],
  settings: statistics.Settings = statistics.Settings(),  # noqa: B008
) -> None:
  """Writes metrics.json, per_image.csv, curves.json, sums.npz and examples.npz; together they replace the former ones.

  Args:
    result: The evaluation, from `evaluate`.
    out_dir: made if missing; what users put there stays.
    info: what describes the run: split, step, data, model, versions.
    settings: How the intervals in metrics.json are made, where the result has none yet.
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
  everything = {**info, **result.metrics}
  if "intervals" not in everything:
    everything["intervals"] = intervals(result, settings)
  names = (info.get("data") or {}).get("raters") or []
  named = {"names": list(names)} if names else {}
  everything["raters"] = {**named, **result.metrics["raters"]}
  content = {
    "per_image.csv": per_image_rows(result, names),
    "curves.json": {**curves(result.model), **({"raters": names} if names else {})},
    "examples.npz": gallery.arrays(result.examples),
    scoring.FILE: scoring.arrays(Stored(result.model, result.ids, result.groups, result.votes)),
  }
  evaluation_folder.write(folder, everything, content)


def per_image_rows(result: EvalResult, names: Sequence[str] = ()) -> list[dict[str, Any]]:
  """Returns one row per image, sorted by id: counts, and the metrics that an image has alone (NaN: not scored).

  Args:
    result: The evaluation, from `evaluate`.
    names: Names of the raters; their numbers from 1 on where they have none. ``raters`` are those who answered.
  """
  model, sums = result.model, result.model.sums
  names = names or [str(number) for number in range(1, sums.rater_valid.shape[1] + 1)]
  answered = [";".join(name for name, there in zip(names, row, strict=True) if there) for row in sums.rater_valid]
  columns: dict[str, np.ndarray] = {
    "num_valid": sums.num_valid,
    "num_pixels": sums.num_pixels,
    "majority_pixels": sums.label_area(5),
  }
  for name in model.read_outs:
    images = model.images(name, result.groups)
    columns[f"{name}_predicted_pixels"] = images.of(metrics.predicted_pixels)
    columns |= {f"{name}_{key}": x for key, x in metrics.image_values("read_outs", images).items()}
  for section in (*(["levels"] if model.has_levels else []), "samples", "floors"):
    columns |= metrics.image_values(section, model.images("", result.groups))
  images = zip(result.ids, result.groups, answered, strict=True)
  return [
    {"id": name, "group": group, "raters": who, **{column: values[k].item() for column, values in columns.items()}}
    for k, (name, group, who) in enumerate(images)
  ]


def curves(scores: Scores) -> dict[str, Any]:
  """Returns the pooled reliability curves, each as `calibration.curve`, for curves.json.

  read_outs.<name>.pooled against all votes, .equal_mass the same in bins of equal mass, .majority against the majority
  vote, .raters[r] against one rater, .top_label of the confidence, and levels[j - 1] of at_least_j. Scores without
  ranks have no curve in bins of equal mass.
  """
  levels = [calibration.curve(bins) for bins in metrics.level_bins(scores.sums).pooled()] if scores.has_levels else []
  return {"read_outs": {name: _read_out_curves(scores, name) for name in scores.read_outs}, "levels": levels}


def _read_out_curves(scores: Scores, name: str) -> dict[str, Any]:
  images, curve = scores.images(name, ()), calibration.curve
  ranks = images.ranks
  return {
    "pooled": curve(images.of(metrics.vote_bins).pooled()),
    **({} if ranks is None else {"equal_mass": metrics.equal_mass_curve(ranks, scores.num_bins)}),
    "majority": curve(images.of(metrics.majority_bins).pooled()),
    "raters": [curve(bins) for bins in images.of(metrics.rater_bins).pooled()],
    "top_label": metrics.top_label_curve(scores.sums, name),
  }
