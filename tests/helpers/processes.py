"""Programs started by tests."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent.parent


def free_port() -> int:
  with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    return server.getsockname()[1]


def start(*args, **environ) -> subprocess.Popen:
  """Starts ``python -m args``; its output, errors included, is a pipe of text lines."""
  return subprocess.Popen(
    [sys.executable, "-m", *map(str, args)],
    cwd=ROOT,
    env={**os.environ, **environ},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


@contextlib.contextmanager
def ended(*processes):
  """Kills what still runs when the block ends."""
  try:
    yield processes
  finally:
    for process in processes:
      process.kill()
      process.wait()
      process.stdout.close()


def wait_for(condition, *processes, seconds=120.0):
  """Waits until `condition()` is true; fails with the output of a process that ends before."""
  end = time.monotonic() + seconds
  while not condition():
    for process in processes:
      if process.poll() is not None:
        raise AssertionError(f"ended with {process.returncode}: {process.stdout.read()}")
    if time.monotonic() > end:
      raise AssertionError(f"not within {seconds} s")
    time.sleep(0.01)
