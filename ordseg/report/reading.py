"""Reads the files of an evaluation back: metrics.json, per_image.csv, curves.json, examples.npz."""

import csv
import dataclasses
import json
import math
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ordseg.validate import InputError

READ_OUTS = ("mean_vote", "majority")  # in the order in which a report shows them
# Calibration errors that are made of absolute gaps, which noise raises: `metrics.gaps.NAMES`, without JAX.
GAP_METRICS = frozenset(
  {"mr_ece_pooled", "mr_ece_rater_mean", "ece_majority", "ace", "mce", "ece_top_label", "level_ece", "mr_ece"}
)
_CURVES = ("pooled", "majority", "raters")


@dataclasses.dataclass(frozen=True)
class Example:
  """Maps of one image: image [H, W, C] as the network saw it, mean_vote and prob [H, W] in [0, 1], float32.

  Attributes:
    kind: worst, typical or best.
    id: of the example.
    scores: dice, mr_ece and brier of the `mean_vote` read-out on this image; None where unknown.
    tails: [H, W, n] uint8, as `gallery.Example` has them; None in what earlier versions wrote.
  """

  kind: str
  id: str
  scores: dict[str, float | None]
  image: np.ndarray
  mean_vote: np.ndarray
  prob: np.ndarray
  tails: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What the evaluation folder holds.

  Attributes:
    folder: where it was read from, as the caller wrote it.
    metrics: content of metrics.json.
    curves: content of curves.json.
  """

  folder: pathlib.Path
  metrics: dict[str, Any]
  curves: dict[str, Any]

  def number(self, path: str) -> float | None:
    """Returns the number at a dotted path of metrics.json; None where it is missing, null or not finite."""
    value: Any = self.metrics
    for name in path.split("."):
      value = value.get(name) if isinstance(value, Mapping) else None
    return finite(value)

  def interval(self, path: str) -> tuple[float, float] | None:
    """Returns the confidence interval of the number at a dotted path; None where none was computed.

    Those that earlier versions gave to calibration errors are left out: they do not hold what they say.
    """
    if self.old_intervals and path.split(".")[-1] in GAP_METRICS:
      return None
    values = (self.metrics.get("intervals") or {}).get("values") or {}
    low, high = (finite(end) for end in values.get(path) or (None, None))
    return None if low is None or high is None else (low, high)

  @property
  def old_intervals(self) -> bool:
    """Whether an earlier version made the intervals, without correcting calibration errors for noise."""
    section = self.metrics.get("intervals") or {}
    return bool(section.get("values")) and "corrected" not in section

  def corrected(self, path: str) -> float | None:
    """Returns the calibration error at a dotted path corrected for noise; None where it was not."""
    return self._of_intervals("corrected", path)

  def noise_p(self, path: str) -> float | None:
    """Returns p of "calibrated, but for noise" for the calibration error at a dotted path; None where unknown."""
    return self._of_intervals("miscalibration_p", path)

  def _of_intervals(self, name: str, path: str) -> float | None:
    return finite(((self.metrics.get("intervals") or {}).get(name) or {}).get(path))

  def text(self, path: str, missing: str = "\u2013") -> str:
    """Returns the value at a dotted path of metrics.json as text, `missing` where there is none."""
    value: Any = self.metrics
    for name in path.split("."):
      value = value.get(name) if isinstance(value, Mapping) else None
    return missing if value is None or value == "" else str(value)

  @property
  def num_raters(self) -> int:
    """R, the size of a full panel."""
    return int(self.metrics["num_raters"])

  @property
  def num_bins(self) -> int:
    """Bins of the calibration errors."""
    return int(self.metrics["num_bins"])

  @property
  def data_name(self) -> str:
    """The data set's name with its builder config and the class, if it has them."""
    name, config, label = (
      self.text(*x) for x in (("data.builder", "unnamed data"), ("data.config", ""), ("class", ""))
    )
    return "/".join(part for part in (name, config, label) if part)

  @property
  def workdir(self) -> pathlib.Path:
    """The run's folder: evaluations are written to ``<workdir>/eval/<split>``."""
    if self.folder.parent.name == "eval":
      return self.folder.parent.parent
    whole = self.folder.resolve()
    return whole.parent.parent if whole.parent.name == "eval" else whole


def finite(value: Any) -> float | None:
  """Returns a number as float, None for anything else: None, text, NaN, infinity."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  return float(value) if math.isfinite(value) else None


def load(eval_dir: str | pathlib.Path) -> Evaluation:
  """Reads metrics.json and curves.json.

  Raises:
    InputError: a file is missing, damaged or lacks what every evaluation has.
  """
  folder = pathlib.Path(eval_dir)
  metrics, curves = _json(folder, "metrics.json"), _json(folder, "curves.json")
  needed = {
    "metrics.json": (
      metrics,
      [("num_raters",), ("num_images",), ("num_bins",), *(("read_outs", name) for name in READ_OUTS)],
    ),
    "curves.json": (curves, [("levels",), *(("read_outs", r, key) for r in READ_OUTS for key in _CURVES)]),
  }
  for file, (tree, paths) in needed.items():
    for path in paths:
      if not _holds(tree, path):
        raise InputError(f"{folder / file} lacks {'.'.join(path)!r}: it was not written by this version's evaluation.")
  return Evaluation(folder, metrics, curves)


def load_per_image(folder: pathlib.Path) -> list[dict[str, str]]:
  """Reads per_image.csv: one dict of texts per image.

  Raises:
    InputError: the file is missing.
  """
  with _existing(folder, "per_image.csv").open(newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def column(rows: Sequence[Mapping[str, str]], name: str) -> np.ndarray:
  """Returns a column of per_image.csv, [I] float64; NaN where a cell is empty or the column is missing."""
  return np.asarray([float(row.get(name) or "nan") for row in rows], np.float64)


def load_examples(folder: pathlib.Path) -> list[Example]:
  """Reads examples.npz, in the order of the file.

  Raises:
    InputError: the file is missing or damaged.
  """
  path = _existing(folder, "examples.npz")
  try:
    with np.load(path) as arrays:
      return [_example(entry, arrays) for entry in json.loads(str(arrays["meta"]))]
  except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
    raise InputError(f"{path} is damaged: {error}.") from error


def _example(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Example:
  scores = {name: finite(entry.get(name)) for name in ("dice", "mr_ece", "brier")}
  image, mean_vote, prob = (np.asarray(arrays[f"{name}_{entry['k']}"]) for name in ("image", "mean_vote", "prob"))
  tails = arrays.get(f"tails_{entry['k']}")
  return Example(str(entry["kind"]), str(entry["id"]), scores, image, mean_vote, prob, tails)


def _existing(folder: pathlib.Path, name: str) -> pathlib.Path:
  path = folder / name
  if not path.is_file():
    raise InputError(f"{folder} holds no evaluation: there is no {name}. Make one with run_eval.py --workdir=<run>.")
  return path


def _json(folder: pathlib.Path, name: str) -> dict[str, Any]:
  path = _existing(folder, name)
  try:
    value = json.loads(path.read_text(encoding="utf-8"))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise InputError(f"{path} is damaged: {error}.") from error
  if not isinstance(value, dict):
    raise InputError(f"{path} is damaged: expected an object, found {type(value).__name__}.")
  return value


def _holds(tree: Any, path: tuple[str, ...]) -> bool:
  for name in path:
    if not isinstance(tree, Mapping) or tree.get(name) is None:
      return False
    tree = tree[name]
  return True
