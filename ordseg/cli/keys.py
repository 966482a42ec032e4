"""--anonymous and --key, of the sub-commands that write what may be sent."""

import argparse
import pathlib

from ordseg.errors import InputError
from ordseg.reporting.report import anonymous


def opened(args: argparse.Namespace) -> anonymous.Key | None:
  """Returns the key of what goes to --out; None without --anonymous.

  Raises:
    InputError: --anonymous without --out, --key without --anonymous, or the key is no key or would be sent along.
  """
  if args.anonymous:
    return anonymous.key_for(None if args.out is None else pathlib.Path(args.out), args.key)
  if args.key is not None:
    raise InputError("--key is for --anonymous: without it, names are written as they are.")
  return None


def announce(key: anonymous.Key | None) -> None:
  """Says where the key lies."""
  if key is not None:
    print(f"key of the names, not to be sent: {key.path}")
