"""The numbers of a survey as text and as data for the page."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ordseg.data_check.finding import Finding
from ordseg.data_check.rules import area_ratios
from ordseg.data_check.surveying import Survey
from ordseg.metrics import agreement


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows of texts under a heading.

  Attributes:
    title: the heading.
    columns: names.
    rows: cells.
    is_matrix: rows and columns are the same things, and columns have their numbers for names.
  """

  title: str
  columns: list[str]
  rows: list[list[str]]
  is_matrix: bool = False

  def text(self) -> str:
    """Returns the table in aligned columns."""
    cells = [self.columns, *self.rows] if any(self.columns) else self.rows
    widths = [max(len(row[k]) for row in cells) for k in range(len(self.columns))]
    lines = ["  ".join(map(_aligned, row, widths, range(len(widths)))) for row in cells]
    return "\n".join([self.title, *(f"  {line.rstrip()}" for line in lines)])


def _aligned(cell: str, width: int, column: int) -> str:
  return cell.rjust(width) if column else cell.ljust(width)


def _number(value: float, digits: int = 3) -> str:
  return "-" if not np.isfinite(value) else f"{value:.{digits}f}"


def _range(values: list[Any]) -> str:
  low, high = min(values), max(values)
  return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def by_split(survey: Survey) -> Table:
  """Images, groups, missing votes, sizes and intensities of each split."""
  rows = []
  for split in dict.fromkeys(survey.splits):
    index = survey.of_split(split)
    sizes = [survey.sizes[i] for i in index]
    sums = survey.sums.rows(index)
    possible = sums.rater_valid.size
    missing = possible - int(sums.rater_valid.sum())
    marked = survey.areas[index].any(axis=1)
    rows.append([
      split,
      str(len(index)),
      str(len({survey.groups[i] for i in index})),
      f"{missing} of {possible}",
      f"{int((~marked).sum())}",
      " x ".join(_range(list(side)) for side in zip(*sizes, strict=True)),
      f"{min(survey.low[i] for i in index):g} to {max(survey.high[i] for i in index):g}",
    ])  # fmt: skip
  axes = " x ".join("DHW"[-len(survey.sizes[0]) :]) if survey.sizes else "H x W"
  columns = ["split", "images", "groups", "missing votes", "unmarked images", f"pixels ({axes})", "intensities"]
  return Table(_titled("What is there", survey), columns, rows)


def by_rater(survey: Survey) -> Table:
  """Each rater: images, empty masks, area, bias, agreement with the others."""
  areas, valid = survey.areas, survey.sums.rater_valid > 0
  dice = agreement.pairwise_dice(survey.sums)
  ratios = area_ratios(survey)
  rows = []
  for r, name in enumerate(survey.raters):
    answered = valid[:, r]
    others = np.delete(dice[r], r)
    mean = float(np.mean(others[np.isfinite(others)])) if np.isfinite(others).any() else float("nan")
    share = agreement.prevalence(survey.sums)[r]
    empty = int((answered & (areas[:, r] == 0)).sum())
    rows.append(
      [name, str(int(answered.sum())), str(empty), f"{100 * share:.2f} %", _number(float(ratios[r]), 2), _number(mean)]
    )
  columns = ["rater", "images", "empty masks", "pixels marked", "area / others", "mean Dice"]
  return Table(_titled("The raters", survey), columns, rows)


def matrix(survey: Survey, title: str, values: np.ndarray) -> Table:
  """A number for each pair of raters."""
  short = [str(r) for r in range(len(survey.raters))]
  rows = [
    [f"{r} {name}", *(_number(x) if r != s else "" for s, x in enumerate(values[r]))]
    for r, name in enumerate(survey.raters)
  ]
  return Table(_titled(title, survey), ["", *short], rows, is_matrix=True)


def overall(survey: Survey) -> Table:
  """Agreement of all raters together."""
  sums = survey.sums
  rows = [
    ["Fleiss' kappa", _number(float(agreement.fleiss_kappa(sums)))],
    ["Krippendorff's alpha", _number(float(agreement.krippendorff_alpha(sums)))],
    ["disputed share of what anybody marked", _number(float(agreement.share_disputed(sums)))],
  ]
  return Table(_titled("Agreement, all pixels", survey), ["", ""], rows)


def _titled(title: str, survey: Survey) -> str:
  return f"{title}: {survey.structure}" if survey.structure else title


def all_tables(surveys: Survey | Sequence[Survey]) -> list[Table]:
  """Everything there is to say, in the order of reading; of each structure."""
  surveys = [surveys] if isinstance(surveys, Survey) else surveys
  return [table for survey in surveys for table in _of_one(survey)]


def _of_one(survey: Survey) -> list[Table]:
  tables = [by_split(survey), by_rater(survey)]
  if len(survey.raters) > 1:
    tables += [
      overall(survey),
      matrix(survey, "Dice of pairs, mean over images", agreement.pairwise_dice(survey.sums)),
      matrix(survey, "Cohen's kappa of pairs, all pixels", agreement.pairwise_kappa(survey.sums)),
    ]
  return tables


def text(surveys: Survey | Sequence[Survey], findings: list[Finding], title: str) -> str:
  """Returns the report for the terminal."""
  parts = [title, *(table.text() for table in all_tables(surveys))]
  if findings:
    lines = [f"  {number}. {finding.what}" for number, finding in enumerate(findings, start=1)]
    parts.append("\n".join([f"Findings, worst first ({len(findings)})", *lines]))
  else:
    parts.append("Nothing looks wrong.")
  return "\n\n".join(parts)
