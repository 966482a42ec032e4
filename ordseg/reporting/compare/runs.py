"""Finds the evaluations that are to be compared, and refuses those that cannot be."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from ordseg import records, run_record
from ordseg.errors import InputError, did_you_mean
from ordseg.evaluation import scoring
from ordseg.evaluation.scoring import Stored
from ordseg.reporting.report import reading

# Must be equal in metrics.json. The region is no matter of taste either: its pixels are all that counts.
_SAME = ("data.fingerprint", "split", "num_images", "num_raters", "num_bins", "roi.kind", "roi.margin")


@dataclasses.dataclass(frozen=True)
class Run:
  """One evaluation: what a report shows, and the sums per image."""

  evaluation: reading.Evaluation
  stored: Stored

  @property
  def folder(self) -> pathlib.Path:
    """Of the evaluation."""
    return self.evaluation.folder


@dataclasses.dataclass(frozen=True)
class Method:
  """A name and its runs, which are training seeds of the same thing."""

  name: str
  runs: tuple[Run, ...]


def load(arguments: Sequence[str], split: str = "test") -> list[Method]:
  """Reads and checks what is to be compared.

  Args:
    arguments: two or more of ``W`` or ``name=W1,W2,...``; W is a run's folder or an evaluation's.
    split: the evaluation to take of a run's folder.

  Raises:
    InputError: an evaluation is missing or damaged, names or folders repeat, the images are not the same, or the runs
      of one method differ in more than their seed.
  """
  given = [_split_argument(argument) for argument in arguments]
  if len(given) < 2:
    raise InputError("a comparison needs at least two methods, such as runs/a runs/b, or a=runs/a0,runs/a1 b=runs/b0.")
  folders = [[_eval_folder(folder, split) for folder in parts] for _, parts in given]
  nameless = [paths[0] for (name, _), paths in zip(given, folders, strict=True) if not name]
  short = dict(zip(nameless, default_names(nameless), strict=True))
  names = [name or short[paths[0]] for (name, _), paths in zip(given, folders, strict=True)]
  _check_distinct(names, folders)
  methods = [
    Method(name, tuple(Run(reading.load(path), scoring.read(path)) for path in paths))
    for name, paths in zip(names, folders, strict=True)
  ]
  runs = [run for method in methods for run in method.runs]
  for other in runs[1:]:
    _check_comparable(runs[0], other)
  for method in methods:
    _check_seeds(method)
  return methods


def _split_argument(argument: str) -> tuple[str, list[str]]:
  if pathlib.Path(argument).exists():
    return "", [argument]
  name, equals, folders = argument.partition("=")
  if not equals:
    name, folders = "", argument
  parts = [part.strip() for part in folders.split(",")]
  if (equals and not name.strip()) or not all(parts):
    raise InputError(f"{argument!r} names no run: expected a folder, or name=folder,folder,... for several seeds.")
  if len(parts) > 1 and not name:
    raise InputError(f"{argument!r} names no method: write name={argument}.")
  return name.strip(), parts


def _eval_folder(given: str, split: str) -> pathlib.Path:
  folder = pathlib.Path(given)
  if (folder / "metrics.json").is_file():
    return folder
  evaluated = folder / "eval" / split
  if evaluated.is_dir():
    return evaluated
  if not folder.is_dir():
    raise InputError(f"there is no folder {folder}.")
  found = sorted(path.parent.name for path in folder.glob("eval/*/metrics.json"))
  there = f"it was evaluated on {', '.join(found)}" if found else f"run run_eval.py --workdir={folder} --split={split}"
  raise InputError(f"{folder} holds no evaluation of split={split!r}: {there}.{did_you_mean(split, found)}")


def default_names(folders: Sequence[pathlib.Path]) -> list[str]:
  """Names evaluation folders: by the run's folder; by as much of the path as needed where two would be alike."""
  for take in (1, 2, 3):
    names = ["/".join(_run_parts(folder)[-take:]) for folder in folders]
    if len(set(names)) == len(names):
      return names
  return [folder.as_posix() for folder in folders]


def _run_parts(folder: pathlib.Path) -> tuple[str, ...]:
  parts = tuple(part for part in folder.resolve().parts if part != folder.anchor)
  return parts[:-2] if len(parts) > 2 and parts[-2] == "eval" else parts


def _check_distinct(names: Sequence[str], folders: Sequence[Sequence[pathlib.Path]]) -> None:
  seen: set[pathlib.Path] = set()
  for path in (path for paths in folders for path in paths):
    if path.resolve() in seen:
      raise InputError(f"{path} is named twice: a run can be compared with others only.")
    seen.add(path.resolve())
  for name in names:
    if names.count(name) > 1:
      raise InputError(f"two methods are named {name!r}: give them names, as in a=runs/a b=runs/b.")


def _check_comparable(first: Run, other: Run) -> None:
  a, b = first.evaluation, other.evaluation
  differing = [
    f"{path} is {a.text(path)} in {a.folder} and {b.text(path)} in {b.folder}"
    for path in _SAME
    if a.text(path) != b.text(path)
  ]
  if not differing:
    differing = _image_gaps(first, other)
  if differing:
    raise InputError(f"these evaluations cannot be compared: {'; '.join(differing)}.")


def _image_gaps(first: Run, other: Run) -> list[str]:
  where = f"in {first.folder} and {other.folder}"
  for what, a, b in (
    ("id", first.stored.ids, other.stored.ids),
    ("group", first.stored.groups, other.stored.groups),
  ):
    if a != b:
      pair = next(((x, y) for x, y in zip(a, b, strict=False) if x != y), (f"{len(a)} images", f"{len(b)} images"))
      return [f"the {what} of an image differs {where}: {pair[0]!r} and {pair[1]!r}"]
  x, y = first.stored.scores.sums, other.stored.scores.sums
  for name in ("rater_valid", "level_count"):
    if x_y := np.flatnonzero((getattr(x, name) != getattr(y, name)).any(-1)).tolist():
      image = first.stored.ids[x_y[0]]
      return [f"the votes on image {image!r} differ {where}: was one of them resized or preprocessed otherwise?"]
  return []


def _check_seeds(method: Method) -> None:
  """Runs of one method must be repeats of one config."""
  first, *others = method.runs
  for other in others:
    a, b = (records.leaves(run.evaluation.metrics.get("model", {}).get("config", {})) for run in (first, other))
    gaps = [
      f"config.{field} is {a.get(field)!r} in {first.folder} and {b.get(field)!r} in {other.folder}"
      for field in sorted(a.keys() | b.keys())
      if field not in run_record.FREE_FIELDS and not field.startswith("eval.") and a.get(field) != b.get(field)
    ]
    gaps = [gap for gap in gaps if not gap.startswith("config.seed is")]
    if gaps:
      raise InputError(f"the runs of {method.name!r} must differ in their seed alone: {'; '.join(gaps)}.")
  seeds = [run.evaluation.text("model.config.seed", "") for run in method.runs]
  for seed in seeds:
    if seed and seeds.count(seed) > 1:
      raise InputError(f"two runs of {method.name!r} have config.seed={seed}: repeats of one seed are no replicates.")
