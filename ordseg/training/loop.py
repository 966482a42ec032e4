"""The training program: from a config and two data sources to a workdir that holds the run.

A workdir holds config.json, train_metrics.jsonl, compute.json, tensorboard/, checkpoints/ and .lock, which says who
trains. Whatever stops a run, the same call continues it from its last whole checkpoint, and ends at the same
parameters, bit by bit on the same devices.
"""

import contextlib
import dataclasses
import itertools
import pathlib
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ordseg import errors, input_pipeline, locks, losses, models, records, run_record
from ordseg.config import Config
from ordseg.errors import InputError, did_you_mean
from ordseg.evaluation import evaluator, from_config
from ordseg.input_pipeline import examples
from ordseg.models import sliding_window
from ordseg.progress import format_duration, say
from ordseg.training import compute_log, logs, memory, parallel
from ordseg.training.checkpoint import DAMAGED_FOLDER, FOLDER, Checkpoints
from ordseg.training.learner import Learner, make_learner
from ordseg.training.logs import MetricsLog, Speed
from ordseg.training.state import TrainState
from ordseg.training.step import Metrics
from ordseg.training.stop_signal import StopSignal
from ordseg.types import Panel, Params

LOCK = ".lock"
_SIZE_ON_DISK = 0.85  # of what a state takes in memory, at least: Orbax compresses
BIAS_EXAMPLES = 256  # training examples that the first output bias is estimated from

Validate = Callable[..., Mapping[str, Any]]  # (params, *, limit=None) -> nested metrics


@dataclasses.dataclass(frozen=True)
class Summary:
  """How a training ended.

  Attributes:
    state: the last state, as numpy arrays.
    best_step: the checkpoint with the best validation metric, or None.
    best_value: its metric, or None.
  """

  state: TrainState
  best_step: int | None
  best_value: float | None


def train(
  config: Config,
  *,
  train_source: input_pipeline.Source,
  validation_source: input_pipeline.Source,
  workdir: str | pathlib.Path,
  data_info: Mapping[str, object],
) -> Summary:
  """Trains, or continues, the run in `workdir` up to ``config.train.num_steps``. All processes must call.

  Args:
    config: a whole config; see docs/configs.md.
    train_source: training examples.
    validation_source: examples that choose the best checkpoint.
    workdir: folder of the run, on storage that all processes see.
    data_info: what identifies the data set, at least its ``fingerprint``; written to config.json.

  Returns:
    The last state and the best checkpoint.

  Raises:
    InputError: the config, the data or the workdir do not fit, or the loss is no longer finite (the checkpoints are).
    SystemExit: 128 + signal after SIGTERM or SIGINT, once the running step is saved.
  """
  workdir = pathlib.Path(workdir)
  panel = _read_panel(train_source, validation_source)
  _check_axes(config, panel)
  batch_size = parallel.per_process_batch_size(config.train.batch_size)
  info = run_record.describe(
    config,
    data_info=data_info,
    panel=panel,
    image_info=examples.image_info(train_source),
    num_examples={"train": len(train_source), "validation": len(validation_source)},
  )
  learner = make_learner(config, panel)
  if not (workdir / run_record.FILE).exists():  # before anything is written: a slip in the path must not start a run
    models.read_encoder(config.model, panel)
  iterator = input_pipeline.train_iterator(
    train_source,
    data_config=config.data,
    preprocess_config=config.preprocess,
    augment_config=config.augment,
    per_process_batch_size=batch_size,
    seed=config.seed,
    process_index=parallel.process_index(),
    process_count=parallel.process_count(),
    label_weights=losses.LOSSES[config.loss.name].label_weights,
  )
  memory.check_training(config, learner, panel)
  with parallel.together(), contextlib.ExitStack() as stack:
    changed = parallel.first_process_first(lambda: _open_workdir(workdir, config, learner, info, stack))
    for name, change in changed.items():
      _say(f"note: this run was started with another {name}: {change}")
    checkpoints = stack.enter_context(open_checkpoints(config, workdir, read_only=False))
    host_state = _start_state(learner, checkpoints, iterator, train_source)
    first_step = int(host_state.step)
    log = contextlib.closing(MetricsLog(workdir, step=first_step)) if parallel.is_first_process() else None
    loop = _Loop(
      config=config,
      learner=learner,
      validate=_make_validate(config, learner, validation_source, panel),
      checkpoints=checkpoints,
      batches=stack.enter_context(
        input_pipeline.prefetch(iterator, parallel.shard_batch, config.data.prefetch_batches)
      ),
      stop_signal=stack.enter_context(StopSignal()),
      state=parallel.replicate(host_state),
      step=first_step,
      log=None if log is None else stack.enter_context(log),
      compute=None if log is None else compute_log.ComputeLog(workdir, step=first_step, parameters=host_state.params),
    )
    loop.run()
    checkpoints.wait()
    best_step = checkpoints.best_step
    return Summary(
      state=parallel.to_host(loop.state),
      best_step=best_step,
      best_value=None if best_step is None else checkpoints.metrics()[best_step],
    )


