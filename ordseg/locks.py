"""A lock among the processes that use a folder. It dies with the process that holds it, however that ends."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import IO

from ordseg.errors import InputError, note, system_errors

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def hold(path: pathlib.Path, *, what: str, wait: bool) -> Iterator[bool]:
  """Holds the lock of a file, which is made and stays; it then says who holds it.

  Args:
    path: of the file; its folder must be there.
    what: the user does, for the messages: ``trains in runs/mine``.
    wait: until it is free, instead of refusing.

  Yields:
    Whether the lock is held: False on a file system that has none.

  Raises:
    InputError: another process holds it; says which.
  """
  with path.open("a+", encoding="utf-8") as file:
    held = _take(file, what, wait=wait)
    if held:
      _write(file, {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()})
    yield held
    if held:
      _write(file, {})


def _take(file: IO[str], what: str, *, wait: bool) -> bool:
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True
  except BlockingIOError:
    if not wait:
      raise InputError(
        f"{_holder(file)} {what} already. Wait until it ends, end it, or choose another folder."
      ) from None
    note(f"waiting for {_holder(file)}, which {what}.")
    fcntl.flock(file, fcntl.LOCK_EX)
    return True
  except OSError as error:
    if error.errno not in _NO_LOCKS:
      raise
    note(f"the file system of {file.name} has no locks: see to it yourself that only one program {what}.")
    return False


def _holder(file: IO[str]) -> str:
  file.seek(0)
  try:
    holder = json.loads(file.read())
    return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"
  except (ValueError, KeyError, TypeError):
    return "another process"


def _write(file: IO[str], holder: dict[str, object]) -> None:
  with system_errors.of(file.name):
    file.seek(0)
    file.truncate()
    file.write(json.dumps(holder) + "\n" if holder else "")
    file.flush()


def _now() -> str:
  return datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
