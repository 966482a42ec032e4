"""Tables for the terminal and for Markdown, and the summary that an evaluation prints."""

import pathlib
import textwrap
from collections.abc import Sequence

from ordseg.reporting.report import noise, reading, terms

Cells = Sequence[Sequence[str]]


def text_table(header: Sequence[str], rows: Cells) -> str:
  """Lays out a table in plain text: first column to the left, the others to the right.

  Args:
    header: one cell per column; a newline breaks it over lines.
    rows: cells without newlines.
  """
  heads = [cell.split("\n") for cell in header]
  height = max(map(len, heads))
  lines = [[head[i - height + len(head)] if i >= height - len(head) else "" for head in heads] for i in range(height)]
  body = [[*row] for row in rows]
  widths = [max(map(len, column)) for column in zip(*lines, *body, strict=True)]
  rule = ["-" * width for width in widths]

  def line(cells: Sequence[str]) -> str:
    aligned = [c.rjust(w) if k else c.ljust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(aligned).rstrip()

  return "\n".join(line(cells) for cells in [*lines, rule, *body])


def markdown_table(header: Sequence[str], rows: Cells) -> str:
  """Writes a Markdown table, numbers to the right; cells are escaped."""

  def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"

  return "\n".join([line(header), "|---|" + "---:|" * (len(header) - 1), *map(line, rows)])


def escaped(cell: str) -> str:
  """Returns text as Markdown that shows it as it is."""
  for old, new in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("*", "\\*"), ("_", "\\_"), ("`", "\\`"), ("\n", " ")):
    cell = cell.replace(old, new)
  return cell


def text_summary(eval_dir: str | pathlib.Path) -> str:
  """Returns the main numbers of an evaluation as plain text, some 20 lines of at most 100 characters.

  Args:
    eval_dir: a folder that `evaluate.write` wrote.

  Raises:
    InputError: the folder holds no whole evaluation.
  """
  e = reading.load(eval_dir)
  has_oracle = "oracle" in e.metrics
  header = ["", "mean vote", "majority", *(["oracle\nmean vote", "oracle\nmajority"] * has_oracle), ""]
  rows = []
  for group in terms.READ_OUT_GROUPS:
    for m in group.metrics:
      if m.key not in _SUMMARY:
        continue
      cells = [_cell(e, f"read_outs.{name}.{m.key}", m, group.own in ("", name)) for name in reading.READ_OUTS]
      if has_oracle:
        cells += [
          _cell(e, f"oracle.read_outs.{name}.{m.key}", m, group.own in ("", name)) for name in reading.READ_OUTS
        ]
      floor = e.number(f"floors.{m.key}")
      notes = f"{m.better} is better" + (f", floor {terms.number(floor, m.decimals)}" if floor is not None else "")
      rows.append([m.label, *cells, notes])
  for m in (m for m in terms.LEVEL_METRICS if m.key in _SUMMARY):
    cells = [_cell(e, f"levels.{m.key}", m), "", *([_cell(e, f"oracle.levels.{m.key}", m), ""] * has_oracle)]
    rows.append([f"{m.label} (no read-out)", *cells, f"{m.better} is better"])
  width = max(len(row[-1]) for row in rows)
  rows = [[*row[:-1], row[-1].ljust(width)] for row in rows]
  lines = [terms.subject(e), terms.model_name(e), "", text_table(header, rows)]
  lines.append("In parentheses: a read-out against a target that is not its own.")
  return "\n".join([*lines, *_intervals(e), "", *_people(e)])


_HEADLINES = (
  ("Dice", "read_outs.majority.dice", 3),
  ("MR-ECE", "read_outs.mean_vote.mr_ece_pooled", 4),
  ("RPS", "levels.rps", 4),
)


def _intervals(e: reading.Evaluation) -> list[str]:
  """What noise does to the calibration errors, and a line of intervals; why there are none where there are not."""
  known = {m.key: m for group in terms.READ_OUT_GROUPS for m in group.metrics} | {m.key: m for m in terms.LEVEL_METRICS}
  errors = [(known[path.split(".")[-1]], e.corrected(path)) for path in _ERRORS]
  told = ", ".join(f"{m.label} {terms.number(value, m.decimals)}" for m, value in errors if value is not None)
  out = [f"Corrected for noise, each of its own read-out: {told}."] if told else []
  out += [noise.sentence(e)] if noise.sentence(e) else []
  ends = [(label, terms.interval(e, path, digits)) for label, path, digits in _HEADLINES]
  told = ", ".join(f"{label} {text}" for label, text in ends if text)
  out += [f"{terms.interval_kind(e)}: {told}."] if told else []
  out += [noise.why_none(e)] if noise.why_none(e) else []
  return [part for line in out for part in textwrap.wrap(line.replace("\u00a0", " "), _WIDTH)]


_WIDTH = 100
_ERRORS = (
  "read_outs.mean_vote.mr_ece_pooled",
  "read_outs.mean_vote.ace",
  "read_outs.majority.ece_majority",
  "levels.level_ece",
)
_SUMMARY = ("mr_ece_pooled", "ace", "brier", "nll", "ece_majority", "dice", "soft_dice_5", "empty_marked_share")
_SUMMARY += ("empty_marked_pixels", "rps", "level_ece")


def _cell(e: reading.Evaluation, path: str, metric: terms.Metric, own: bool = True) -> str:
  written = terms.number(e.number(path), metric.decimals, missing="-")
  return written if own or written == "-" else f"({written})"


def _people(e: reading.Evaluation) -> list[str]:
  def value(path: str, decimals: int) -> str:
    return terms.number(e.number(f"raters.{path}"), decimals, missing="-")

  left_out = [("Dice", "dice", 3), ("MR-ECE", "mr_ece", 4), ("Brier", "brier", 4)]
  scores = ", ".join(f"{label} {value(f'leave_one_out.{key}', digits)}" for label, key, digits in left_out)
  return [
    f"Raters: Dice of two raters {value('pairwise_dice_mean', 3)}, disputed share {value('share_disputed', 3)}.",
    f"Each rater foretold by the others: {scores}.",
  ]
