"""``python -m ordseg.report``: writes the report of one evaluation anew."""

import argparse
import pathlib
from collections.abc import Sequence

from ordseg import errors
from ordseg.evaluation import folder
from ordseg.reporting import report


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the command line; exits with status 2 and one line where it is wrong."""
  parser = argparse.ArgumentParser(prog="python -m ordseg.report", description=__doc__)
  parser.add_argument("eval_dirs", nargs="+", metavar="EVAL_DIR", help="folder such as runs/mine/eval/test")
  args = parser.parse_args(argv)
  with errors.one_line_errors():
    if len(args.eval_dirs) > 1:
      raise errors.InputError("a report is of one evaluation; compare several with python -m ordseg.compare.")
    folder.sweep(pathlib.Path(args.eval_dirs[0]))
    page = report.write_report(args.eval_dirs[0])
    print(report.text_summary(args.eval_dirs[0]))
    print(f"report: {page}")


if __name__ == "__main__":
  main()
