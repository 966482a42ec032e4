"""Reads the files of an evaluation back: metrics.json, per_image.csv, curves.json, examples.npz."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ordseg import metrics, ordinal, records
from ordseg.errors import InputError

READ_OUTS = ordinal.READ_OUTS[::-1]  # a report shows the mean vote first
_CURVES = ("pooled", "majority", "raters")


@dataclasses.dataclass(frozen=True)
class Example:
  """Maps of one image: image [H, W, C] as the network saw it, mean_vote and prob [H, W] in [0, 1], float32.

  Maps that were scored without images have no image.

  Attributes:
    kind: worst, typical or best.
    id: of the example.
    scores: dice, mr_ece and brier of the `mean_vote` read-out on this image; None where unknown.
    tails: [H, W, n] uint8, as `gallery.Example` has them; None in what earlier versions wrote.
  """

  kind: str
  id: str
  scores: dict[str, float | None]
  image: np.ndarray | None
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
    anonymous: whether names and what may hold them were taken out (`report.anonymous`).
  """

  folder: pathlib.Path
  metrics: dict[str, Any]
  curves: dict[str, Any]
  anonymous: bool = False

  def number(self, path: str) -> float | None:
    """Returns the number at a dotted path of metrics.json; None where it is missing, null or not finite."""
    return finite(records.at(self.metrics, path))

  def interval(self, path: str) -> tuple[float, float] | None:
    """Returns the confidence interval of the number at a dotted path; None where none was computed.

    Those that earlier versions gave to calibration errors are left out: they do not hold what they say.
    """
    metric = metrics.known(path)
    if self.old_intervals and metric is not None and metric.gaps is not None:
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
    value = records.at(self.metrics, path)
    return missing if value is None or value == "" else str(value)

  @property
  def has_levels(self) -> bool:
    """Whether the predictor said how many raters mark a pixel, and so what their majority does."""
    return _has_levels(self.metrics, self.curves)

  @property
  def read_outs(self) -> tuple[str, ...]:
    """The maps that were scored, the mean vote first."""
    return READ_OUTS if self.has_levels else READ_OUTS[:1]

  @property
  def mask_read_out(self) -> str:
    """The map whose mask stands for the predictor: of the majority, where there is one."""
    return self.read_outs[-1]

  @property
  def of_run(self) -> bool:
    """Whether a run was evaluated, which has a step and a config; else maps were scored."""
    return "step" in self.metrics or bool(records.at(self.metrics, "model.config"))

  @property
  def num_raters(self) -> int:
    """R, the size of a full panel."""
    return int(self.metrics["num_raters"])

  @property
  def rater_names(self) -> list[str]:
    """One per rater of a full panel: as the data set names them, else by number."""
    names = (self.metrics.get("data") or {}).get("raters") or []
    if len(names) == self.num_raters:
      return [str(name) for name in names]
    return [f"rater {number}" for number in range(1, self.num_raters + 1)]

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
  metrics = records.read_json(records.existing(folder, records.METRICS), records.again(folder))
  way_out = records.again(folder, metrics.get("split"))
  curves = records.parse_json(records.member(folder, "curves.json", metrics), folder / "curves.json", way_out)
  names = READ_OUTS if _has_levels(metrics, curves) else READ_OUTS[:1]
  needed = {
    "metrics.json": (
      metrics,
      [("num_raters",), ("num_images",), ("num_bins",), *(("read_outs", name) for name in names)],
    ),
    "curves.json": (curves, [("levels",), *(("read_outs", r, key) for r in names for key in _CURVES)]),
  }
  for file, (tree, paths) in needed.items():
    for path in paths:
      if not _holds(tree, path):
        raise InputError(
          f"{folder / file} lacks {'.'.join(path)!r}: it was not written by this version's evaluation. {way_out}"
        )
  if records.evaluation_of(metrics, folder / records.METRICS) is None:
    _check_agreement(folder, metrics, curves, names, way_out)
  return Evaluation(folder, metrics, curves)


@contextlib.contextmanager
def verified(*evaluations: Evaluation) -> Iterator[None]:
  """Turns what goes wrong inside into one line where an evaluation carries no digests: it may well be damaged.

  Files with digests are as they were written, so an error is ours, and is not hidden.
  """
  try:
    yield
  except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
    doubtful = [e.folder for e in evaluations if records.evaluation_of(e.metrics, e.folder) is None]
    if isinstance(error, InputError) or not doubtful:
      raise
    raise InputError(
      f"{', '.join(map(str, doubtful))}: damaged, or not written by this version ({type(error).__name__}: {error}). "
      f"{records.again(doubtful[0])}"
    ) from error


