"""Keeps out of stderr what Orbax prints of errors that it also raises: tracebacks, from whichever of its threads."""

import functools
import logging
import pathlib
import sys
from typing import Any


@functools.cache
def keep_out() -> None:
  """Sets it up, once in the life of a process."""
  logging.getLogger("absl").addFilter(lambda record: not _in_orbax(record.pathname))
  logging.getLogger("asyncio").addFilter(_is_news)
  sys.unraisablehook = functools.partial(_unraisable, sys.unraisablehook)


def _in_orbax(path: str) -> bool:
  return "orbax" in pathlib.PurePath(path).parts


def _is_news(record: logging.LogRecord) -> bool:
  """Leaves out reads that were at work when another one of the same checkpoint failed: that one's error is reported."""
  text = record.getMessage()
  return not ("was never retrieved" in text and ("tensorstore" in text or "orbax" in text))


def _unraisable(before: Any, what: Any) -> None:
  if not (isinstance(what.exc_value, RuntimeError) and str(what.exc_value) == "Event loop is closed"):
    before(what)