def _open_workdir(
  workdir: pathlib.Path, config: Config, learner: Learner, info: Mapping[str, object], stack: contextlib.ExitStack
) -> dict[str, str]:
  """Makes sure that this is the one training here, and that it can write; see `run_info.open_run`."""
  if parallel.is_first_process():
    workdir.mkdir(parents=True, exist_ok=True)
    stack.enter_context(locks.hold(workdir / LOCK, what=f"trains in {workdir}", wait=False))
    errors.check_writable(
      workdir,
      num_bytes=_missing_bytes(workdir, config, learner),
      what="the checkpoints (config.train.keep_last + keep_best, and one while it is written)",
    )
  return run_record.open_run(workdir, info, write=parallel.is_first_process())


def _missing_bytes(workdir: pathlib.Path, config: Config, learner: Learner) -> int:
  """Returns how much more the checkpoints will take than what is there, for all that will be kept."""
  size = memory.num_bytes(learner.template())
  wanted = size * (config.train.keep_last + config.train.keep_best + 1)
  present = sum(path.stat().st_size for path in (workdir / FOLDER).rglob("*") if path.is_file())
  return max(0, int(_SIZE_ON_DISK * wanted) - present)


def open_checkpoints(config: Config, workdir: str | pathlib.Path, *, read_only: bool = True) -> Checkpoints:
  """Opens the checkpoints of a run as its config ranks and keeps them."""
  return Checkpoints(
    workdir,
    metric=config.train.best_metric,
    mode=config.train.best_mode,
    keep_last=config.train.keep_last,
    keep_best=config.train.keep_best,
    read_only=read_only,
  )


def _read_panel(train_source: input_pipeline.Source, validation_source: input_pipeline.Source) -> Panel:
  panels = [examples.read_panel(source) for source in (train_source, validation_source)]
  if panels[0] != panels[1]:
    raise InputError(f"the training split has {panels[0]}, the validation split {panels[1]}: they must agree.")
  if len(validation_source) < parallel.process_count():
    raise InputError(
      f"the validation split has {len(validation_source)} examples for {parallel.process_count()} processes: give each"
      " at least one, by a larger split (config.data.validation_split) or fewer processes."
    )
  return panels[0]


def _check_axes(config: Config, panel: Panel) -> None:
  if models.num_axes(config.model) != panel.num_axes:
    what = {2: "images", 3: "volumes"}[panel.num_axes]
    fits = next(name for name, network in models.NETWORKS.items() if network.num_axes == panel.num_axes)
    raise InputError(
      f"config.model.name={config.model.name!r} does not fit: the data are {what}. Use {fits!r}"
      f"{', or a data set of slices' if what == 'volumes' else ''}."
    )
  if panel.num_axes == 3 and not losses.LOSSES[config.loss.name].for_volumes:
    raise InputError(f"config.loss.name={config.loss.name!r} looks at neighbours within an image; it takes no volumes.")


