"""What a killed prediction left in the output folder, and how two that write there at once keep out of each other's
way.

Whoever writes to a folder holds a shared lock on it, which dies with its process; only what lies in a folder that
nobody holds is left over. The lock is on the folder itself: no file of it stays behind.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
from collections.abc import Iterator

# `.part-*`: scratch folders and maps half written; `.summary.csv.<process>.tmp`: a summary half written.
_OWN = re.compile(r"\.part-.+|\.summary\.csv\.\d+\.tmp")


@contextlib.contextmanager
def hold(folder: pathlib.Path) -> Iterator[None]:
  """Tells others that this process writes to a folder; where the file system has no locks, it cannot."""
  place = os.open(folder, os.O_RDONLY)
  try:
    with contextlib.suppress(OSError):
      fcntl.flock(place, fcntl.LOCK_SH)  # waits for one who tidies up
    yield
  finally:
    os.close(place)


def remove(output: pathlib.Path) -> None:
  """Removes the leftovers below a folder, except where another process is at work."""
  folders: dict[pathlib.Path, list[pathlib.Path]] = {}
  for folder, inner, names in os.walk(output):
    own = [name for name in (*inner, *names) if _OWN.fullmatch(name)]
    inner[:] = [name for name in inner if name not in own]
    if own:
      folders[pathlib.Path(folder)] = [pathlib.Path(folder, name) for name in own]
  for folder, paths in folders.items():
    with _alone_in(folder) as alone:
      for path in paths if alone else []:
        if path.is_dir() and not path.is_symlink():
          shutil.rmtree(path, ignore_errors=True)
        else:
          with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def _alone_in(folder: pathlib.Path) -> Iterator[bool]:
  """Locks a folder for this process; yields False where another holds it, or locks are unknown."""
  place = os.open(folder, os.O_RDONLY)
  try:
    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield True
  except OSError:
    yield False
  finally:
    os.close(place)
