"""Tables for the terminal and for Markdown, and the summary that an evaluation prints."""

import pathlib
import textwrap
from collections.abc import Sequence

from ordseg.metrics import Metric, select
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
  labels = [terms.LABELS[name] for name in e.read_outs]
  header = ["", *labels, *([f"oracle\n{label}" for label in labels] * has_oracle), ""]
  rows = []
  for group in terms.READ_OUT_GROUPS:
    for m in group.metrics:
      if "summary" not in m.tags:
        continue
      cells = [_cell(e, f"read_outs.{name}.{m.key}", m, group.own in ("", name)) for name in e.read_outs]
      if has_oracle:
        cells += [_cell(e, f"oracle.read_outs.{name}.{m.key}", m, group.own in ("", name)) for name in e.read_outs]
      floor = e.number(f"floors.{m.key}")
      notes = f"{m.better} is better" + (f", floor {terms.number(floor, m.decimals)}" if floor is not None else "")
      rows.append([m.label, *cells, notes])
  for m in terms.levels(e, "summary"):
    cells = [_cell(e, m.path, m), "", *([_cell(e, f"oracle.{m.path}", m), ""] * has_oracle)]
    rows.append([f"{m.label} (no read-out)", *cells, f"{m.better} is better"])
  width = max(len(row[-1]) for row in rows)
  rows = [[*row[:-1], row[-1].ljust(width)] for row in rows]
  lines = [terms.subject(e), terms.model_name(e), "", text_table(header, rows)]
  lines.append("In parentheses: a read-out against a target that is not its own.")
  lines += [] if e.has_levels else textwrap.wrap(terms.NO_LEVELS, _WIDTH)
  return "\n".join([*lines, *_intervals(e), "", *_people(e)])


def _intervals(e: reading.Evaluation) -> list[str]:
  """What noise does to the calibration errors, and a line of intervals; why there are none where there are not."""
  errors = [(m, e.corrected(path)) for path, m in terms.tagged(e, "summary") if m.gaps is not None]
  values = ", ".join(f"{m.label} {terms.number(value, m.decimals)}" for m, value in errors if value is not None)
  out = [f"Corrected for noise, each of its own read-out: {values}."] if values else []
  out += [noise.sentence(e)] if noise.sentence(e) else []
  ends = [(m.label, terms.interval(e, path, m.decimals)) for path, m in _headlines(e)]
  values = ", ".join(f"{label} {text}" for label, text in ends if text)
  out += [f"{terms.interval_kind(e)}: {values}."] if values else []
  out += [noise.why_none(e)] if noise.why_none(e) else []
  return [part for line in out for part in textwrap.wrap(line.replace("\u00a0", " "), _WIDTH)]


_WIDTH = 100


def _headlines(e: reading.Evaluation) -> list[tuple[str, Metric]]:
  """Masks first."""
  return sorted(terms.tagged(e, "headline"), key=lambda found: found[1].table != "masks")


def _cell(e: reading.Evaluation, path: str, metric: Metric, own: bool = True) -> str:
  written = terms.number(e.number(path), metric.decimals, missing="-")
  return written if own or written == "-" else f"({written})"


def _people(e: reading.Evaluation) -> list[str]:
  dice, disputed = (terms.write(e, f"raters.{key}", "-") for key in ("pairwise_dice_mean", "share_disputed"))
  scores = ", ".join(f"{m.name} {terms.write(e, m.path, '-')}" for m in select("raters.leave_one_out"))
  return [
    f"Raters: Dice of two raters {dice}, disputed share {disputed}.",
    f"Each rater predicted by the others: {scores}.",
  ]
