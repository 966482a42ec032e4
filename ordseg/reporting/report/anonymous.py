"""Reports that may leave the machine: numbers for the names of cases and raters, and the key that gives them back.

What a page may say is listed here, not what it must not: settings, folders and configs hold names where nobody looks.
"""

import csv
import dataclasses
import io
import pathlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

from ordseg import files
from ordseg.errors import InputError
from ordseg.reporting.report.reading import Evaluation, Example

LEFT_OUT = "left out: --anonymous"
_HEAD = ["kind", "number", "name"]
_PRIVATE = 0o600
# Of metrics.json: sections of numbers, and what names neither a case nor a rater nor a folder.
_SECTIONS = (
  "read_outs",
  "levels",
  "floors",
  "constant",
  "samples",
  "oracle",
  "intervals",
  "roi",
  "surface",
  "versions",
  "evaluation",
)
_FIELDS = ("split", "step", "class", "flips", "dropout_samples")
_DATA = ("builder", "config", "version", "fingerprint", "licence", "homepage", "citation", "splits")
_MODEL = ("head", "loss", "name")
_SPLITS = ("train_split", "validation_split")


@dataclasses.dataclass
class Key:
  """The numbers that stand for names, by (kind, name). Names that a key file holds already keep theirs.

  Attributes:
    path: of the file, written by `write`.
    numbers: (kind, name) -> number, from 1 on; kinds are case and rater.
  """

  path: pathlib.Path
  numbers: dict[tuple[str, str], int]

  def cases(self, names: Sequence[str]) -> list[str]:
    """Returns ``case 7`` and so on. New names get their numbers in random order: that of names would tell of them."""
    drawn = list(dict.fromkeys(names))
    random.SystemRandom().shuffle(drawn)
    return self._of("case", names, drawn)

  def raters(self, names: Sequence[str]) -> list[str]:
    """Returns ``rater 2`` and so on, in the order of the panel, which the tables keep."""
    return self._of("rater", names, names)

  def _of(self, kind: str, names: Sequence[str], order: Sequence[str]) -> list[str]:
    taken = [number for (own, _), number in self.numbers.items() if own == kind]
    free = max(taken, default=0) + 1
    for name in order:
      if (kind, name) not in self.numbers:
        self.numbers[kind, name] = free
        free += 1
    return [f"{kind} {self.numbers[kind, name]}" for name in names]

  def write(self) -> None:
    """Writes the file, which its owner alone can read."""
    out = io.StringIO()
    rows = sorted([kind, number, name] for (kind, name), number in self.numbers.items())
    csv.writer(out, lineterminator="\n").writerows([_HEAD, *rows])
    self.path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(self.path, out.getvalue())
    self.path.chmod(_PRIVATE)


def key_for(out: pathlib.Path | None, path: pathlib.Path | None = None) -> Key:
  """Returns the key of what is written to a folder.

  Args:
    out: the folder, which may be sent.
    path: of the key file; ``<out>_key.csv`` beside the folder by default. It is read if it is there.

  Raises:
    InputError: there is no folder, the key would lie in it, or the file is no key.
  """
  if out is None:
    raise InputError("--anonymous needs --out=<folder>: what may be sent is written apart from what may not.")
  whole = out.resolve()
  path = whole.parent / f"{whole.name}_key.csv" if path is None else path
  if path.resolve().is_relative_to(whole):
    raise InputError(f"the key {path} would lie in {out}, which may be sent: choose --key=<file> elsewhere.")
  return Key(path, _read(path) if path.exists() else {})


def _read(path: pathlib.Path) -> dict[tuple[str, str], int]:
  try:
    head, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True)
    found = {(kind, name): int(number) for kind, number, name in rows}
  except (OSError, ValueError, csv.Error) as error:
    raise InputError(f"{path} cannot be read as a key of names ({error}): choose another --key=<file>.") from error
  if head != _HEAD or len(found) != len(rows) or len({(kind, n) for (kind, _), n in found.items()}) != len(rows):
    raise InputError(f"{path} is no key of names, or two names share a number: choose another --key=<file>.")
  return found


def evaluation(e: Evaluation, key: Key) -> Evaluation:
  """Returns an evaluation with numbers for the raters' names, and without settings, config, folders and digests."""
  m = e.metrics
  model, data = (m.get(name) or {} for name in ("model", "data"))
  splits = ((model.get("config") or {}).get("data") or {}) if e.of_run else {}
  kept = {name: m[name] for name in (*_SECTIONS, *_FIELDS) if name in m}
  kept |= {name: x for name, x in m.items() if name.startswith("num_")}
  kept["raters"] = _without(m.get("raters") or {}, "names")
  kept["data"] = {**_only(data, _DATA), "raters": key.raters(e.rater_names)}
  kept["model"] = {**_only(model, _MODEL), "config": {"data": _only(splits, _SPLITS)} if splits else {}}
  if isinstance(about := m.get("recalibration"), Mapping):
    kept["recalibration"] = _without(about, "named")
  return dataclasses.replace(e, metrics=kept, anonymous=True)


def examples(shown: Sequence[Example], key: Key) -> list[Example]:
  """Returns examples with numbers for names."""
  names = key.cases([example.id for example in shown])
  return [dataclasses.replace(example, id=name) for example, name in zip(shown, names, strict=True)]


def run_info(info: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the content of config.json without the settings of the data set, which may hold names."""
  return {**info, "data": _only(info["data"], _DATA)}


def _only(tree: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
  return {name: tree[name] for name in names if name in tree}


def _without(tree: Mapping[str, Any], *names: str) -> dict[str, Any]:
  return {name: x for name, x in tree.items() if name not in names}
