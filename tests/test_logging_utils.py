import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordseg import files, logging_utils, records
from ordseg.logging_utils import MetricsLog, Progress


class Clock:
  def __init__(self):
    self.now = 1000.0

  def __call__(self):
    return self.now


def test_the_first_step_takes_no_part_in_the_speed():
  clock = Clock()
  progress = Progress(first_step=40, num_steps=100, clock=clock)
  clock.now += 30  # compilation
  assert progress.first_step_done(41, wait_seconds=7.0) == 30
  clock.now += 4
  report = progress.report(51, batch_size=8, wait_seconds=8.0)
  assert report == {"images_per_second": 20.0, "data_wait_share": 0.25, "seconds_left": pytest.approx(49 * 0.4)}


def test_pauses_count_for_the_remaining_time_but_not_for_the_speed():
  clock = Clock()
  progress = Progress(first_step=0, num_steps=100, clock=clock)
  with progress.pause():
    clock.now += 50  # before the first step: of no account
  progress.first_step_done(1, wait_seconds=0.0)
  clock.now += 10
  assert progress.report(11, batch_size=2, wait_seconds=0.0)["images_per_second"] == pytest.approx(2.0)
  with progress.pause():
    clock.now += 40
  clock.now += 10
  report = progress.report(21, batch_size=2, wait_seconds=5.0)
  assert report["images_per_second"] == pytest.approx(2.0)
  assert report["data_wait_share"] == pytest.approx(0.5)
  assert report["seconds_left"] == pytest.approx(79 * 60 / 20)


def test_where_nothing_is_known_yet_nothing_is_said():
  progress = Progress(first_step=0, num_steps=10, clock=Clock())
  before = progress.report(0, batch_size=2, wait_seconds=0.0)
  assert set(before.values()) == {None}
  progress.first_step_done(1, wait_seconds=0.0)
  assert progress.report(1, batch_size=2, wait_seconds=0.0) == before
  assert logging_utils.progress_line(1, 10, 0.5, before) == "step  1/10 | loss 0.5000 | ETA ?"


def test_the_progress_line():
  report = {"images_per_second": 812.31, "data_wait_share": 0.034, "seconds_left": 72.0}
  line = logging_utils.progress_line(250, 1000, 0.12345, report)
  assert line == "step  250/1000 | loss 0.1235 | 812.3 images/s | 3 % waiting for data | ETA 1 min 12 s"


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (None, "?"),
    (float("nan"), "?"),
    (0, "0 s"),
    (0.2, "1 s"),
    (59.5, "1 min 00 s"),
    (3599, "59 min 59 s"),
    (7620, "2 h 07 min"),
    (277200, "3 d 05 h"),
  ],
)
def test_durations(seconds, text):
  assert logging_utils.format_duration(seconds) == text


def test_flatten_keeps_the_numbers():
  tree = {"a": {"b": 1, "c": [1, 2], "d": None, "e": "text"}, "f": np.float32(0.5), "g": True}
  assert logging_utils.flatten(tree) == {"a.b": 1.0, "f": 0.5}


def test_numpy_numbers_and_arrays_become_pythons():
  value = {"a": np.float32(0.5), "b": np.asarray([1.0, np.nan]), "c": np.int64(2)}
  assert json.dumps(records.jsonable(value), allow_nan=False) == '{"a": 0.5, "b": [1.0, null], "c": 2}'


@given(st.recursive(st.floats() | st.none() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
def test_jsonable_is_strict_json(value):
  text = json.dumps(records.jsonable(value), allow_nan=False)
  assert json.loads(text) == records.jsonable(value)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
  path = tmp_path / "config.json"
  records.write_json(path, {"a": math.nan, "b": (1, 2)})
  assert json.loads(path.read_text()) == {"a": None, "b": [1, 2], "sha256": records.digest({"a": None, "b": [1, 2]})}

  def crash(*args):
    raise OSError("the disk is gone")

  monkeypatch.setattr(files.os, "fsync", crash)
  with pytest.raises(OSError, match="disk"):
    records.write_json(path, {"a": 2})
  assert records.read_json(path) == {"a": None, "b": [1, 2]} and list(tmp_path.iterdir()) == [path]


def write_rows(workdir, first, last, *, step=0, value=0.5):
  log = MetricsLog(workdir, step=step)
  for number in range(first, last + 1):
    log.write(number, {"loss": value, "validation": {"dice": float("nan")}})
  log.close()


def test_no_step_appears_twice_after_a_restart(tmp_path):
  write_rows(tmp_path, 1, 5)
  path = tmp_path / "train_metrics.jsonl"
  with path.open("a") as file:
    file.write('{"step": 3, "lo')  # what a kill leaves
  write_rows(tmp_path, 4, 6, step=3, value=np.float64(0.25))
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
  assert [row["loss"] for row in rows] == [0.5] * 3 + [0.25] * 3
  assert rows[0]["validation"] == {"dice": None}


def test_rows_reach_tensorboard(tmp_path):
  write_rows(tmp_path, 1, 2)
  (events,) = (tmp_path / "tensorboard").iterdir()
  content = events.read_bytes()
  assert b"loss" in content and b"validation/dice" in content
