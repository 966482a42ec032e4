"""``ordseg score``: maps that any tool wrote, and the masks of several raters, to an evaluation."""

import argparse
import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ordseg import case_files, errors, records
from ordseg.case_files import Names, Options, Pairs, structures
from ordseg.cli import flags
from ordseg.errors import InputError
from ordseg.evaluation import folder as evaluation_folder
from ordseg.evaluation import maps, result
from ordseg.evaluation.maps import Scored
from ordseg.metrics import Region, select
from ordseg.progress import Progress, say
from ordseg.reporting import references, report
from ordseg.reporting.report.text import text_table


def score_maps(
  map_dirs: Sequence[pathlib.Path],
  masks: pathlib.Path,
  out: pathlib.Path,
  *,
  images: pathlib.Path | None = None,
  regions: pathlib.Path | None = None,
  options: Options | None = None,
  names: Names = case_files.NAMES,
  **how: Any,
) -> list[pathlib.Path]:
  """Scores maps and writes `out`; of several structures a folder each in it.

  Args:
    map_dirs: a folder of maps; several: the members of an ensemble.
    masks: folder of the raters' masks.
    out: of the evaluation; made if missing. Nothing is written before all is scored.
    images: folder of images, for pictures.
    regions: folder of masks of the pixels that count.
    options: how files are read.
    names: where masks lie.
    **how: of `evaluation.maps.score_pairs`.

  Returns:
    The folders written.

  Raises:
    InputError: what `case_files.pair` or a case refuses, or `out` is where the maps or masks are.
  """
  _check_out(out, [*map_dirs, masks, *filter(None, (images, regions))])
  errors.check_writable(out)
  pairs = case_files.pair(map_dirs, masks, images=images, regions=regions, options=options, names=names)
  _say_what_was_found(pairs)
  folders = evaluation_folder.names_of([one.name for one in pairs.structures])
  scored = maps.score_pairs(pairs, progress=Progress("maps", "cases", len(pairs)), **how)
  data = {"builder": masks.resolve().name, "masks": str(masks), "raters": list(pairs.raters)}
  name = " + ".join(root.resolve().name for root in map_dirs)
  places = {"name": name, "maps": [str(root) for root in map_dirs], "region": None if regions is None else str(regions)}
  out_dirs = [out / name for name in folders] if len(scored) > 1 else [out]
  _write(scored, out_dirs, {"data": data, "versions": records.versions()}, places)
  for one, out_dir in zip(scored, out_dirs, strict=True):
    _say_numbers(one, pairs.raters, out_dir)
  return out_dirs


def _check_out(out: pathlib.Path, given: Sequence[pathlib.Path]) -> None:
  for folder in given:
    if folder.resolve() == out.resolve():
      raise InputError(f"--out={out} is the folder that is read; give one of its own.")


def _say_what_was_found(pairs: Pairs) -> None:
  for line in pairs.listing.how:
    say(line)
  for line in pairs.listing.odd:
    say(f"note: {line}")
  say(f"{len(pairs)} cases with maps and masks")


def _write(
  scored: Sequence[Scored], out_dirs: Sequence[pathlib.Path], info: Mapping[str, Any], places: Mapping[str, Any]
) -> None:
  """Writes the folders of all structures; none replaces its former one before all are whole."""
  with contextlib.ExitStack() as stack:
    for one, out_dir in zip(scored, out_dirs, strict=True):
      out_dir.parent.mkdir(parents=True, exist_ok=True)
      evaluation_folder.sweep(out_dir)
      folder = stack.enter_context(evaluation_folder.replacing(out_dir))
      label = {} if one.structure.name == structures.FOREGROUND else {"class": one.structure.name}
      result.write_files(one.result, folder, {**info, **label, "model": {**places, **one.about}})
      report.write_report(folder)


def _say_numbers(one: Scored, raters: Sequence[str], out_dir: pathlib.Path) -> None:
  for note in one.about["notes"]:
    say(f"note: {note['note']} ({note['num_cases']} cases)")
  say(f"\n{report.text_summary(out_dir)}\n")
  say(f"{text_table(references.HEADER, references.rows(one.result.metrics, raters))}\n")
  for metric in select("samples"):
    if "samples" in one.result.metrics:
      say(f"{metric.label} of the maps of a case, as masks: {one.result.number(metric.path):.{metric.decimals}f}")
  say(f"report: {out_dir / 'report.html'}")


def run(args: argparse.Namespace) -> None:
  """Scores; exits with status 2 and one line where something is wrong."""
  with errors.one_line_errors():
    own = {field.name: getattr(args, field.name) for field in dataclasses.fields(Options)}
    placed = [field.name for field in dataclasses.fields(Names) if field.name not in ("images", "option_prefix")]
    score_maps(
      [pathlib.Path(name) for name in args.maps],
      args.masks,
      args.out,
      images=args.images,
      regions=args.region,
      options=Options(**own),
      names=dataclasses.replace(case_files.NAMES, **{name: getattr(args, name) for name in placed}),
      num_bins=args.num_bins,
      region=Region(args.roi, args.roi_margin),
      surface_tolerance=args.surface_tolerance,
    )


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("score", sys.argv[1:] if argv is None else argv))
