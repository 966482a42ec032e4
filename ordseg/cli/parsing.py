"""argparse as this house wants it: every default shown, and what is wrong in one line with the nearest right name."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ordseg.errors import did_you_mean


class _Help(argparse.RawDescriptionHelpFormatter):
  """Keeps the lines of a description, and adds each flag's default where its help does not say it."""

  def _get_help_string(self, action: argparse.Action) -> str:
    text = action.help or ""
    if action.required and action.option_strings:
      return f"{text} (required)"
    unsaid = action.default in (None, "", argparse.SUPPRESS) or isinstance(action.default, bool | list)
    return text if unsaid or not action.option_strings else f"{text} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
  """A command line of programs: flags may be written with ``-`` or ``_`` between words, never cut short.

  Attributes:
    free: beginnings of arguments that are not argparse's to judge, and come back as ``args.rest``.
  """

  def __init__(self, *, free: tuple[str, ...] = (), **kwargs: Any):
    super().__init__(**kwargs, formatter_class=_Help, allow_abbrev=False)
    self.free = free

  def parse(self, argv: Sequence[str]) -> argparse.Namespace:
    """Returns the values of the flags; exits with status 0 for --help, with 2 and one line where something is wrong."""
    mine: list[str] = []
    rest: list[str] = []
    awaits_value = False
    for arg in argv:
      free = bool(self.free) and arg.startswith(self.free)
      is_value = awaits_value and not arg.startswith("--")
      (rest if free or is_value else mine).append(arg if free or is_value else self._canonical(arg))
      awaits_value = free and "=" not in arg
    args = self.parse_args(mine)
    args.rest = rest
    return args

  def _canonical(self, arg: str) -> str:
    name, equals, value = arg.partition("=")
    if not name.startswith("--") or name == "--":
      return arg
    known = self._option_string_actions
    spelt = f"--{name[2:].replace('-', '_')}"
    if spelt in known:
      return f"{spelt}{equals}{value}"
    switch = f"--{spelt[4:]}"
    if spelt.startswith("--no") and isinstance(known.get(switch), Switch) and not equals:
      return f"{switch}=false"
    return self.error(f"unknown flag {name}.{did_you_mean(spelt, known)}")

  def error(self, message: str) -> NoReturn:
    """Ends the program with one line and status 2."""
    ending = "" if message.endswith((".", "?")) else "."
    print(f"error: {message}{ending} See {self.prog} --help.", file=sys.stderr)
    raise SystemExit(2)


_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Switch(argparse.Action):
  """A flag that is on or off: ``--flips``, ``--flips=true``, ``--flips=false``, ``--noflips``."""

  def __init__(self, option_strings: Sequence[str], dest: str, help: str = ""):  # noqa: A002
    super().__init__(option_strings, dest, nargs="?", default=False, metavar="true|false", help=help)

  def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
    """Stores the value."""
    word = "true" if values is None else str(values).lower()
    if word not in _WORDS:
      parser.error(f"{option_string}={values} must be true or false")
    setattr(namespace, self.dest, _WORDS[word])


def count(text: str) -> int:
  """Returns an integer >= 0."""
  return _integer(text, 0)


def positive(text: str) -> int:
  """Returns an integer > 0."""
  return _integer(text, 1)


def _integer(text: str, least: int) -> int:
  try:
    value = int(text)
  except ValueError:
    value = least - 1
  if value < least:
    raise argparse.ArgumentTypeError(f"{text!r} must be an integer >= {least}")
  return value


def names(text: str) -> list[str]:
  """Returns what stands between commas."""
  found = [name.strip() for name in text.split(",") if name.strip()]
  if not found:
    raise argparse.ArgumentTypeError("needs a name; several go with commas between")
  return found
