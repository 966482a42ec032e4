"""Several evaluations side by side: one table, one figure."""

import dataclasses
import pathlib
from collections.abc import Sequence

from ordseg import logging_utils
from ordseg.report import figures, reading, terms, text
from ordseg.validate import InputError

ORACLE = "oracle"
PEOPLE = "raters"


@dataclasses.dataclass(frozen=True)
class Column:
  """One column: header (newlines break it), path in metrics.json, digits, and the path of the raters' counterpart."""

  header: str
  path: str
  decimals: int = 4
  people_path: str = ""


COLUMNS = (
  Column("Dice", "read_outs.majority.dice", 3),
  Column("Dice\neach\nrater", "read_outs.majority.dice_rater_mean", 3, "raters.leave_one_out.dice"),
  Column("MR-ECE\nmean\nvote", "read_outs.mean_vote.mr_ece_pooled", 4, "raters.leave_one_out.mr_ece"),
  Column("MR-ECE\nmajority", "read_outs.majority.mr_ece_pooled"),
  Column("ECE\nmajority", "read_outs.majority.ece_majority"),
  Column("ACE\nmean\nvote", "read_outs.mean_vote.ace"),
  Column("Brier\nmean\nvote", "read_outs.mean_vote.brier", 4, "raters.leave_one_out.brier"),
  Column("RPS", "levels.rps"),
  Column("level\nECE", "levels.level_ece"),
)


@dataclasses.dataclass(frozen=True)
class Row:
  """A run, the oracle or the raters: `values` has one entry per column, None where it has no such number."""

  name: str
  values: tuple[float | None, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A table of runs on the same images.

  Attributes:
    title: what they were evaluated on.
    columns: what is compared.
    rows: the runs in the order given, then the oracle, where the data have one, then the raters.
    notes: what a reader must know, one sentence each.
  """

  title: str
  columns: tuple[Column, ...]
  rows: tuple[Row, ...]
  notes: tuple[str, ...]

  def text(self) -> str:
    """Returns the table for a terminal."""
    rows = [self._cells(row, "-") for row in self.rows]
    table = text.text_table(["", *(c.header for c in self.columns)], rows)
    return "\n".join([self.title, "", table, "", *self.notes])

  def markdown(self) -> str:
    """Returns the table as Markdown."""
    rows = [self._cells(row, terms.MISSING) for row in self.rows]
    table = text.markdown_table(["", *(c.header for c in self.columns)], rows)
    return "\n".join([f"# {text.escaped(self.title)}", "", table, "", *(f"- {text.escaped(n)}" for n in self.notes)])

  def _cells(self, row: Row, missing: str) -> list[str]:
    pairs = zip(row.values, self.columns, strict=True)
    return [row.name, *(terms.number(value, column.decimals, missing) for value, column in pairs)]


def compare_table(eval_dirs: Sequence[str | pathlib.Path], names: Sequence[str] | None = None) -> Comparison:
  """Compares evaluations of the same images.

  Args:
    eval_dirs: folders that `evaluate.write` wrote.
    names: one per folder; None takes the names of the runs' folders.

  Returns:
    One row per run, then the oracle and the raters.

  Raises:
    InputError: a folder holds no evaluation, names do not match, or the evaluations are of different images.
  """
  return _compare([reading.load(folder) for folder in eval_dirs], names)


def write_comparison(
  eval_dirs: Sequence[str | pathlib.Path], out_dir: str | pathlib.Path, names: Sequence[str] | None = None
) -> Comparison:
  """Writes compare.md, compare.png and compare.pdf (reliability curves of all runs) to `out_dir`; returns the table.

  Args:
    eval_dirs: see `compare_table`.
    out_dir: made if missing.
    names: see `compare_table`.

  Raises:
    InputError: see `compare_table`.
  """
  evaluations = [reading.load(folder) for folder in eval_dirs]
  comparison = _compare(evaluations, names)
  folder = pathlib.Path(out_dir)
  folder.mkdir(parents=True, exist_ok=True)
  run_names = [row.name for row in comparison.rows[: len(evaluations)]]
  figure = figures.overlay([e.curves for e in evaluations], run_names)
  figures.save(figure, folder / "compare")
  picture = "![Reliability curves of all runs](compare.png)"
  logging_utils.write_text(folder / "compare.md", f"{comparison.markdown()}\n\n{picture}\n")
  return comparison


def _compare(evaluations: list[reading.Evaluation], names: Sequence[str] | None) -> Comparison:
  if not evaluations:
    raise InputError("there is nothing to compare: name at least one folder such as runs/mine/eval/test.")
  if names is not None and len(names) != len(evaluations):
    plural = "s" * (len(names) != 1)
    raise InputError(f"got {len(names)} name{plural} for {len(evaluations)} evaluations: {', '.join(names)}.")
  first = evaluations[0]
  for other in evaluations[1:]:
    _check_comparable(first, other)
  run_names = list(names) if names is not None else default_names([e.folder for e in evaluations])
  rows = [Row(name, _values(e, "")) for name, e in zip(run_names, evaluations, strict=True)]
  has_oracle = "oracle" in first.metrics
  if has_oracle:
    rows.append(Row(ORACLE, _values(first, "oracle.")))
  rows.append(Row(PEOPLE, tuple(first.number(c.people_path) if c.people_path else None for c in COLUMNS)))
  return Comparison(terms.subject(first), COLUMNS, tuple(rows), _notes(first, has_oracle))


def _values(e: reading.Evaluation, prefix: str) -> tuple[float | None, ...]:
  return tuple(e.number(prefix + column.path) for column in COLUMNS)


def _check_comparable(a: reading.Evaluation, b: reading.Evaluation) -> None:
  told = [
    f"{path} is {a.text(path)} in {a.folder} and {b.text(path)} in {b.folder}"
    for path in ("data.fingerprint", "split", "num_images", "num_raters", "num_bins")
    if a.text(path) != b.text(path)
  ]
  if told:
    raise InputError(f"these evaluations cannot be compared: {'; '.join(told)}.")


def _notes(e: reading.Evaluation, has_oracle: bool) -> tuple[str, ...]:
  floor = terms.number(e.number("floors.brier"))
  notes = [
    "Dice: higher is better. Everything else: lower is better.",
    "MR-ECE, ACE and Brier score the probability against every rater's vote; the mean vote is made for that.",
    "Dice (majority read-out, cut at 50 %) and ECE majority score it against the majority of the raters.",
    "MR-ECE majority crosses the two: even a perfect majority read-out is not 0 there.",
    f"The Brier score cannot go below {floor} on these votes. Calibration errors use {e.num_bins} bins.",
  ]
  if has_oracle:
    notes.append(f"{ORACLE}: the true distribution of the votes. Differences smaller than its own errors say nothing.")
  notes.append(f"{PEOPLE}: each one in turn is foretold by the mean vote of the others.")
  return tuple(notes)


def default_names(folders: Sequence[pathlib.Path]) -> list[str]:
  """Names evaluation folders: by the run's folder; by as much of the path as needed where two would be alike."""
  for take in (1, 2, 3):
    names = ["/".join(_run_parts(folder)[-take:]) for folder in folders]
    if len(set(names)) == len(names):
      return names
  return [folder.as_posix() for folder in folders]


def _run_parts(folder: pathlib.Path) -> tuple[str, ...]:
  parts = tuple(part for part in folder.resolve().parts if part != folder.anchor)
  return parts[:-2] if len(parts) > 2 and parts[-2] == "eval" else parts
