"""Files and folders that are there whole or not at all, whatever kills the program that writes them.

What is written lies beside its place under a name of its own, `.part-<random>-<name>`, until it is whole; then it takes
the place at once. Its writer holds a lock on it (flock), which dies with the process: what `sweep` finds unlocked was
left by a program that was killed.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import pathlib
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator

_PREFIX, _ASIDE = ".part-", ".replaced-"
_OURS = re.compile(r"\.part-[0-9a-f]{8}-.*")
# What versions before the locks left; some names hold the number of the process.
_EARLIER = re.compile(
  r"\.part-.*|\.model\.(jax|onnx)\.part|\.(examples|sums)\.npz(\.(?P<npz>\d+))?\.tmp\.npz"
  r"|\.(\w+\.(json|jsonl|csv|html|md|tex)|(reliability_)?\w+)\.(?P<pid>\d+)\.tmp"
)
_EARLIER_SECONDS = 86400.0  # without a lock, age alone says that nobody writes there any more
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # <fcntl.h>, <linux/fs.h>
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """Yields an empty file to write to, which takes the place of `path` at the end; nothing remains of it on an error.

  Its name ends as `path` does, for writers that look at the suffix. They must not make it anew.

  Raises:
    OSError: the folder cannot be written to.
  """
  path = pathlib.Path(path)
  part, held = _held(path, lambda part: os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)))
  try:
    yield part
    _sync(part)
    part.replace(path)
    _sync(path.parent)
  finally:
    part.unlink(missing_ok=True)
    os.close(held)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
  """Replaces a file atomically."""
  with replacing(path) as part:
    part.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """Replaces a text file, UTF-8, atomically."""
  write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def scratch(parent: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a new folder in `parent`, which is gone at the end."""
  part, held = _held(parent / "scratch", os.mkdir)
  try:
    yield part
  finally:
    shutil.rmtree(part, ignore_errors=True)
    os.close(held)


@contextlib.contextmanager
def replacing_folder(
  path: str | os.PathLike[str], is_ours: Callable[[pathlib.PurePath], bool]
) -> Iterator[pathlib.Path]:
  """Yields an empty folder to write to, which takes the place of the folder `path` at the end.

  Where the file system can exchange two names (Linux's local ones can), there is no moment at which neither the former
  nor the new folder is there. Elsewhere there is one between two renames, and `sweep` puts the former back if the
  program was killed just then.

  Args:
    path: made if missing, and the folders above it.
    is_ours: whether a file of the former folder, by its path in it, is to go; others, which users put there, are kept.

  Raises:
    OSError: the folder above cannot be written to. The former folder is as it was then.
  """
  path = pathlib.Path(path)
  path = path.resolve() if path.is_symlink() else path.absolute()
  path.parent.mkdir(parents=True, exist_ok=True)
  part, held = _held(path, os.mkdir)
  try:
    yield part
    if path.is_dir():
      _keep(path, part, is_ours)
    for file in [*part.rglob("*"), part]:
      _sync(file)
    _swap(part, path)
    _sync(path.parent)
  finally:
    shutil.rmtree(part, ignore_errors=True)  # by now the former one
    os.close(held)


def sweep(*folders: str | os.PathLike[str]) -> None:
  """Removes what killed programs left in these folders, not below them; what a living one writes stays.

  A folder that a killed `replacing_folder` had put aside is put back.
  """
  for folder in map(pathlib.Path, folders):
    with contextlib.suppress(OSError):  # no such folder, or one that is not ours to clean
      for entry in sorted(folder.iterdir()):
        if entry.name.startswith(_ASIDE):
          _with_lock(entry, _put_back)
        elif _OURS.fullmatch(entry.name) or _is_left_by_earlier(entry):
          _with_lock(entry, _remove)


def _held(path: pathlib.Path, make: Callable[[pathlib.Path], None]) -> tuple[pathlib.Path, int]:
  """Makes a locked part beside `path`; returns it and the descriptor that holds the lock."""
  while True:
    part = path.with_name(f"{_PREFIX}{uuid.uuid4().hex[:8]}-{path.name}")
    make(part)
    with contextlib.suppress(FileNotFoundError):  # swept before it was locked: once more
      held = os.open(part, os.O_RDONLY)
      with contextlib.suppress(OSError):  # a file system without locks: then nothing there is ever swept
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
      try:
        if os.path.samestat(part.stat(), os.fstat(held)):
          return part, held
      except FileNotFoundError:
        os.close(held)
        raise
      os.close(held)


def _with_lock(entry: pathlib.Path, do: Callable[[pathlib.Path], None]) -> None:
  """Calls `do` unless a living process holds `entry`."""
  with contextlib.suppress(OSError):
    held = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW)
    try:
      fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
      do(entry)
    finally:
      os.close(held)


def _remove(entry: pathlib.Path) -> None:
  if entry.is_dir():
    shutil.rmtree(entry, ignore_errors=True)
  else:
    entry.unlink()


def _put_back(entry: pathlib.Path) -> None:
  target = entry.with_name(entry.name.removeprefix(_ASIDE))
  if target.exists():
    _remove(entry)
  else:
    entry.rename(target)


def _is_left_by_earlier(entry: pathlib.Path) -> bool:
  found = _EARLIER.fullmatch(entry.name)
  if not found:
    return False
  process = found["pid"] or found["npz"]
  if process:
    return pathlib.Path("/proc/self").exists() and not pathlib.Path("/proc", process).exists()
  return time.time() - entry.lstat().st_mtime > _EARLIER_SECONDS


def _sync(path: pathlib.Path) -> None:
  """Asks for `path` to be on the disk before anything that follows."""
  if path.is_symlink():
    return
  descriptor = os.open(path, os.O_RDONLY)
  try:
    with contextlib.suppress(*((OSError,) if path.is_dir() else ())):  # some file systems cannot do that for folders
      os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _keep(former: pathlib.Path, part: pathlib.Path, is_ours: Callable[[pathlib.PurePath], bool]) -> None:
  """Gives the new folder what users put into the former one: the same files by a second name, or copies."""
  for file in sorted(former.rglob("*")):
    name = file.relative_to(former)
    there = part / name
    if is_ours(name) or os.path.lexists(there) or _OURS.fullmatch(name.parts[0]):
      continue
    if file.is_dir() and not file.is_symlink():
      there.mkdir(parents=True, exist_ok=True)
      continue
    there.parent.mkdir(parents=True, exist_ok=True)
    try:
      os.link(file, there, follow_symlinks=False)
    except OSError:
      shutil.copy2(file, there, follow_symlinks=False)


def _swap(part: pathlib.Path, path: pathlib.Path) -> None:
  """Moves `part` to `path`; what was there is at `part` afterwards, or gone."""
  if not path.exists():
    part.rename(path)
    return
  if _exchange(part, path):
    return
  aside = path.with_name(f"{_ASIDE}{path.name}")
  held = os.open(path, os.O_RDONLY)
  try:
    fcntl.flock(held, fcntl.LOCK_EX)
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    part.rename(path)
    shutil.rmtree(aside, ignore_errors=True)
  finally:
    os.close(held)


def _exchange(one: pathlib.Path, other: pathlib.Path) -> bool:
  """Exchanges two names at once by renameat2(2); False where there is no such call, here or on this file system."""
  call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
  if call is None:
    return False
  if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
    return True
  code = ctypes.get_errno()
  if code in _NO_EXCHANGE:
    return False
  raise OSError(code, os.strerror(code), str(other))