def _start_state(
  learner: Learner, checkpoints: Checkpoints, iterator: Any, source: input_pipeline.Source
) -> TrainState:
  """Returns the state to start from, on the host, and moves the iterator there."""
  for step, damage in checkpoints.set_damaged_aside().items():
    _say(f"warning: {damage}; it lies in {DAMAGED_FOLDER}/{step} now, and the run goes on from the one before it")
  if checkpoints.latest_step is None:
    first = learner.create(input_pipeline.level_counts(source, limit=BIAS_EXAMPLES))
    size = sum(p.size for p in jax.tree.leaves(first.params))
    _say(f"starting: {size:,} parameters, {jax.device_count()} device(s), {parallel.process_count()} process(es)")
    return parallel.to_host(first)
  restored, position = checkpoints.restore(learner.template())
  iterator.set_state(position)
  _say(f"continuing from step {int(restored.step)}")
  return restored


def _make_validate(config: Config, learner: Learner, source: input_pipeline.Source, panel: Panel) -> Validate:
  """Returns (params, limit=None) -> metrics of the validation split, or of its first `limit` batches."""

  windows = from_config.windows(config)

  def validate(params: Params, limit: int | None = None) -> Mapping[str, Any]:
    predict = sliding_window.windowed(lambda images: learner.predict(params, images), windows)
    batches = input_pipeline.eval_batches(
      source,
      preprocess_config=config.preprocess,
      batch_size=config.eval.batch_size,
      process_index=parallel.process_index(),
      process_count=parallel.process_count(),
      # The truth, where the data have it, is large; it is read only if it decides.
      keep=("spacing", *["level_probs"] * config.train.best_metric.startswith("oracle.")),
    )
    batches = itertools.islice(batches, limit)
    results = evaluator.evaluate_classes(
      lambda batch: predict(np.asarray(batch["image"])),
      batches,
      num_raters=panel.num_raters,
      num_classes=panel.num_classes,
      **from_config.options(config.eval),
      gather=parallel.gather_across_processes,
    )
    return evaluator.mean_metrics(results)

  return validate


def find_metric(metrics: Mapping[str, object], path: str) -> float:
  """Looks a metric up by its dotted path in the nested dicts of metrics.json.

  Returns:
    The metric; NaN where it is undefined (None).

  Raises:
    InputError: no number has that path; names the nearest.
  """
  numbers = records.numbers(metrics)
  if path in numbers:
    return numbers[path]
  if records.leaves(metrics).get(path, False) is None:
    return float("nan")
  raise InputError(
    f"config.train.best_metric={path!r} is not a metric.{did_you_mean(path, numbers)} See docs/method.md."
  )


