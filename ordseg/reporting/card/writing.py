"""card.md and card.html."""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ordseg import files, run_record
from ordseg.errors import InputError
from ordseg.evaluation import folder as evaluation_folder
from ordseg.reporting import style
from ordseg.reporting.card import facts
from ordseg.reporting.report import anonymous, answer, page, reading, terms, text
from ordseg.training import compute_log

BEGIN = "<!-- intended use: yours to edit, in card.md; kept when the card is written anew -->"
END = "<!-- end of intended use -->"
DEFAULT_USE = """\
Not stated by the authors of this model. Until they do, take it for research on images like those it was trained on, to
study where raters disagree and how well a map predicts it.

- Not meant for: diagnosis, treatment, screening, or any decision about a patient.
- Not meant for: images of another kind, scanner, preparation or population, unless it is evaluated on them first.
- Whoever uses it states here who may use it, for what, and who checks the result."""

_SCORE_HEAD = ("Score", "Map", "Model", "Corrected for noise", "Interval", "p of noise alone", "Other raters", "Floor")


def write_card(
  workdir: pathlib.Path,
  *,
  split: str = "test",
  out: pathlib.Path | None = None,
  intended_use: pathlib.Path | None = None,
  power_watts: float | None = None,
  key: anonymous.Key | None = None,
) -> pathlib.Path:
  """Writes card.md, card.html and card_figures/.

  Args:
    workdir: folder of the run, or of an evaluation of maps: its card has no sections on model and training.
    split: name of a run's evaluation: a split, or its folder in ``<workdir>/eval``.
    out: folder to write to; the workdir by default.
    intended_use: text of that section; by default what it says in the card.md to be replaced, else `DEFAULT_USE`.
    power_watts: average power of all devices together, for an estimate of the energy.
    key: takes the names of cases and raters, for which the card has numbers then; written too.

  Returns:
    The path of card.md.

  Raises:
    InputError: no run, no such evaluation (says which command makes it), one of other data, or a text that cannot be
      read or would be lost. Nothing is written then.
  """
  info = None if _holds_maps(workdir) else run_record.read(workdir)
  e = reading.load(workdir) if info is None else _evaluation(workdir, split, info)
  if info is None and power_watts is not None:
    raise InputError(
      f"{workdir} holds maps of another tool, of whose training nothing is known: leave --power_watts out."
    )
  compute = {} if info is None else compute_log.read(workdir)
  out = workdir if out is None else out
  use = _intended_use(out / "card.md", intended_use)
  with reading.verified(e):
    rows = reading.load_per_image(e.folder)
    if key is not None:
      e, info = anonymous.evaluation(e, key), None if info is None else anonymous.run_info(info)
      key.write()  # before what it explains
    return _write(e, rows, info, compute, use, out, power_watts)


def _holds_maps(folder: pathlib.Path) -> bool:
  """Returns whether a folder holds an evaluation of maps, and no run."""
  return (
    (folder / "metrics.json").is_file() and not (folder / run_record.FILE).exists() and not reading.load(folder).of_run
  )


def _about_model(
  e: reading.Evaluation, info: dict[str, Any] | None, compute: dict[str, Any], power_watts: float | None
) -> dict[str, Any]:
  """Returns title and facts of a run, or of the maps, of whose model and training nothing is known."""
  if info is None:
    return {"title": f"{terms.model_name(e)} on {e.data_name}", "maps": facts.maps(e), "model": [], "training": []}
  return {
    "title": f"{info['config'].model.name} with {info['config'].loss.name} on {e.data_name}",
    "maps": [],
    "model": facts.model(info, compute),
    "training": facts.training(info, compute, power_watts),
  }


def _write(
  e: reading.Evaluation,
  rows: Sequence[Mapping[str, str]],
  info: dict[str, Any] | None,
  compute: dict[str, Any],
  use: str,
  out: pathlib.Path,
  power_watts: float | None,
) -> pathlib.Path:
  path = out / "card.md"
  out.mkdir(parents=True, exist_ok=True)
  files.sweep(out, out / "card_figures")
  content: dict[str, Any] = {
    **_about_model(e, info, compute, power_watts),
    "verdict": f"{answer.verdict(e)} {answer.beside_people(e)}",
    "facts": answer.facts(e),
    "use": use,
    "use_blocks": blocks(use),
    "begin": BEGIN,
    "end": END,
    "limits": answer.limits(e, rows),
    "data": facts.data(info, e, rows),
    "citation": facts.citation(info, e),
    "evaluation": facts.evaluation(e),
    "score_head": _SCORE_HEAD,
    "scores": facts.scores(e),
    "agreement": facts.agreement(e),
    "figures": page.reliability_figures(e, out / "card_figures"),
    "versions": facts.versions(info, e),
    "not_recorded": facts.NOT_RECORDED,
  }
  environment = style.templates()
  html = environment.get_template("card.html").render(content)
  plain = environment.overlay(autoescape=False)
  plain.filters |= {"md": text.escaped, "table": text.markdown_table}
  markdown = plain.get_template("card.md").render(content)
  files.write_text(path.with_suffix(".html"), html)
  files.write_text(path, re.sub(r"\n{3,}", "\n\n", markdown) + "\n")
  return path


def _evaluation(workdir: pathlib.Path, split: str, info: dict[str, Any]) -> reading.Evaluation:
  folder = workdir / "eval" / evaluation_folder.name_of(split)
  if not (folder / "metrics.json").is_file():
    others = [path.parent.name for path in sorted(folder.parent.glob("*/metrics.json"))]
    raise InputError(
      f"{workdir} has no evaluation of {split!r}: there is no {folder / 'metrics.json'}. "
      f"Make one with python run_eval.py --workdir={workdir} --split={split}"
      + (f", or take one that is there: --split={', --split='.join(others)}." if others else "")
    )
  e = reading.load(folder)
  ours, theirs = info["data"].get("fingerprint"), e.text("data.fingerprint", "")
  if ours and theirs and ours != theirs:
    raise InputError(f"{folder} is of other data ({theirs[:12]}) than {workdir} was trained on ({ours[:12]}).")
  return e


def _intended_use(card: pathlib.Path, given: pathlib.Path | None) -> str:
  """Returns the text of the section: from the file given, from the card that is there, or the default."""
  if given is not None:
    return _without_markers(_read(given))
  if not card.exists():
    return DEFAULT_USE
  before, begin, rest = _read(card).partition(BEGIN)
  kept, end, _ = rest.partition(END)
  if not (before and begin and end):
    raise InputError(
      f"{card} lacks the lines around its section on intended use, so the text there would be lost: move the file "
      "away, or give the text with --intended_use=<file>."
    )
  return kept.strip()


def _read(path: pathlib.Path) -> str:
  try:
    return path.read_text(encoding="utf-8").strip()
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f"{path} cannot be read as text: {error}.") from error


def _without_markers(text_: str) -> str:
  return text_.replace(BEGIN, "").replace(END, "").strip()


def blocks(source: str) -> list[tuple[str, list[str]]]:
  """Splits plain text into ('p', [paragraph]) and ('ul', items): a blank line ends a block, "- " begins an item."""
  found: list[tuple[str, list[str]]] = []
  for block in re.split(r"\n\s*\n", source.strip()):
    lead, *items = re.split(r"(?m)^\s*[-*] ", block)
    if lead.strip():
      found.append(("p", [" ".join(lead.split())]))
    if items:
      found.append(("ul", [" ".join(item.split()) for item in items]))
  return found
