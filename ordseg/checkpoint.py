"""Checkpoints of a run, through Orbax: asynchronous, atomic, the last few and the best.

On disk a checkpoint is the state as plain nested dicts of numpy arrays, so it can be read on any number of devices, and
without the optimiser that wrote it. Beside it lie the position in the training data, and the metric of the validation
at that step if there was one. A save that is killed leaves a temporary folder, never a checkpoint that is not whole.
"""

import base64
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp

from ordseg import parallel
from ordseg.state import TrainState
from ordseg.types import Params
from ordseg.validate import InputError

FOLDER = "checkpoints"


class _LastAndBest:
  """Orbax preservation policy: the last `keep_last` checkpoints, and the `keep_best` best of all."""

  def __init__(self, metric: str, mode: str, keep_last: int, keep_best: int):
    self._metric, self._mode, self._keep_last, self._keep_best = metric, mode, keep_last, keep_best

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    """Returns, for each checkpoint in the order of their steps, whether it stays."""
    del context
    values = {c.step: v for c in checkpoints if (v := metric_value(c.metrics, self._metric)) is not None}
    kept = set(rank(values, self._mode)[: self._keep_best])
    kept.update(c.step for c in checkpoints[-self._keep_last :])
    return [c.step in kept for c in checkpoints]


def metric_value(metrics: Mapping[str, float] | None, metric: str) -> float | None:
  """Returns the metric of a checkpoint, or None where it has none or it is not finite."""
  value = (metrics or {}).get(metric)
  return float(value) if value is not None and math.isfinite(value) else None


def rank(values: Mapping[int, float], mode: str) -> list[int]:
  """Returns steps from best to worst; of equal ones the earlier step is better. `mode`: min or max."""
  sign = 1.0 if mode == "min" else -1.0
  return sorted(values, key=lambda step: (sign * values[step], step))


