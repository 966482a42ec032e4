"""The facts of a model card, section by section, as (name, text); what is not recorded says so."""

from collections.abc import Mapping, Sequence
from typing import Any

from ordseg.metrics import select
from ordseg.progress import format_duration
from ordseg.reporting.report import anonymous, answer, noise, page, reading, terms
from ordseg.reporting.report.reading import Evaluation

Facts = list[tuple[str, str]]

NOT_RECORDED = "not recorded"

_WHOLE = "all fields of its section, used by it or not"
_MISSING = (
  "A rater who did not answer an image is no vote, neither yes nor no: loss and metrics take the panel of those who "
  "did. Whether an image without marks is an answer is decided by the data set (see its settings)."
)


def data(info: Mapping[str, Any] | None, e: Evaluation, rows: Sequence[Mapping[str, str]]) -> Facts:
  """Returns what the model learnt from, or what maps were scored on: data set, terms, raters, splits.

  Args:
    info: content of config.json; None for maps.
    e: the evaluation.
    rows: of its per_image.csv.
  """
  about = (e.metrics.get("data") or {}) if info is None else info["data"]
  missing = int((reading.column(rows, "num_valid") < e.num_raters).sum())
  seen = [] if info is None else [("Raters seen in training", _seen(info["config"].data.raters, e.rater_names))]
  of_run = (
    [] if info is None else [("Splits", _splits(info, e)), ("Channels, type and spacing of an image", _image(info))]
  )
  return [
    ("Data set", f"{e.data_name} {_text(about.get('version'))}"),
    ("Licence", _text(about.get("licence"))),
    ("Homepage", "none" if about.get("homepage") == "" else _text(about.get("homepage"))),
    ("Fingerprint", _text(about.get("fingerprint"))),
    ("Settings", anonymous.LEFT_OUT if e.anonymous else _pairs(about.get("settings") or {}) or NOT_RECORDED),
    ("Raters", f"{e.num_raters} in a full panel: {', '.join(e.rater_names)}"),
    *seen,
    ("Missing raters", f"{_MISSING} In {missing} of the {len(rows)} images evaluated, some are missing."),
    *of_run,
  ]


def _seen(raters: str, names: Sequence[str]) -> str:
  """Returns ``config.data.raters``, and whom its numbers mean."""
  numbers = raters.split(",")
  known = all(number.isdigit() and int(number) < len(names) for number in numbers)
  return f"config.data.raters={raters}" + (f": {', '.join(names[int(n)] for n in numbers)}" if known else "")


def citation(info: Mapping[str, Any] | None, e: Evaluation) -> str:
  """Returns the BibTeX of the data; '' where it is not recorded."""
  about = (e.metrics.get("data") or {}) if info is None else info["data"]
  return str(about.get("citation") or "")


def maps(e: Evaluation) -> Facts:
  """Returns what is known of the maps that were scored."""
  return [("Maps", terms.model_name(e)), *page.maps_lines(e)]


def _splits(info: Mapping[str, Any], e: Evaluation) -> str:
  config, counts = info["config"].data, info.get("num_examples") or {}
  parts = [
    f"{name}: {getattr(config, f'{name}_split')}, {_count(counts.get(name))}" for name in ("train", "validation")
  ]
  whole = _pairs(info["data"].get("splits") or {})
  evaluated = f"evaluated: {e.text('split')}, {_count(e.metrics['num_images'])}"
  return "; ".join([*parts, evaluated]) + (f". The data set in full: {whole}" if whole else "")


def _count(number: Any) -> str:
  return f"number of images {NOT_RECORDED}" if number is None else f"{number:,} images"


def _image(info: Mapping[str, Any]) -> str:
  image = info.get("image") or {}
  spacing = [float(s) for s in image.get("spacing") or ()]
  known = f"{' x '.join(f'{s:g}' for s in spacing)} mm" if spacing and all(spacing) else f"spacing {NOT_RECORDED}"
  return f"{info['num_channels']}, {_text(image.get('dtype'))}, {known}"


def model(info: Mapping[str, Any], compute: Mapping[str, Any]) -> Facts:
  """Returns network, head, loss and preprocessing."""
  config, size = info["config"], compute.get("num_parameters")
  return [
    ("Network", f"{config.model.name}; {_WHOLE}: {_pairs(config.model.settings)}"),
    ("Parameters", NOT_RECORDED if size is None else f"{size:,}"),
    ("Head", f"{config.model.head}, of how many of {info['num_raters']} raters mark the pixel"),
    ("Loss", f"{config.loss.name}; {_WHOLE}: {_pairs(config.loss.settings)}"),
    ("Preprocessing", _pairs(config.preprocess.to_dict())),
    ("Augmentation", _pairs(config.augment.to_dict())),
  ]


