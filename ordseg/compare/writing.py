"""A comparison for people: tables, figures, and what may be concluded."""

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Mapping, Sequence

from ordseg import logging_utils
from ordseg.compare.differences import Difference, Results
from ordseg.report import figures, forest, reading, terms, text

ORACLE = "oracle"
PEOPLE = "raters"
FEW_UNITS = 20


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
  Column("marked\nof the\nempty", "read_outs.majority.empty_marked_share", 3),
)


def comparison_text(results: Results) -> str:
  """Returns the whole comparison for a terminal: tables, conclusions, notes."""
  wide = text.text_table(["", *(c.header for c in COLUMNS)], _overview(results, "-"))
  values = text.text_table(*_value_table(results, "-"))
  parts = [_subject(results), "", wide, "", _values_title(results), "", values]
  if results.differences:
    parts += ["", _differences_title(results), "", text.text_table(*_difference_table(results, "-"))]
  return "\n".join([*parts, "", *sentences(results), "", *notes(results)])


def comparison_markdown(results: Results) -> str:
  """Returns the whole comparison as Markdown; it shows compare.png and reliability.png beside it."""
  wide = text.markdown_table(["", *(c.header for c in COLUMNS)], _overview(results, terms.MISSING))
  return "\n".join(
    [
      *(f"# {text.escaped(_subject(results))}", "", wide, ""),
      *(f"## {_values_title(results)}", "", text.markdown_table(*_value_table(results, terms.MISSING)), ""),
      f"## {text.escaped(_differences_title(results))}",
      *("", text.markdown_table(*_difference_table(results, terms.MISSING)), "", "![Differences](compare.png)", ""),
      *("## What may be concluded", "", *(f"- {text.escaped(s)}" for s in sentences(results)), ""),
      *("## Notes", "", *(f"- {text.escaped(n)}" for n in notes(results)), ""),
      *("![Reliability curves of all runs](reliability.png)", ""),
    ]
  )


def write_comparison(results: Results, out_dir: str | pathlib.Path) -> None:
  """Writes compare.md, compare.csv, compare.tex, compare.png and .pdf, reliability.png and .pdf; `out_dir` is made."""
  folder = pathlib.Path(out_dir)
  folder.mkdir(parents=True, exist_ok=True)
  curves, names = [], []
  for method in results.methods:
    for k, run in enumerate(method.runs):
      curves.append(run.evaluation.curves)
      names.append(method.name if len(method.runs) == 1 else f"{method.name} ({k + 1})")
  figures.save(figures.overlay(curves, names), folder / "reliability")
  labels = {path: f"{label(path)}, {better(path)} is better" for path in results.metrics}
  figures.save(_forest(results, labels), folder / "compare")
  logging_utils.write_text(folder / "compare.csv", comparison_csv(results))
  logging_utils.write_text(folder / "compare.tex", comparison_latex(results))
  logging_utils.write_text(folder / "compare.md", comparison_markdown(results))


# --- Names and numbers ------------------------------------------------------------------------------------------------


def _forest(results: Results, labels: Mapping[str, str]) -> figures.Figure:
  def marks(path: str) -> list[forest.Mark]:
    found = {d.method: d for d in results.differences if d.metric == path}
    ordered = [found[method.name] for method in results.methods if method.name != results.baseline]
    return [forest.Mark(d.method, d.estimate, d.low, d.high, d.seed_low, d.seed_high) for d in ordered]

  panels = {labels[path]: marks(path) for path in results.metrics}
  caption = f"difference from {results.baseline}; {100 * results.settings.confidence:g} % intervals"
  caption += f" over {results.units.kind} (blue)"
  if any(not math.isnan(d.seed_low) for d in results.differences):
    caption += ", over seeds (orange)"
  return forest.forest(panels, caption)


def _metric(path: str) -> terms.Metric | None:
  known = {m.key: m for group in terms.READ_OUT_GROUPS for m in group.metrics} | {m.key: m for m in terms.LEVEL_METRICS}
  return known.get(path.split(".")[-1])


def label(path: str) -> str:
  """Returns a metric's name with its read-out: ``MR-ECE (mean vote)``."""
  metric = _metric(path)
  name = path.split(".")[-1] if metric is None else metric.label
  parts = path.split(".")
  return f"{name} ({terms.LABELS[parts[1]]})" if parts[0] == "read_outs" else name


def better(path: str) -> str:
  """Returns 'lower' or 'higher'."""
  metric = _metric(path)
  return "lower" if metric is None or not metric.better else metric.better


def _number(value: float, missing: str, decimals: int = 4, sign: str = "") -> str:
  if math.isnan(value):
    return missing
  rounded = round(value, decimals)
  return f"{rounded or 0.0:{sign if rounded else ''}.{decimals}f}".replace("-", "\u2212")


def _ends(low: float, high: float, missing: str, sign: str = "") -> str:
  return missing if math.isnan(low) else f"[{_number(low, '', sign=sign)}, {_number(high, '', sign=sign)}]"