class Checkpoints:
  """The checkpoints of one workdir. All processes must make the same calls; use it as a context manager."""

  def __init__(
    self,
    workdir: str | pathlib.Path,
    *,
    metric: str = "",
    mode: str = "min",
    keep_last: int = 2,
    keep_best: int = 1,
    read_only: bool = False,
  ):
    """Opens the checkpoints of `workdir`.

    Args:
      workdir: folder of the run.
      metric: name of the validation metric that ranks checkpoints.
      mode: whether the best is the min or the max.
      keep_last: how many of the newest checkpoints to keep, >= 1.
      keep_best: how many of the best to keep beyond these.
      read_only: for reading only, safe while another program writes there. Otherwise this is the one program that
        writes, and what killed saves left behind is removed.
    """
    self._folder = pathlib.Path(workdir).absolute() / FOLDER
    self._metric, self._mode = metric, mode
    options = ocp.CheckpointManagerOptions(
      preservation_policy=_LastAndBest(metric, mode, keep_last, keep_best),
      best_fn=lambda _: 0.0,  # only so that Orbax stores the metrics; the policy above does the ranking
      cleanup_tmp_directories=not read_only,
      create=not read_only,
      read_only=read_only,
    )
    self._manager = ocp.CheckpointManager(self._folder, options=options, item_names=("state", "iterator"))

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()

  def close(self) -> None:
    """Waits for a running save and releases the folder."""
    self._manager.close()

  def wait(self) -> None:
    """Waits until the last save is on disk."""
    self._manager.wait_until_finished()

  def steps(self) -> list[int]:
    """Returns the steps at which there is a whole checkpoint, in order."""
    return sorted(self._manager.all_steps())

  @property
  def latest_step(self) -> int | None:
    """The newest checkpoint's step, or None."""
    return self._manager.latest_step()

  @property
  def best_step(self) -> int | None:
    """The step of the best checkpoint that has a finite metric, or None."""
    ranked = rank(self.metrics(), self._mode)
    return ranked[0] if ranked else None

  def metrics(self) -> dict[int, float]:
    """Returns step -> metric, of the checkpoints that have a finite one."""
    found = {step: metric_value(self._manager.metrics(step), self._metric) for step in self.steps()}
    return {step: value for step, value in found.items() if value is not None}

  def save(self, state: TrainState, *, iterator_state: Any, metric: float | None = None) -> None:
    """Saves in the background; returns when the state may be donated again. A step saved before is left as it is.

    Args:
      state: the training state; its step names the checkpoint.
      iterator_state: this process's position in the training data: bytes, or what JSON can hold.
      metric: value of the ranking metric at this step, if it was evaluated. NaN is stored and never the best.

    Raises:
      RuntimeError: Orbax did not save.
    """
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    items = ocp.args.Composite(
      state=ocp.args.StandardSave(_to_dict(parallel.to_host(state))),
      iterator=ocp.args.JsonSave({"processes": [_encode(s) for s in parallel.gather_objects(iterator_state)]}),
    )
    metrics = {} if metric is None else {self._metric: metric}
    if not self._manager.save(step, args=items, metrics=metrics, force=True):
      raise RuntimeError(f"Orbax did not save step {step} in {self._folder}.")

  def restore(self, template: TrainState, step: int | None = None) -> tuple[TrainState, Any]:
    """Reads a checkpoint, written on any number of devices.

    Args:
      template: a state of the same network and optimiser; arrays or shapes.
      step: which one; the newest by default.

    Returns:
      The state as numpy arrays, and this process's position in the training data.

    Raises:
      InputError: no such checkpoint, one of another network or optimiser, or one whose processes stood at different
        positions and were not as many as now.
    """
    items = self._read(self.find(step))
    return _from_dict(template, items["state"], self._folder), self._position(items["iterator"])

  def find(self, step: int | str | None = None) -> int:
    """Resolves a step.

    Args:
      step: a number (or its digits), 'best', or 'last' or None for the newest.

    Raises:
      InputError: there is no such checkpoint; names those that there are.
    """
    steps = self.steps()
    if not steps:
      raise InputError(f"no checkpoint in {self._folder}: has the run been trained?")
    if step in (None, "last"):
      return steps[-1]
    if step == "best":
      if self.best_step is None:
        raise InputError(f"no checkpoint in {self._folder} has a finite {self._metric}; there are {_listed(steps)}.")
      return self.best_step
    if not (isinstance(step, int) or str(step).isdigit()):
      raise InputError(f"step {step!r} must be a number, 'best' or 'last'.")
    if int(step) not in steps:
      raise InputError(f"no checkpoint of step {step} in {self._folder}; there are {_listed(steps)}.")
    return int(step)

  def restore_eval_params(self, step: int | str | None = None) -> tuple[Params, int]:
    """Reads the parameters to evaluate with; see `find` for `step` and the errors.

    Returns:
      Nested dicts of numpy arrays, and their step.
    """
    found = self.find(step)
    state = self._read(found)["state"]
    return state.get("ema_params") or state["params"], found

  def _read(self, step: int) -> Any:
    items = ocp.args.Composite(state=ocp.args.StandardRestore(), iterator=ocp.args.JsonRestore())
    return self._manager.restore(step, args=items)

  def _position(self, saved: Mapping[str, Any]) -> Any:
    positions = saved["processes"]
    if len(positions) == parallel.process_count():
      return _decode(positions[parallel.process_index()])
    # The input pipeline reads in lockstep: as long as all stood at the same place, any number of processes can go on.
    if any(position != positions[0] for position in positions):
      raise InputError(
        f"the checkpoint in {self._folder} was written by {len(positions)} processes at different places in the data;"
        " continue with as many."
      )
    return _decode(positions[0])


def _listed(steps: Sequence[int]) -> str:
  return ", ".join(map(str, steps))


def _to_dict(state: TrainState) -> dict[str, Any]:
  tree = flax.serialization.to_state_dict(state)
  return jax.tree.map(np.asarray, {name: value for name, value in tree.items() if value is not None})


def _from_dict(template: TrainState, tree: dict[str, Any], folder: pathlib.Path) -> TrainState:
  want = jax.tree.map(np.shape, flax.serialization.to_state_dict(template), is_leaf=_is_leaf)
  have = jax.tree.map(np.shape, {"ema_params": None, **tree}, is_leaf=_is_leaf)
  if want != have:
    raise InputError(f"the checkpoint in {folder} is of another network or optimiser than the config describes.")
  restored: Any = flax.serialization.from_state_dict(template, {"ema_params": None, **tree})
  return restored


def _is_leaf(x: Any) -> bool:
  return not isinstance(x, dict)


def _encode(position: Any) -> Any:
  return {"base64": base64.b64encode(position).decode()} if isinstance(position, bytes) else {"json": position}


def _decode(saved: Mapping[str, Any]) -> Any:
  return base64.b64decode(saved["base64"]) if "base64" in saved else saved["json"]
