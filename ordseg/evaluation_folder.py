"""The folder of an evaluation: its files appear together or not at all, and what users put there stays."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from ordseg import files, records

NAMES = ("metrics.json", "per_image.csv", "curves.json", "sums.npz", "examples.npz", "report.html")
FIGURES = "figures"
_STEMS = ("reliability_votes", "reliability_majority", "reliability_raters", "reliability_levels", "recalibration")


def is_ours(name: pathlib.PurePath) -> bool:
  """Returns whether a file, by its path in the folder, is one that an evaluation or its report writes."""
  if name.parent.name == FIGURES and len(name.parts) == 2:
    return name.stem in (*_STEMS, "examples") and name.suffix in (".png", ".pdf")
  return str(name) in NAMES


@contextlib.contextmanager
def replacing(out_dir: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a new folder beside `out_dir`, which takes its place at once when all is written."""
  with files.replacing_folder(out_dir, is_ours) as folder:
    yield folder


def write(folder: pathlib.Path, metrics: Mapping[str, Any], evaluation: str, contents: Mapping[str, bytes]) -> None:
  """Writes metrics.json, which lists the digests of the others, and the others.

  Args:
    folder: new.
    metrics: content of metrics.json.
    evaluation: id.
    contents: file name -> content.
  """
  for name, content in contents.items():
    files.write_bytes(folder / name, content)
  about = records.evaluation_files(evaluation, contents)
  records.write_json(folder / records.METRICS, {**metrics, records.EVALUATION: about})


def sweep(out_dir: pathlib.Path) -> None:
  """Removes what killed programs left in the folder, its figures, and beside it."""
  files.sweep(out_dir.parent, out_dir, out_dir / FIGURES)
