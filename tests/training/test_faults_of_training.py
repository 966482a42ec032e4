"""What a training does when something around it goes wrong."""

import json
import shutil
import signal

import jax
import numpy as np
import pytest

from configs import default
from ordseg.config import Config, resolve
from ordseg.errors import InputError
from ordseg.training import checkpoint, loop, memory
from ordseg.training.checkpoint import Checkpoints
from ordseg.training.learner import make_learner
from ordseg.training.logs import MetricsLog
from ordseg.types import Panel
from tests.helpers import processes, training
from tests.training.test_loop import read_rows, without_timings


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("unbroken")
  return workdir, training.train_tiny(workdir, training.tiny(train__num_steps=8))


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(tmp_path, capsys, unbroken):
  config = training.tiny(train__num_steps=8)
  workdir = shutil.copytree(unbroken[0], tmp_path / "w")
  manifest = workdir / checkpoint.FOLDER / "8" / "state" / "manifest.ocdbt"
  manifest.write_bytes(manifest.read_bytes()[:-1])
  got = training.train_tiny(workdir, config)
  said = capsys.readouterr().out
  assert said.count("warning:") == 1 and "the checkpoint of step 8 in" in said and "continuing from step 6" in said
  jax.tree.map(np.testing.assert_array_equal, got.state, unbroken[1].state)
  assert (got.best_step, got.best_value) == (unbroken[1].best_step, unbroken[1].best_value)
  assert without_timings(read_rows(workdir)) == without_timings(read_rows(unbroken[0]))
  assert (workdir / checkpoint.DAMAGED_FOLDER / "8").is_dir()
  assert training.train_tiny(workdir, config).best_step == got.best_step  # and what was written anew is whole
  assert "nothing to do" in capsys.readouterr().out


def test_a_second_training_of_a_workdir_is_refused_while_the_first_goes_on(tmp_path):
  changes = ["train.num_steps=300", "train.eval_every_steps=300", "train.checkpoint_every_steps=50"]
  first = processes.start("tests.helpers.train_worker", tmp_path, *changes)
  with processes.ended(first):
    processes.wait_for((tmp_path / "train_metrics.jsonl").exists, first)
    config = training.tiny(train__num_steps=300, train__eval_every_steps=300, train__checkpoint_every_steps=50)
    with pytest.raises(InputError, match=rf"process {first.pid} on .* trains in .* already"):
      training.train_tiny(tmp_path, config)
    processes.wait_for(lambda: len(read_rows(tmp_path)) > 0, first)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=120)
  assert first.returncode == 128 + signal.SIGTERM
  rows = [row["step"] for row in read_rows(tmp_path)]
  assert rows == sorted(set(rows)) and rows[: len(rows) - 1] == list(range(2, 2 * len(rows), 2))


def test_an_image_with_nan_is_named(tmp_path):
  source = training.TinySource()
  for example in source.examples:
    example["image"] = example["image"].astype(np.float32)
  source.examples[3]["image"][2, 1] = np.nan
  with pytest.raises(InputError, match="example example3: image holds 1 values that are NaN or infinite"):
    loop.train(
      training.tiny(),
      train_source=source,
      validation_source=training.validation_source(),
      workdir=tmp_path,
      data_info=training.DATA_INFO,
    )


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("model.width", 99999999),
    ("model.depth", 60),
    ("train.batch_size", 2**40),
    ("data.crop_size", (10**9, 64)),
    ("parallel.connect_seconds", 0.0),
    ("parallel.heartbeat_seconds", 1.0),
  ],
)
def test_a_number_that_is_a_slip_is_refused(field, value):
  config = default.get_config()
  section, name = field.split(".")
  config[section][name] = value
  with pytest.raises(InputError, match=rf"config.{field}=.* must be .*\[1"):
    resolve(config)


@pytest.mark.parametrize(
  "changes",
  [
    {"model__width": 16384},
    {"model__depth": 12, "data__crop_size": (4096, 4096)},
    {"train__batch_size": 2**20, "data__crop_size": (256, 256)},
  ],
)
def test_what_cannot_fit_is_refused_before_it_is_tried(tmp_path, changes):
  config = training.tiny(**changes)
  with pytest.raises(InputError, match=r"needs .* of memory or more .* there are .* Lower config.model.width"):
    training.train_tiny(tmp_path / "w", config)
  assert not (tmp_path / "w").exists()