def training(info: Mapping[str, Any], compute: Mapping[str, Any], power_watts: float | None) -> Facts:
  """Returns what the training took; the energy only as an estimate from a power that the user states."""
  config, sessions = info["config"], compute.get("sessions") or []
  seconds = sum(float(s["seconds"]) for s in sessions) if sessions else None
  kinds = dict.fromkeys(f"{s['num_devices']} x {s['device']} ({s['platform']})" for s in sessions)
  energy = f"{NOT_RECORDED}; --power_watts adds an estimate from the average power of all devices"
  if power_watts is not None and seconds is None:
    energy = f"{NOT_RECORDED}: neither is the time, so the power says nothing"
  elif power_watts is not None and seconds is not None:
    energy = (
      f"about {seconds * power_watts / 3.6e6:.3g} kWh, an estimate: time x {power_watts:g} W as stated by the user"
    )
  starts = f", in {len(sessions)} starts of the program" if len(sessions) > 1 else ""
  return [
    ("Steps", f"{config.train.num_steps:,} of {config.train.batch_size} images"),
    ("Optimiser", _pairs(config.optim.to_dict())),
    ("Checkpoint chosen by", f"{config.train.best_metric} ({config.train.best_mode}) of the validation split"),
    ("Seed", str(config.seed)),
    ("Time", NOT_RECORDED if seconds is None else f"{format_duration(seconds)} of the wall clock{starts}"),
    ("Devices", ", ".join(kinds) or NOT_RECORDED),
    ("Energy", energy),
  ]


def evaluation(e: Evaluation) -> Facts:
  """Returns what was evaluated and how."""
  by = e.metrics.get("predicted_by") or {}
  more = []
  if by:
    more.append(
      ("Several runs or views", _pairs({**by, **{k: e.metrics.get(k) for k in ("flips", "dropout_samples")}}))
    )
  if method := e.text("recalibration.method", ""):
    more.append(("Recalibration", f"{method}, fitted to the votes of the split {e.text('recalibration.fitted.split')}"))
  return [
    ("Split", f"{e.text('split')}, {int(e.metrics['num_images']):,} images, checkpoint of step {e.text('step')}")
    if e.of_run
    else ("Images", f"{int(e.metrics['num_images']):,}"),
    *more,
    ("Pixels that count", terms.region(e) or "all"),
    *([("Command", command)] if (command := page.command(e)) else []),
    *([] if e.has_levels else [("Levels", terms.NO_LEVELS)]),
    ("Intervals", " ".join(x for x in (answer.intervals(e), noise.why_none(e)) if x) or "none were computed"),
    *([("Miscalibration beyond noise", sentence)] if (sentence := noise.sentence(e)) else []),
  ]


def scores(e: Evaluation) -> list[list[str]]:
  """Returns the table of scores, its columns those of the card; other raters answer the same question."""
  rows = []
  for path, m in terms.tagged(e, "card"):
    ends, human = e.interval(path), terms.human(e, path)
    rows.append(
      [
        f"{m.label} ({m.better} is better)",
        terms.read_out_of(path),
        terms.number(e.number(path), m.decimals),
        terms.number(e.corrected(path), m.decimals),
        terms.MISSING if ends is None else " to ".join(terms.number(end, m.decimals) for end in ends),
        noise.p_text(e.noise_p(path), terms.MISSING),
        terms.number(e.number(human) if human else None, m.decimals),
        terms.number(e.number(f"floors.{m.key}"), m.decimals),
      ]
    )
  return rows


def agreement(e: Evaluation) -> list[list[str]]:
  """Returns the table of the raters' agreement: name, number."""
  return [[m.label, terms.write(e, m.path)] for m in select("raters")]


def versions(info: Mapping[str, Any] | None, e: Evaluation) -> Facts:
  """Returns the software of training and evaluation."""
  return [
    *([] if info is None else [("Training", _pairs(info["versions"], " ") or NOT_RECORDED)]),
    ("Evaluation", _pairs(e.metrics.get("versions") or {}, " ") or NOT_RECORDED),
  ]


def _text(value: Any) -> str:
  return str(value) if value not in (None, "") else NOT_RECORDED


def _pairs(tree: Mapping[str, Any], sign: str = "=") -> str:
  return ", ".join(f"{name}{sign}{value}" for name, value in tree.items())
