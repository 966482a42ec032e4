"""The folder of an evaluation: its files appear together or not at all, and what users put there stays."""

import contextlib
import csv
import io
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ordseg import files, records
from ordseg.errors import InputError

NAMES = ("metrics.json", "per_image.csv", "curves.json", "sums.npz", "examples.npz", "report.html")
FIGURES = "figures"
_STEMS = ("reliability_votes", "reliability_majority", "reliability_raters", "reliability_levels", "recalibration")


def is_ours(name: pathlib.PurePath) -> bool:
  """Returns whether a file, by its path in the folder, is one that an evaluation or its report writes."""
  if name.parent.name == FIGURES and len(name.parts) == 2:
    return name.stem in (*_STEMS, "examples") and name.suffix in (".png", ".pdf")
  return str(name) in NAMES


def name_of(text: str) -> str:
  """Returns a split's or a structure's name as that of a folder: what does not belong in one becomes ``_``."""
  name = "".join(c if c.isalnum() or c in "-." else "_" for c in text)
  return name if name.strip(".") else "_" * len(name)


def names_of(labels: Sequence[str]) -> list[str]:
  """Returns a folder's name for each structure.

  Raises:
    InputError: two would share a folder, also where a file system takes capitals for small letters.
  """
  taken: dict[str, str] = {}
  for label in labels:
    other = taken.setdefault(name_of(label).casefold(), label)
    if other != label:
      raise InputError(
        f"the structures {other!r} and {label!r} would both be written to {name_of(label)}/: rename one of them."
      )
  return [name_of(label) for label in labels]


@contextlib.contextmanager
def replacing(out_dir: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a new folder beside `out_dir`, which takes its place at once when all is written."""
  with files.replacing_folder(out_dir, is_ours) as folder:
    yield folder


def write(folder: pathlib.Path, metrics: Mapping[str, Any], others: Mapping[str, Any]) -> None:
  """Writes the files of one evaluation, whose id they carry; metrics.json lists the digests of the others.

  Args:
    folder: new.
    metrics: content of metrics.json.
    others: file name -> its object for JSON, arrays by name for NumPy archives, a list of rows for tables.
  """
  words = [records.jsonable(content) for name, content in others.items() if not name.endswith(".npz")]
  evaluation = records.digest([records.jsonable(metrics), *words])[:16]
  contents = {name: _encoded(name, content, evaluation) for name, content in others.items()}
  for name, content in contents.items():
    files.write_bytes(folder / name, content)
  about = records.evaluation_files(evaluation, contents)
  records.write_json(folder / records.METRICS, {**metrics, records.EVALUATION: about})


def _encoded(name: str, content: Any, evaluation: str) -> bytes:
  if name.endswith(".npz"):
    return records.npz_bytes({**content, records.EVALUATION: evaluation})
  if name.endswith(".json"):
    return records.json_text({**content, records.EVALUATION: evaluation}).encode()
  return _table(content).encode()


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns rows as CSV, NaN as an empty cell."""
  text = io.StringIO()
  writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
  writer.writeheader()
  for row in rows:
    writer.writerow({key: "" if isinstance(x, float) and math.isnan(x) else x for key, x in row.items()})
  return text.getvalue()


def sweep(out_dir: pathlib.Path) -> None:
  """Removes what killed programs left in the folder, its figures, and beside it."""
  files.sweep(out_dir.parent, out_dir, out_dir / FIGURES)
