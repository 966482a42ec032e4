"""``ordseg report``: writes the report of one evaluation anew."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ordseg import errors
from ordseg.cli import flags, keys
from ordseg.evaluation import folder
from ordseg.reporting import report


def run(args: argparse.Namespace) -> None:
  """Writes the report; exits with status 2 and one line where something is wrong."""
  with errors.one_line_errors():
    if len(args.eval_dirs) > 1:
      raise errors.InputError("a report is of one evaluation; compare several with ordseg compare.")
    if args.pictures and not args.anonymous:
      raise errors.InputError("--pictures is for --anonymous: other reports have pictures anyway.")
    key = keys.opened(args)
    folder.sweep(pathlib.Path(args.eval_dirs[0]))
    page = report.write_report(args.eval_dirs[0], out=args.out, key=key, pictures=key is None or args.pictures)
    print(report.text_summary(args.eval_dirs[0]))
    print(f"report: {page}")
    keys.announce(key)


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("report", sys.argv[1:] if argv is None else argv))
