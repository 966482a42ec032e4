"""``ordseg compare``: compares runs on the same images."""

import argparse
import sys
from collections.abc import Sequence

from ordseg import errors, statistics
from ordseg.cli import flags, keys
from ordseg.reporting.compare import differences, runs, writing
from ordseg.reporting.report import reading


def run(args: argparse.Namespace) -> None:
  """Compares; exits with status 2 and one line where something is wrong."""
  paths = [path for given in args.metric or [] for path in given]
  with errors.one_line_errors():
    errors.check_writable(args.out)
    settings = statistics.Settings(args.resamples, args.confidence, args.interval, args.seed)
    key = keys.opened(args)
    methods = runs.load(args.methods, args.split)
    if key is not None:
      methods = runs.anonymous_methods(methods, key)
    with reading.verified(*(run.evaluation for method in methods for run in method.runs)):
      results = differences.analyse(
        methods,
        paths=paths or differences.DEFAULT_METRICS,
        baseline=args.baseline,
        settings=settings,
        group_by=args.group_by,
      )
      if key is not None:
        key.write()
      writing.write_comparison(results, args.out)
      print(writing.comparison_text(results))
    print(f"\ncomparison: {args.out}/compare.md, {args.out}/compare.png")
    keys.announce(key)


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("compare", sys.argv[1:] if argv is None else argv))
