"""Errors for people: one line that says what is wrong, where, and the nearest right name."""

import contextlib
import difflib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any


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


@contextlib.contextmanager
def one_line_errors(*more: type[Exception]) -> Iterator[None]:
  """Turns `InputError`, and the other types given, into one line on stderr and exit status 2."""
  try:
    yield
  except (InputError, *more) as error:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2) from None


def one_line(parse: Callable[..., Any], *more: type[Exception]) -> Callable[..., Any]:
  """Wraps a function such as a flags parser in `one_line_errors`."""

  @functools.wraps(parse)
  def wrapped(*args: Any, **kwargs: Any) -> Any:
    with one_line_errors(*more):
      return parse(*args, **kwargs)

  return wrapped
