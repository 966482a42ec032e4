"""report.html: one self-contained page about one evaluation, and its figures as files."""

import base64
import dataclasses
import hashlib
import json
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ordseg import files
from ordseg.errors import InputError
from ordseg.evaluation import folder as evaluation_folder
from ordseg.metrics import Metric, find, select
from ordseg.reporting import references, style
from ordseg.reporting.report import anonymous, answer, figures, noise, outlines, prose, reading, recalibrated, terms
from ordseg.reporting.report import pictures as views
from ordseg.reporting.report.figures import Series
from ordseg.reporting.report.reading import Evaluation

_VOTES = "share of raters who marked the pixel"
_MAJORITY = "how often the majority marked the pixel"


@dataclasses.dataclass(frozen=True)
class Cell:
  """A number in a table.

  Attributes:
    text: the number, or a dash.
    own: False where the read-out is scored against a target that is not its own.
    notes: small print beneath: the oracle's value, the floor; where the number is missing, why.
    missing: whether it is.
  """

  text: str
  own: bool
  notes: tuple[str, ...]
  missing: bool = False


@dataclasses.dataclass(frozen=True)
class Figure:
  """A figure in the page, with a short text beneath it."""

  uri: str
  alt: str
  caption: str = ""


@dataclasses.dataclass(frozen=True)
class GalleryEntry:
  """One example in the gallery."""

  example: reading.Example
  nested: outlines.Nested | None
  maps: list[views.Picture]
  scores: list[tuple[str, str]]


def write_report(
  eval_dir: str | pathlib.Path,
  *,
  out: pathlib.Path | None = None,
  key: anonymous.Key | None = None,
  pictures: bool = True,
) -> pathlib.Path:
  """Writes report.html and figures/*.png and *.pdf beside the files of an evaluation, or to another folder.

  Args:
    eval_dir: a folder with metrics.json, per_image.csv, curves.json and examples.npz, as `evaluate.write` leaves it.
    out: the other folder, whose former report goes.
    key: takes the names of cases and raters, for which the report has numbers then; written too.
    pictures: whether to show images and maps.

  Returns:
    The path of report.html.

  Raises:
    InputError: a file is missing or damaged, or `out` holds an evaluation; nothing is written then.
  """
  e = reading.load(eval_dir)
  if out is not None and (out / "metrics.json").exists():
    raise InputError(f"{out} holds an evaluation: choose another --out=<folder>.")
  with reading.verified(e):
    rows, examples = reading.load_per_image(e.folder), reading.load_examples(e.folder, has_levels=e.has_levels)
    if not pictures:
      examples = []
    if key is not None:
      e, examples = anonymous.evaluation(e, key), anonymous.examples(examples, key)
      key.write()  # before what it explains
    if out is None:
      return _write_report(e, rows, examples, e.folder, pictures=pictures)
    with evaluation_folder.replacing(out) as folder:
      page = _write_report(e, rows, examples, folder, pictures=pictures)
  return out / page.name


