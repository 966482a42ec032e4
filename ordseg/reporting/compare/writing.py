"""A comparison for people: tables, figures, and what may be concluded."""

import csv
import io
import math
import pathlib
from collections.abc import Mapping, Sequence

from ordseg import files
from ordseg.metrics import METRICS, counterpart, find
from ordseg.reporting.compare import words
from ordseg.reporting.compare.differences import Results
from ordseg.reporting.compare.words import ORACLE, PEOPLE
from ordseg.reporting.report import figures, forest, terms, text
from ordseg.statistics import noise


def columns(results: Results) -> list[tuple[str, str, str]]:
  """Returns the overview's columns: header, path in metrics.json, path of the raters' number; newlines break a header.

  Where not all have a majority read-out, masks are the mean vote's, and what no method has is left out.
  """
  found = sorted(((c, m) for m in METRICS.values() for c in m.columns), key=lambda pair: pair[0].place)
  paths = [(c.header, m, m.path.replace("read_outs", f"read_outs.{c.read_out}")) for c, m in found]
  runs = [run.evaluation for _, run in words.run_names(results)]
  with_levels = all(e.has_levels for e in runs)
  out = []
  for header, m, path in paths:
    own = path if with_levels or m.table != "masks" else _of_mean_vote(path)
    out.append((header if own == path else f"{header}\nmean vote", own, counterpart(path)))
  if with_levels:
    return out
  return [column for column in out if any(e.number(column[1]) is not None for e in runs)]


def _of_mean_vote(path: str) -> str:
  return path.replace("read_outs.majority.", "read_outs.mean_vote.")


def comparison_text(results: Results) -> str:
  """Returns the whole comparison for a terminal: tables, conclusions, notes."""
  wide = text.text_table(*_overview(results, "-"))
  values = text.text_table(*_value_table(results, "-"))
  parts = [words.subject(results), "", wide, "", _values_title(results), "", values]
  if results.differences:
    parts += ["", _differences_title(results), "", text.text_table(*_difference_table(results, "-"))]
  return "\n".join([*parts, "", *words.sentences(results), "", *words.notes(results)])


def comparison_markdown(results: Results) -> str:
  """Returns the whole comparison as Markdown; it shows compare.png and reliability.png beside it."""
  wide = text.markdown_table(*_overview(results, terms.MISSING))
  return "\n".join(
    [
      *(f"# {text.escaped(words.subject(results))}", "", wide, ""),
      *(f"## {_values_title(results)}", "", text.markdown_table(*_value_table(results, terms.MISSING)), ""),
      f"## {text.escaped(_differences_title(results))}",
      *("", text.markdown_table(*_difference_table(results, terms.MISSING)), "", "![Differences](compare.png)", ""),
      *("## What may be concluded", "", *(f"- {text.escaped(s)}" for s in words.sentences(results)), ""),
      *("## Notes", "", *(f"- {text.escaped(n)}" for n in words.notes(results)), ""),
      *("![Reliability curves of all runs](reliability.png)", ""),
    ]
  )


def write_comparison(results: Results, out_dir: str | pathlib.Path) -> None:
  """Writes compare.md, compare.csv, compare.tex, compare.png and .pdf, reliability.png and .pdf; `out_dir` is made."""
  folder = pathlib.Path(out_dir)
  folder.mkdir(parents=True, exist_ok=True)
  files.sweep(folder)
  named = words.run_names(results)
  curves = [run.evaluation.curves for _, run in named]
  figures.save(figures.overlay(curves, [name for name, _ in named]), folder / "reliability")
  labels = {path: f"{words.label(path)}, {words.better(path)} is better" for path in results.metrics}
  figures.save(_forest(results, labels), folder / "compare")
  files.write_text(folder / "compare.csv", comparison_csv(results))
  files.write_text(folder / "compare.tex", comparison_latex(results))
  files.write_text(folder / "compare.md", comparison_markdown(results))
  _write_left_out(results, folder / words.LEFT_OUT)


def _write_left_out(results: Results, path: pathlib.Path) -> None:
  """Writes the images that were left out, a row each; removes the list of an earlier comparison where none were."""
  rows = [(name, image) for name, run in words.run_names(results) for image in run.left_out]
  if not rows:
    path.unlink(missing_ok=True)
    return
  out = io.StringIO()
  csv.writer(out, lineterminator="\n").writerows([("method", "image"), *rows])
  files.write_text(path, out.getvalue())