def test_the_memory_a_convolution_needs_is_counted_by_its_shapes():
  x, w = jax.ShapeDtypeStruct((2, 8, 8, 3), np.float32), jax.ShapeDtypeStruct((3, 3, 3, 5), np.float32)

  def two(x, w):
    conv = jax.jit(
      lambda x: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )
    return conv(x) + conv(2 * x)

  assert memory.activation_bytes(two, x, w) == 2 * (2 * 8 * 8 * 5) * 4
  assert memory.num_bytes({"a": x, "b": w}) == 4 * (2 * 8 * 8 * 3 + 3 * 3 * 3 * 5)


def test_a_usual_training_fits():
  config, panel = Config(), Panel(1, 7)
  memory.check_training(config, make_learner(config, panel), panel)


def test_too_little_space_for_the_checkpoints_is_told_before_the_first_step(tmp_path, monkeypatch):
  import collections

  usage = collections.namedtuple("usage", "total used free")
  monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**6, 10**6 - 1000, 1000))
  with pytest.raises(InputError, match=r"the checkpoints \(config.train.keep_last .*\) need about .* MB are free"):
    training.train_tiny(tmp_path, training.tiny_config())
  assert not (tmp_path / checkpoint.FOLDER).exists()


def test_a_save_that_the_disk_refuses_is_an_error_of_the_system(tmp_path, monkeypatch):
  import errno

  from tests.training.test_checkpoint import state_at

  def full(*args, **kwargs):
    raise ValueError("UNKNOWN: Error writing: [OS error 28: ENOSPC No space left on device]")

  with Checkpoints(tmp_path) as store:
    monkeypatch.setattr(store._manager, "save", full)
    with pytest.raises(OSError, match="cannot write a checkpoint: No space left on device") as error:
      store.save(state_at(1), iterator_state=0)
  assert error.value.errno == errno.ENOSPC and error.value.filename.endswith(checkpoint.FOLDER)


@pytest.mark.parametrize("end", ["", '{"step": 5', '{"step": 5, "loss": 1.0}'])
def test_the_log_keeps_every_row_up_to_the_step_and_drops_a_torn_one(tmp_path, end):
  path = tmp_path / "train_metrics.jsonl"
  rows = [json.dumps({"step": step, "loss": 1.0}) + "\n" for step in (1, 2, 3, 4)]
  path.write_text("".join(rows) + end)
  log = MetricsLog(tmp_path, step=3)
  log.write(4, {"loss": 2.0}, on_disk=True)
  log.close()
  assert path.read_text() == "".join(rows[:3]) + '{"step": 4, "loss": 2.0}\n'


def test_a_full_disk_under_tensorboard_ends_the_log_and_hangs_nobody(tmp_path, monkeypatch):
  import errno

  from tensorboardX import record_writer

  def full(self, data):
    raise OSError(errno.ENOSPC, "No space left on device")

  log = MetricsLog(tmp_path, step=0)
  log.write(1, {"loss": 1.0})
  monkeypatch.setattr(record_writer.RecordWriter, "write", full)
  for step in range(2, 30):  # more than the queue of tensorboardX holds
    with pytest.raises(OSError, match="No space left") as error:
      log.write(step, {"loss": 1.0})
    assert error.value.filename == str(tmp_path / "tensorboard")
  log.close()


@pytest.mark.parametrize("line", ["{", "\\xff", "[1]", '{"loss": 1}', '{"step": null}'])
def test_a_damaged_row_of_the_log_is_not_dropped_without_a_word(tmp_path, line):
  path = tmp_path / "train_metrics.jsonl"
  path.write_bytes(b'{"step": 1}\n' + line.encode("latin1") + b'\n{"step": 3}\n')
  before = path.read_bytes()
  with pytest.raises(InputError, match=r"train_metrics\.jsonl is damaged: line 2 is no row"):
    MetricsLog(tmp_path, step=3)
  assert path.read_bytes() == before
