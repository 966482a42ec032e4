import json

import numpy as np
import pytest

from ordseg.training import logs
from ordseg.training.logs import MetricsLog, Speed


class Clock:
  def __init__(self):
    self.now = 1000.0

  def __call__(self):
    return self.now


def test_the_first_step_takes_no_part_in_the_speed():
  clock = Clock()
  speed = Speed(first_step=40, num_steps=100, clock=clock)
  clock.now += 30  # compilation
  assert speed.first_step_done(41, wait_seconds=7.0) == 30
  clock.now += 4
  report = speed.report(51, batch_size=8, wait_seconds=8.0)
  assert report == {"images_per_second": 20.0, "data_wait_share": 0.25, "seconds_left": pytest.approx(49 * 0.4)}


def test_pauses_count_for_the_remaining_time_but_not_for_the_speed():
  clock = Clock()
  speed = Speed(first_step=0, num_steps=100, clock=clock)
  with speed.pause():
    clock.now += 50  # before the first step: of no account
  speed.first_step_done(1, wait_seconds=0.0)
  clock.now += 10
  assert speed.report(11, batch_size=2, wait_seconds=0.0)["images_per_second"] == pytest.approx(2.0)
  with speed.pause():
    clock.now += 40
  clock.now += 10
  report = speed.report(21, batch_size=2, wait_seconds=5.0)
  assert report["images_per_second"] == pytest.approx(2.0)
  assert report["data_wait_share"] == pytest.approx(0.5)
  assert report["seconds_left"] == pytest.approx(79 * 60 / 20)


def test_where_nothing_is_known_yet_nothing_is_said():
  speed = Speed(first_step=0, num_steps=10, clock=Clock())
  before = speed.report(0, batch_size=2, wait_seconds=0.0)
  assert set(before.values()) == {None}
  speed.first_step_done(1, wait_seconds=0.0)
  assert speed.report(1, batch_size=2, wait_seconds=0.0) == before
  assert logs.progress_line(1, 10, 0.5, before) == "step  1/10 | loss 0.5000 | ETA ?"


def test_the_progress_line():
  report = {"images_per_second": 812.31, "data_wait_share": 0.034, "seconds_left": 72.0}
  line = logs.progress_line(250, 1000, 0.12345, report)
  assert line == "step  250/1000 | loss 0.1235 | 812.3 images/s | 3 % waiting for data | ETA 1 min 12 s"


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