def _forest(results: Results, labels: Mapping[str, str]) -> figures.Figure:
  def marks(path: str) -> list[forest.Mark]:
    found = {d.method: d for d in results.differences if d.metric == path}
    ordered = [found[method.name] for method in results.methods if method.name != results.baseline]
    several = results.num_tested > 1
    return [
      forest.Mark(
        d.method,
        d.estimate,
        (d.low, d.high),
        (d.held_low, d.held_high) if several and d.by_interval else forest.NONE,
        (d.seed_low, d.seed_high),
        words.is_found(d, results),
      )
      for d in ordered
    ]

  panels = {labels[path]: marks(path) for path in results.metrics}
  return forest.forest(panels, words.figure_caption(results))


# --- Tables -----------------------------------------------------------------------------------------------------------


def _overview(results: Results, missing: str) -> tuple[list[str], list[list[str]]]:
  """The main numbers: methods (means over seeds), the oracle where there is one, the raters."""
  first = results.methods[0].runs[0].evaluation
  shown = columns(results)
  paths = [path for _, path, _ in shown]
  rows: list[tuple[str, list[float | None]]] = []
  for method in results.methods:
    runs = [[run.evaluation.number(path) for run in method.runs] for path in paths]
    rows.append((method.name, [_mean(values) for values in runs]))
  if "oracle" in first.metrics:
    rows.append((ORACLE, [first.number(f"oracle.{path}") for path in paths]))
  rows.append((PEOPLE, [first.number(people) for _, _, people in shown]))
  return ["", *(header for header, _, _ in shown)], [
    [name, *(terms.number(x, find(path).decimals, missing) for x, path in zip(values, paths, strict=True))]
    for name, values in rows
  ]


def _mean(values: Sequence[float | None]) -> float | None:
  known = [x for x in values if x is not None]
  return sum(known) / len(known) if len(known) == len(values) else None


def _value_table(results: Results, missing: str) -> tuple[list[str], list[list[str]]]:
  seeds = any(len(method.runs) > 1 for method in results.methods)
  errors = any(not math.isnan(v.corrected) for v in results.values.values())
  header = ["method", "metric", "value", *(["corrected for noise"] * errors), f"{words.percent(results)} interval"]
  header += [*(["p of noise alone"] * errors), *(["seeds", "SD over seeds"] * seeds)]
  rows = []
  for path in results.metrics:
    for method in results.methods:
      v = results.values[method.name, path]
      cells = [method.name, words.label(path), words.number(v.estimate, missing)]
      cells += [words.number(v.corrected, missing)] * errors
      cells += [words.ends(v.low, v.high, missing), *([words.p_text(v.noise_p, missing)] * errors)]
      rows.append([*cells, *([str(len(v.seed_values)), words.number(v.seed_spread, missing)] * seeds)])
  return header, rows


def _difference_table(results: Results, missing: str) -> tuple[list[str], list[list[str]]]:
  seeds = any(not math.isnan(d.seed_low) for d in results.differences)
  several = results.num_tested > 1
  interval = f"{words.percent(results)} interval"
  header = ["method", "metric", "difference", "as measured", interval, *(["at Holm's level"] * several), "p"]
  header += [*(["Holm p"] * several), "found", *([f"{interval} over seeds"] * seeds)]
  rows = []
  for d in results.differences:
    cells = [d.method, words.label(d.metric), *(words.number(x, missing, sign="+") for x in (d.estimate, d.raw))]
    cells += [words.ends(d.low, d.high, missing, "+")]
    # Where the test decides, an interval at Holm's level would be a second judge.
    cells += [words.ends(d.held_low, d.held_high, missing, "+") if d.by_interval else missing] * several
    cells += [words.p_text(d.p, missing), *([words.p_text(d.p_holm, missing)] * several)]
    cells += ["yes" if words.is_found(d, results) else "no"]
    rows.append([*cells, *([words.ends(d.seed_low, d.seed_high, missing, "+")] * seeds)])
  return header, rows


