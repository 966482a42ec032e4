"""Trains what is missing of a study, and prints the tables of what is there (docs/study_protocol.md).

python -m benchmarks.study lidc_main --data=/path/to/folder      # holds LIDC-IDRI-slices
python -m benchmarks.study phantom_r3 --max_cells=4
python -m benchmarks.study --tables --write                      # tables from the records alone, into docs/results.md

May be stopped at any time and started again, also several times at once.
"""

import argparse
import pathlib
import sys

from benchmarks.study import cells, folds, plan, tables
from data import DataError
from ordseg.errors import InputError, check_choice, one_line_errors


def parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=str(__doc__).splitlines()[0])
  parser.add_argument("study", nargs="?", default="", help=f"one of {', '.join(plan.STUDIES)}")
  parser.add_argument("--data", type=pathlib.Path, help="folder of the files that were downloaded")
  parser.add_argument("--work", type=pathlib.Path, default=cells.ROOT / "runs" / "study", help="built data, locks")
  parser.add_argument("--results", type=pathlib.Path, default=cells.RESULTS, help="the records")
  parser.add_argument("--only", default="", help="methods, with commas between")
  parser.add_argument("--max_cells", type=int, help="stop after as many")
  parser.add_argument("--list", action="store_true", help="the cells and which are done")
  parser.add_argument("--deal", action="store_true", help="write the study's manifest of folds from the data, once")
  parser.add_argument("--tables", action="store_true", help="print the tables of all records")
  parser.add_argument("--write", action="store_true", help="with --tables: put them into docs/results.md, too")
  return parser.parse_args()


def deal(name: str, places: cells.Places) -> None:
  """Writes a manifest that is not there yet."""
  study = plan.get_study(name)
  path = cells.manifest_path(study)
  if path.exists():
    raise InputError(f"{path} is frozen: every record depends on it.")
  division = folds.deal(list(cells.open_data(name, study, places).places), study.folds)
  folds.write(path, division)
  print(f"{path}: {len(division)} patients in {study.folds} folds")


def main() -> None:
  """The program."""
  args = parse()
  places = cells.Places(args.data, args.work, args.results)
  only = [method for method in args.only.split(",") if method]
  for method in only:
    check_choice(method, plan.METHODS, field="--only")
  if args.tables:
    tables.publish(places.results, write=args.write)
  elif not args.study:
    raise InputError(f"name a study, or --tables. Studies: {', '.join(plan.STUDIES)}.")
  elif args.deal:
    deal(args.study, places)
  elif args.list:
    for cell in plan.cells(args.study):
      print("done   " if places.record(cell).exists() else "planned", cell.name)
  else:
    cells.run_study(args.study, places, only=only, max_cells=args.max_cells, say=lambda line: print(line, flush=True))


if __name__ == "__main__":
  with one_line_errors(DataError):
    main()
  sys.exit()
