"""``ordseg check``: counts what is in a data set, how much its raters agree, and what looks wrong."""

import argparse
import ast
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ordseg import errors, files
from ordseg.cli import data_sets, flags
from ordseg.data_check import common_faults, examine, surveys, tables
from ordseg.errors import InputError
from ordseg.progress import Progress
from ordseg.reporting import check_page as page


def run(args: argparse.Namespace, clone: pathlib.Path | None = None) -> None:
  """Examines; exits with status 1 where something looks wrong."""
  with errors.one_line_errors():
    errors.check_writable(args.out)
    found = _examine(args, data_sets.builders(clone))
  sys.exit(1 if found else 0)


def _examine(args: argparse.Namespace, data: Any) -> int:
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
  findings = examine(looked, has_groups=bool(getattr(builder.config, "group_regex", "")))
  if args.manual_dir and hasattr(builder, "label_values"):
    found = common_faults.labels(builder.label_values(pathlib.Path(args.manual_dir).expanduser()))
    findings = sorted([*findings, *found], key=lambda finding: -finding.weight)
  what = "volumes" if builder.num_axes == 3 else "images"
  of = f" of {len(looked)} structures" * (len(looked) > 1)
  title = f"{builder.name}/{builder.config.name}: {total} {what}{of}, {len(looked[0].raters)} raters"
  print(tables.text(looked, findings, title))
  where = [(split, i) for split in sources for i in range(limits[split])]
  pictures = {}
  for k, i in page.wanted_images(findings, looked[0]):
    split, number = where[i]
    pictures[k, i] = page.draw(sources[split][number], k if builder.class_names else None)
  args.out.mkdir(parents=True, exist_ok=True)
  files.sweep(args.out)
  page.write(args.out / "doctor.html", looked, findings, pictures, title)
  print(f"\nreport: {args.out / 'doctor.html'}")
  return len(findings)


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


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("check", sys.argv[1:] if argv is None else argv))
