"""Checkpoints of a run, through Orbax: asynchronous, atomic, the last few and the best.

On disk a checkpoint is the state as plain nested dicts of numpy arrays, so it can be read on any number of devices, and
without the optimiser that wrote it. Beside it lie the position in the training data, the metric of the validation at
that step if there was one, and a seal: digests of all three, written in the same atomic save and checked by whoever
reads. A save that is killed leaves a temporary folder, never a checkpoint that is not whole.
"""

import base64
import contextlib
import errno
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp

from ordseg import errors
from ordseg.errors import InputError, system_errors
from ordseg.training import orbax_noise, parallel, seals
from ordseg.training.state import TrainState
from ordseg.types import Params

FOLDER = "checkpoints"
DAMAGED_FOLDER = "damaged_checkpoints"  # where a training that goes on from an earlier one puts them aside

_UNREADABLE = "\0unreadable"  # in place of metrics that were written and cannot be read


class DamagedCheckpointError(InputError):
  """What a checkpoint's files hold is not what was written."""


class _LastAndBest:
  """Orbax preservation policy: the last `keep_last` checkpoints, and the `keep_best` best of all."""

  def __init__(self, metric: str, mode: str, keep_last: int, keep_best: int):
    self._metric, self._mode, self._keep_last, self._keep_best = metric, mode, keep_last, keep_best

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    """Returns, for each checkpoint in the order of their steps, whether it stays."""
    del context
    values = {c.step: v for c in checkpoints if (v := metric_value(c.metrics, self._metric)) is not None}
    kept = set(rank(values, self._mode)[: self._keep_best])
    kept.update(c.step for c in checkpoints if _UNREADABLE in (c.metrics or {}))  # it may have been the best
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


