"""Several processes of one run: waiting for each other, and losing one."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from ordseg.training import peers
from tests.helpers import processes

PROGRAM = """if True:
  import sys, time
  import numpy as np
  from ordseg import errors
  from ordseg.config import Parallel
  from ordseg.training import parallel
  with errors.one_line_errors():
    parallel.setup(Parallel(distributed=True, connect_seconds=float(sys.argv[1]), heartbeat_seconds=10.0))
    with parallel.together():
      for number in range(400):
        parallel.gather_objects(number)
        print(number, flush=True)
        time.sleep(0.05)
"""


def start(port, index, connect_seconds=60):
  environ = {
    **os.environ,
    "JAX_NUM_CPU_DEVICES": "1",
    "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": str(index),
  }
  command = [sys.executable, "-c", PROGRAM, str(connect_seconds)]
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
  return subprocess.Popen(command, cwd=processes.ROOT, env=environ, text=True, **pipes)


@pytest.mark.parametrize("index", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_who_waits_in_vain_says_for_whom_and_ends(index):
  port = processes.free_port()
  out, errors = start(port, index, connect_seconds=3).communicate(timeout=100)
  first, *rest = errors.strip().splitlines()
  assert first == f"waiting for 2 processes at 127.0.0.1:{port}" and out == ""
  assert rest[-1].startswith("error: not all of 2 processes at 127.0.0.1") and "connect_seconds" in rest[-1]
  assert "stack trace" not in errors


@pytest.mark.parametrize("lost", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_loss_of_a_process_ends_the_other_with_a_sentence(lost):
  port = processes.free_port()
  both = [start(port, index) for index in range(2)]
  try:
    while both[lost].stdout.readline() != "5\n":
      assert both[lost].poll() is None, both[lost].stderr.read()
    both[lost].send_signal(signal.SIGKILL)
    _, errors = both[1 - lost].communicate(timeout=100)
  finally:
    for process in both:
      process.kill()
      process.wait()
  (lines,) = [line for line in errors.splitlines() if line.startswith("error:")]
  assert lines == peers.lost_line(1 - lost, 2)
  assert both[1 - lost].returncode in (1, 2) and "Traceback" not in errors


@pytest.mark.slow
def test_a_process_that_hangs_is_given_up_after_the_heartbeat(tmp_path):
  port = processes.free_port()
  both = [start(port, index) for index in range(2)]
  try:
    while both[1].stdout.readline() != "5\n":
      assert both[1].poll() is None, both[1].stderr.read()
    both[1].send_signal(signal.SIGSTOP)
    _, errors = both[0].communicate(timeout=200)
  finally:
    for process in both:
      process.kill()
      process.wait()
  assert errors.splitlines()[-1] == peers.lost_line(0, 2)
  assert both[0].returncode == 1


def test_it_says_so_again_and_again(monkeypatch, capfd):
  monkeypatch.setattr(peers, "SECONDS_BETWEEN_LINES", 0.1)
  left = []
  with peers.waiting_for("2 processes at here", seconds=0.35, leave=left.append):
    time.sleep(0.6)
  lines = capfd.readouterr().err.splitlines()
  assert lines[0] == "waiting for 2 processes at here" and left == [2]
  assert [bool(re.fullmatch(r"still waiting for 2 processes at here, \d+ of 0.35 s", line)) for line in lines[1:3]] == [
    *[True] * 2
  ]
  assert "not all of 2 processes at here came within 0.35 s" in lines[-1]
  with peers.waiting_for("none", seconds=60):
    pass  # they are there: nothing more is said
  assert capfd.readouterr().err == "waiting for none\n"


def test_what_counts_as_lost():
  gone = "UNKNOWN: Gloo AllGather failed: [external/gloo/tcp/pair.cc:538] Read error: Connection reset by peer"
  assert peers.is_lost(ValueError(gone))
  assert peers.is_lost(RuntimeError("UNAVAILABLE: Socket closed"))
  assert not peers.is_lost(ValueError("shapes do not match")) and not peers.is_lost(OSError("Connection closed"))
