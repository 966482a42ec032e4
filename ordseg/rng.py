"""Random keys by name and step, so that no draw depends on the order in which the program asks."""

import zlib

import jax

from ordseg.types import PRNGKey


def stream(key: PRNGKey, name: str) -> PRNGKey:
  """Returns the key of the named stream: `key` folded with the CRC-32 of `name`."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def at_step(key: PRNGKey, step: jax.Array | int, *, replica: jax.Array | int = 0) -> PRNGKey:
  """Returns the key of one step on one replica; `step` and `replica` may be traced."""
  return jax.random.fold_in(jax.random.fold_in(key, step), replica)


def numpy_seed(seed: int, name: str) -> list[int]:
  """Returns entropy for `numpy.random.default_rng`: the seed and the CRC-32 of `name`."""
  return [seed, zlib.crc32(name.encode())]
