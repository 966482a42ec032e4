"""A comparison in words: names, numbers, what may be concluded, and what a reader must know."""

import math

from ordseg import statistics
from ordseg.metrics import find
from ordseg.reporting.compare.differences import Difference, Results
from ordseg.reporting.compare.runs import Run
from ordseg.reporting.report import reading, terms
from ordseg.reporting.report.noise import p_text

ORACLE = "oracle"
PEOPLE = "raters"


def label(path: str) -> str:
  """Returns a metric's name with its read-out: ``MR-ECE (mean vote)``."""
  name = find(path).label
  return f"{name} ({terms.read_out_of(path)})" if path.startswith("read_outs.") else name


def better(path: str) -> str:
  """Returns 'lower' or 'higher'."""
  return find(path).better or "lower"


def number(value: float, missing: str, decimals: int = 4, sign: str = "") -> str:
  """Writes a number, `missing` for NaN; never as a negative zero, nor as 0 what is not."""
  if math.isnan(value):
    return missing
  if 1e-8 < abs(value) < 0.5 * 10.0**-decimals:  # two digits of what would look like 0
    decimals = 1 - math.floor(math.log10(abs(value)))
  rounded = round(value, decimals)
  return f"{rounded or 0.0:{sign if rounded else ''}.{decimals}f}".replace("-", "\u2212")


def ends(low: float, high: float, missing: str, sign: str = "") -> str:
  """Writes an interval as ``[low, high]``."""
  return missing if math.isnan(low) else f"[{number(low, '', sign=sign)}, {number(high, '', sign=sign)}]"


def percent(results: Results) -> str:
  """Writes the confidence."""
  return f"{100 * results.settings.confidence:g} %"


def level(results: Results) -> float:
  """Returns 1 - confidence."""
  return 1 - results.settings.confidence


def _holds_zero(low: float, high: float) -> bool:
  return low <= 0 <= high


def is_found(d: Difference, results: Results) -> bool:
  """Whether a difference counts as found, after Holm's correction.

  Where the interval decides: whether it leaves out 0 at Holm's level. Else Holm's p decides, and an interval that holds
  0 keeps the difference from being found.
  """
  if d.by_interval:
    return not math.isnan(d.held_low) and not _holds_zero(d.held_low, d.held_high)
  return d.p_holm <= level(results) + 1e-12 and (math.isnan(d.low) or not _holds_zero(d.low, d.high))


def sentences(results: Results) -> list[str]:
  """Returns one sentence per difference: what may be concluded."""
  return [_sentence(d, results) for d in results.differences]


def _sentence(d: Difference, results: Results) -> str:
  evaluation = results.methods[0].runs[0].evaluation
  images = f"On images like these {int(evaluation.metrics['num_images'])}"
  name = label(d.metric)
  if math.isnan(d.estimate):
    return f"{name} of {d.method} or {results.baseline} is undefined, so nothing can be said of it."
  if math.isnan(d.p):
    why = statistics.why_none(results.units) or "too few images have it for an interval"
    between = f"in {name} between {d.method} and {results.baseline}"
    return f"{images}, nothing can be said of a difference {between} ({_numbers(d, results)}; {why})."
  if is_found(d, results):
    way = "lower" if d.estimate < 0 else "higher"
    good = "better" if way == better(d.metric) else "worse"
    claim = f"{images}, {d.method} has {way} ({good}) {name} than {results.baseline}"
  else:
    claim = f"{images}, no difference in {name} between {d.method} and {results.baseline} is shown"
    claim += _why_not(d, results)
  return f"{claim} ({_numbers(d, results)}); {_about_seeds(d, results)}."


def _why_not(d: Difference, results: Results) -> str:
  """What kept a difference from being found where the plain interval leaves out 0, or the plain p is small."""
  by_p, after = d.p <= level(results) + 1e-12, f"after correcting for {results.num_tested} comparisons"
  if d.by_interval:
    return f" {after}" if by_p and results.num_tested > 1 else ""
  if not math.isnan(d.low) and _holds_zero(d.low, d.high):
    return ", since the interval holds 0" if d.p_holm <= level(results) else ""
  if by_p:
    return f" {after}"
  return "" if math.isnan(d.low) else ", since the permutation test decides"


def _numbers(d: Difference, results: Results) -> str:
  """Estimate, interval, and what decided, so that the sentence can be checked by its own numbers."""
  several = results.num_tested > 1
  text = f"difference {number(d.estimate, '', sign='+')}"
  if d.estimate != d.raw:
    text += f" corrected for noise, {number(d.raw, '', sign='+')} as measured"
  if not math.isnan(d.low):
    text += f", {percent(results)} interval {_to(d.low, d.high)}"
  if several and d.by_interval and not math.isnan(d.held_low):
    text += f", corrected for {results.num_tested} comparisons {_to(d.held_low, d.held_high)}"
  if not math.isnan(d.p_holm):
    text += f", {'Holm ' * several}p = {p_text(d.p_holm)}"
  return text


def _to(low: float, high: float) -> str:
  return f"{number(low, '', sign='+')} to {number(high, '', sign='+')}"


def _about_seeds(d: Difference, results: Results) -> str:
  ours, theirs = (len(results.method(name).runs) for name in (d.method, results.baseline))
  if ours == theirs == 1:
    runs = (run for name in (d.method, results.baseline) for run in results.method(name).runs)
    if not all(run.evaluation.of_run for run in runs):
      return "one set of maps each, so this says nothing about other trainings"
    return "one training seed each, so this says nothing about other seeds"
  if math.isnan(d.seed_low):
    return f"{ours} and {theirs} training seeds, too few to say anything about other seeds"
  verdict = (
    "seeds alone could explain as much" if _holds_zero(d.seed_low, d.seed_high) else "more than seeds alone explain"
  )
  between = f"over {ours} and {theirs} training seeds, on these images, the interval is"
  return f"{between} {_to(d.seed_low, d.seed_high)}: {verdict}"


