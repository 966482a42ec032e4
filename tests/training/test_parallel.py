import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ordseg.config import Parallel
from ordseg.errors import InputError
from ordseg.training import parallel
from tests.helpers import learning

NUM_DEVICES = 4  # see conftest.py


def train_on_devices(first, local_gradients, apply_update, num_steps, key=0):
  train_step = parallel.make_train_step(local_gradients, apply_update, key=jax.random.key(key))
  now, history = parallel.replicate(parallel.to_host(first)), []
  for t in range(num_steps):
    batch = parallel.shard_batch(learning.uneven_batch(t))
    with jax.transfer_guard("disallow"):
      now, metrics = train_step(now, batch)
    history.append(jax.device_get(metrics))
  return parallel.to_host(now), history


def test_the_suite_has_several_devices():
  assert jax.local_device_count() == NUM_DEVICES


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_four_devices_make_the_steps_of_one(ema_decay):
  first, local_gradients, apply_update = learning.pieces(ema_decay=ema_decay)
  one_step = jax.jit(lambda s, b: apply_update(s, local_gradients(s.params, b, jax.random.key(0))))
  want = first
  for t in range(5):
    want, want_metrics = one_step(want, learning.uneven_batch(t))
  got, history = train_on_devices(first, local_gradients, apply_update, 5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)
  for name, value in want_metrics.items():
    np.testing.assert_allclose(history[-1][name], value, rtol=1e-5)


def test_a_mean_of_the_devices_means_would_be_something_else():
  """The batches are uneven enough for the test above to tell the two apart."""
  first, local_gradients, _ = learning.pieces()
  batch = learning.uneven_batch()
  parts = [
    jax.jit(local_gradients)(first.params, {k: x[i : i + 2] for k, x in batch.items()}, jax.random.key(0))
    for i in range(0, 8, 2)
  ]
  right = sum(p.loss_sum for p in parts) / sum(p.weight_sum for p in parts)
  wrong = np.mean([p.loss_sum / max(p.weight_sum, 1) for p in parts])
  assert abs(right - wrong) > 1e-2


def test_the_state_given_to_a_step_is_donated_and_its_source_survives():
  first, local_gradients, apply_update = learning.pieces()
  host = parallel.to_host(first)
  before = jax.tree.map(np.copy, host)
  given = parallel.replicate(host)
  train_step = parallel.make_train_step(local_gradients, apply_update, key=jax.random.key(0))
  after, _ = train_step(given, parallel.shard_batch(learning.uneven_batch()))
  copy = parallel.to_host(after)
  kept = jax.tree.map(np.copy, copy)
  train_step(after, parallel.shard_batch(learning.uneven_batch(1)))
  assert all(x.is_deleted() for x in jax.tree.leaves((given.params, after.params)))
  jax.tree.map(np.testing.assert_array_equal, host, before)
  jax.tree.map(np.testing.assert_array_equal, copy, kept)


def test_every_step_and_replica_has_its_own_dropout():
  """The loss is the sum of the dropout's own draws; equal draws on two replicas or in two steps would repeat."""
  first, local_gradients, apply_update = learning.pieces(dropout=0.5, learning_rate=1e-9)
  seen = []

  def spy(params, batch, key):
    sums = local_gradients(params, batch, key)
    draw = jax.random.uniform(key)
    one_hot = (jnp.arange(NUM_DEVICES) == jax.lax.axis_index(parallel.AXIS_NAME)) * draw
    return sums.replace(grads={"sums": sums.grads, "draws": one_hot})

  def read(state, sums):
    state, metrics = apply_update(state, sums.replace(grads=sums.grads["sums"]))
    return state, {**metrics, "draws": sums.grads["draws"]}

  for key in (0, 0, 1):
    _, history = train_on_devices(first, spy, read, 2, key)
    seen.append(np.stack([h["draws"] for h in history]))
  np.testing.assert_array_equal(seen[0], seen[1])
  draws = np.concatenate([seen[0].ravel(), seen[2].ravel()])
  assert len(set(draws.tolist())) == draws.size == 4 * NUM_DEVICES


