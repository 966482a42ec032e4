"""The tables of docs/metrics.md, from what is declared of each metric."""

from collections.abc import Sequence

from ordseg.metrics.registry import METRICS, SECTIONS, Metric

BETTER = {"lower": "low", "higher": "high", "": ""}


def markdown_table(section: str) -> str:
  """Returns the Markdown table of a section's metrics, in the order of metrics.json.

  Args:
    section: one of `SECTIONS`.

  Raises:
    ValueError: there is no such section.
  """
  if section not in SECTIONS:
    raise ValueError(f"section {section!r} is none of {SECTIONS}.")
  found = [metric for metric in METRICS.values() if metric.section == section]
  if any(metric.better for metric in found):
    return _table(("name", "definition", "range, better", "answers", "hides"), [_scored(m) for m in found])
  return _table(("name", "definition", "range", "hides"), [(_code(m), m.definition, m.extent, m.hides) for m in found])


def _scored(metric: Metric) -> tuple[str, ...]:
  extent = ", ".join(x for x in (metric.extent, BETTER[metric.better]) if x)
  return _code(metric), metric.definition, extent, metric.hint, metric.hides


def _code(metric: Metric) -> str:
  return f"`{metric.key}`"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [list(header), ["---"] * len(header), *rows]
  return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