def _write_report(
  e: Evaluation,
  rows: Sequence[Mapping[str, str]],
  examples: Sequence[reading.Example],
  out: pathlib.Path,
  *,
  pictures: bool,
) -> pathlib.Path:
  folder = out / "figures"
  script = style.templates().get_template("report.js").render()
  content = {
    "e": e,
    "subject": terms.subject(e),
    "model_name": terms.model_name(e),
    "one_map": terms.one_map(e),
    "why_no_levels": "" if e.has_levels else terms.NO_LEVELS,
    "read_outs": [terms.LABELS[name] for name in e.read_outs],
    "region": terms.region(e),
    "verdict": answer.verdict(e),
    "beside_people": answer.beside_people(e),
    "alike": answer.ALIKE,
    "facts": answer.facts(e),
    "percentages": answer.percentages(e),
    "limits": answer.limits(e, rows),
    "nearly": answer.NEARLY,
    "roughly": answer.ROUGHLY,
    "intervals": answer.intervals(e),
    "no_intervals": noise.why_none(e),
    "noise": noise.rows(e),
    "beyond_noise": noise.sentence(e),
    "groups": score_groups(e),
    "levels": level_rows(e),
    "has_oracle": "oracle" in e.metrics,
    "agreement": agreement_rows(e),
    "samples": [(m, _cell(e, m.path, m)) for m in select("samples") if e.number(m.path) is not None],
    "left_out": left_out_rows(e),
    "references": reference_rows(e),
    "reference_head": [head.replace("\n", " ") for head in references.HEADER],
    "per_rater": per_rater_rows(e),
    "reliability": reliability_figures(e, folder),
    "recalibration": (change := recalibrated.describe(e, folder)),
    "recalibration_uri": style.data_uri(change.png) if change and change.png else "",
    "bins": bin_rows(e.curves["read_outs"]["mean_vote"]["pooled"]),
    "raters": multiple_figures(folder / "reliability_raters", *_rater_curves(e)),
    "at_least": multiple_figures(folder / "reliability_levels", *_level_curves(e)),
    "examples": [GalleryEntry(example, *views.example_views(example), scores(example)) for example in examples],
    "pictures": pictures,
    "scales": {name: views.color_scale(name) for name in (figures.PROB_COLORS, figures.DIFFERENCE_COLORS)},
    "few": figures.FEW,
    "command": command(e),
    "config": config_lines(e),
    "provenance": provenance(e),
    "script": script,
    "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
  }
  if examples:
    figures.save(figures.gallery(views.one_of_each(examples)), folder / "examples")
  page = out / "report.html"
  html = style.templates().get_template("report.html").render(content)
  files.write_text(page, re.sub(r"(?<=\d) %", "\u00a0%", html))  # no line break inside 50 %
  return page


def score_groups(e: Evaluation) -> list[tuple[terms.Group, list[tuple[Metric, list[Cell]]]]]:
  """Returns the summary table: per group its metrics, each with one cell per read-out."""
  return [
    (group, [(m, _read_out_cells(e, m, group.own)) for m in group.metrics])
    for group in terms.READ_OUT_GROUPS
    if not (group.optional and terms.outlines(e) == "")
  ]


def _read_out_cells(e: Evaluation, m: Metric, own: str) -> list[Cell]:
  floor = e.number(f"floors.{m.key}")
  notes = () if floor is None else (f"floor {terms.number(floor, m.decimals)}",)
  return [_cell(e, f"read_outs.{name}.{m.key}", m, own in ("", name), notes) for name in e.read_outs]


def _cell(e: Evaluation, path: str, m: Metric, own: bool = True, notes: tuple[str, ...] = ()) -> Cell:
  value, oracle = e.number(path), e.number(f"oracle.{path}")
  if (ends := e.interval(path)) is not None:
    notes = (f"{terms.number(ends[0], m.decimals)} to {terms.number(ends[1], m.decimals)}", *notes)
  if (corrected := e.corrected(path)) is not None:
    notes = (f"corrected for noise {terms.number(corrected, m.decimals)}", *notes)
  if oracle is not None:
    notes = (f"oracle {terms.number(oracle, m.decimals)}", *notes)
  if value is None:
    return Cell(terms.MISSING, True, (m.missing,), missing=True)
  return Cell(terms.number(value, m.decimals), own, notes)


def level_rows(e: Evaluation) -> list[tuple[Metric, Cell]]:
  """Returns the metrics of the whole distribution, which have no read-out."""
  return [(m, _cell(e, m.path, m)) for m in terms.levels(e)]


def agreement_rows(e: Evaluation) -> list[tuple[Metric, Cell]]:
  """Returns the numbers about the raters alone."""
  return [(m, _cell(e, m.path, m)) for m in select("raters")]


def left_out_rows(e: Evaluation) -> list[tuple[Metric, Cell, Cell]]:
  """Returns the rows (metric, each rater predicted by the others, the model on the same question)."""
  return [(m, _cell(e, m.path, m), _cell(e, terms.beside(e, m), m)) for m in select("raters.leave_one_out")]


def reference_rows(e: Evaluation) -> list[list[str]]:
  """Returns what stands below and above the mean vote, as text; empty for an evaluation of an earlier version."""
  own = "the mean vote of this model" if e.of_run else "these maps"
  return references.rows(e.metrics, e.rater_names, own) if "constant" in e.metrics else []