def p_text(p: float, missing: str = "-") -> str:
  """Writes a p-value with two significant digits, rounded up, never as 0."""
  if math.isnan(p):
    return missing
  first = 10.0 ** (math.floor(math.log10(p)) - 1)  # the place of the second digit
  rounded = math.ceil(round(p / first, 6)) * first
  return f"{rounded:.{max(1 - math.floor(math.log10(rounded) + 1e-9), 2)}f}"


def _percent(results: Results) -> str:
  return f"{100 * results.settings.confidence:g} %"


# --- Tables -----------------------------------------------------------------------------------------------------------


def _overview(results: Results, missing: str) -> list[list[str]]:
  """The main numbers: methods (means over seeds), the oracle where there is one, the raters."""
  first = results.methods[0].runs[0].evaluation
  rows: list[tuple[str, list[float | None]]] = []
  for method in results.methods:
    runs = [[run.evaluation.number(c.path) for run in method.runs] for c in COLUMNS]
    rows.append((method.name, [_mean(values) for values in runs]))
  if "oracle" in first.metrics:
    rows.append((ORACLE, [first.number(f"oracle.{c.path}") for c in COLUMNS]))
  rows.append((PEOPLE, [first.number(c.people_path) if c.people_path else None for c in COLUMNS]))
  return [
    [name, *(terms.number(x, c.decimals, missing) for x, c in zip(values, COLUMNS, strict=True))]
    for name, values in rows
  ]


def _mean(values: Sequence[float | None]) -> float | None:
  known = [x for x in values if x is not None]
  return sum(known) / len(known) if len(known) == len(values) else None


def _value_table(results: Results, missing: str) -> tuple[list[str], list[list[str]]]:
  seeds = any(len(method.runs) > 1 for method in results.methods)
  header = ["method", "metric", "value", f"{_percent(results)} interval", *(["seeds", "SD over seeds"] * seeds)]
  rows = []
  for path in results.metrics:
    for method in results.methods:
      v = results.values[method.name, path]
      cells = [method.name, label(path), _number(v.estimate, missing), _ends(v.low, v.high, missing)]
      rows.append([*cells, *([str(len(v.seed_values)), _number(v.seed_spread, missing)] * seeds)])
  return header, rows


def _difference_table(results: Results, missing: str) -> tuple[list[str], list[list[str]]]:
  seeds = any(not math.isnan(d.seed_low) for d in results.differences)
  interval = f"{_percent(results)} interval"
  header = ["method", "metric", "difference", interval, "p", "Holm p", *([f"{interval} over seeds"] * seeds)]
  rows = []
  for d in results.differences:
    cells = [d.method, label(d.metric), _number(d.estimate, missing, sign="+"), _ends(d.low, d.high, missing, "+")]
    cells += [p_text(d.p, missing), p_text(d.p_holm, missing)]
    rows.append([*cells, *([_ends(d.seed_low, d.seed_high, missing, "+")] * seeds)])
  return header, rows


def comparison_csv(results: Results) -> str:
  """Returns every number of the comparison: a row per value and per difference, empty where undefined."""
  names = ["kind", "method", "baseline", "metric", "num_seeds", "estimate", "low", "high", "p", "p_holm"]
  names += ["seed_sd", "seed_low", "seed_high", "confidence", "interval", "num_resamples", "unit", "num_units"]
  s, units = results.settings, results.units
  how = [s.confidence, s.method, s.num_resamples, units.kind, units.num]
  rows: list[list[object]] = []
  for (name, path), v in results.values.items():
    numbers = [v.estimate, v.low, v.high, "", "", v.seed_spread, "", ""]
    rows.append(["value", name, "", path, len(v.seed_values), *numbers, *how])
  for d in results.differences:
    numbers = [d.estimate, d.low, d.high, d.p, d.p_holm, "", d.seed_low, d.seed_high]
    rows.append(
      ["difference", d.method, results.baseline, d.metric, len(results.method(d.method).runs), *numbers, *how]
    )
  out = io.StringIO()
  writer = csv.writer(out, lineterminator="\n")
  writer.writerow(names)
  writer.writerows([["" if isinstance(x, float) and math.isnan(x) else x for x in row] for row in rows])
  return out.getvalue()