def _has_levels(metrics: Mapping[str, Any], curves: Mapping[str, Any]) -> bool:
  """Any trace of levels or of the majority read-out means that all of it has to be there."""
  return "levels" in metrics or bool(curves.get("levels")) or any(_holds(x, _MAJORITY) for x in (metrics, curves))


_MAJORITY = ("read_outs", "majority")


def _check_agreement(
  folder: pathlib.Path, metrics: Mapping[str, Any], curves: Mapping[str, Any], names: Sequence[str], way_out: str
) -> None:
  """Compares what the files of an evaluation without an id have in common: images, and errors with their curves."""
  rows = load_per_image(folder)
  if len(rows) != metrics["num_images"]:
    raise InputError(
      f"{folder / 'per_image.csv'} has {len(rows)} images, metrics.json {metrics['num_images']}: they are of two "
      f"evaluations. {way_out}"
    )
  for name in names:
    stored, curve = finite(metrics["read_outs"][name].get("mr_ece_pooled")), curves["read_outs"][name]["pooled"]
    found = _ece(folder, curve)
    if stored is not None and found is not None and abs(stored - found) > 1e-6:
      raise InputError(
        f"{folder / 'curves.json'} gives mr_ece_pooled of {name} as {found:.6f}, metrics.json as {stored:.6f}: they "
        f"are of two evaluations. {way_out}"
      )


def _ece(folder: pathlib.Path, curve: Any) -> float | None:
  """Returns the expected calibration error of a curve of curves.json; None without pixels."""
  try:
    bins = [[curve[key][k] for key in ("count", "mean_prob", "mean_label")] for k, n in enumerate(curve["count"]) if n]
    count, prob, label = np.asarray(bins, np.float64).reshape(-1, 3).T
  except (KeyError, TypeError, ValueError, IndexError) as error:
    raise InputError(f"{folder / 'curves.json'} is damaged: {error!r}. {records.again(folder)}") from error
  return float((count / count.sum()) @ np.abs(prob - label)) if len(count) else None


def load_per_image(folder: pathlib.Path) -> list[dict[str, str]]:
  """Reads per_image.csv: one dict of texts per image.

  Raises:
    InputError: the file is missing, damaged or of another evaluation.
  """
  path, content = folder / "per_image.csv", records.member(folder, "per_image.csv")
  try:
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
  except (ValueError, csv.Error) as error:
    raise InputError(f"{path} is damaged: {error}. {records.again(folder)}") from error
  for number, row in enumerate(rows, start=2):
    if not row.get("id") or None in row or None in row.values():
      raise InputError(f"{path} is damaged: line {number} is no row of its table. {records.again(folder)}")
  return rows


def column(rows: Sequence[Mapping[str, str]], name: str) -> np.ndarray:
  """Returns a column of per_image.csv, [I] float64; NaN where a cell is empty or the column is missing.

  Raises:
    InputError: a cell holds no number.
  """
  try:
    return np.asarray([float(row.get(name) or "nan") for row in rows], np.float64)
  except ValueError as error:
    raise InputError(f"per_image.csv is damaged: column {name}: {error}.") from error


def load_examples(folder: pathlib.Path, *, has_levels: bool = True) -> list[Example]:
  """Reads examples.npz, in the order of the file.

  Args:
    folder: of the evaluation.
    has_levels: of the evaluation; without levels there are no tails, and there may be no images.

  Raises:
    InputError: the file is missing or damaged.
  """
  path, way_out = folder / "examples.npz", records.again(folder)
  arrays = records.parse_npz(records.member(folder, "examples.npz"), path, way_out)
  try:
    return [_example(entry, arrays, has_levels) for entry in json.loads(str(arrays["meta"]))]
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(f"{path} is damaged: {error!r}. {way_out}") from error


def _example(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray], has_levels: bool) -> Example:
  scores = {name: finite(entry.get(name)) for name in ("dice", "mr_ece", "brier")}
  mean_vote, prob = (np.asarray(arrays[f"{name}_{entry['k']}"]) for name in ("mean_vote", "prob"))
  image, tails = (arrays.get(f"{name}_{entry['k']}") for name in ("image", "tails"))
  if image is None and has_levels:
    raise KeyError(f"image_{entry['k']}")
  tails = tails if has_levels else None
  return Example(str(entry["kind"]), str(entry["id"]), scores, image, mean_vote, prob, tails)


def _holds(tree: Any, path: tuple[str, ...]) -> bool:
  for name in path:
    if not isinstance(tree, Mapping) or tree.get(name) is None:
      return False
    tree = tree[name]
  return True