class _Manager(ocp.CheckpointManager):
  """Orbax's manager, which a damaged file of metrics does not keep from opening the other checkpoints."""

  def metrics(self, step: int) -> dict[str, float]:
    """Returns the metrics of a checkpoint: sealed ones, else, of checkpoints without a seal, those of Orbax's file."""
    folder = pathlib.Path(self.directory) / str(step)
    if not folder.exists():  # removed meanwhile
      return {}
    try:
      seal = seals.read(folder)
      found = seals.read_json(folder / "metrics" / "metrics", missing={}) if seal is None else seal["metrics"]
      return {name: float(value) for name, value in found.items()}
    except (ValueError, TypeError, AttributeError):
      return {_UNREADABLE: 1.0}


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
    orbax_noise.keep_out()
    with self._system_errors("open"):
      self._manager = _Manager(self._folder, options=options, item_names=("state", "iterator", seals.ITEM))
    self._told_unsealed = False

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()

  def close(self) -> None:
    """Waits for a running save and releases the folder."""
    with self._system_errors("write"):
      self._manager.close()

  def wait(self) -> None:
    """Waits until the last save is on disk."""
    with self._system_errors("write"):
      self._manager.wait_until_finished()

  def steps(self) -> list[int]:
    """Returns the steps at which there is a checkpoint, in order, damaged ones included."""
    listed = {int(path.name) for path in self._folder.glob("[0-9]*") if path.name.isdigit()}
    return sorted(listed | set(self._manager.all_steps()))

  def whole_steps(self) -> list[int]:
    """Returns the steps whose checkpoint is as it was written; reads them all."""
    return [step for step in self.steps() if not self._damage(step)]

  @property
  def latest_step(self) -> int | None:
    """The newest checkpoint's step, or None."""
    return max(self.steps(), default=None)

  @property
  def best_step(self) -> int | None:
    """The step of the best checkpoint that has a finite metric, or None."""
    ranked = rank(self.metrics(), self._mode)
    return ranked[0] if ranked else None

  def metrics(self) -> dict[int, float]:
    """Returns step -> metric, of the checkpoints that have a finite one."""
    found = {step: metric_value(self._manager.metrics(step), self._metric) for step in self.steps()}
    return {step: value for step, value in found.items() if value is not None}

  def save(self, state: TrainState, *, iterator_state: object, metric: float | None = None) -> None:
    """Saves in the background; returns when the state may be donated again. A step saved before is left as it is.

    Args:
      state: the training state; its step names the checkpoint.
      iterator_state: this process's position in the training data: bytes, or what JSON can hold.
      metric: value of the ranking metric at this step, if it was evaluated. NaN is stored and never the best.

    Raises:
      RuntimeError: Orbax did not save.
    """
    step = int(state.step)
    if step in self.steps():
      return
    tree = _to_dict(parallel.to_host(state))
    position = {"processes": [_encode(s) for s in parallel.gather_objects(iterator_state)]}
    metrics = {} if metric is None else {self._metric: metric}
    items = ocp.args.Composite(
      state=ocp.args.StandardSave(tree),
      iterator=ocp.args.JsonSave(position),
      **{seals.ITEM: ocp.args.JsonSave(seals.make(step, state=tree, position=position, metrics=metrics))},
    )
    with self._system_errors("write"):
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
      DamagedCheckpointError: it is not what was written.
      InputError: no such checkpoint, one of another network or optimiser, or one whose processes stood at different
        positions and were not as many as now.
    """
    items = self._read_asked_for(self.find(step))
    return _from_dict(template, items["state"], self._folder), self._position(items["iterator"])

  def set_damaged_aside(self) -> dict[int, str]:
    """Moves damaged checkpoints newer than the newest whole one into `DAMAGED_FOLDER`; all processes must call.

    Returns:
      Step -> what is wrong, of those that were moved.

    Raises:
      DamagedCheckpointError: none is whole. Nothing is moved then.
    """
    damaged = {}
    for step in reversed(self.steps()):
      reasons = [text for text in parallel.gather_objects(self._damage(step)) if text]
      if not reasons:
        break
      damaged[step] = reasons[0]
    else:
      if damaged:
        raise DamagedCheckpointError(
          f"no checkpoint is whole: {damaged[max(damaged)]}. Put back a copy of {self._folder}, or start anew in"
          " another workdir."
        )
    parallel.first_process_first(lambda: self._move(damaged) if parallel.is_first_process() else None)
    if damaged:
      self._manager.reload()
    return damaged

  def _move(self, steps: Iterable[int]) -> None:
    for step in steps:
      folder = self._folder.with_name(DAMAGED_FOLDER)
      folder.mkdir(exist_ok=True)
      taken = len(list(folder.glob(f"{step}*")))
      (self._folder / str(step)).rename(folder / (f"{step}-{taken}" if taken else str(step)))

  def find(self, step: int | str | None = None) -> int:
    """Resolves a step; does not read the checkpoint.

    Args:
      step: a number (or its digits), 'best', or 'last' or None for the newest.

    Raises:
      DamagedCheckpointError: which one is best is unknown, as metrics are damaged; names the whole ones.
      InputError: there is no such checkpoint; names those that there are.
    """
    self.wait()
    steps = self.steps()
    if not steps:
      raise InputError(f"no checkpoint in {self._folder}: has the run been trained?")
    if step in (None, "last"):
      return steps[-1]
    if step == "best":
      self._check_ranking(steps)
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
    state = self._read_asked_for(found)["state"]
    return state.get("ema_params") or state["params"], found

  def _check_ranking(self, steps: Sequence[int]) -> None:
    lost = [step for step in steps if _UNREADABLE in self._manager.metrics(step)]
    if lost:
      raise DamagedCheckpointError(
        f"it is unknown which checkpoint in {self._folder} is best: the metrics of step {_listed(lost)} are damaged;"
        f" {self._choice()}."
      )

  def _read_asked_for(self, step: int) -> Any:
    """Reads a checkpoint; where it is damaged, the error names those that are not."""
    try:
      return self._read(step)
    except DamagedCheckpointError as error:
      raise DamagedCheckpointError(f"{error}; {self._choice()}.") from error

  def _choice(self) -> str:
    whole = self.whole_steps()
    return f"whole are: {_listed(whole)}. Choose one of them by --step" if whole else "no other is whole"

  def _damage(self, step: int) -> str:
    try:
      self._read(step)
    except DamagedCheckpointError as error:
      return str(error)
    return ""

  def _read(self, step: int) -> Any:
    """Reads a checkpoint and holds it against its seal."""
    folder = self._folder / str(step)
    items = ocp.args.Composite(state=ocp.args.StandardRestore(), iterator=ocp.args.JsonRestore())
    try:
      seal = seals.read(folder)
      if step not in self._manager.all_steps():
        raise seals.BrokenError("marks of a finished save are missing")
      found = self._manager.restore(step, args=items)
      wrong = seal and seals.difference(seal, step, state=found["state"], position=found["iterator"])
    except Exception as error:  # whatever Orbax and what it stands on say of damaged files
      if (system := system_errors.find(error)) is not None:
        raise system from error
      if not folder.exists():
        raise InputError(f"the checkpoint of step {step} in {self._folder} was removed while it was read.") from error
      wrong = _first_line(error)
    if wrong:
      raise DamagedCheckpointError(f"the checkpoint of step {step} in {self._folder} is damaged ({wrong})")
    if seal is None and not self._told_unsealed:
      self._told_unsealed = True
      errors.note(f"the checkpoint of step {step} in {self._folder} carries no digests: damage would not be seen.")
    return found

  @contextlib.contextmanager
  def _system_errors(self, verb: str) -> Iterator[None]:
    """Gives errors of the system, wherever in Orbax's threads they arose, their own type and this folder's name."""
    try:
      yield
    except Exception as error:
      system = system_errors.find(error, more=(errno.ENOENT, errno.ENOTDIR, errno.EIO))
      if not isinstance(system, OSError):
        raise
      kind = system_errors.HangingError if verb == "write" else OSError  # Orbax's threads wait for the failed save
      raise kind(system.errno, f"cannot {verb} a checkpoint: {system.strerror}", str(self._folder)) from error

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


def _first_line(error: BaseException) -> str:
  text = " ".join(str(error).split())
  if isinstance(error, seals.BrokenError):
    return text
  return f"{type(error).__name__}: {text[:157] + '...' if len(text) > 160 else text}".rstrip(". ")


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


def _is_leaf(x: object) -> bool:
  return not isinstance(x, dict)


def _encode(position: object) -> Any:
  return {"base64": base64.b64encode(position).decode()} if isinstance(position, bytes) else {"json": position}


def _decode(saved: Mapping[str, Any]) -> Any:
  return base64.b64decode(saved["base64"]) if "base64" in saved else saved["json"]