def comparison_latex(results: Results) -> str:
  r"""Returns a table for LaTeX's booktabs: methods by metrics; a dagger marks a difference that was found."""
  found = {(d.method, d.metric) for d in results.differences if is_found(d, results)}

  def cell(name: str, path: str) -> str:
    v = results.values[name, path]
    if math.isnan(v.estimate):
      return "--"
    ends = "" if math.isnan(v.low) else rf" {{\scriptsize [${v.low:.4f}$, ${v.high:.4f}$]}}"
    return f"${v.estimate:.4f}$" + (r"$^\dagger$" if (name, path) in found else "") + ends

  arrows = {"lower": r"$\downarrow$", "higher": r"$\uparrow$"}
  heads = [f"{latex_escaped(label(path))} {arrows[better(path)]}" for path in results.metrics]
  body = [[latex_escaped(m.name), *(cell(m.name, path) for path in results.metrics)] for m in results.methods]
  return "\n".join(
    [
      f"% {_subject(results)}. In brackets: {_percent(results)} intervals. Needs \\usepackage{{booktabs}}.".replace(
        "\n", " "
      ),
      f"% Dagger: differs from {results.baseline}, Holm p < {_level(results):.2g}.".replace("\n", " "),
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


# --- Words ------------------------------------------------------------------------------------------------------------


def _level(results: Results) -> float:
  return 1 - results.settings.confidence


def is_found(d: Difference, results: Results) -> bool:
  """Whether a difference counts as found: its interval leaves out 0, and so says the corrected p-value."""
  if math.isnan(d.low) or d.low <= 0 <= d.high:
    return False
  return not d.p_holm > _level(results) + 1e-12


def sentences(results: Results) -> list[str]:
  """Returns one sentence per difference: what may be concluded."""
  return [_sentence(d, results) for d in results.differences]


def _sentence(d: Difference, results: Results) -> str:
  evaluation = results.methods[0].runs[0].evaluation
  images = f"On images like these {int(evaluation.metrics['num_images'])}"
  if math.isnan(d.estimate):
    return f"{label(d.metric)} of {d.method} or {results.baseline} is undefined, so nothing can be said of it."
  numbers = f"difference {_number(d.estimate, '', sign='+')}"
  if not math.isnan(d.low):
    numbers += f", {_percent(results)} interval {_number(d.low, '', sign='+')} to {_number(d.high, '', sign='+')}"
  numbers += ", no p-value" if math.isnan(d.p_holm) else f", Holm p = {p_text(d.p_holm)}"
  if is_found(d, results):
    way = "lower" if d.estimate < 0 else "higher"
    good = "better" if way == better(d.metric) else "worse"
    claim = f"{images}, {d.method} has {way} ({good}) {label(d.metric)} than {results.baseline} ({numbers})"
  else:
    claim = (
      f"{images}, no difference in {label(d.metric)} between {d.method} and {results.baseline} is shown ({numbers})"
    )
  return f"{claim}; {_about_seeds(d, results)}."


def _about_seeds(d: Difference, results: Results) -> str:
  ours, theirs = (len(results.method(name).runs) for name in (d.method, results.baseline))
  if ours == theirs == 1:
    return "one training seed each, so this says nothing about other seeds"
  if math.isnan(d.seed_low):
    return f"{ours} and {theirs} training seeds, too few to say anything about other seeds"
  ends = f"{_number(d.seed_low, '', sign='+')} to {_number(d.seed_high, '', sign='+')}"
  verdict = "seeds alone could explain as much" if d.seed_low <= 0 <= d.seed_high else "more than seeds alone explain"
  return f"over {ours} and {theirs} training seeds, on these images, the interval is {ends}: {verdict}"


def _subject(results: Results) -> str:
  return terms.subject(results.methods[0].runs[0].evaluation)


def _values_title(results: Results) -> str:
  return f"Values with {_percent(results)} intervals"


def _differences_title(results: Results) -> str:
  return f"Differences from {results.baseline}"


def notes(results: Results) -> list[str]:
  """Returns what a reader must know, one sentence each."""
  s, units = results.settings, results.units
  e = results.methods[0].runs[0].evaluation
  out = [
    f"Intervals: {s.method} bootstrap, {s.num_resamples} resamples of {units.num} {units.kind}, shared by all methods.",
    f"p: permutation test, sums swapped per {units.kind[:-1]}; Holm: corrected for {results.num_tested} comparisons.",
  ]
  if units.num < FEW_UNITS:
    out.append(f"With {units.num} {units.kind} bootstrap intervals are too narrow.")
  if units.splits_groups:
    out.append("Images of one group were resampled as if they were independent: intervals may be far too narrow.")
  if any(len(m.runs) > 1 for m in results.methods):
    out.append(f"Several seeds: values are means over them. Intervals over {units.kind} are for these seeds alone.")
    out.append("Intervals over seeds (Welch's t) are for these images alone; neither kind holds the other.")
  if any(math.isnan(d.p) for d in results.differences):
    out.append("No p-value: swapping needs two images or groups, and as many seeds of one method as of the other.")
    out.append(
      "Without one a difference is judged by its interval, which is not corrected for the number of comparisons."
    )
  return [*out, *_about_metrics(e)]


def _about_metrics(e: reading.Evaluation) -> list[str]:
  floor = terms.number(e.number("floors.brier"))
  out = [
    "Dice: higher is better. Calibration errors, Brier, RPS: lower is better.",
    "MR-ECE, ACE and Brier score the probability against every rater's vote; the mean vote is made for that.",
    "Dice (majority read-out, cut at 50 %) and ECE majority score it against the majority of the raters.",
    "MR-ECE majority crosses the two: even a perfect majority read-out is not 0 there.",
    f"The Brier score cannot go below {floor} on these votes. Calibration errors use {e.num_bins} bins.",
  ]
  if "oracle" in e.metrics:
    out.append(f"{ORACLE}: the true distribution of the votes. Differences smaller than its own errors say nothing.")
  return [*out, f"{PEOPLE}: each one in turn is foretold by the mean vote of the others."]