def per_rater_rows(e: Evaluation) -> list[tuple[str, str, list[str]]]:
  """Returns per rater: name, share of pixels marked, and Dice with each rater, as text."""
  raters = e.metrics.get("raters") or {}
  return [
    (
      name,
      terms.percent(reading.finite(share), 1),
      ["" if i == j else terms.number(reading.finite(value), 3) for j, value in enumerate(pairs)],
    )
    for i, (name, share, pairs) in enumerate(
      zip(e.rater_names, raters.get("prevalence") or [], raters.get("pairwise_dice") or [], strict=False)
    )
  ]


def reliability_figures(e: Evaluation, folder: pathlib.Path) -> list[tuple[str, str, Figure]]:
  """Draws the reliability diagrams: against the votes and against the majority; (title, explanation, figure).

  Each is of the read-out made for it; where there is no majority read-out, there is one diagram.
  """
  read_outs = e.curves["read_outs"]
  same = terms.one_map(e)
  drawn = []
  for own, target, title, y_label, count_label in (
    ("mean_vote", "pooled", "Against every rater's vote", _VOTES, "votes"),
    ("majority", "majority", "Against the majority", _MAJORITY, "pixels"),
  ):
    if own not in e.read_outs:
      continue
    curve = read_outs[own][target]
    series = [Series(curve, "both read-outs (same map)" if same else terms.LABELS[own], *_LOOKS[own])]
    series += [
      Series(read_outs[other][target], f"{terms.LABELS[other]} (not its target)", *_LOOKS[other], faint=True)
      for other in e.read_outs
      if other != own and not same
    ]
    figure = figures.reliability(
      series, x_label="probability in the map", y_label=y_label, count_label=f"{count_label} per bin"
    )
    png = figures.save(figure, folder / f"reliability_{'votes' if target == 'pooled' else 'majority'}")
    alt = f"Reliability diagram of the {terms.LABELS[own]} read-out. {prose.curve_in_words(curve)}"
    drawn.append((title, _DIAGRAM_TEXT[own], Figure(style.data_uri(png), alt)))
  return drawn


_LOOKS = {"mean_vote": (figures.BLUE, "o", "-"), "majority": (figures.VERMILLION, "s", "--")}
_DIAGRAM_TEXT = {
  "mean_vote": "Of the raters who looked at pixels of this probability, what share marked them?",
  "majority": "Of the pixels of this probability, how many did the majority mark?",
}


def _rater_curves(e: Evaluation) -> tuple[list[figures.Curve], list[str], str]:
  curves = e.curves["read_outs"]["mean_vote"]["raters"]
  return curves, e.rater_names, "how often this rater marked the pixel"


def _level_curves(e: Evaluation) -> tuple[list[figures.Curve], list[str], str]:
  curves = e.curves["levels"]
  titles = [f"at least {j} of {len(curves)}" for j in range(1, len(curves) + 1)]
  return curves, titles, "how often that many marked the pixel"


def multiple_figures(
  stem: pathlib.Path, curves: Sequence[figures.Curve], titles: Sequence[str], y_label: str
) -> list[Figure]:
  """Draws one panel per curve: as one figure for the folder, and apart for the page, where they flow."""
  if not curves:
    return []
  png = figures.save(figures.multiples(curves, titles, x_label="probability", y_label=y_label), stem)
  panels = views.crop(png, figures.panel_boxes(len(curves)))
  return [
    Figure(
      style.data_uri(panel),
      f"Reliability diagram, {title}. {prose.curve_in_words(curve)}",
      f"ECE {terms.number(prose.ece(curve))}",
    )
    for curve, title, panel in zip(curves, titles, panels, strict=True)
  ]


def bin_rows(curve: figures.Curve) -> list[tuple[str, str, str, str]]:
  """Returns the numbers behind a curve: range, count, mean probability and mean label of each bin."""
  edges = curve["bin_edges"]
  rows = zip(edges, edges[1:], curve["count"], curve["mean_prob"], curve["mean_label"], strict=False)
  return [
    (f"{terms.percent(a)} to {terms.percent(b)}", f"{n:,}", terms.percent(p, 1), terms.percent(y, 1))
    for a, b, n, p, y in rows
  ]


