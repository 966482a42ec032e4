"""``python -m ordseg.card``: writes the model card of a trained and evaluated run, as Markdown and HTML."""

import argparse
import pathlib
from collections.abc import Sequence

from ordseg import errors
from ordseg.reporting import card


def parser() -> argparse.ArgumentParser:
  """Returns the command line."""
  out = argparse.ArgumentParser(prog="python -m ordseg.card", description=__doc__)
  out.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of the run, such as runs/mine")
  out.add_argument("--split", default="test", help="the evaluation: a folder of <workdir>/eval")
  out.add_argument("--out", type=pathlib.Path, help="folder to write to; the workdir by default")
  out.add_argument(
    "--intended_use", type=pathlib.Path, help="text file; by default, what the section of the card that is there says"
  )
  out.add_argument(
    "--power_watts", type=float, help="average power of all devices together; adds an estimate of the energy"
  )
  return out


def main(argv: Sequence[str] | None = None) -> None:
  """The program; exits with status 2 and one line where something is wrong."""
  args = parser().parse_args(argv)
  with errors.one_line_errors():
    if args.power_watts is not None and not 0 < args.power_watts < float("inf"):
      raise errors.InputError(f"--power_watts={args.power_watts} must be a number above 0.")
    path = card.write_card(
      args.workdir, split=args.split, out=args.out, intended_use=args.intended_use, power_watts=args.power_watts
    )
    print(f"model card: {path}, {path.with_suffix('.html')}")


if __name__ == "__main__":
  main()
