"""The other processes of a run: waiting for them, and saying so when one is lost. No JAX here; see `parallel`."""

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

SECONDS_BETWEEN_LINES = 30.0

# What collectives (gloo, NCCL, the TPU runtime) and the coordination service say when a process is gone.
_LOST = re.compile(
  r"gloo .*(failed|closed|reset|refused|timed? ?out)|connection (closed|reset)|socket closed|heartbeat|broken pipe"
  r"|nccl.*(remote process|unhandled system error|aborted)|tasks? (is|are) (unhealthy|set to error)|closed by peer",
  re.IGNORECASE | re.DOTALL,
)


@contextlib.contextmanager
def waiting_for(who: str, *, seconds: float, leave: Callable[[int], object] = os._exit) -> Iterator[None]:
  """Says at once and every 30 s that the others are waited for; ends the process where they do not come in time.

  JAX would end it as well, but by an abort with a page of text.

  Args:
    who: is waited for, and where: ``2 processes at host0:1234``.
    seconds: How long to wait.
    leave: ends the process; gets the exit status.
  """
  connected = threading.Event()

  def tell() -> None:
    start = time.monotonic()
    while not connected.wait(min(SECONDS_BETWEEN_LINES, max(seconds - (time.monotonic() - start), 0.01))):
      waited = time.monotonic() - start
      if waited >= seconds:
        _say(
          f"error: not all of {who} came within {seconds:g} s (config.parallel.connect_seconds). See that each was"
          " started, with the same address and number of processes and a number of its own, and that none stopped with"
          " an error; then start all of them anew."
        )
        leave(2)
        return
      _say(f"still waiting for {who}, {waited:.0f} of {seconds:g} s")

  _say(f"waiting for {who}")
  thread = threading.Thread(target=tell, name="waiting", daemon=True)
  thread.start()
  try:
    yield
  finally:
    connected.set()
    thread.join()


def is_lost(error: BaseException) -> bool:
  """Returns whether an error is that another process is gone."""
  return isinstance(error, ValueError | RuntimeError) and bool(_LOST.search(str(error)))


def lost_line(index: int, count: int) -> str:
  """Returns what to tell of it."""
  return (
    f"error: another process of this run has ended or does not answer, so process {index} of {count} ends too. What the"
    " others printed says why; the same command, given for all of them, continues from the last checkpoint."
  )


def explain_aborts(line: str, status: int) -> None:
  """Makes an abort of the whole process, as jaxlib does where heartbeats fail, end with a line of ours.

  jaxlib aborts from a thread of its own while the main thread waits in a collective, so no handler of Python's would
  run; this one is called by the system, in that thread.
  """

  def tell(number: int) -> None:
    del number
    _say(line)
    os._exit(status)

  handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(tell)
  _kept.append(handler)  # or its memory would be given back
  ctypes.CDLL(None).signal(int(signal.SIGABRT), handler)


_kept: list[object] = []


def _say(line: str) -> None:
  sys.stdout.flush()
  os.write(2, f"{line}\n".encode())
