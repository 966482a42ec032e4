"""What a recalibration changed: the numbers and the reliability diagram of two evaluations beside each other."""

import dataclasses
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from ordseg.reporting.report import figures, reading, terms
from ordseg.reporting.report.figures import Series
from ordseg.reporting.report.reading import Evaluation


@dataclasses.dataclass(frozen=True)
class Recalibrated:
  """What the report says of a recalibration.

  Attributes:
    text: the map and how it was fitted, one sentence each.
    rows: (score, read-out, before, after, which is better); empty where the evaluation without the map is missing.
    missing: why there is nothing to compare with, and the command that makes it; '' where there is.
    png: reliability diagram of the mean vote, before and after; None where there is nothing to compare with.
  """

  text: tuple[str, ...]
  rows: tuple[tuple[str, str, str, str, str], ...]
  missing: str
  png: bytes | None


def describe(e: Evaluation, folder: pathlib.Path) -> Recalibrated | None:
  """Compares an evaluation with the one without the map, and draws the figure into `folder`.

  Args:
    e: the evaluation.
    folder: of the figures.

  Returns:
    What to show; None for an evaluation without recalibration.
  """
  about = e.metrics.get("recalibration")
  if not isinstance(about, Mapping):
    return None
  text = _text(e, about)
  former = e.folder.parent / str(about.get("before"))
  if not (former / "metrics.json").is_file():
    missing = "There is no evaluation without the map to compare with. Make one: "
    return Recalibrated(text, (), missing + _command(e), None)
  before = reading.load(former)
  if _what(before) != _what(e):
    missing = (
      f"The evaluation without the map ({before.folder.name}) is of another checkpoint or other images. Make it: "
    )
    return Recalibrated(text, (), missing + _command(e), None)
  curves = [x.curves["read_outs"]["mean_vote"]["pooled"] for x in (before, e)]
  figure = figures.reliability(
    [
      Series(curves[1], "after", figures.BLUE, "o", "-"),
      Series(curves[0], "before", figures.VERMILLION, "s", "--", faint=True),
    ],
    x_label="probability in the map (mean vote)",
    y_label="share of raters who marked the pixel",
    count_label="votes per bin",
  )
  return Recalibrated(text, tuple(rows(before, e)), "", figures.save(figure, folder / "recalibration"))


def rows(before: Evaluation, after: Evaluation) -> list[tuple[str, str, str, str, str]]:
  """Returns (score, read-out, before, after, which is better) as text."""
  out = []
  for path, m in terms.tagged(after, "recalibrated"):
    read_out = terms.read_out_of(path).replace("distribution", "whole distribution")
    out.append((m.label, read_out, terms.write(before, path), terms.write(after, path), f"{m.better} is better"))
  return out


def _what(e: Evaluation) -> list[Any]:
  return [e.text("step"), e.text("data.fingerprint"), e.text("num_images"), e.text("num_pixels"), e.text("num_bins")]


def _text(e: Evaluation, about: Mapping[str, Any]) -> tuple[str, ...]:
  fitted = about.get("fitted") or {}
  loss = f"{str(fitted.get('loss')).upper()} per {fitted.get('per')}"
  if about.get("method") == "none":
    return (f"No map: \u201c{about.get('asked')}\u201d did not help on images left out, so nothing was changed.",)
  text = (
    f"The distributions went through the map \u201c{about.get('method')}\u201d, fitted by {loss} on "
    f"{fitted.get('num_images')} images of {fitted.get('split')}."
  )
  if str(fitted.get("split")).split("[")[0] == e.text("split").split("[")[0]:
    return text, "These are the images it was fitted on: on others the gain is smaller."
  return (text,)


def _command(e: Evaluation) -> str:
  if e.anonymous:
    return "evaluate the run without --recalibration."
  workdir = e.workdir.name if e.workdir.is_absolute() else str(e.workdir)
  workdirs = (e.metrics.get("predicted_by") or {}).get("workdirs") or []
  named = ",".join(pathlib.Path(w).name if pathlib.Path(w).is_absolute() else w for w in workdirs) or workdir
  parts = ["python", "run_eval.py", f"--workdir={named}", f"--split={e.text('split')}", f"--step={e.text('step')}"]
  parts += ["--flips"] * bool(e.metrics.get("flips"))
  samples = e.number("dropout_samples")
  parts += [f"--dropout_samples={int(samples)}"] if samples else []
  return shlex.join(parts)