@dataclasses.dataclass
class _Loop:
  """The loop, and what changes in it."""

  config: Config
  learner: Learner
  validate: Validate
  checkpoints: Checkpoints
  batches: input_pipeline.Prefetcher
  stop_signal: StopSignal
  state: TrainState
  step: int
  log: MetricsLog | None  # on the first process
  compute: compute_log.ComputeLog | None  # likewise
  window: list[Metrics] = dataclasses.field(default_factory=list)  # of the steps since the last row, on the device

  def run(self) -> None:
    """Trains to the last step, or until a signal."""
    train = self.config.train
    if self.step >= train.num_steps:
      _say(f"nothing to do: the run has reached step {self.step} of {train.num_steps}")
      return
    speed = Speed(first_step=self.step, num_steps=train.num_steps)
    with speed.pause():  # on one batch, so that a slip ends the run now and not hours later
      find_metric(self.validate(self.state.eval_params, limit=1), train.best_metric)
    first_step = self.step + 1
    while self.step < train.num_steps:
      self.state, metrics = self.learner.train_step(self.state, next(self.batches))
      self.window.append(metrics)
      self.step += 1
      if self.step == first_step:
        jax.block_until_ready(metrics)
        seconds = speed.first_step_done(self.step, self.batches.wait_seconds)
        _say(f"first step done after {seconds:.1f} s, compilation included")
      self._after_step(speed)

  def _after_step(self, speed: Speed) -> None:
    """Logs, evaluates, saves and stops where it is time to.

    A row is written at each of these, so that a continued run has the same rows as one that never stopped.
    """
    train, is_last = self.config.train, self.step == self.config.train.num_steps
    log_due = is_last or self.step % train.log_every_steps == 0
    stop = not is_last and self.stop_signal.received(ask_others=log_due)
    eval_due = is_last or self.step % train.eval_every_steps == 0  # also when stopping: nobody would make up for it
    save_due = stop or eval_due or self.step % train.checkpoint_every_steps == 0
    if not (log_due or save_due):
      return
    row: dict[str, Any] = self._read_window()
    rates = speed.report(self.step, batch_size=train.batch_size, wait_seconds=self.batches.wait_seconds)
    _say(logs.progress_line(self.step, train.num_steps, row["loss"], rates))
    row.update(rates)
    with speed.pause():
      metric = self._evaluate(row) if eval_due else None
      if self.log is not None:
        self.log.write(self.step, row, on_disk=save_due)
      if save_due:
        self.checkpoints.save(self.state, iterator_state=self.batches.get_state(), metric=metric)
      if self.compute is not None:
        self.compute.write(self.step)
    if stop:
      self._stop()

  def _read_window(self) -> dict[str, Any]:
    """Returns the means since the last row, and makes sure that every step of them was finite."""
    window = jax.device_get(self.window)
    self.window = []
    for number, metrics in enumerate(window, self.step - len(window) + 1):
      if not metrics["finite"]:
        raise InputError(self._not_finite(number, float(metrics["loss"])))
    weights = np.asarray([m["weight_sum"] for m in window], np.float64)
    loss = np.asarray([m["loss"] for m in window], np.float64)
    return {
      "loss": float(np.sum(loss * weights) / max(weights.sum(), 1.0)),
      "grad_norm": float(np.mean([m["grad_norm"] for m in window])),
      "learning_rate": float(window[-1]["learning_rate"]),
      "valid_pixels": float(weights.sum()),
    }

  def _not_finite(self, step: int, loss: float) -> str:
    self.checkpoints.wait()
    latest = self.checkpoints.latest_step
    kept = "there is no checkpoint yet" if latest is None else f"the checkpoint of step {latest} is good and kept"
    now = self.config.optim
    return (
      f"stopped: loss ({loss:g}), gradient or update of step {step} is not finite, though all images were; {kept}. In a"
      f" new workdir, try a lower config.optim.learning_rate (now {now.learning_rate:g}), more"
      f" config.optim.warmup_steps (now {now.warmup_steps}), or config.optim.clip_norm=1 (now {now.clip_norm:g})."
    )

  def _evaluate(self, row: dict[str, Any]) -> float:
    """Evaluates on the validation split; adds the metrics to the row and returns the one that ranks checkpoints."""
    train, start = self.config.train, time.monotonic()
    metrics = self.validate(self.state.eval_params)
    value = find_metric(metrics, train.best_metric)
    row["validation"] = metrics
    seconds = format_duration(time.monotonic() - start)
    _say(f"step {self.step}: validation {train.best_metric} {value:.5f} ({seconds})")
    return value

  def _stop(self) -> None:
    self.checkpoints.wait()
    number = self.stop_signal.number
    name = signal.Signals(number).name if number else "a signal to another process"
    _say(f"stopped by {name} at step {self.step}: a checkpoint is written, the same command continues from here")
    raise SystemExit(128 + (number or signal.SIGTERM))


def _say(message: str) -> None:
  if parallel.is_first_process():
    say(message)
