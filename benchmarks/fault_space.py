"""Programs that have no room, no right to write, or too few open files: a part of faults.py."""

import contextlib
import functools
import os
import pathlib
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from fault_bench import Bench, Maker, Outcome, evaluate, predict, state_of, train

# JAX would keep what it could only write in part, and other programs would meet it.
_NO_CACHE = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
Place = Callable[[], contextlib.AbstractContextManager[pathlib.Path]]


def programs(bench: Bench, output: pathlib.Path) -> dict[str, list[str]]:
  """Returns every program that writes, told to write below `output`."""
  run = bench.evaluated()
  inside = output / "w"
  return {
    "run_train": train(output / "new"),
    "run_eval": evaluate(inside),
    "recalibrate": ["ordseg.recalibrate", f"--workdir={inside}", "--method=temperature"],
    "report": ["ordseg.report", str(inside / "eval" / "test")],
    "predict": predict(run, bench.images(), output / "maps"),
    "compare": ["ordseg.compare", f"a={run}", f"b={run}", f"--out={output / 'compare'}", "--resamples=100"],
    "card": ["ordseg.card", f"--workdir={run}", f"--out={output / 'card'}"],
    "export": ["ordseg.export", f"--workdir={run}", f"--out={output / 'export'}"],
    "doctor": ["ordseg.doctor", "--builder=rater_phantom", "--config=tiny", f"--out={output / 'doctor'}"],
    "folder example": ["data.folder_raters.example", f"--out={output / 'example'}"],
  }


def trials(bench: Bench, share: float) -> Maker:
  """Yields every program in every kind of want; `share` does not count, as each is tried once."""
  del share
  names = list(programs(bench, bench.out))
  small = functools.partial(_small_files, bench)
  for name in names:
    yield "No file may pass 64 bytes, 10 programs", _one_line(bench, name, small, preexec_fn=_limit_file_size)
  if os.geteuid() == 0 and _can_mount(bench):
    yield "The disk fills up in training; once there is room, the same command", functools.partial(_fills, bench)
    for name in names:
      full = functools.partial(_mounted, bench, "", fill=True)
      yield "The disk is full, 10 programs", _one_line(bench, name, full)
      read_only = functools.partial(_mounted, bench, "ro", fill=False)
      yield "The disk is read-only, 10 programs", _one_line(bench, name, read_only)
  for name in ("run_train", "run_eval", "predict"):
    trial = _one_line(bench, name, small, may_end_well=True, preexec_fn=_limit_open_files)
    yield "Too many open files (ulimit -n 14), 3 programs", trial


def _one_line(
  bench: Bench, name: str, place: Place, *, may_end_well: bool = False, **options: Any
) -> Callable[..., Outcome]:
  """Returns a trial: the program `name` writes in `place`, and must end in one line and exit status 2."""

  def trial(draws: Any) -> Outcome:
    del draws
    with place() as output:
      done = bench.run(programs(bench, output)[name], environ=_NO_CACHE, **options)
    if done.status == 0 and may_end_well:
      return "ended well", True, name
    right = done.status == 2 and done.is_one_line
    outcome = "one line, exit status 2" if right else "OTHERWISE"
    return outcome, right, f"{name}: {done.status}: {done.errors[-240:]}"

  return trial


def _fills(bench: Bench, draws: Any) -> Outcome:
  del draws
  with _mounted(bench, "", fill=False) as folder:
    command, start = train(folder / "new"), time.monotonic()
    process = bench.start(command, environ=_NO_CACHE)
    while not list((folder / "new" / "checkpoints").glob("[0-9]*")) and process.poll() is None:
      time.sleep(0.01)
    _fill_up(folder)
    stopped = bench.finish(process, start)
    (folder / "rest").unlink()
    ended = bench.run(command)
    right = stopped.status == 2 and stopped.is_one_line and ended.status == 0
    right = right and state_of(folder / "new") == state_of(bench.trained())
  message = f"{stopped.status}: {stopped.errors[-240:]}"
  return ("one line, then the right end" if right else "OTHERWISE"), right, message


def _fill_up(folder: pathlib.Path) -> None:
  with contextlib.suppress(OSError), (folder / "rest").open("wb", buffering=0) as file:
    while True:
      file.write(bytes(4096))


@contextlib.contextmanager
def _mounted(bench: Bench, options: str, *, fill: bool) -> Iterator[pathlib.Path]:
  """Yields a disk of 24 MB with the evaluated run in it, filled up if `fill`, remounted with `options` if any."""
  folder = bench.out / "mounted"
  folder.mkdir(exist_ok=True)
  if folder.is_mount():  # of a benchmark that was killed
    subprocess.run(["umount", str(folder)], check=True)
  subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(folder)], check=True)
  try:
    shutil.copytree(bench.evaluated(), folder / "w")
    if fill:
      _fill_up(folder)
    if options:
      subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    yield folder
  finally:
    subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def _small_files(bench: Bench) -> Iterator[pathlib.Path]:
  folder = bench.scratch("small_files")
  shutil.copytree(bench.evaluated(), folder / "w")
  yield folder


def _limit_file_size() -> None:
  resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))


def _limit_open_files() -> None:
  resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))


def _can_mount(bench: Bench) -> bool:
  folder = bench.scratch("mount")
  done = subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False
  )
  return done.returncode == 0 and subprocess.run(["umount", str(folder)], check=False).returncode == 0
