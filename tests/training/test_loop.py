import json
import os
import random
import signal
import time

import jax
import numpy as np
import pytest

from ordseg import heads, input_pipeline, run_record
from ordseg.errors import InputError
from ordseg.training import loop
from ordseg.training.checkpoint import FOLDER, Checkpoints
from ordseg.training.learner import make_learner
from ordseg.types import Panel
from tests.helpers import processes, training

TIMINGS = ("images_per_second", "data_wait_share", "seconds_left")


def noisy_config(**changes):
  """With everything on that draws random numbers."""
  return training.tiny(model__dropout=0.3, optim__ema_decay=0.9, train__num_steps=10, **changes)


def read_rows(workdir):
  return [json.loads(line) for line in (workdir / "train_metrics.jsonl").read_text().splitlines()]


def without_timings(rows):
  return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


def checkpoints_on_disk(workdir):
  folder = workdir / FOLDER
  return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.exists() else []


def assert_same_end(got, want, workdir, want_workdir):
  jax.tree.map(np.testing.assert_array_equal, got.state, want.state)
  assert (got.best_step, got.best_value) == (want.best_step, want.best_value)
  assert without_timings(read_rows(workdir)) == without_timings(read_rows(want_workdir))


class SignallingSource(training.TinySource):
  """Sends this process a signal when an example is read for the n-th time in all."""

  def __init__(self, number, after):
    super().__init__()
    self.number, self.left = number, after

  def __getitem__(self, index):
    self.left -= 1
    if self.left == 0:
      os.kill(os.getpid(), self.number)
    return super().__getitem__(index)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  """A run that nothing stops: (workdir, summary)."""
  workdir = tmp_path_factory.mktemp("unbroken")
  return workdir, training.train_tiny(workdir, noisy_config())


def test_a_run_leaves_what_it_promises(unbroken):
  workdir, summary = unbroken
  assert {p.name for p in workdir.iterdir()} == {
    *("config.json", "train_metrics.jsonl", "compute.json", "tensorboard", ".lock"),
    FOLDER,
  }
  info = run_record.read(workdir)
  assert info["config"] == noisy_config() and info["data"] == training.DATA_INFO
  assert (info["num_raters"], info["num_channels"]) == (training.NUM_RATERS, 1)

  rows = read_rows(workdir)
  assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]
  assert [row["step"] for row in rows if "validation" in row] == [4, 8, 10]
  assert rows[-1]["loss"] < rows[0]["loss"]
  assert all(0 < row["images_per_second"] < 1e7 and 0 <= row["data_wait_share"] <= 1 for row in rows)

  assert int(summary.state.step) == 10
  values = {row["step"]: row["validation"]["read_outs"]["mean_vote"]["brier"] for row in rows if "validation" in row}
  assert summary.best_step == min(values, key=values.get) and summary.best_value == min(values.values())
  with loop.open_checkpoints(noisy_config(), workdir) as checkpoints:
    assert set(checkpoints.steps()) == {8, 10} | {summary.best_step}
    params, step = checkpoints.restore_eval_params("last")
  assert step == 10
  jax.tree.map(np.testing.assert_array_equal, params, summary.state.ema_params)


