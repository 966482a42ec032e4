"""``python -m ordseg.report``: writes the report of one evaluation anew, or compares several."""

import argparse
from collections.abc import Sequence

from ordseg import report, validate


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the command line; exits with status 2 and one line where it is wrong."""
  parser = argparse.ArgumentParser(prog="python -m ordseg.report", description=__doc__)
  parser.add_argument("eval_dirs", nargs="+", metavar="EVAL_DIR", help="folder such as runs/mine/eval/test")
  parser.add_argument("--out", help="where a comparison goes: compare.md, compare.png, compare.pdf")
  parser.add_argument("--names", help="names of the runs in a comparison, separated by commas")
  args = parser.parse_args(argv)
  with validate.one_line_errors():
    if args.out is None:
      _rewrite(args)
    else:
      names = None if args.names is None else [name.strip() for name in args.names.split(",")]
      print(report.write_comparison(args.eval_dirs, args.out, names).text())
      print(f"\ncomparison: {args.out}/compare.md, {args.out}/compare.png")


def _rewrite(args: argparse.Namespace) -> None:
  if len(args.eval_dirs) > 1 or args.names is not None:
    raise validate.InputError("a comparison needs --out=<folder>.")
  page = report.write_report(args.eval_dirs[0])
  print(report.text_summary(args.eval_dirs[0]))
  print(f"report: {page}")


if __name__ == "__main__":
  main()
