"""What a training says: lines with its speed, JSON lines, TensorBoard events."""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from ordseg import files, records
from ordseg.errors import InputError, system_errors
from ordseg.progress import format_duration

_events: Any = event_pb2  # its classes are made when it is imported


class Speed:
  """Speed and remaining time of the steps, by a clock that never jumps.

  The first step of a program compiles: it is timed apart and takes no part in any rate.
  """

  def __init__(self, *, first_step: int, num_steps: int, clock: Callable[[], float] = time.monotonic):
    """Starts timing.

    Args:
      first_step: steps done before this program started.
      num_steps: steps at the end.
      clock: seconds.
    """
    self._clock, self._num_steps = clock, num_steps
    self._created = clock()
    self._start = self._window_start = None
    self._start_step = self._window_step = first_step
    self._start_wait = 0.0
    self._paused = 0.0

  def first_step_done(self, step: int, wait_seconds: float) -> float:
    """Starts the rates after the first step; returns the seconds since this object was made.

    Args:
      step: steps done, this one included.
      wait_seconds: time spent waiting for data so far.
    """
    self._start = self._window_start = self._clock()
    self._start_step = self._window_step = step
    self._start_wait, self._paused = wait_seconds, 0.0
    return self._start - self._created

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Keeps what happens inside out of the speed of the steps, but not out of the remaining time."""
    start = self._clock()
    yield
    self._paused += self._clock() - start

  def report(self, step: int, *, batch_size: int, wait_seconds: float) -> dict[str, float | None]:
    """Closes a window of steps and starts the next one.

    Args:
      step: steps done.
      batch_size: images per step.
      wait_seconds: time spent waiting for data so far.

    Returns:
      images_per_second and data_wait_share (of the time of the steps) over the window, and seconds_left over all;
      None where too little has run to tell.
    """
    unknown: dict[str, float | None] = {"images_per_second": None, "data_wait_share": None, "seconds_left": None}
    if self._start is None or self._window_start is None or step <= self._window_step:
      return unknown
    now = self._clock()
    active = max(now - self._window_start - self._paused, 1e-9)
    per_step = (now - self._start) / (step - self._start_step)
    out: dict[str, float | None] = {
      "images_per_second": batch_size * (step - self._window_step) / active,
      "data_wait_share": min(max(wait_seconds - self._start_wait, 0.0) / active, 1.0),
      "seconds_left": per_step * (self._num_steps - step),
    }
    self._window_start, self._window_step, self._start_wait, self._paused = now, step, wait_seconds, 0.0
    return out


def progress_line(step: int, num_steps: int, loss: float, report: Mapping[str, float | None]) -> str:
  """Returns one line: step, loss, speed, share of time spent waiting for data, remaining time."""
  width = len(str(num_steps))
  parts = [f"step {step:>{width}}/{num_steps}", f"loss {loss:.4f}"]
  if (speed := report["images_per_second"]) is not None:
    parts += [f"{speed:.1f} images/s", f"{100 * (report['data_wait_share'] or 0.0):.0f} % waiting for data"]
  return " | ".join([*parts, f"ETA {format_duration(report['seconds_left'])}"])


class MetricsLog:
  """Rows of a training as JSON lines in train_metrics.jsonl and as TensorBoard events; one row per step."""

  def __init__(self, workdir: pathlib.Path, *, step: int):
    """Opens the log for appending.

    Args:
      workdir: folder of the run.
      step: where the training stands. Rows past it, of a run that was killed, are dropped, and a torn last line too.

    Raises:
      InputError: another line is damaged: no row is dropped without a word.
    """
    path = workdir / "train_metrics.jsonl"
    if path.exists():
      files.write_text(path, "".join(_lines_up_to(path, step)))
    self._path = path
    self._file = path.open("a", encoding="utf-8")
    self._events = _Events(workdir / "tensorboard", purge_step=step + 1 if step else None)

  def write(self, step: int, row: Mapping[str, object], *, on_disk: bool = False) -> None:
    """Writes one row; nested dicts become dotted tags in TensorBoard.

    Args:
      step: The step that the row is of.
      row: what JSON can hold.
      on_disk: wait until the row would survive a power failure: before a checkpoint, which would continue after it.
    """
    with system_errors.of(self._path):
      self._file.write(json.dumps(records.jsonable({"step": step, **row}), allow_nan=False) + "\n")
      self._file.flush()
      if on_disk:
        os.fsync(self._file.fileno())
    self._events.write(step, {name.replace(".", "/"): value for name, value in records.numbers(row).items()})

  def close(self) -> None:
    """Closes both files."""
    self._file.close()
    self._events.close()


class _Events:
  """A TensorBoard event file.

  Written here and now: tensorboardX has a thread for it, which ends where the disk is full, and whoever
  gives it more events then waits for ever.
  """

  def __init__(self, folder: pathlib.Path, *, purge_step: int | None):
    folder.mkdir(exist_ok=True)
    self._folder = folder
    with system_errors.of(folder):
      self._writer = EventsWriter(str(folder / "events"))
      if purge_step is not None:  # steps from here on of an earlier file are of a run that was killed
        start = _events.SessionLog(status=_events.SessionLog.START)
        self._writer.write_event(_events.Event(step=purge_step, wall_time=time.time(), session_log=start))

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    with system_errors.of(self._folder):
      for tag, value in scalars.items():
        values = summary.scalar(tag, value)
        self._writer.write_event(_events.Event(step=step, wall_time=time.time(), summary=values))
      self._writer.flush()

  def close(self) -> None:
    with system_errors.of(self._folder):
      self._writer.close()


def _lines_up_to(path: pathlib.Path, step: int) -> Iterator[str]:
  """Yields the rows up to `step`; raises InputError where a line but the last, which may be torn, is no row."""
  for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
    if not line.endswith(b"\n"):
      return
    try:
      text = line.decode("utf-8")
      row = json.loads(text)
      wanted = row["step"] <= step
    except (ValueError, TypeError, KeyError, RecursionError) as error:
      raise InputError(
        f"{path} is damaged: line {number} is no row of a log ({error!r}). Remove that line, or the file, to go on."
      ) from error
    if wanted:
      yield text
