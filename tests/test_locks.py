import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from ordseg import locks
from ordseg.errors import InputError

HOLDER = """if True:
  import pathlib, sys, time
  from ordseg import locks
  with locks.hold(pathlib.Path(sys.argv[1]), what="trains", wait=False):
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(path):
  process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline() == "held\n"
  return process


def test_the_second_is_told_who_holds_it_and_a_killed_holder_holds_it_no_more(tmp_path):
  path = tmp_path / ".lock"
  process = start_holder(path)
  try:
    with pytest.raises(InputError) as error, locks.hold(path, what="trains in here", wait=False):
      pass
    message = str(error.value)
    assert (
      f"process {process.pid} on {socket.gethostname()} (since 20" in message and "trains in here already" in message
    )
    assert "\n" not in message
  finally:
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
  with locks.hold(path, what="trains", wait=False) as held:
    assert held and json.loads(path.read_text())["pid"] == os.getpid()
  assert path.read_text() == ""


def test_who_waits_gets_it_when_it_is_free(tmp_path, capsys):
  process = start_holder(tmp_path / ".lock")
  process.send_signal(signal.SIGTERM)
  with locks.hold(tmp_path / ".lock", what="builds", wait=True) as held:
    assert held
  process.wait()
  process.stdout.close()


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, capsys):
  def refuse(file, operation):
    raise OSError(locks.errno.ENOLCK, "No locks available")

  monkeypatch.setattr(locks.fcntl, "flock", refuse)
  with locks.hold(tmp_path / ".lock", what="trains", wait=False) as held:
    assert not held
  assert "has no locks: see to it yourself that only one program trains" in capsys.readouterr().err