def test_shard_batch_cuts_in_order():
  batch = {"image": np.arange(8 * 3).reshape(8, 3).astype(np.float32), "mask": np.arange(8, dtype=np.uint8)}
  cut = parallel.shard_batch(batch)
  assert cut["image"].shape == (NUM_DEVICES, 2, 3) and cut["mask"].dtype == np.uint8
  np.testing.assert_array_equal(np.asarray(cut["image"]).reshape(8, 3), batch["image"])
  assert {s.device for s in cut["image"].addressable_shards} == set(jax.local_devices())


@pytest.mark.parametrize("num_images", [1, 3, 4, 7])
def test_predictions_of_any_number_of_images(num_images):
  predict = parallel.make_predict_step(lambda params, image: params["w"] * image.sum((1, 2)))
  image = np.random.default_rng(0).normal(size=(num_images, 5, 6, 2)).astype(np.float32)
  got = predict(parallel.replicate({"w": np.float32(2)}), image)
  assert isinstance(got, np.ndarray)
  np.testing.assert_allclose(got, 2 * image.sum((1, 2)), rtol=1e-5)
  np.testing.assert_allclose(predict({"w": np.float32(2)}, image), got)  # host parameters will do


@pytest.mark.parametrize(
  ("size", "message"), [(10, "multiple of the 4 devices: use 8 or 12"), (3, "multiple of the 4 devices: use 4")]
)
def test_a_batch_that_cannot_be_cut_names_the_nearest_that_can(size, message):
  with pytest.raises(InputError, match=f"config.train.batch_size={size} must be a {message}"):
    parallel.per_process_batch_size(size)
  assert parallel.per_process_batch_size(12) == 12


@pytest.mark.parametrize(
  ("environ", "expected"),
  [
    ({}, False),
    ({"SLURM_STEP_NUM_TASKS": "2"}, True),
    ({"SLURM_NTASKS": "8", "SLURM_JOB_ID": "1"}, False),  # in the batch script: srun has started nobody
    ({"SLURM_STEP_NUM_TASKS": "1"}, False),
    ({"OMPI_COMM_WORLD_SIZE": "4"}, True),
    ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
    ({"TPU_WORKER_HOSTNAMES": "a"}, False),
    ({"JAX_NUM_PROCESSES": "2"}, True),
    ({"JAX_NUM_PROCESSES": "two"}, False),
  ],
)
def test_clusters_are_recognised_by_what_their_launchers_say(environ, expected):
  assert parallel.cluster_detected(environ) is expected


def test_a_single_process_is_left_alone_and_adds_up_rightly():
  program = """if True:
    from ordseg.config import Parallel
    from ordseg.training import parallel, xla_guard
    parallel.setup(Parallel())
    assert parallel.process_count() == 1 and parallel.process_index() == 0 and parallel.is_first_process()
    assert xla_guard.sums_are_right()
  """
  environ = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environ)
  assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_distributed_without_a_cluster_says_what_to_set():
  program = """if True:
    from ordseg import errors
    from ordseg.config import Parallel
    from ordseg.training import parallel
    with errors.one_line_errors():
      parallel.setup(Parallel(distributed=True))
  """
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
  assert done.returncode == 2 and done.stdout == ""
  waiting, line = done.stderr.splitlines()
  assert waiting == "waiting for all processes at the address that the launcher gives"
  assert "srun or mpirun, or set JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and JAX_PROCESS_ID" in line


def test_a_process_number_that_is_none_is_named(monkeypatch):
  monkeypatch.setenv("JAX_PROCESS_ID", "first")
  with pytest.raises(InputError, match="JAX_PROCESS_ID='first' must be an integer >= 0"):
    parallel.setup(Parallel(distributed=True))


def test_one_process_gathers_its_own():
  tree = {"x": np.arange(3, dtype=np.int64), "name": np.asarray(["a", "b"])}
  got = parallel.gather_across_processes(tree)
  jax.tree.map(np.testing.assert_array_equal, got, tree)
  assert parallel.gather_objects("x") == ["x"]
  assert parallel.any_process(True) is True and parallel.any_process(False) is False
  assert parallel.first_process_first(lambda: 3) == 3
