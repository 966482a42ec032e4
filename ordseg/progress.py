"""How far a long work is and how long it will take, in a line now and then."""

import math
import time
from collections.abc import Callable


def format_duration(seconds: float | None) -> str:
  """Returns ``47 s``, ``3 min 05 s``, ``2 h 07 min`` or ``3 d 04 h``; ``?`` for None."""
  if seconds is None or not math.isfinite(seconds):
    return "?"
  whole = max(0, math.ceil(seconds))
  for size, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
    if whole >= size:
      return f"{whole // size} {unit} {whole % size // small:02d} {small_unit}"
  return f"{whole} s"


def say(line: str) -> None:
  """Prints a line at once, also into a pipe."""
  print(line, flush=True)


class Progress:
  """Says ``<what>: <done>/<total> <unit> | ETA <time left>``, at most once in `seconds`, and not of the last piece.

  >>> progress = Progress("test", "images", 200, seconds=0, clock=iter([0.0, 30.0]).__next__)
  >>> progress(50)
  test: 50/200 images | ETA 1 min 30 s
  """

  def __init__(
    self,
    what: str,
    unit: str,
    total: int = 0,
    *,
    seconds: float = 10.0,
    say: Callable[[str], None] = say,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Starts timing.

    Args:
      what: the name of the work; '' for none.
      unit: what a piece is, in the plural.
      total: number of pieces; 0 where only the calls know it.
      seconds: the least time between two lines.
      say: takes a line.
      clock: seconds; one that never jumps.
    """
    self._label, self._total, self._unit = f"{what}: " if what else "", total, unit
    self._seconds, self._say, self._clock = seconds, say, clock
    self._start = self._last = clock()

  def __call__(self, done: int, total: int = 0) -> None:
    """Says that `done` pieces of `total` are done, unless it said something a moment ago."""
    total = total or self._total
    if not 0 < done < total:
      return
    now = self._clock()
    if now - self._last < self._seconds:
      return
    self._last = now
    left = (now - self._start) / done * (total - done)
    self._say(f"{self._label}{done}/{total} {self._unit} | ETA {format_duration(left)}")
