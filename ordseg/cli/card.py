"""``ordseg card``: writes the model card of a trained and evaluated run, as Markdown and HTML."""

import argparse
import sys
from collections.abc import Sequence

from ordseg import errors
from ordseg.cli import flags, keys
from ordseg.reporting import card


def run(args: argparse.Namespace) -> None:
  """Writes the card; exits with status 2 and one line where something is wrong."""
  with errors.one_line_errors():
    if args.power_watts is not None and not 0 < args.power_watts < float("inf"):
      raise errors.InputError(f"--power_watts={args.power_watts} must be a number above 0.")
    key = keys.opened(args)
    path = card.write_card(
      args.workdir,
      split=args.split,
      out=args.out,
      intended_use=args.intended_use,
      power_watts=args.power_watts,
      key=key,
    )
    print(f"model card: {path}, {path.with_suffix('.html')}")
    keys.announce(key)


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("card", sys.argv[1:] if argv is None else argv))
