import jax
import numpy as np

from ordseg import rng


def test_streams_differ_by_name_step_and_replica_and_repeat():
  key = jax.random.key(0)
  draws = {
    (name, step, replica): float(jax.random.uniform(rng.at_step(rng.stream(key, name), step, replica=replica)))
    for name in ("dropout", "init")
    for step in (0, 1)
    for replica in (0, 1)
  }
  assert len(set(draws.values())) == len(draws)
  again = float(jax.random.uniform(rng.at_step(rng.stream(key, "init"), 1, replica=1)))
  assert again == draws["init", 1, 1]


def test_at_step_takes_a_traced_step():
  key = jax.random.key(3)
  traced = jax.jit(lambda s: jax.random.uniform(rng.at_step(key, s)))(7)
  assert float(traced) == float(jax.random.uniform(rng.at_step(key, 7)))


def test_numpy_seed_is_stable():
  a = np.random.default_rng(rng.numpy_seed(1, "x")).integers(1 << 30)
  assert a == np.random.default_rng(rng.numpy_seed(1, "x")).integers(1 << 30)
  assert a != np.random.default_rng(rng.numpy_seed(1, "y")).integers(1 << 30)