def scores(example: reading.Example) -> list[tuple[str, str]]:
  """Returns the scores of one example as (name, text)."""
  declared = (find(f"read_outs.{path}") for path in ("dice", "mr_ece_pooled", "brier"))
  values = (example.scores[key] for key in ("dice", "mr_ece", "brier"))
  return [(m.name, terms.number(x, m.decimals)) for m, x in zip(declared, values, strict=True)]


def command(e: Evaluation) -> str:
  """Returns the command that repeats the evaluation; an absolute folder is cut to its name, to keep paths private.

  '' where it is not known, of maps that were scored, or where names are left out.
  """
  if not e.of_run or e.anonymous:
    return ""
  workdir = e.workdir.name if e.workdir.is_absolute() else str(e.workdir)
  parts = ["python", "run_eval.py", f"--workdir={workdir}", f"--split={e.text('split', 'test')}"]
  parts.append(f"--step={e.text('step', 'best')}")
  parts += [f"--recalibration={named}"] if (named := e.text("recalibration.named", "")) else []
  return shlex.join(parts)


def config_lines(e: Evaluation) -> list[tuple[str, str]]:
  """Returns the resolved config as (dotted path, value), folders left out; nothing where names are left out."""
  if e.anonymous:
    return []
  config = (e.metrics.get("model") or {}).get("config") or {}
  return [(path, text) for path, text in _leaves(config, "") if not path.endswith("_dir")]


def maps_lines(e: Evaluation) -> list[tuple[str, str]]:
  """Returns what is known of the maps that were scored, as (name, text); empty of a run.

  Folders are cut to their names; what is of single cases, and how files were read, stays in metrics.json.
  """
  about = {} if e.of_run else e.metrics.get("model") or {}
  return [(name, _in_words(about[key])) for key, name in _MAPS.items() if about.get(key)]


_MAPS = {
  "maps": "Folders of maps",
  "region": "Regions",
  "members": "Maps of a case, averaged",
  "patients": "Patients",
  "digest": "Digest of the maps",
}


def _in_words(value: Any) -> str:
  parts = value if isinstance(value, list) else [value]
  return ", ".join(pathlib.PurePath(x).name if isinstance(x, str) else str(x) for x in parts)


def provenance(e: Evaluation) -> list[tuple[str, str]]:
  """Returns what the numbers depend on, as (name, text)."""
  settings = (e.metrics.get("data") or {}).get("settings") or {}
  changed = ", ".join(f"{path}={text}" for path, text in _leaves(settings, ""))
  versions = ", ".join(f"{name} {version}" for name, version in (e.metrics.get("versions") or {}).items())
  return [
    ("Data set", f"{e.data_name} {e.text('data.version')}"),
    ("Fingerprint of the data", e.text("data.fingerprint")),
    ("Settings of the data", anonymous.LEFT_OUT if e.anonymous else changed or terms.MISSING),
    ("Licence of the data", e.text("data.licence")),
    ("Images", e.text("num_images")),
    ("Images that somebody rated", e.text("num_images_scored")),
    ("Images in which a majority marked something", e.text("num_images_with_majority")),
    ("Pixels", f"{e.metrics['num_pixels']:,}" if e.number("num_pixels") is not None else terms.MISSING),
    ("Model", terms.model_name(e)),
    *(maps_lines(e)),
    ("Pixels that count", terms.region(e) or "all"),
    *([("Outlines", terms.outlines(e))] if terms.outlines(e) else []),
    ("Raters", ", ".join(e.rater_names)),
    ("Bins", f"{e.num_bins} of equal width, unless a score says otherwise"),
    ("Versions", versions or terms.MISSING),
    ("Evaluation", e.text("evaluation.id")),
  ]


def _leaves(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
  out = []
  for name, value in tree.items():
    if isinstance(value, Mapping):
      out += _leaves(value, f"{prefix}{name}.")
    else:
      out.append((prefix + str(name), value if isinstance(value, str) else json.dumps(value)))
  return out
