"""``ordseg export``: a trained run as one file that runs without this package, a JAX artefact or ONNX."""

import argparse
import sys
from collections.abc import Sequence

from ordseg import errors
from ordseg.cli import flags
from ordseg.errors import InputError
from ordseg.prediction import export, predictor

_SIZES = {2: "256,256", 3: "32,128,128"}


def run(args: argparse.Namespace) -> None:
  """Exports; exits with status 2 and one line where something is wrong."""
  with errors.one_line_errors():
    run = predictor.load_run(args.workdir)
    errors.check_writable(args.out)
    words = (args.size or _SIZES[run.panel.num_axes]).split(",")
    if not all(word.isdigit() for word in words):
      raise InputError(f"--size={args.size} must be integers: {','.join(export.AXES[-run.panel.num_axes :])}.")
    size = tuple(map(int, words))
    path = export.export_run(
      run, args.out, file_format=args.format, step=args.step, size=size, recalibration=args.recalibration
    )
    print(f"{path} and {args.out / 'metadata.json'}: equal to the run to {export.TOLERANCE:g}")


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("export", sys.argv[1:] if argv is None else argv))