_CSV = (
  ("kind", "method", "baseline", "metric", "num_seeds", "estimate", "low", "high", "p", "p_holm"),
  ("seed_sd", "seed_low", "seed_high", "confidence", "interval", "num_resamples", "unit", "num_units"),
  ("measured", "corrected", "noise_p", "decided_by", "held_confidence", "held_low", "held_high", "swap_p", "found"),
)


def comparison_csv(results: Results) -> str:
  """Returns every number of the comparison: a row per value and per difference, empty where undefined.

  estimate is the value, and the difference that is judged; measured is the difference as it is measured.
  """
  s, units = results.settings, results.units

  def how(path: str) -> list[object]:
    error = any(not math.isnan(v.corrected) for (_, own), v in results.values.items() if own == path)
    return [s.confidence, noise.METHOD if error else s.method, s.num_resamples, units.kind, units.num]

  rows: list[list[object]] = []
  for (name, path), v in results.values.items():
    numbers = [v.estimate, v.low, v.high, "", "", v.seed_spread, "", "", *how(path)]
    rows.append(["value", name, "", path, len(v.seed_values), *numbers, "", v.corrected, v.noise_p, *[""] * 6])
  for d in results.differences:
    numbers = [d.estimate, d.low, d.high, d.p, d.p_holm, "", d.seed_low, d.seed_high, *how(d.metric)]
    decided = [d.raw, "", "", "interval" if d.by_interval else "permutation test", d.held, d.held_low, d.held_high]
    decided += [d.swap_p, "yes" if words.is_found(d, results) else "no"]
    seeds = len(results.method(d.method).runs)
    rows.append(["difference", d.method, results.baseline, d.metric, seeds, *numbers, *decided])
  out = io.StringIO()
  writer = csv.writer(out, lineterminator="\n")
  writer.writerow([name for part in _CSV for name in part])
  writer.writerows([["" if isinstance(x, float) and math.isnan(x) else x for x in row] for row in rows])
  return out.getvalue()


def comparison_latex(results: Results) -> str:
  r"""Returns a table for LaTeX's booktabs: methods by metrics; a dagger marks a difference that was found."""
  found = {(d.method, d.metric) for d in results.differences if words.is_found(d, results)}

  def cell(name: str, path: str) -> str:
    v = results.values[name, path]
    if math.isnan(v.estimate):
      return "--"
    corrected = "" if math.isnan(v.corrected) else rf" {{\scriptsize (${v.corrected:.4f}$)}}"
    ends = "" if math.isnan(v.low) else rf" {{\scriptsize [${v.low:.4f}$, ${v.high:.4f}$]}}"
    return f"${v.estimate:.4f}$" + (r"$^\dagger$" if (name, path) in found else "") + corrected + ends

  arrows = {"lower": r"$\downarrow$", "higher": r"$\uparrow$"}
  heads = [f"{latex_escaped(words.label(path))} {arrows[words.better(path)]}" for path in results.metrics]
  body = [[latex_escaped(m.name), *(cell(m.name, path) for path in results.metrics)] for m in results.methods]
  about = [
    f"{words.subject(results)}. In brackets: {words.percent(results)} intervals. Needs \\usepackage{{booktabs}}.",
    "In parentheses: calibration errors corrected for noise, which their intervals are about.",
    f"Dagger: differs from {results.baseline}"
    + (f", corrected for {results.num_tested} comparisons (Holm)." if results.num_tested > 1 else "."),
  ]
  return "\n".join(
    [
      *("% " + line.replace("\n", " ") for line in about),
      rf"\begin{{tabular}}{{l{'l' * len(heads)}}}",
      r"\toprule",
      " & ".join(["Method", *heads]) + r" \\",
      r"\midrule",
      *(" & ".join(row) + r" \\" for row in body),
      r"\bottomrule",
      r"\end{tabular}",
      "",
    ]
  )


def latex_escaped(written: str) -> str:
  """Returns text that LaTeX shows as it is."""
  special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
  special |= {c: f"\\{c}" for c in "&%$#_{}"}
  return "".join(special.get(c, c) for c in written)


def _values_title(results: Results) -> str:
  return f"Values with {words.percent(results)} intervals"


def _differences_title(results: Results) -> str:
  return f"Differences from {results.baseline}"
