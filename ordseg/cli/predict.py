"""``ordseg predict``: maps of how many raters would mark each pixel, in the geometry of the user's own images."""

import argparse
import sys
from collections.abc import Sequence

from ordseg import errors, models
from ordseg.cli import flags
from ordseg.config import Parallel
from ordseg.models.sliding_window import Windows
from ordseg.prediction import OutputOptions, find_inputs, predict_files
from ordseg.prediction import predictor as predictors
from ordseg.training import parallel


def run(args: argparse.Namespace) -> None:
  """Predicts; exits with status 1 where some files failed."""
  with errors.one_line_errors():
    inputs = find_inputs(args.input, output=args.output, say=print)
    errors.check_writable(args.output)
    parallel.setup(Parallel())
    predictor = predictors.load(
      args.workdir, predictors.PredictOptions(args.step, args.flips, args.dropout_samples, args.recalibration)
    )
    windows = Windows(
      size=args.window,
      slices=args.window_slices,
      overlap=args.overlap,
      batch_size=args.batch_size if predictor.run.panel.num_axes == 2 else 1,
      multiples=models.size_multiples(predictor.run.config.model),
    )
    options = OutputOptions(
      maps=args.maps,
      precision=args.precision,
      windows=windows,
      overlay=not args.no_overlay,
      dicom=args.dicom,
      allow_gaps=args.allow_gaps,
    )
    rows = predict_files(predictor, inputs, args.output, options)
  failed = [row for row in rows if row["status"] != "ok"]
  print(f"{len(rows) - len(failed)} of {len(rows)} done; {args.output / 'summary.csv'}")
  sys.exit(1 if failed else 0)


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("predict", sys.argv[1:] if argv is None else argv))
