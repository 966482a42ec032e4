"""The tables of a report, and how its numbers are written; what each number is called is declared in `metrics`."""

import dataclasses

from ordseg.metrics import Metric, find, select
from ordseg.reporting.report.reading import Evaluation

LABELS = {"mean_vote": "mean vote", "majority": "majority"}
MISSING = "\u2013"


@dataclasses.dataclass(frozen=True)
class Group:
  """A table of read-outs: metrics with one target.

  Attributes:
    title: of the table.
    note: what the table scores against, in a sentence.
    alone: the same where the mean vote is the only map.
    own: the read-out that is calibrated to that target; '' where neither has the advantage.
    table: of the `Metric`s that are its rows.
    optional: whether an evaluation may lack it; it is left out then.
  """

  title: str
  note: str
  alone: str
  own: str
  table: str
  optional: bool = False

  @property
  def metrics(self) -> tuple[Metric, ...]:
    """The rows."""
    return select("read_outs", table=self.table)


READ_OUT_GROUPS = (
  Group(
    "Against every rater's vote",
    "What share of the raters mark the pixel? The mean vote is made to answer this.",
    "What share of the raters mark the pixel?",
    "mean_vote",
    "votes",
  ),
  Group(
    "Against the majority",
    "Does the majority of those who answered mark the pixel? The majority read-out is made to answer this.",
    "Does the majority of those who answered mark the pixel? A map of the share of raters is not made to answer this.",
    "majority",
    "majority",
  ),
  Group(
    "Masks",
    "Either map cut at 50 % unless said otherwise. Both columns count.",
    "The map cut at 50 % unless said otherwise.",
    "",
    "masks",
  ),
  Group(
    "Outlines",
    "Either map cut at 50 %; tolerance and unit are under “Where the numbers come from”.",
    "The map cut at 50 %; tolerance and unit are under “Where the numbers come from”.",
    "",
    "outlines",
    optional=True,
  ),
)


NO_LEVELS = (
  "Levels are absent: these maps give one probability per pixel, which is read as the share of the raters. They do not "
  "say how many raters would mark a pixel, so nothing is reported of that number, nor of a majority read-out."
)


def tagged(evaluation: Evaluation, tag: str) -> list[tuple[str, Metric]]:
  """Returns (path, metric) of the metrics with a tag, each of its own read-out, masks of the majority's if it has one.

  What an evaluation without levels lacks is left out.
  """
  paths = [
    (f"read_outs.{group.own or evaluation.mask_read_out}.{m.key}", m)
    for group in READ_OUT_GROUPS
    for m in group.metrics
    if tag in m.tags and group.own in ("", *evaluation.read_outs)
  ]
  return paths + [(m.path, m) for m in levels(evaluation, tag)]


def levels(evaluation: Evaluation, tag: str | None = None) -> tuple[Metric, ...]:
  """Returns the metrics of the whole distribution; none where the evaluation has no levels."""
  return select("levels", tag=tag) if evaluation.has_levels else ()


def beside(evaluation: Evaluation, metric: Metric) -> str:
  """Returns the path of the predictor's number beside that of the raters, of the map that the evaluation has."""
  section, name, key = metric.beside.split(".", 2)
  return f"{section}.{name if name in evaluation.read_outs else evaluation.mask_read_out}.{key}"


def human(evaluation: Evaluation, path: str) -> str:
  """Returns the path of the raters' number that answers the same question as the predictor's at `path`; '' for none."""
  return next((m.path for m in select("raters.leave_one_out") if beside(evaluation, m) == path), "")


def read_out_of(path: str) -> str:
  """Returns which map a number is of, in words: ``mean vote``, ``majority``, or the distribution itself."""
  return LABELS[path.split(".")[1]] if path.startswith("read_outs.") else "distribution"


def write(evaluation: Evaluation, path: str, missing: str = MISSING) -> str:
  """Writes the number at a dotted path of metrics.json with the digits that its metric asks for."""
  return number(evaluation.number(path), find(path).decimals, missing)


def number(value: float | None, decimals: int = 4, missing: str = MISSING) -> str:
  """Writes a number with a fixed count of decimals; `missing` for None."""
  return missing if value is None else f"{value:.{decimals}f}"


def interval(evaluation: Evaluation, path: str, decimals: int = 4) -> str:
  """Writes the interval of a number of metrics.json as ``0.81 to 0.85``; '' where it has none."""
  ends = evaluation.interval(path)
  return "" if ends is None else " to ".join(number(end, decimals) for end in ends)


def interval_kind(evaluation: Evaluation) -> str:
  """Returns what the intervals are: confidence, what was drawn, how often."""
  units = int(evaluation.number("intervals.num_units") or 0)
  return (
    f"{percent(evaluation.number('intervals.confidence'))} bootstrap interval "
    f"({units} {evaluation.text('intervals.unit', 'images')} resampled)"
  )


def percent(value: float | None, decimals: int = 0) -> str:
  """Writes a share as a percentage with a no-break space."""
  return MISSING if value is None else f"{100 * value:.{decimals}f}\u00a0%"


def one_map(evaluation: Evaluation) -> bool:
  """Returns whether both read-outs are the same map, as with a head of one probability."""
  first, *others = (evaluation.metrics["read_outs"][name] for name in evaluation.read_outs)
  return any(other == first for other in others)


def subject(evaluation: Evaluation) -> str:
  """Returns what was evaluated: data set, split, images, raters."""
  images, raters = int(evaluation.metrics["num_images"]), evaluation.num_raters
  split = f", {evaluation.text('split')} split" if evaluation.of_run or evaluation.text("split", "") else ""
  return f"{evaluation.data_name}{split}: {images} image{'s' * (images != 1)}, {raters} rater{'s' * (raters != 1)}"


def region(evaluation: Evaluation) -> str:
  """Returns which pixels count where not all of them do, '' where all do."""
  margin = evaluation.number("roi.margin")
  if evaluation.text("roi.kind", "image") == "image" or margin is None:
    return ""
  return f"within {int(margin)} pixels of what any rater marked; images in which nobody marked anything count whole"


def outlines(evaluation: Evaluation) -> str:
  """Returns unit and tolerance of the distances between outlines; '' where none were measured."""
  tolerance, unit = evaluation.number("surface.tolerance"), evaluation.text("surface.unit")
  return "" if tolerance is None else f"distances in {unit}, tolerance of the surface Dice {tolerance:g}"


def model_name(evaluation: Evaluation) -> str:
  """Returns loss, head and step of the model, or that maps were scored, by name if they have one."""
  if not evaluation.of_run:
    name = evaluation.text("model.name", "")
    return f"probability maps {name}" if name else "probability maps of another tool"
  loss, head, step = (evaluation.text(path, "unknown") for path in ("model.loss", "model.head", "step"))
  return f"{loss} loss, {head} head, step {step}"
