"""Examines a data set before anyone trains on it: counts, agreement of the raters, and what looks wrong.

python -m ordseg.doctor --builder=folder_raters --manual_dir=mydata

Exit status: 0 nothing looks wrong, 1 something does, 2 the command itself or the data cannot be read.
"""

import argparse
import ast
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from ordseg import errors, files
from ordseg.cli import data_sets
from ordseg.data_check import common_faults, examine, page, surveys, tables
from ordseg.errors import InputError
from ordseg.progress import Progress


def parser() -> argparse.ArgumentParser:
  """Returns the command line."""
  out = argparse.ArgumentParser(
    prog="python -m ordseg.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  out.add_argument("--builder", required=True, help="a folder of data/, such as folder_raters or lidc_slices")
  out.add_argument("--config", default="", help="the builder's config, by name")
  out.add_argument("--data_dir", default="", help="where built data sets live; TFDS's own place by default")
  out.add_argument("--manual_dir", default="", help="folder with your files")
  out.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the builder; repeat")
  out.add_argument("--limit", type=int, default=0, help="at most this many images of each split; 0: all")
  out.add_argument("--out", type=pathlib.Path, default=pathlib.Path("doctor"), help="folder for doctor.html")
  return out


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  args = parser().parse_args(argv)
  logging.set_verbosity(logging.ERROR)  # the libraries' own progress is not the user's
  with errors.one_line_errors():
    errors.check_writable(args.out)
    found = _run(args)
  sys.exit(1 if found else 0)


def _run(args: argparse.Namespace) -> int:
  data = data_sets.builders()
  builder = data.get_builder(
    args.builder,
    config_name=args.config,
    data_dir=args.data_dir,
    manual_dir=args.manual_dir,
    overrides=dict(_setting(text) for text in args.set),
  )
  data.prepare(builder, manual_dir=args.manual_dir)
  sources = {split: data.data_source(builder, split, skip=("level_probs",)) for split in builder.info.splits}
  limits = {split: min(args.limit or len(source), len(source)) for split, source in sources.items()}
  total = sum(limits.values())
  looked = surveys(
    {split: _first(source, limits[split]) for split, source in sources.items()},
    raters=list(builder.rater_names) or None,
    structures=builder.class_names,
    progress=Progress("", "images", total),
  )
  suspicions = examine(looked, has_groups=bool(getattr(builder.config, "group_regex", "")))
  if args.manual_dir and hasattr(builder, "label_values"):
    found = common_faults.labels(builder.label_values(pathlib.Path(args.manual_dir).expanduser()))
    suspicions = sorted([*suspicions, *found], key=lambda suspicion: -suspicion.weight)
  what = "volumes" if builder.num_axes == 3 else "images"
  of = f" of {len(looked)} structures" * (len(looked) > 1)
  title = f"{builder.name}/{builder.config.name}: {total} {what}{of}, {len(looked[0].raters)} raters"
  print(tables.text(looked, suspicions, title))
  where = [(split, i) for split in sources for i in range(limits[split])]
  pictures = {}
  for k, i in page.wanted_images(suspicions, looked[0]):
    split, number = where[i]
    pictures[k, i] = page.draw(sources[split][number], k if builder.class_names else None)
  args.out.mkdir(parents=True, exist_ok=True)
  files.sweep(args.out)
  page.write(args.out / "doctor.html", looked, suspicions, pictures, title)
  print(f"\nreport: {args.out / 'doctor.html'}")
  return len(suspicions)


def _first(source: Any, count: int) -> Iterator[Any]:
  return (source[i] for i in range(count))


def _setting(text: str) -> tuple[str, Any]:
  name, given, value = text.partition("=")
  if not given:
    raise InputError(f"--set={text} must be NAME=VALUE.")
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return name, value


if __name__ == "__main__":
  main()
