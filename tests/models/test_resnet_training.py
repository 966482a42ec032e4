"""The ResNet nets through the programs: frozen statistics stay, a continued run needs no file, a slip starts no run."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
import safetensors.numpy

from ordseg.errors import InputError
from ordseg.models import pretrained
from ordseg.training import optim
from ordseg.training.checkpoint import Checkpoints
from ordseg.training.learner import make_learner
from ordseg.types import Panel
from tests.helpers import resnets, training

ROOT = pathlib.Path(__file__).parent.parent.parent


def resnet_config(path, **changes):
  sizes = {"model__depth": 4, "model__blocks_per_level": 2, "model__width": 1, "optim__ema_decay": 0.5}
  changes = {"model__name": "resnet_fpn", "model__encoder_weights": str(path), **sizes, **changes}
  return training.tiny(**changes)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
  safetensors.numpy.save_file(resnets.state_dict("resnet18"), path)
  return path


def test_the_first_state_holds_the_file_and_the_bias_of_the_head(weights):
  learner = make_learner(resnet_config(weights), Panel(1, 3))
  state, shapes = learner.create(np.array([90.0, 5, 3, 2])), learner.template()
  jax.tree.map(
    np.testing.assert_array_equal,
    state.params["encoder"],
    pretrained.read_encoder(str(weights), "resnet18", num_channels=1),
  )
  assert np.argmax(state.params["output"]["bias"]) == 0
  assert jax.tree.map(np.shape, state) == jax.tree.map(np.shape, shapes)


def test_what_a_checkpoint_is_read_into_needs_no_file(weights):
  gone = make_learner(resnet_config("gone.safetensors"), Panel(1, 3))
  want = make_learner(resnet_config(weights), Panel(1, 3)).template()
  assert jax.tree.map(np.shape, gone.template()) == jax.tree.map(np.shape, want)
  with pytest.raises(InputError, match=r"gone\.safetensors"):
    gone.create(np.array([90.0, 5, 3, 2]))


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_no_optimiser_moves_what_has_one_axis_and_no_gradient(name):
  """What keeps the statistics of frozen norms; an optimiser that breaks it needs a mask."""
  config = training.tiny(optim__name=name, optim__weight_decay=0.5, optim__clip_norm=0.1).optim
  tx = optim.get_tx(config, num_steps=10)
  params = {"mean": np.array([1e-8, -3.0, 1e8], np.float32), "kernel": np.ones((2, 2), np.float32)}
  now, opt_state = params, tx.init(params)
  for _ in range(5):
    updates, opt_state = tx.update(
      {"mean": np.zeros(3, np.float32), "kernel": np.ones((2, 2), np.float32)}, opt_state, now
    )
    now = optax.apply_updates(now, updates)
  np.testing.assert_array_equal(now["mean"], params["mean"])
  assert np.all(now["kernel"] < 1)


def test_a_slip_in_the_path_starts_no_run(tmp_path):
  with pytest.raises(InputError, match=r"config.model.encoder_weights='nowhere.safetensors': there is no such file"):
    training.train_tiny(tmp_path / "w", resnet_config("nowhere.safetensors"))
  assert not (tmp_path / "w").exists()


def split(encoder):
  """The leaves of an encoder: (statistics of frozen norms, all others)."""
  found = [(path[-1].key, np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(encoder)]
  is_frozen = lambda name: name in ("mean", "var")  # noqa: E731
  return [v for n, v in found if is_frozen(n)], [v for n, v in found if not is_frozen(n)]


# Trains, loses the file, and continues; in a process of its own, for the flag that compiles quickly.
TRAINING = """
import pathlib
from tests.helpers import training
from tests.models.test_resnet_training import trained_config

training.train_tiny("w", trained_config())
pathlib.Path("encoder.safetensors").unlink()
assert training.train_tiny("w", trained_config()).state.step == 6
"""


def trained_config():
  sizes = {"model__encoder": "resnet18", "model__width": 2, "train__batch_size": 4, "data__crop_size": (32, 32)}
  steps = {"train__eval_every_steps": 6, "train__checkpoint_every_steps": 6}
  optimiser = {"optim__warmup_steps": 1, "optim__weight_decay": 0.1, "optim__learning_rate": 2e-3}
  return resnet_config("encoder.safetensors", **sizes, **steps, **optimiser, preprocess__intensity="zscore")


@pytest.mark.slow  # what it rests on is tested by itself: here, and frozen statistics in test_resnet
def test_training_moves_all_but_the_statistics_and_continues_without_the_file(weights, tmp_path):
  given = split(pretrained.read_encoder(str(weights), "resnet18", num_channels=1))
  shutil.copy(weights, tmp_path / "encoder.safetensors")
  env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
  env["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # compiling takes longer than six steps
  command = [sys.executable, "-c", TRAINING]
  done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
  assert done.returncode == 0 and "continuing from step 6" in done.stdout, done.stderr
  rows = [json.loads(line) for line in (tmp_path / "w/train_metrics.jsonl").read_text().splitlines()]
  assert [row["step"] for row in rows] == [2, 4, 6] and rows[-1]["loss"] < rows[0]["loss"]

  learner = make_learner(trained_config(), Panel(1, training.NUM_RATERS))
  with Checkpoints(tmp_path / "w", metric="read_outs.mean_vote.brier", read_only=True) as checkpoints:
    state, _ = checkpoints.restore(learner.template())
  for params in (state.params, state.ema_params):
    statistics, others = split(params["encoder"])
    assert len(statistics) == 40
    for now, before in zip(statistics, given[0], strict=True):
      np.testing.assert_array_equal(now, before)
    assert all(np.abs(now - before).max() > 0 for now, before in zip(others, given[1], strict=True))
