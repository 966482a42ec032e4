"""Compiled code against its operations one at a time, at sizes where XLA's reductions on CPUs change their plan."""

import os

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

from ordseg import heads, losses, metrics, ordinal, recalibration
from ordseg.training import xla_guard

R = 4
# 40,000 is where jax 0.10.2 is wrong (32,769 to 40,001 rows), 65,537 the first size past a power of two above it.
SIZES = (pytest.param(40_000), pytest.param(65_537, marks=pytest.mark.slow))


def scene(size):
  rng = np.random.default_rng(size)
  masks = (rng.random((1, size, 1, R)) < rng.random((1, size, 1, 1)) ** 2).astype(np.uint8)
  valid = np.asarray([[1, 1, 1, 0]], np.uint8)
  target = ordinal.encode(masks, valid, None, np.asarray([[-2.0, 1.5, 1.0, 2.0, 0.5]], np.float32))
  outputs = {name: rng.normal(0, 2, (1, size, 1, head.num_outputs(R))) for name, head in heads.HEADS.items()}
  return {name: jnp.asarray(x, jnp.float32) for name, x in outputs.items()}, target


def agree(function, *arguments, rtol=2e-5):
  """Asserts that the compiled function is what its operations are, each by itself."""
  compiled = jax.device_get(jax.jit(function)(*arguments))
  with jax.disable_jit():
    plain = jax.device_get(function(*arguments))
  for (path, got), want in zip(jax.tree_util.tree_leaves_with_path(compiled), jax.tree.leaves(plain), strict=True):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    scale = np.maximum(np.abs(want), np.abs(want).mean() + 1e-6)
    assert np.max(np.abs(got - want) / scale, initial=0.0) < rtol, jax.tree_util.keystr(path)


@pytest.mark.parametrize("size", SIZES)
def test_heads(size):
  logits, _ = scene(size)
  agree(lambda logits: {name: heads.predict(heads.HEADS[name], x, R) for name, x in logits.items()}, logits)


@pytest.mark.parametrize("size", SIZES)
def test_losses_and_their_gradients(size):
  logits, target = scene(size)

  def everything(x, target):
    def of(x):
      log_probs = heads.predict(heads.HEADS["softmax"], x, R)
      return {name: jnp.sum(spec.bind({})(log_probs, target) * target.weight) for name, spec in losses.LOSSES.items()}

    return of(x), jax.grad(lambda x: sum(of(x).values()))(x)

  agree(everything, logits["softmax"], target, rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("size", [40_000, 65_537])
def test_sums_of_the_metrics(size):
  logits, target = scene(size)
  log_probs = heads.predict(heads.HEADS["softmax"], logits["softmax"], R)
  batch = {"rater_masks": target.rater_masks[0], "rater_valid": target.rater_valid[0], "mask": target.weight[0]}
  count = lambda probs: metrics.to_host(  # noqa: E731
    jax.tree.map(lambda x: np.asarray(x)[None], metrics.image_sums(probs, batch, num_bins=15)), 1
  )
  compiled = jax.jit(lambda probs: metrics.image_sums(probs, batch, num_bins=15))(jnp.exp(log_probs[0]))
  compiled = metrics.to_host(jax.tree.map(lambda x: np.asarray(x)[None], compiled), 1)
  with jax.disable_jit():
    plain = count(jnp.exp(log_probs[0]))
  for name, got in vars(compiled).items():  # a last bit may move a pixel over an edge
    np.testing.assert_allclose(got, getattr(plain, name), rtol=1e-5, atol=3 * 2**24 if "prob" in name else 3)


@pytest.mark.parametrize("size", SIZES)
def test_recalibration_maps(size):
  logits, _ = scene(size)
  log_probs = heads.predict(heads.HEADS["softmax"], logits["softmax"], R).reshape(size, -1)
  fitted = {name: recalibration.identity(name, R) for name in recalibration.METHODS}
  fitted["isotonic"] = {"logit": np.asarray([-3.0, -1.0, 0.5, 2.0]), "value": np.asarray([-2.5, -1.5, 0.0, 3.0])}
  # Nothing is left as it was.
  maps = [recalibration.Recalibration(name, R, {k: 0.9 * v + 0.05 for k, v in x.items()}) for name, x in fitted.items()]
  agree(lambda x: {one.method: one(x) for one in maps}, log_probs, rtol=1e-4)


def test_which_versions_get_the_flag():
  assert [xla_guard.is_affected(v) for v in ("0.10.1", "0.10.2", "0.12.0.1", "0.13.0", "1.0")] == [
    False,
    True,
    True,
    False,
    False,
  ]
  environ = {"XLA_FLAGS": "--xla_foo"}
  xla_guard.guard(environ)
  assert environ["XLA_FLAGS"].split() == ["--xla_foo", *[xla_guard.FLAG] * xla_guard.is_affected(jaxlib.__version__)]
  own = {"XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type=dot"}
  xla_guard.guard(own)
  assert own["XLA_FLAGS"] == "--xla_cpu_experimental_ynn_fusion_type=dot"


def test_the_canary_says_in_one_line_what_to_set(monkeypatch, capsys):
  assert xla_guard._close(np.asarray([1.0, 2.0]), np.asarray([1.0, 2.0]))
  assert not xla_guard._close(np.asarray([1.0, 2.02]), np.asarray([1.0, 2.0]))
  monkeypatch.setattr(xla_guard, "_patterns", lambda rows, _: (1.01 * rows[:, 0] ** 2, np.zeros(256)))
  assert not xla_guard.check()
  (line,) = capsys.readouterr().err.splitlines()
  assert f"XLA_FLAGS={xla_guard.FLAG}" in line


@pytest.mark.skipif(jaxlib.__version__ != "0.10.2", reason="the fault as jaxlib 0.10.2 has it")
def test_the_canary_finds_the_fault_of_this_version():
  """This suite runs without the flag, so it looks at what a user of the library alone gets."""
  if "ynn_fusion_type" in os.environ.get("XLA_FLAGS", ""):
    pytest.skip("the flag is set")
  assert not xla_guard.sums_are_right()
