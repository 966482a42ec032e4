"""Ctrl-C: one line and exit status 130, wherever a program is, and whether it comes once or twice.

While modules are imported nothing is written, so Ctrl-C ends the process there and then (`leave_at_once`). In a program
(`one_line`) the first one unwinds it as KeyboardInterrupt, so that locks, threads and temporary files are given up in
order; the second does not wait for that. All that is written appears by a rename, whole or not at all.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

STATUS = 130  # 128 + SIGINT, as a shell reports it

_told = threading.Lock()  # held once the line is printed


def leave_at_once() -> None:
  """Makes Ctrl-C end the process at once, with the line, unless the caller's shell ignores it or someone handles it."""
  on_main = threading.current_thread() is threading.main_thread()
  if on_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: _leave())


def tell() -> None:
  """Prints the line, once in the life of a process."""
  if _told.acquire(blocking=False):
    with contextlib.suppress(OSError):
      os.write(2, b"interrupted\n")  # the buffers of sys.stderr may be in use by whom we interrupt


def _leave() -> None:
  tell()
  os._exit(STATUS)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
  """Turns Ctrl-C inside into one line on stderr and exit status 130."""
  before = signal.getsignal(signal.SIGINT)
  if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
    yield
    return
  try:
    with _handled(), _second_leaves():
      yield
  except KeyboardInterrupt:
    tell()
    before = lambda *_: _leave()  # noqa: E731  # another one while Python shuts down must not print a traceback
    raise SystemExit(STATUS) from None
  finally:
    signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _handled() -> Iterator[None]:
  came = False

  def handle(number: int, frame: object) -> None:
    nonlocal came
    del number, frame
    if came:
      _leave()
    came = True
    raise KeyboardInterrupt

  signal.signal(signal.SIGINT, handle)
  yield


@contextlib.contextmanager
def _second_leaves() -> Iterator[None]:
  """Ends the process at the second Ctrl-C even while the main thread is in a compiler, where no Python handler runs."""
  reader, writer = socket.socketpair()
  writer.setblocking(False)
  old = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
  if old != -1:  # an event loop's, in a notebook
    signal.set_wakeup_fd(old)
    yield
    return
  threading.Thread(target=_watch, args=(reader,), name="interrupts", daemon=True).start()
  try:
    yield
  finally:
    signal.set_wakeup_fd(-1)
    writer.close()  # the thread reads the end, and closes its own


def _watch(reader: socket.socket) -> None:
  count = 0
  with reader:
    while numbers := reader.recv(64):
      count += numbers.count(signal.SIGINT)
      if count > 1:
        _leave()


def is_program() -> bool:
  """Returns whether ordseg is being imported for one of its programs: its command, or python -m."""
  name = os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119
  return name in ("-m", "ordseg", "ordseg-predict")
