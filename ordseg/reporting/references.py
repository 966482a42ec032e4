"""The table that puts maps between floor and ceiling: a constant map, single raters, the votes themselves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ordseg import records
from ordseg.metrics import known

HEADER = ("", "Dice,\nmajority", "Dice,\neach rater", "MR-ECE", "Brier", "Brier\nskill")
_COLUMNS = ("dice", "dice_rater_mean", "mr_ece_pooled", "brier", "brier_skill")  # of the mean vote
_RATER = (None, "dice", "mr_ece", "brier", "brier_skill")  # of raters.leave_one_out and raters.each


def rows(metrics: Mapping[str, Any], raters: Sequence[str] = (), own: str = "these maps") -> list[list[str]]:
  """Returns rows for `HEADER`, from what any map reaches to what none can exceed; '-' where a number has no meaning.

  Args:
    metrics: content of metrics.json, or `EvalResult.metrics`.
    raters: their names, numbers where there are none.
    own: what the predictor is called.
  """

  def at(path: str) -> Any:
    return records.at(metrics, path)

  each = at("raters.each") or {}
  names = raters or [f"rater {k}" for k in range(1, len(each.get("brier") or ()) + 1)]
  constant, floor = at("constant.brier"), at("floors.brier")
  best = 1 - floor / constant if constant and floor is not None else None
  lines = [
    ("a constant map, the prevalence", [at("constant.dice"), None, 0.0, constant, 0.0 if constant else None]),
    (own, [at(f"read_outs.mean_vote.{key}") for key in _COLUMNS]),
    *((f"{name}, against the others", [_item(each, key, k) for key in _RATER]) for k, name in enumerate(names)),
    ("each rater, predicted by the others", [at(f"raters.leave_one_out.{key}") if key else None for key in _RATER]),
    ("the share of votes itself", [None if at("constant.dice") is None else 1.0, None, 0.0, floor, best]),
  ]
  return [[name, *(_cell(x, key) for x, key in zip(cells, _COLUMNS, strict=True))] for name, cells in lines]


def _item(lists: Mapping[str, Any], key: str | None, k: int) -> Any:
  values = lists.get(key) or () if key else ()
  return values[k] if k < len(values) else None


def _cell(value: float | None, key: str) -> str:
  metric = known(f"read_outs.{key}")
  assert metric is not None
  return "-" if value is None or not math.isfinite(value) else f"{value:.{metric.decimals}f}"
