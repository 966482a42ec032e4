"""Finds the evaluations that are to be compared, and refuses those that cannot be."""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

from ordseg import records, run_record
from ordseg.errors import InputError, did_you_mean
from ordseg.reporting.compare import same_images
from ordseg.reporting.compare.same_images import Run
from ordseg.reporting.report import anonymous


@dataclasses.dataclass(frozen=True)
class Method:
  """A name and its runs, which are training seeds of the same thing."""

  name: str
  runs: tuple[Run, ...]


def load(arguments: Sequence[str], split: str = "test") -> list[Method]:
  """Reads and checks what is to be compared.

  Args:
    arguments: two or more of ``W`` or ``name=W1,W2,...``; W is a run's folder, or that of an evaluation, of a run or of
      maps.
    split: the evaluation to take of a run's folder.

  Raises:
    InputError: an evaluation is missing or damaged, names or folders repeat, no image is in all, the masks are not the
      same, or the runs of one method differ in more than their seed.
  """
  given = [_split_argument(argument) for argument in arguments]
  if len(given) < 2:
    raise InputError("a comparison needs at least two methods, such as runs/a runs/b, or a=runs/a0,runs/a1 b=runs/b0.")
  folders = [[_eval_folder(folder, split) for folder in parts] for _, parts in given]
  nameless = [paths[0] for (name, _), paths in zip(given, folders, strict=True) if not name]
  short = dict(zip(nameless, default_names(nameless), strict=True))
  names = [name or short[paths[0]] for (name, _), paths in zip(given, folders, strict=True)]
  _check_distinct(names, folders)
  found = iter(same_images.aligned([same_images.read(path) for paths in folders for path in paths]))
  methods = [
    Method(name, tuple(itertools.islice(found, len(paths)))) for name, paths in zip(names, folders, strict=True)
  ]
  for method in methods:
    _check_seeds(method)
  return methods


def anonymous_methods(methods: Sequence[Method], key: anonymous.Key) -> list[Method]:
  """Returns the methods with numbers for the names of cases and raters; their own names stay."""
  return [
    Method(
      method.name,
      tuple(
        dataclasses.replace(
          run, evaluation=anonymous.evaluation(run.evaluation, key), left_out=tuple(key.cases(run.left_out))
        )
        for run in method.runs
      ),
    )
    for method in methods
  ]


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
  if parts := sorted(str(path.parent) for path in folder.glob("*/metrics.json")):
    raise InputError(f"{folder} holds several evaluations: name one of {', '.join(parts)}.")
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


def _check_seeds(method: Method) -> None:
  """Runs of one method must be repeats of one config."""
  first, *others = method.runs
  if len({run.evaluation.of_run for run in method.runs}) > 1:
    raise InputError(f"{method.name!r} holds a run and maps of another tool: give them names of their own.")
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
