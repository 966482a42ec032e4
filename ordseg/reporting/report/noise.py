"""Calibration errors beside what noise alone would give: values corrected for it, and whether there is more."""

import dataclasses
import math

from ordseg.metrics import Metric
from ordseg.reporting.report import terms
from ordseg.reporting.report.reading import Evaluation

MAIN = "read_outs.mean_vote.mr_ece_pooled"
_FEW = 20  # units; `statistics.FEW`, repeated since a report reads files and computes nothing
OLD = (
  "Intervals of calibration errors are left out: an earlier version made them, and they do not hold what they say. "
  "Evaluate again to have intervals that do, and errors corrected for noise."
)


@dataclasses.dataclass(frozen=True)
class Row:
  """A calibration error, as text."""

  label: str
  read_out: str
  value: str
  corrected: str
  interval: str
  p: str
  answer: str


def p_text(p: float | None, missing: str = "-") -> str:
  """Writes a p-value with two significant digits, rounded up, never as 0; `missing` for None and NaN."""
  if p is None or math.isnan(p):
    return missing
  first = 10.0 ** (math.floor(math.log10(p)) - 1)  # the place of the second digit
  rounded = math.ceil(round(p / first, 6)) * first
  return f"{rounded:.{max(1 - math.floor(math.log10(rounded) + 1e-9), 2)}f}"


def rows(e: Evaluation) -> list[Row]:
  """Returns the table of the calibration errors that are compared with noise; empty where none was."""
  out = []
  for path, m, read_out in _errors(e):
    if e.corrected(path) is None:
      continue
    p = e.noise_p(path)
    answer = "unknown" if p is None else "yes" if _beyond(e, p) else "not shown"
    value, corrected = (terms.number(x, m.decimals) for x in (e.number(path), e.corrected(path)))
    ends = terms.interval(e, path, m.decimals) or terms.MISSING
    out.append(Row(m.label, read_out, value, corrected, ends, p_text(p, terms.MISSING), answer))
  return out


def _errors(e: Evaluation) -> list[tuple[str, Metric, str]]:
  found = [
    (f"read_outs.{name}.{m.key}", m)
    for group in terms.READ_OUT_GROUPS
    for m in group.metrics
    for name in e.read_outs
    if m.gaps is not None and group.own in ("", name)
  ]
  found += [(m.path, m) for m in terms.levels(e) if m.gaps is not None]
  return [(path, m, terms.read_out_of(path)) for path, m in found]


def _beyond(e: Evaluation, p: float) -> bool:
  return p < 1 - (e.number("intervals.confidence") or 0.95)


def why_none(e: Evaluation) -> str:
  """Returns why an evaluation has no intervals, or only some; '' where nothing is to be said."""
  if e.old_intervals:
    return OLD
  why = e.text("intervals.none", "")
  return f"No intervals: {why}." if why else ""


def sentence(e: Evaluation) -> str:
  """Says whether the mean vote is miscalibrated beyond noise, by MR-ECE; '' where the evaluation does not know."""
  corrected, p = e.corrected(MAIN), e.noise_p(MAIN)
  if corrected is None or p is None:
    return ""
  values = f"MR-ECE {terms.number(e.number(MAIN))}, corrected for noise {terms.number(corrected)}"
  if ends := terms.interval(e, MAIN):
    values += f", {terms.percent(e.number('intervals.confidence'))} interval {ends}"
  values += f"; p of noise alone {p_text(p)}"
  if _beyond(e, p):
    return f"The mean vote is miscalibrated beyond noise ({values})."
  units = int(e.number("intervals.num_units") or 0)
  few = f" With {units} {e.text('intervals.unit', 'images')}, an error of this size may be noise."
  return f"No miscalibration of the mean vote beyond noise is shown ({values}).{few if units < _FEW else ''}"
