"""Errors for people: one line that says what is wrong, where, and the nearest right name."""

import contextlib
import difflib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from ordseg.errors import interrupts, system_errors

SHOWN = 20  # problems of one error, one a line


class InputError(ValueError):
  """Something the user gave is wrong. Programs print its one line and exit with status 2, without a traceback."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
  """Returns `` Did you mean 'x'?`` for the choice nearest to `name`, or an empty string when none is near."""
  near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
  return f" Did you mean '{near[0]}'?" if near else ""


def check_choice(name: str, choices: Iterable[str], *, field: str) -> None:
  """Raises InputError unless `name` is one of `choices`.

  Args:
    name: the value to look up.
    choices: the allowed values.
    field: where the value came from, as the user would write it (``config.loss.name``).

  Raises:
    InputError: with the field, the value, the nearest choice and all choices.
  """
  choices = sorted(choices)
  if name not in choices:
    raise InputError(f"{field}={name!r} is unknown.{did_you_mean(str(name), choices)} Choices: {', '.join(choices)}.")


def raise_all(problems: Sequence[str], headline: str) -> None:
  """Raises one error for all that was found wrong; returns where that is nothing.

  Args:
    problems: one line each; one alone is the whole error.
    headline: of several: what they have in common.
  """
  lines = list(dict.fromkeys(problems))
  if len(lines) == 1:
    raise InputError(lines[0])
  if lines:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise InputError("\n  ".join([f"{len(lines)} {headline.removesuffix('.')}:", *lines[:SHOWN], *more]))


@contextlib.contextmanager
def one_line_errors(*more: type[Exception]) -> Iterator[None]:
  """What every program runs in: what is not its fault ends in one line on stderr, not in a traceback.

  | what | exit status |
  |---|---|
  | `InputError` and the other types given | 2 |
  | the system refuses (`system_errors`): disk full, no right, no memory | 2 |
  | Ctrl-C, also twice (`interrupts`) | 130 |
  | whoever read our output has gone (``| head``) | 141, without a line |
  """
  with interrupts.one_line():
    try:
      yield
      sys.stdout.flush()
    except (InputError, *more) as error:
      _stop(f"error: {error}")
    except BrokenPipeError:
      _stop("", 128 + signal.SIGPIPE)
    except (OSError, MemoryError) as error:
      _stop(f"error: {system_errors.describe(error)}", at_once=isinstance(error, system_errors.HangingError))
    except RuntimeError as error:
      if system_errors.is_out_of_memory(error):
        _stop(f"error: {system_errors.describe(error)}")
      _fail()
      raise
    except Exception:
      _fail()
      raise


def _fail() -> None:
  if _leave is not sys.exit:  # else Python tells it at its end
    traceback.print_exc()
    _leave(1)


def leave_with(leave: Callable[[int], Any]) -> None:
  """Sets how a program ends after an error; by `sys.exit` unless this is called. Several processes need another way."""
  global _leave
  _leave = leave


_leave: Callable[[int], Any] = sys.exit


def _stop(line: str, status: int = 2, *, at_once: bool = False) -> NoReturn:
  try:
    sys.stdout.flush()
  except OSError:  # nobody reads it, or its disk is full: Python would say so again at its end
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  if line:
    print(line, file=sys.stderr, flush=True)
  if at_once:
    os._exit(status)
  _leave(status)
  raise SystemExit(status)


def note(line: str) -> None:
  """Tells the user something that does not stop the program."""
  print(f"note: {line}", file=sys.stderr, flush=True)


def check_writable(folder: str | pathlib.Path, *, num_bytes: int = 0, what: str = "the results") -> None:
  """Finds out before hours of work that their results could not be written; leaves nothing behind.

  Args:
    folder: that will be written to; it, or the nearest folder above it that is there, is tried.
    num_bytes: that will be needed.
    what: needs them, for the message.

  Raises:
    OSError: the folder cannot be written to.
    InputError: there is too little space.
  """
  place = pathlib.Path(folder).absolute()
  while not place.exists():
    place = place.parent
  with system_errors.of(place), tempfile.TemporaryFile(dir=place) as file:
    file.write(b"0" * 4096)
    file.flush()
  free = shutil.disk_usage(place).free
  if free < num_bytes:
    raise InputError(
      f"{folder}: {what} need about {num_bytes / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free. Free space there, or"
      " choose a folder on another disk."
    )
