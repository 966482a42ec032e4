"""Predicts images with a trained run: maps of how many raters would mark each pixel, in the images' own geometry.

ordseg-predict --workdir=runs/mine --input=scans/ --output=maps/

Exit status: 0 all files done; 1 some failed (summary.csv says which and why), the others are done; 2 the command itself
is wrong, or the output folder cannot be written to (any more); 130 stopped by Ctrl-C, summary.csv has what was done.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from absl import logging

from ordseg import errors, models
from ordseg.config import Parallel
from ordseg.image_io import writing
from ordseg.models.sliding_window import Windows
from ordseg.prediction import Options, find_inputs, maps, predict_files
from ordseg.prediction import predictor as predictors
from ordseg.training import parallel


def parser() -> argparse.ArgumentParser:
  """Returns the command line."""
  out = argparse.ArgumentParser(
    prog="ordseg-predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  out.add_argument("--workdir", required=True, help="folder of a trained run; several, with commas, are an ensemble")
  out.add_argument("--input", required=True, help="file, folder, DICOM series folder, or pattern in quotes")
  out.add_argument("--output", required=True, type=pathlib.Path, help="folder for maps, overlays and summary.csv")
  out.add_argument("--step", default="best", help="checkpoint: a step, best or last")
  out.add_argument("--maps", default=",".join(maps.ALWAYS), help="all, or some of mean_vote, majority, mask, entropy, "
                   "disagreement, at_least_1 .. at_least_R")  # fmt: skip
  out.add_argument("--precision", default="float32", choices=writing.PRECISIONS, help="of TIFF and NIfTI maps")
  out.add_argument("--dicom", action="store_true", help="DICOM images: segmentation objects and captures as well")
  out.add_argument("--allow_gaps", action="store_true", help="predict DICOM series that lack slices, too")
  out.add_argument("--no_overlay", action="store_true", help="draw no pictures")
  out.add_argument("--window", type=int, default=512, help="pixels a side; larger images are cut; 0: never")
  out.add_argument("--window_slices", type=int, default=64, help="of volumes, for networks that take them; 0: all")
  out.add_argument("--overlap", type=float, default=0.25, help="share of a window that the next covers again")
  out.add_argument("--batch_size", type=int, default=4, help="windows at once")
  out.add_argument("--flips", action="store_true", help="average over mirror images")
  out.add_argument("--dropout_samples", type=int, default=0, help="average over passes with dropout")
  out.add_argument("--recalibration", default="", help="a method that ordseg.recalibrate fitted, or its file")
  return out


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  args = parser().parse_args(argv)
  logging.set_verbosity(logging.ERROR)  # the libraries' own progress is not the user's
  with errors.one_line_errors():
    inputs = find_inputs(args.input, output=args.output, say=print)
    errors.check_writable(args.output)
    parallel.setup(Parallel())
    how = predictors.How(args.step, args.flips, args.dropout_samples, args.recalibration)
    predictor = predictors.load(args.workdir.split(","), how)
    windows = Windows(
      size=args.window,
      slices=args.window_slices,
      overlap=args.overlap,
      batch_size=args.batch_size if predictor.run.num_axes == 2 else 1,
      multiples=models.size_multiples(predictor.run.config.model),
    )
    options = Options(
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


if __name__ == "__main__":
  main()
