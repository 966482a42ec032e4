"""SIGTERM and SIGINT of a training: remembered until the running step has ended."""

import signal
import threading
from typing import Any

from ordseg.training import parallel


class StopSignal:
  """Remembers SIGTERM and SIGINT while it is entered, so that the running step can end. The second one acts at once."""

  _SIGNALS = (signal.SIGTERM, signal.SIGINT)

  def __init__(self) -> None:
    self.number: int | None = None
    self._old: dict[int, Any] = {}

  def __enter__(self) -> "StopSignal":
    if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
      self._old = {number: signal.signal(number, self._remember) for number in self._SIGNALS}
    return self

  def __exit__(self, *exception: object) -> None:
    self._restore()

  def _remember(self, number: int, frame: object) -> None:
    del frame
    self.number = number
    self._restore()

  def _restore(self) -> None:
    for number, handler in self._old.items():
      signal.signal(number, handler)
    self._old = {}

  def received(self, *, ask_others: bool) -> bool:
    """Returns whether to stop. All processes must stop at the same step, so they agree, and only where they ask."""
    if parallel.process_count() == 1:
      return self.number is not None
    return ask_others and parallel.any_process(self.number is not None)
