"""Exports a trained run as one file that runs without this package: a JAX artefact, or ONNX.

python -m ordseg.export --workdir=runs/mine --format=jax --out=exported/
python -m ordseg.export --workdir=runs/mine --format=onnx --size=256,256 --out=exported/

Both map prepared images [B, H, W, C] float32 to the probabilities of 0..R votes [B, H, W, R + 1]; metadata.json beside
them says how images are prepared and what the outputs mean (docs/export.md).
"""

import argparse
import pathlib
from collections.abc import Sequence

from absl import logging

from ordseg import errors
from ordseg.errors import InputError
from ordseg.prediction import export, predictor

_SIZES = {2: "256,256", 3: "32,128,128"}


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  parser = argparse.ArgumentParser(
    prog="python -m ordseg.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", required=True, help="folder of a trained run")
  parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the model and metadata.json")
  parser.add_argument("--format", default="jax", choices=export.FORMATS)
  parser.add_argument("--step", default="best", help="checkpoint: a step, best or last")
  parser.add_argument("--size", default="", help="height,width of the ONNX model's images, 256,256 by default; "
                      "depth,height,width of its volumes, 32,128,128 by default")  # fmt: skip
  parser.add_argument("--recalibration", default="", help="a method that ordseg.recalibrate fitted, or its file")
  args = parser.parse_args(argv)
  logging.set_verbosity(logging.ERROR)  # the libraries' own progress is not the user's
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


if __name__ == "__main__":
  main()
