"""``python -m ordseg.compare``: compares runs on the same images."""

import argparse
from collections.abc import Sequence

from ordseg import errors, statistics
from ordseg.reporting.compare import differences, runs, writing
from ordseg.reporting.report import reading


def _parser() -> argparse.ArgumentParser:
  defaults = statistics.Settings()
  parser = argparse.ArgumentParser(prog="python -m ordseg.compare", description=__doc__)
  parser.add_argument(
    "methods",
    nargs="+",
    metavar="[NAME=]W[,W...]",
    help="a run's folder or an evaluation's; several after one name are training seeds of one method",
  )
  parser.add_argument("--split", default="test", help="evaluation to take of a run's folder")
  parser.add_argument("--baseline", help="the method that the others are compared with; the first one by default")
  parser.add_argument(
    "--metric",
    action="append",
    help="path in metrics.json, such as levels.rps; may be repeated or hold commas. "
    f"By default {', '.join(differences.DEFAULT_METRICS)}",
  )
  parser.add_argument("--resamples", type=int, default=defaults.num_resamples, help="of bootstrap and permutations")
  parser.add_argument("--confidence", type=float, default=defaults.confidence)
  parser.add_argument("--interval", choices=statistics.METHODS, default=defaults.method)
  parser.add_argument("--seed", type=int, default=defaults.seed, help="of the resamples")
  parser.add_argument(
    "--group-by", choices=statistics.UNITS, help="what is resampled; groups, such as patients, where there are any"
  )
  parser.add_argument("--out", required=True, help="folder for compare.md, .csv, .tex, .png, .pdf and reliability.*")
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the command line; exits with status 2 and one line where it is wrong."""
  args = _parser().parse_args(argv)
  paths = [path.strip() for given in args.metric or [] for path in given.split(",")]
  with errors.one_line_errors():
    errors.check_writable(args.out)
    settings = statistics.Settings(args.resamples, args.confidence, args.interval, args.seed)
    methods = runs.load(args.methods, args.split)
    with reading.verified(*(run.evaluation for method in methods for run in method.runs)):
      results = differences.analyse(
        methods,
        paths=paths or differences.DEFAULT_METRICS,
        baseline=args.baseline,
        settings=settings,
        group_by=args.group_by,
      )
      writing.write_comparison(results, args.out)
      print(writing.comparison_text(results))
    print(f"\ncomparison: {args.out}/compare.md, {args.out}/compare.png")


if __name__ == "__main__":
  main()
