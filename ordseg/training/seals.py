"""Seals: digests of all that a checkpoint holds, by which a reader knows that it is what was written."""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

ITEM = "seal"  # of the checkpoint

_VERSION = 1


class BrokenError(ValueError):
  """A file beside the arrays is damaged or lost; the text is part of a sentence."""


def array_digests(tree: object) -> dict[str, str]:
  """Returns path -> 'dtype shape sha256' of every array of a pytree of numpy arrays."""
  return {_name(path): _digest(np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: Any) -> str:
  return ".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


def _digest(array: np.ndarray) -> str:
  content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
  shape = "x".join(map(str, array.shape)) or "scalar"
  return f"{array.dtype} {shape} {hashlib.sha256(content.data).hexdigest()}"


def make(step: int, *, state: object, position: object, metrics: Mapping[str, float]) -> dict[str, Any]:
  """Returns the seal of a checkpoint, ready for JSON.

  Args:
    step: The checkpoint's step.
    state: The training state, a pytree of numpy arrays.
    position: The position in the training data, as JSON holds it.
    metrics: The checkpoint's metrics, name -> value; NaN is allowed.
  """
  body = {
    "version": _VERSION,
    "step": step,
    "arrays": array_digests(state),
    "position": _text_digest(position),
    "metrics": dict(metrics),
  }
  return {**body, "seal": _text_digest(body)}


def is_whole(seal: object) -> bool:
  """Returns whether a seal is as `make` made it."""
  if not isinstance(seal, Mapping) or not isinstance(seal.get("arrays"), Mapping):
    return False
  return seal.get("seal") == _text_digest({name: value for name, value in seal.items() if name != "seal"})


def difference(seal: Mapping[str, Any], step: int, *, state: Any, position: Any) -> str:
  """Returns what in a checkpoint is not what was sealed, as part of a sentence; '' where all is.

  Args:
    seal: one that `is_whole`.
    step: number under which the checkpoint was found.
    state: pytree of numpy arrays, as read.
    position: The position in the training data, as read.
  """
  if seal["step"] != step:
    return f"it was written as step {seal['step']}"
  want, have = seal["arrays"], array_digests(state)
  wrong = [name for name in sorted(want.keys() | have.keys()) if want.get(name) != have.get(name)]
  if wrong:
    return f"{len(wrong)} of {len(want)} arrays, {wrong[0]} among them, are not those that were written"
  if seal["position"] != _text_digest(position):
    return "the position in the data is not the one that was written"
  return ""


def read_json(path: pathlib.Path, *, missing: object) -> Any:
  """Returns the content of a JSON file, or `missing` where there is none. BrokenError where it is damaged."""
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    return missing
  except ValueError as error:
    raise BrokenError(f"{path.parent.name}/{path.name} is no JSON") from error


def read(folder: pathlib.Path) -> dict[str, Any] | None:
  """Returns the seal of a checkpoint; None for one that was made without. BrokenError where it is damaged or lost."""
  seal = read_json(folder / ITEM / "metadata", missing=None)
  if seal is None:
    handlers = read_json(folder / "_CHECKPOINT_METADATA", missing=None)
    if not isinstance(handlers, dict) or "item_handlers" not in handlers:
      raise BrokenError("its list of contents is damaged")
    if (folder / ITEM).exists() or ITEM in handlers["item_handlers"]:
      raise BrokenError("its digests are missing")
    return None
  if not is_whole(seal):
    raise BrokenError("its digests are damaged")
  return seal


def _text_digest(value: object) -> str:
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
