"""What the operating system refuses (a full disk, another user's folder, no memory), in one line with the way out."""

import contextlib
import errno
import os
import re
from collections.abc import Collection, Iterator

# Errors that are the machine's condition and say nothing of the content of a file.
CONDITIONS = frozenset(
  {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE),
  }
)
_WAYS_OUT = {
  errno.ENOSPC: "Free space there, or choose a folder on another disk; then give the same command again.",
  errno.EDQUOT: "Your quota there is used up: delete files, or choose another folder; then give the command again.",
  errno.EFBIG: "The limit on the size of a file is too low here: ulimit -f says which.",
  errno.EROFS: "It is mounted read-only: choose another folder.",
  errno.EACCES: "This user may not: change the rights (chmod, chown), or choose another folder.",
  errno.EPERM: "This user may not: change the rights (chmod, chown), or choose another folder.",
  errno.ENOENT: "It is not there, or was taken away while the program ran.",
  errno.ENOTDIR: "A part of this path is a file where a folder is needed.",
  errno.EISDIR: "A folder is where a file is needed.",
  errno.EMFILE: "Too many files are open at once: raise the limit with ulimit -n.",
  errno.ENFILE: "The machine has too many files open at once: end other programs.",
  errno.EIO: "The disk or the network drive does not answer as it should: look at the system's log.",
  errno.ESTALE: "The network drive has lost it: mount it anew.",
  errno.ENAMETOOLONG: "Choose a shorter path.",
  errno.ENOMEM: "End other programs, or use a machine with more memory.",
}
OUT_OF_MEMORY = (
  "Lower config.train.batch_size, config.data.crop_size or config.model.width of a training; config.eval.batch_size or"
  " config.eval.window of an evaluation; --batch_size or --window of a prediction"
)


def find(error: BaseException, *, more: Collection[int] = ()) -> OSError | MemoryError | None:
  """Returns what the system refused, where an error or one that it came from is about that.

  Args:
    error: of any library; tensorstore's and XLA's say it in their text.
    more: error numbers that count besides `CONDITIONS`.
  """
  numbers = CONDITIONS | set(more)
  for cause in _chain(error):
    if isinstance(cause, MemoryError) or is_out_of_memory(cause):
      return MemoryError(str(cause))
    if isinstance(cause, OSError) and cause.errno in numbers:
      return cause
    match = re.search(r"OS error (\d+)", str(cause))
    if match and int(match[1]) in numbers:
      return OSError(int(match[1]), os.strerror(int(match[1])))  # of the subclass that the number has
  return None


class HangingError(OSError):
  """After it threads of a library wait for ever: a program that has reported the error must not wait for them."""


@contextlib.contextmanager
def of(path: str | os.PathLike[str]) -> Iterator[None]:
  """Names a file, or its folder, in errors that carry no name, as those of writing do."""
  try:
    yield
  except OSError as error:
    if error.filename is None and error.errno is not None:
      error.filename = str(path)
    raise


def is_out_of_memory(error: BaseException) -> bool:
  """Returns whether XLA could not get memory."""
  return isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
  seen: set[int] = set()
  while error is not None and id(error) not in seen:
    seen.add(id(error))
    yield error
    error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def describe(error: BaseException) -> str:
  """Returns one line: what could not be done, with what file, and the way out."""
  if not isinstance(error, OSError):
    asked = re.search(r"(?:allocate|allocating) ([\d.]+ ?[KMGT]?i?B(?:ytes)?)", str(error), re.IGNORECASE)
    return f"out of memory{f' ({asked[1]} asked for)' if asked else ''}. {OUT_OF_MEMORY}."
  if error.errno is None:
    return " ".join(str(error).split()) or type(error).__name__
  files = [str(name) for name in (error.filename, error.filename2) if name is not None]
  where = f"{' -> '.join(files)}: " if files else ""
  return f"{where}{error.strerror}. {_WAYS_OUT.get(error.errno, '')}".rstrip()
