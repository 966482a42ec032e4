"""Keeps sums right on CPUs: works around, and looks for, a fault of XLA that returns wrong numbers without a word.

jaxlib from 0.10.2 on hands some reductions to a library that drops terms: of a vmapped matrix-vector product with its
squares summed, rows from 32,768 on come out 1 % wrong where there are 32,769 to 40,001 of them (docs/sharp_edges.md).
None of this project's own sums were found to be hit, which is no promise for other shapes and versions.
"""

import os
import re
import sys
from collections.abc import MutableMapping
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np

FLAG = "--xla_cpu_experimental_ynn_fusion_type=-reduce"
_NAME = FLAG.partition("=")[0]
# The versions for which the flag is known to exist and to help; an unknown flag would end the process.
_FIRST, _END = (0, 10, 2), (0, 13)
_VERSION = metadata.version("jaxlib")
_ROWS = 32_769  # the first number of rows that comes out wrong
_TOLERANCE = 1e-4  # relative; right sums are within 1e-6


def guard(environ: MutableMapping[str, str] = os.environ) -> None:
  """Sets the flag that keeps affected versions right, unless the user set it; call it before JAX touches a device."""
  flags = environ.get("XLA_FLAGS", "")
  if is_affected(_VERSION) and _NAME not in flags:
    environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()


def is_affected(version: str) -> bool:
  """Returns whether a version of jaxlib, such as '0.10.2', is one of those."""
  numbers = tuple(int(x) for x in re.findall(r"\d+", version)[:3])
  return _FIRST <= numbers < _END


def check() -> bool:
  """Runs both patterns on a CPU and says on stderr, in one line, if a sum is wrong; some 50 ms, once per process.

  Returns:
    Whether they were right; True on other devices.
  """
  if jax.default_backend() != "cpu" or sums_are_right():
    return True
  print(
    f"warning: XLA of jaxlib {_VERSION} adds up wrongly on this CPU, so losses and scores may be wrong "
    f"without a sign: start again with XLA_FLAGS={FLAG}, or with another version of jax.",
    file=sys.stderr,
  )
  return False


def sums_are_right() -> bool:
  """Returns whether compiled code of the two patterns agrees with numpy in float64."""
  rows = np.zeros((_ROWS, 3), np.float32)
  rows[:, 0] = np.arange(_ROWS)
  corner = np.tril(np.ones((3, 3), np.float32))
  squares, forms = jax.device_get(_patterns(rows, corner))
  products = rows[: _ROWS - 1].astype(np.float64).reshape(-1, 128, 3)
  want = (products @ corner * products).sum((-2, -1))
  return _close(squares, np.square(rows[:, 0], dtype=np.float64)) and _close(forms, want)


@jax.jit
def _patterns(rows: jax.Array, corner: jax.Array) -> tuple[jax.Array, jax.Array]:
  squares = jax.vmap(lambda row: jnp.sum(jnp.square(jnp.eye(3) @ row)))(rows)
  vectors = rows[: _ROWS - 1].reshape(-1, 128, 3)
  return squares, jnp.sum((vectors @ corner) * vectors, axis=(-2, -1))


def _close(got: np.ndarray, want: np.ndarray) -> bool:
  return bool(np.all(np.abs(got - want) <= _TOLERANCE * np.maximum(np.abs(want), 1.0)))