def subject(results: Results) -> str:
  """Returns what was evaluated."""
  return terms.subject(results.methods[0].runs[0].evaluation)


def figure_caption(results: Results) -> str:
  """Says what the marks of the forest plot stand for."""
  several = results.num_tested > 1
  out = f"difference from {results.baseline}; filled: found"
  out += f", corrected for {results.num_tested} comparisons" if several else ""
  out += "; hollow: not shown\n"
  if any(not math.isnan(d.low) for d in results.differences):
    out += f"{percent(results)} intervals over {results.units.kind} (blue"
    out += "; thin: corrected, which decides where it is drawn)" if several else ")"
  else:
    out += statistics.why_none(results.units)
  if any(not math.isnan(d.seed_low) for d in results.differences):
    out += ", over seeds (orange)"
  return out


def notes(results: Results) -> list[str]:
  """Returns what a reader must know, one sentence each."""
  out = [*_about_intervals(results), *_about_decisions(results)]
  units = results.units
  if units.splits_groups:
    out.append("Images of one group were resampled as if they were independent: intervals may be far too narrow.")
  if any(len(m.runs) > 1 for m in results.methods):
    out.append(f"Several seeds: values are means over them. Intervals over {units.kind} are for these seeds alone.")
    out.append(
      "Intervals over seeds (Welch's t, of values as measured) are for these images alone; neither holds the other."
    )
  return [*_about_images(results), *out, *_about_metrics(results.methods[0].runs[0].evaluation)]


def run_names(results: Results) -> list[tuple[str, Run]]:
  """Returns the runs, each with the name of its method, numbered where the method has several."""
  return [
    (method.name if len(method.runs) == 1 else f"{method.name} ({k})", run)
    for method in results.methods
    for k, run in enumerate(method.runs, start=1)
  ]


def _about_images(results: Results) -> list[str]:
  """What was left out: images that not all have, and metrics."""
  runs, out = run_names(results), []
  for name, run in runs:
    if run.left_out:
      few = run.left_out[:_NAMES_SHOWN]
      more = f" and {len(run.left_out) - len(few)} more, all in {LEFT_OUT}" if len(run.left_out) > len(few) else ""
      count = f"{len(run.left_out)} image{'s' * (len(run.left_out) > 1)}"
      out.append(f"Left out, since others lack them: {count} of {name}: {', '.join(few)}{more}.")
  if out:
    out.append(f"All numbers are of the {len(runs[0][1].stored.ids)} images that all have, the oracle left out.")
  for name, run in runs:
    if run.groups_of is not None:
      giver = next(other for other, found in runs if found.folder == run.groups_of)
      out.append(f"{name} names no groups: those of {giver} are taken.")
  by_methods: dict[tuple[str, ...], list[str]] = {}
  for path, names in results.lacking.items():
    by_methods.setdefault(names, []).append(label(path))
  return out + [
    f"Not compared, since not all have them: {', '.join(labels)} (missing in {', '.join(names)})."
    for names, labels in by_methods.items()
  ]


LEFT_OUT = "left_out.csv"
_NAMES_SHOWN = 20


def _about_intervals(results: Results) -> list[str]:
  s, units = results.settings, results.units
  out = [f"{s.num_resamples} resamples of {units.num} {units.kind}, shared by all methods."]
  if why := statistics.why_none(units):
    out.append(f"No intervals: {why}.")
  elif any(not math.isnan(v.corrected) for v in results.values.values()):
    out.append(
      f"Intervals of calibration errors are about the value corrected for noise, which raises every such error; those "
      f"of the rest are {s.method} bootstrap intervals."
    )
  else:
    out.append(f"Intervals: {s.method} bootstrap.")
  if not why and units.num < statistics.FEW:
    out.append(f"With {units.num} {units.kind} bootstrap intervals of means are too narrow.")
    out += [
      f"{units.num} {units.kind}: {label(path)} of {name} is an error of a size that may be noise."
      for (name, path), v in results.values.items()
      if v.noise_p >= level(results)
    ]
  return out


def _about_decisions(results: Results) -> list[str]:
  several = results.num_tested > 1
  out = []
  if any(d.by_interval and not math.isnan(d.p) for d in results.differences):
    out.append(
      "Of calibration errors the interval decides, and p is the smallest level at which it leaves out 0: swapping asks "
      "whether two methods are exchangeable, not whether their errors are equal."
    )
  if any(not d.by_interval for d in results.differences):
    unit = results.units.kind[:-1]
    out.append(f"Of other metrics p is that of a permutation test, sums swapped per {unit}, and decides.")
  if any(d.by_interval and math.isnan(d.swap_p) for d in results.differences) and results.units.num > 1:
    out.append("No permutation test: it needs as many seeds of one method as of the other. The interval decides.")
  if several:
    out.append(
      f"Holm: corrected for {results.num_tested} comparisons; the corrected interval is the one at Holm's level."
    )
  if any(not math.isnan(v.noise_p) for v in results.values.values()):
    out.append("p of noise alone: how probable an error this large is where all is calibrated; small: miscalibrated.")
  return out


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
  return [*out, f"{PEOPLE}: each one in turn is predicted by the mean vote of the others."]