def test_the_untrained_network_predicts_the_level_frequencies(tmp_path):
  source = training.TinySource()
  counts = input_pipeline.level_counts(source, limit=100)
  first = make_learner(training.tiny(), Panel(1, 3)).create(counts)
  bias = np.asarray(first.params["output"]["bias"])
  np.testing.assert_allclose(jax.nn.softmax(bias), heads.smoothed_level_freqs(counts), rtol=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_leaves_a_run_to_continue(tmp_path, capsys, unbroken, number):
  before = signal.getsignal(number)
  with pytest.raises(SystemExit) as stop:
    loop.train(
      noisy_config(),
      train_source=SignallingSource(number, after=60),
      validation_source=training.validation_source(),
      workdir=tmp_path,
      data_info=training.DATA_INFO,
    )
  assert stop.value.code == 128 + number
  assert signal.getsignal(number) is before
  reached = checkpoints_on_disk(tmp_path)[-1]
  assert 0 < reached < 10
  said = capsys.readouterr().out
  assert f"stopped by {signal.Signals(number).name} at step {reached}: a checkpoint is written" in said
  assert read_rows(tmp_path)[-1]["step"] == reached

  got = training.train_tiny(tmp_path, noisy_config())
  assert f"continuing from step {reached}" in capsys.readouterr().out
  jax.tree.map(np.testing.assert_array_equal, got.state, unbroken[1].state)
  steps = [row["step"] for row in read_rows(tmp_path)]
  assert steps == sorted({2, 4, 6, 8, 10, reached})


@pytest.mark.parametrize("num_kills", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_killed_while_saving_at_every_step_it_ends_where_an_unbroken_run_ends(tmp_path, unbroken, num_kills):
  seed = random.randrange(2**32)
  print(f"random.Random({seed})")  # shown when the test fails
  draws = random.Random(seed)
  changes = ["model.dropout=0.3", "optim.ema_decay=0.9", "train.num_steps=10", "train.checkpoint_every_steps=1"]

  def reached():
    return (checkpoints_on_disk(tmp_path) or [0])[-1]

  for _ in range(num_kills):
    goal = draws.randint(min(reached() + 1, 7), 7)
    process = processes.start("tests.helpers.train_worker", tmp_path, *changes)
    with processes.ended(process):
      processes.wait_for(lambda g=goal: reached() >= g, process)
      time.sleep(draws.uniform(0, 0.05))
    assert process.returncode == -signal.SIGKILL
    assert reached() >= goal
  got = training.train_tiny(tmp_path, noisy_config(train__checkpoint_every_steps=1))
  jax.tree.map(np.testing.assert_array_equal, got.state, unbroken[1].state)
  assert (got.best_step, got.best_value) == (unbroken[1].best_step, unbroken[1].best_value)
  assert [row["step"] for row in read_rows(tmp_path)] == list(range(1, 11))


def test_two_processes_make_the_steps_of_one_stop_together_and_leave_a_run_for_any_number(tmp_path):
  """Two processes with two devices each; SIGTERM reaches only the second. One process with four continues."""
  config = training.tiny(train__num_steps=16, train__log_every_steps=1)
  want = training.train_tiny(tmp_path / "one", config)
  workdir, port = tmp_path / "two", processes.free_port()
  changes = ["parallel.distributed=True", "train.num_steps=16", "train.log_every_steps=1"]
  both = [
    processes.start(
      "tests.helpers.train_worker",
      workdir,
      *changes,
      JAX_NUM_CPU_DEVICES="2",
      JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
      JAX_NUM_PROCESSES="2",
      JAX_PROCESS_ID=str(i),
    )
    for i in range(2)
  ]
  with processes.ended(*both):
    processes.wait_for(lambda: checkpoints_on_disk(workdir), *both)
    both[1].send_signal(signal.SIGTERM)
    output = [process.communicate(timeout=120)[0] for process in both]
  assert [process.returncode for process in both] == [143, 143], output
  reached = checkpoints_on_disk(workdir)[-1]
  assert 0 < reached < 16
  assert f"stopped by a signal to another process at step {reached}" in output[0]
  assert "step" not in output[1]  # only the first process talks
  got = training.train_tiny(workdir, config)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got.state, want.state)
  for row, want_row in zip(read_rows(workdir), read_rows(tmp_path / "one"), strict=True):
    assert row["step"] == want_row["step"] and row["valid_pixels"] == want_row["valid_pixels"]
    np.testing.assert_allclose(row["loss"], want_row["loss"], rtol=1e-5)
    if "validation" in want_row:
      brier = [r["validation"]["read_outs"]["mean_vote"]["brier"] for r in (row, want_row)]
      np.testing.assert_allclose(*brier, rtol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_good_checkpoints(tmp_path):
  config = training.tiny(
    optim__name="sgd",
    optim__learning_rate=1e12,
    optim__warmup_steps=0,
    optim__clip_norm=0.0,
    train__num_steps=30,
    train__checkpoint_every_steps=1,
  )
  with pytest.raises(InputError, match="is not finite, though all images were; the checkpoint of step") as error:
    training.train_tiny(tmp_path, config)
  message = str(error.value)
  assert "config.optim.learning_rate (now 1e+12)" in message and "\n" not in message
  with Checkpoints(tmp_path) as store:
    latest = store.latest_step
    assert f"of step {latest + 1} is not finite, though all images were; the checkpoint of step {latest}" in message
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(store.restore_eval_params()[0]))


def test_a_misspelt_metric_is_told_before_the_first_step(tmp_path):
  with pytest.raises(InputError, match=r"Did you mean 'read_outs.mean_vote.brier'"):
    training.train_tiny(tmp_path, training.tiny(train__best_metric="read_outs.mean_vote.bier"))
  assert not checkpoints_on_disk(tmp_path)


def test_another_config_in_the_same_workdir_is_refused(unbroken):
  workdir, _ = unbroken
  with pytest.raises(InputError, match=r"config\.optim.learning_rate was 0.01 and is 0.02"):
    training.train_tiny(workdir, noisy_config(optim__learning_rate=0.02))


def test_a_run_that_is_complete_is_left_as_it_is(unbroken, capsys):
  workdir, want = unbroken
  rows = read_rows(workdir)
  got = training.train_tiny(workdir, noisy_config())
  assert "nothing to do: the run has reached step 10 of 10" in capsys.readouterr().out
  assert_same_end(got, want, workdir, workdir)
  assert read_rows(workdir) == rows


def test_splits_that_do_not_fit_each_other_are_refused(tmp_path):
  with pytest.raises(InputError, match=r"the training split has .*num_raters=3.*the validation split .*num_raters=4"):
    loop.train(
      training.tiny(),
      train_source=training.TinySource(),
      validation_source=training.TinySource(num_raters=4),
      workdir=tmp_path,
      data_info=training.DATA_INFO,
    )
  assert not list(tmp_path.iterdir())


def test_a_validation_split_smaller_than_the_number_of_processes_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(loop.parallel, "process_count", lambda: 6)
  with pytest.raises(InputError, match="the validation split has 5 examples for 6 processes"):
    training.train_tiny(tmp_path, training.tiny())


def test_find_metric():
  metrics = {"levels": {"rps": 0.25, "num": 3}, "none": None, "flag": True, "text": "x"}
  assert loop.find_metric(metrics, "levels.rps") == 0.25
  assert loop.find_metric(metrics, "levels.num") == 3.0
  assert np.isnan(loop.find_metric(metrics, "none"))
  for path in ("levels.rsp", "levels", "levels.rps.x", "flag", "text", "x"):
    with pytest.raises(InputError, match="is not a metric"):
      loop.find_metric(metrics, path)
