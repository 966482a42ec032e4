"""The tables of docs/statistics.md, from the record of benchmarks/coverage.py."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Line = Mapping[str, Any]

_NAMES = {
  "sharp": "too sure, error 0 to .08",
  "two errors": "errors .02 and .04",
  "near": "two models that hardly differ",
  "bad bin": "one bin wrong, the others perfect",
  "bad bins": "one bin wrong in each, another one",
  "shift": "a shift that images' effects can hide",
  "shift on .02": "such a shift on an error of .02",
  "raters": "of four raters three often missing",
  "phantom": "too sure, 88 % of the pixels near 0",
}
_METRICS = {
  "mr_ece": "MR-ECE", "rater_mean": "MR-ECE, mean over raters",
  "rater_pooled": "MR-ECE, mean over raters by answers", "level_ece": "level ECE", "ace": "ACE", "mce": "MCE",
  "brier": "Brier score", "dice": "Dice",
}  # fmt: skip
_UNITS = {"patients": "patients of 1 to 20 pictures", "lognormal": "images of very different sizes"}


def bar(n: int) -> float:
  """The least coverage that a 95 % interval should have."""
  return 0.92 if n >= 50 else 0.88 if n >= 20 else 0.0


def tables(lines: Iterable[Line]) -> str:
  """Returns all tables as Markdown."""
  lines = list(lines)
  return "\n\n".join([_coverage(lines), _bias(lines), _summary(lines)])


def _row_name(line: Line) -> str:
  metric = _METRICS[line["metric"]] + (f" ({line['method']})" if line["method"] else "")
  what = _UNITS.get(line["units"]) or _NAMES[line["what"]]
  if line["method"]:
    return metric
  return f"{metric}: {what}"


def _coverage(lines: Sequence[Line]) -> str:
  sizes = sorted({line["n"] for line in lines})
  head = [
    f"Smallest coverage of the cells (mean), and mean width. Last column: percentile intervals at n = {sizes[-1]}.\n",
    "| | |" + "".join(f" n = {n} |" for n in sizes) + " percentile |",
    "|---|---|" + "---|" * (len(sizes) + 1),
  ]
  groups: dict[tuple[str, str], list[Line]] = {}
  for line in lines:
    groups.setdefault((line["kind"], _row_name(line)), []).append(line)
  rows = []
  for (kind, name), members in groups.items():
    cells = []
    for n in sizes:
      own = [line for line in members if line["n"] == n]
      width = float(np.mean([line["width"] for line in own])) if own else 0.0
      cells.append(f"{_range([line['coverage'] for line in own])}, {_short(width, 4)}" if own else "")
    largest = [line["percentile_coverage"] for line in members if line["n"] == sizes[-1]]
    rows.append(f"| {kind} | {name} | " + " | ".join(cells) + f" | {_range(largest)} |")
  return "\n".join([*head, *rows])


def _range(values: Sequence[float]) -> str:
  if not values:
    return ""
  return _short(min(values)) + (f" ({_short(float(np.mean(values)))})" if len(values) > 1 else "")


def _short(value: float, decimals: int = 2) -> str:
  """Without the leading zero."""
  written = f"{value:.{decimals}f}"
  return written.replace("0.", ".", 1) if written.startswith(("0.", "-0.")) else written


def _bias(lines: Sequence[Line]) -> str:
  chosen = [
    line for line in lines
    if [line[k] for k in ("kind", "metric", "what", "sd", "pixels", "units")]
    == ["single", "mr_ece", "sharp", 0.4, 200, "images"]
  ]  # fmt: skip
  sizes = sorted({line["n"] for line in chosen})
  rows = [
    "Bias of the value as measured / corrected for noise (root mean squared error of each), 200 pixels an image.\n",
    "| true MR-ECE |" + "".join(f" n = {n} |" for n in sizes),
    "|---|" + "---|" * len(sizes),
  ]
  for error in sorted({line["error"] for line in chosen}):
    cells = []
    for n in sizes:
      own = next((line for line in chosen if line["n"] == n and line["error"] == error), None)
      if own is None:
        cells.append("")
        continue
      bias, rmse = ([_short(own[f"{what}_{name}"], 4) for what in ("raw", "corrected")] for name in ("bias", "rmse"))
      cells.append(f"{bias[0]} / {bias[1]} ({rmse[0]} / {rmse[1]})")
    rows.append(f"| {_short(error)} | " + " | ".join(cells) + " |")
  return "\n".join(rows)


def _summary(lines: Sequence[Line]) -> str:
  repetitions = sorted({line["repetitions"] for line in lines})
  below = [line for line in lines if line["coverage"] < bar(line["n"])]
  errors = [_short(float(np.sqrt(c * (1 - c) / repetitions[0])), 3) for c in (0.95, 0.9)]
  counts = " or ".join(map(str, repetitions))
  summary = (
    f"{len(lines)} cells of {counts} repetitions. Standard error of a coverage: {errors[0]} at .95, {errors[1]} at .90."
  )
  out = [summary]
  for kind, chosen in (
    ("calibration errors", [x for x in lines if not x["method"]]),
    ("means", [x for x in lines if x["method"]]),
  ):
    if values := [x["coverage"] for x in chosen if x["n"] >= 20]:
      out.append(
        f"At n >= 20, {kind}: mean coverage {_short(float(np.mean(values)), 3)}, smallest {_short(min(values), 3)}."
      )
  out.append(f"Below .92 at n >= 50, or .88 at n = 20: {len(below)} cells.")
  out += [f"- {line['name']}: {_short(line['coverage'], 3)}" for line in below]
  return "\n".join(out)
