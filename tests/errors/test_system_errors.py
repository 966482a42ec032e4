import errno
import os
import pathlib
import subprocess
import sys

import pytest

from ordseg import errors
from ordseg.errors import system_errors

ROOT = pathlib.Path(__file__).parent.parent.parent


def program(body, **options):
  text = f"import sys\nfrom ordseg import errors\nwith errors.one_line_errors():\n  {body}\n"
  command = [sys.executable, "-c", text]
  return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, **options)


@pytest.mark.parametrize(
  ("error", "pattern"),
  [
    (OSError(errno.ENOSPC, "No space left on device", "runs/a"), "runs/a: No space left on device. Free space there"),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "x"), "Your quota there is used up"),
    (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied. This user may not"),
    (OSError(errno.EROFS, "Read-only file system", "x"), "It is mounted read-only"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "gone"), "gone: .*taken away while the program ran"),
    (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    (OSError("an image library's"), "^an image library's$"),
    (MemoryError("Unable to allocate 7.45 GiB for an array"), r"out of memory \(7.45 GiB asked for\). Lower "),
    (
      RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes"),
      r"out of memory \(123 bytes asked for\). Lower .*config.eval.window of an evaluation; --batch_size or --window",
    ),
  ],
)
def test_one_line_with_the_way_out(capsys, error, pattern):
  with pytest.raises(SystemExit) as stop, errors.one_line_errors():
    raise error
  (line,) = capsys.readouterr().err.splitlines()
  assert stop.value.code == 2 and line.startswith("error: ")
  import re

  assert re.search(pattern, line.removeprefix("error: ")), line


def test_other_errors_keep_their_traceback():
  with pytest.raises(RuntimeError, match="a bug"), errors.one_line_errors():
    raise RuntimeError("a bug")


def test_what_a_library_wrapped_is_found():
  try:
    try:
      raise OSError(errno.ENOSPC, "No space left on device", "f")
    except OSError as error:
      raise ValueError("cannot save") from error
  except ValueError as error:
    assert system_errors.find(error).errno == errno.ENOSPC
  text = "UNKNOWN: Error writing local file: [OS error 122: EDQUOT Disk quota exceeded]"
  assert system_errors.find(ValueError(text)).errno == 122
  assert system_errors.find(ValueError("DATA_LOSS: CRC")) is None
  assert system_errors.find(FileNotFoundError(errno.ENOENT, "", "f")) is None  # a fault of the file, not of the machine


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_under_the_output_is_one_line():
  with open("/dev/full", "w") as full:  # noqa: PTH123
    command = [sys.executable, "-c", "from ordseg import errors\nwith errors.one_line_errors():\n  print('done')"]
    done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
  assert done.returncode == 2
  assert len(done.stderr.splitlines()) == 1 and "No space left on device" in done.stderr


def test_a_reader_that_leaves_ends_the_program_without_a_word():
  done = subprocess.run(
    f"{sys.executable} -c 'from ordseg import errors\nwith errors.one_line_errors():\n"
    "  for i in range(100000): print(i)' | head -n 1; exit ${PIPESTATUS[0]}",
    shell=True,
    executable="/bin/bash",
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 141 and done.stdout == "0\n" and done.stderr == ""


def test_where_nothing_can_be_written_is_found_at_once(tmp_path):
  errors.check_writable(tmp_path / "not" / "yet" / "there", num_bytes=1)
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(errors.InputError, match=r"the maps need about 1,000,000,000 MB, and .* MB are free"):
    errors.check_writable(tmp_path, num_bytes=10**15, what="the maps")
  (tmp_path / "file").write_text("")
  with pytest.raises(NotADirectoryError):
    errors.check_writable(tmp_path / "file" / "under")


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_is_one_line_and_130_even_where_the_work_would_swallow_it(times):
  body = "\n  ".join(
    [
      "import os, signal, time",
      f"for _ in range({times}):",
      "  try: os.kill(os.getpid(), signal.SIGINT); time.sleep(1)",
      "  except KeyboardInterrupt:",
      f"    if {times} == 1: raise",
    ]
  )
  done = program(body)
  assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_the_second_ctrl_c_ends_a_program_that_runs_no_python():
  body = "\n  ".join(
    [
      "import ctypes, os, signal, threading",
      "press = lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]",
      "threading.Timer(0.3, press).start()",
      "ctypes.PyDLL(None)  # as a compiler would, this waits outside Python:",
      "while True: ctypes.CDLL(None).sleep(1)",
    ]
  )
  done = program(body, timeout=15)
  assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_ctrl_c_during_the_imports_of_a_program_is_one_line():
  text = (
    "import sys, os, signal, threading; sys.argv = ['-m']; import ordseg;"
    "os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(5)"
  )
  done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, check=False)
  assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_ctrl_c_stays_what_it_was_for_who_imports_ordseg():
  text = "import signal, ordseg; assert signal.getsignal(2) is signal.default_int_handler"
  assert subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=False).returncode == 0
