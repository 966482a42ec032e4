"""Checkpoints whose files were damaged after they were written: refused, never read as something else."""

import json
import random
import shutil

import jax
import numpy as np
import pytest

from benchmarks import damage
from ordseg.training import checkpoint, seals
from ordseg.training.checkpoint import Checkpoints, DamagedCheckpointError
from tests.training.test_checkpoint import fill, state_at

STEPS = {2: 0.5, 4: 0.1, 6: 0.7}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
  """A workdir with whole checkpoints of steps 2, 4 (the best) and 6."""
  workdir = tmp_path_factory.mktemp("good")
  with Checkpoints(workdir, metric="dice", keep_last=5) as store:
    fill(store, STEPS)
  return workdir


@pytest.fixture
def workdir(good, tmp_path):
  return shutil.copytree(good, tmp_path / "w")


def params_of(workdir, step):
  with Checkpoints(workdir, metric="dice", read_only=True) as store:
    return store.restore_eval_params(step)


def assert_is(got, step):
  params, found = got
  assert found == step
  jax.tree.map(np.testing.assert_array_equal, params, state_at(step).ema_params)


def flip(path, bit=0):
  content = bytearray(path.read_bytes())
  content[bit // 8] ^= 1 << bit % 8
  path.write_bytes(content)


def flip_weights(folder):
  """Changes one weight and writes the arrays anew, with all of the format's own checksums right."""
  import orbax.checkpoint as ocp

  with ocp.StandardCheckpointer() as writer:
    tree = writer.restore(folder / "state")
    tree["ema_params"]["layer"]["kernel"] = np.asarray(tree["ema_params"]["layer"]["kernel"]) + np.float32(1e-3)
    shutil.rmtree(folder / "state")
    writer.save(folder / "state", tree)


def test_other_weights_are_refused_and_the_whole_steps_are_named(workdir):
  flip_weights(workdir / checkpoint.FOLDER / "4")
  for step in ("best", 4):
    with pytest.raises(DamagedCheckpointError) as error:
      params_of(workdir, step)
    message = str(error.value)
    assert f"step 4 in {workdir / checkpoint.FOLDER} is damaged" in message and "whole are: 2, 6. " in message
    assert "ema_params.layer.kernel" in message and "--step" in message and "\n" not in message
  assert_is(params_of(workdir, "last"), 6)


def test_another_place_in_the_data_is_refused(workdir):
  path = workdir / checkpoint.FOLDER / "6" / "iterator" / "metadata"
  path.write_text(path.read_text().replace('"next_index": 6', '"next_index": 5'))
  with Checkpoints(workdir) as store, pytest.raises(DamagedCheckpointError, match="the position in the data"):
    store.restore(state_at(6))


def test_a_checkpoint_under_another_number_is_refused(workdir):
  folder = workdir / checkpoint.FOLDER
  (folder / "2").rename(folder / "3")
  with pytest.raises(DamagedCheckpointError, match="was written as step 2"):
    params_of(workdir, 3)


@pytest.mark.parametrize("change", ["cut", "another number", "deleted"])
def test_a_damaged_file_of_metrics_neither_blocks_nor_misleads(workdir, change):
  path = workdir / checkpoint.FOLDER / "6" / "metrics" / "metrics"
  if change == "deleted":
    shutil.rmtree(path.parent)
  else:
    path.write_text('{"dice": 0.7'[:-3] if change == "cut" else '{"dice": 0.0}')
  assert_is(params_of(workdir, "best"), 4)
  assert_is(params_of(workdir, "last"), 6)


def test_where_the_best_cannot_be_told_none_is_taken(workdir):
  path = workdir / checkpoint.FOLDER / "2" / seals.ITEM / "metadata"
  path.write_text(path.read_text().replace('"dice": 0.5', '"dice": 0.0'))
  with pytest.raises(DamagedCheckpointError, match=r"which checkpoint .* is best.* step 2 .*whole are: 4, 6\. Choose"):
    params_of(workdir, "best")
  assert_is(params_of(workdir, 4), 4)


def test_digests_that_are_lost_are_not_taken_for_a_checkpoint_without(workdir):
  shutil.rmtree(workdir / checkpoint.FOLDER / "4" / seals.ITEM)
  with pytest.raises(DamagedCheckpointError, match="its digests are missing"):
    params_of(workdir, 4)


def test_checkpoints_from_before_load_and_say_once_that_they_carry_no_digests(workdir, capsys):
  for step in STEPS:
    folder = workdir / checkpoint.FOLDER / str(step)
    shutil.rmtree(folder / seals.ITEM)
    contents = json.loads((folder / "_CHECKPOINT_METADATA").read_text())
    del contents["item_handlers"][seals.ITEM]
    (folder / "_CHECKPOINT_METADATA").write_text(json.dumps(contents))
  with Checkpoints(workdir, metric="dice", read_only=True) as store:
    assert_is(store.restore_eval_params("best"), 4)
    assert_is(store.restore_eval_params("last"), 6)
  assert capsys.readouterr().err.count("carries no digests") == 1


def test_training_goes_on_from_the_newest_whole_one(workdir):
  for step in (4, 6):
    flip(workdir / checkpoint.FOLDER / str(step) / "state" / "manifest.ocdbt", bit=200)
  with Checkpoints(workdir, metric="dice", keep_last=5) as store:
    message = store.set_damaged_aside()
    assert sorted(message) == [4, 6] and all(f"step {s} in " in message[s] for s in message)
    assert store.steps() == [2] and store.latest_step == 2
    fill(store, {4: 0.3, 6: 0.2})
    assert store.steps() == [2, 4, 6] and store.find("best") == 6
  assert {p.name for p in (workdir / checkpoint.DAMAGED_FOLDER).iterdir()} == {"4", "6"}
  assert_is(params_of(workdir, "best"), 6)


def test_where_none_is_whole_nothing_is_moved_and_nothing_started(workdir):
  for step in STEPS:
    flip(workdir / checkpoint.FOLDER / str(step) / "state" / "manifest.ocdbt", bit=200)
  with Checkpoints(workdir, metric="dice") as store:
    with pytest.raises(
      DamagedCheckpointError, match=r"no checkpoint is whole: .*step 6.* start anew in another workdir"
    ):
      store.set_damaged_aside()
    assert store.steps() == sorted(STEPS)
  with pytest.raises(DamagedCheckpointError, match="no other is whole"):
    params_of(workdir, 2)


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_damage_anywhere_is_refused_or_changes_nothing(good, tmp_path, capfd, count):
  seed = random.randrange(2**32)
  print(f"random.Random({seed})")  # shown when the test fails
  draws = random.Random(seed)
  files = sorted(p.relative_to(good) for p in (good / checkpoint.FOLDER / "4").rglob("*") if p.is_file())
  refused = 0
  for number in range(count):
    workdir = shutil.copytree(good, tmp_path / str(number))
    what = damage.file(workdir / draws.choice(files), draws)
    try:
      got = params_of(workdir, "best")
    except DamagedCheckpointError as error:
      refused += 1
      assert "\n" not in str(error) and "step 4" in str(error), what
    else:
      assert_is(got, 4)
    shutil.rmtree(workdir)
  assert refused > 0
  assert "Traceback" not in capfd.readouterr().err


def test_digests_of_thirty_megabytes_are_made_in_a_fifth_of_a_second():
  import time

  state = {"a": np.random.default_rng(0).normal(size=7_500_000).astype(np.float32)}
  seconds = []
  for _ in range(3):
    start = time.process_time()
    seals.make(1, state=state, position={}, metrics={})
    seconds.append(time.process_time() - start)
  assert min(seconds) < 0.2


def test_the_digest_of_an_array_is_its_sha256():
  import hashlib

  array = np.arange(6, dtype=np.int16).reshape(2, 3)
  want = hashlib.sha256(array.tobytes()).hexdigest()
  assert seals.array_digests({"a": {"b": array[:, ::1]}}) == {"a.b": f"int16 2x3 {want}"}
  assert seals.array_digests({"a": array.T.copy()})["a"].split()[2] != want
