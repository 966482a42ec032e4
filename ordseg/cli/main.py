"""The one command: ``ordseg <sub-command> ...``, also as ``python -m ordseg``."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import ordseg
from ordseg.cli import flags
from ordseg.errors import InputError, did_you_mean, extras, one_line_errors


def main(argv: Sequence[str] | None = None) -> None:
  """Runs a sub-command; exits with status 0 for --help and --version, with 2 and one line where the words are wrong."""
  name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
  if name in ("-h", "--help", "help"):
    print(_overview())
  elif name == "--version":
    print(f"ordseg {ordseg.__version__}")
  else:
    with one_line_errors():
      if name not in flags.COMMANDS:
        near = did_you_mean(name, flags.COMMANDS)
        raise InputError(f"ordseg {name}: there is no such sub-command.{near} See ordseg --help.")
    run(name, rest)


def run(name: str, argv: Sequence[str], *, prog: str | None = None, **given: Any) -> None:
  """Runs a sub-command.

  Args:
    name: a key of `flags.COMMANDS`.
    argv: its arguments.
    prog: how it was called, for its --help; ``ordseg <name>`` by default.
    **given: what a script hands to the program.
  """
  args = flags.parse(name, argv, prog)  # before anything slow is imported
  with one_line_errors():
    extras.require(f"ordseg {name}", flags.COMMANDS[name].extras)
  quiet_libraries()
  importlib.import_module(f"ordseg.cli.{name}").run(args, **given)


def quiet_libraries() -> None:
  """Keeps the progress and the warnings of libraries off the user's screen, and gives absl's flags their defaults."""
  from absl import flags as absl_flags
  from absl import logging

  logging.use_absl_handler()  # first: then the verbosity is that of every library's log
  logging.set_verbosity(logging.ERROR)
  absl_flags.FLAGS.mark_as_parsed()  # Grain reads its own


def predict() -> None:
  """``ordseg-predict`` is ``ordseg predict``, from before there was one command."""
  run("predict", sys.argv[1:])


def _overview() -> str:
  lines = [f"  {name:<12} {command.summary}" for name, command in flags.COMMANDS.items()]
  return "\n".join(
    [
      "usage: ordseg SUB-COMMAND [flags]",
      "",
      "Segmentation networks whose probabilities say how much the raters disagree.",
      "",
      *lines,
      "",
      "ordseg SUB-COMMAND --help lists its flags with their defaults; ordseg --version prints the version.",
    ]
  )


if __name__ == "__main__":
  main()
