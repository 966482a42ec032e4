"""The evaluation program: from a trained workdir and a data source to metrics, tables and a report."""

import dataclasses
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ordseg import evaluate, input_pipeline, learner, parallel, report, run_info, train_loop
from ordseg.logging_utils import format_duration
from ordseg.types import Batch, Config, Params
from ordseg.validate import InputError


@dataclasses.dataclass(frozen=True)
class Run:
  """What a workdir's config.json says.

  Attributes:
    workdir: folder of the run.
    config: the resolved config it was trained with.
    num_raters: R.
    num_channels: C of the images.
    data_info: name, version and fingerprint of the data set.
    versions: of the packages it was trained with.
  """

  workdir: pathlib.Path
  config: Config
  num_raters: int
  num_channels: int
  data_info: Mapping[str, Any]
  versions: Mapping[str, str]


def load_run(workdir: str | pathlib.Path) -> Run:
  """Reads config.json.

  Raises:
    InputError: the folder holds no run.
  """
  info = run_info.read(workdir)
  return Run(
    workdir=pathlib.Path(workdir),
    config=info["config"],
    num_raters=info["num_raters"],
    num_channels=info["num_channels"],
    data_info=info["data"],
    versions=info["versions"],
  )


def evaluate_run(
  run: Run, *, source: input_pipeline.Source, split: str, step: str | int, data_info: Mapping[str, Any]
) -> pathlib.Path:
  """Evaluates one checkpoint on one split and writes ``<workdir>/eval/<split>/``. All processes must call.

  Args:
    run: from `load_run`.
    source: the examples of `split`.
    split: its name; characters that do not belong in a folder name become ``_``.
    step: a checkpoint's step, 'best' or 'last'.
    data_info: of the data set that `source` belongs to.

  Returns:
    The folder written to.

  Raises:
    InputError: another data set than the run was trained on, or no such checkpoint.
  """
  if data_info["fingerprint"] != run.data_info["fingerprint"]:
    raise InputError(
      f"{run.workdir} was trained on {_named(run.data_info)}, but the data set here is {_named(data_info)}: "
      "their splits may overlap. Point --data_dir or --manual_dir to the data of the training."
    )
  net = learner.make_learner(run.config, num_raters=run.num_raters, num_channels=run.num_channels)
  with train_loop.open_checkpoints(run.config, run.workdir) as checkpoints:
    host_params, found_step = checkpoints.restore_eval_params(step)
  _check_fits(host_params, net, run)
  params = parallel.replicate(host_params)

  def predict(batch: Batch) -> np.ndarray:
    return net.predict(params, np.asarray(batch["image"]))

  result = evaluate.evaluate(
    predict,
    input_pipeline.eval_batches(
      source,
      preprocess_config=run.config.preprocess,
      batch_size=run.config.eval.batch_size,
      process_index=parallel.process_index(),
      process_count=parallel.process_count(),
    ),
    num_raters=run.num_raters,
    num_bins=run.config.eval.num_bins,
    gather=parallel.gather_across_processes,
    progress=_Progress(len(source) // parallel.process_count(), split),
  )
  out_dir = run.workdir / "eval" / "".join(c if c.isalnum() or c in "-." else "_" for c in split)
  if parallel.is_first_process():
    evaluate.write(result, out_dir, _describe(run, split, found_step))
    page = report.write_report(out_dir)
    print(report.text_summary(out_dir))
    print(f"report: {page}")
  return out_dir


def _check_fits(params: Params, net: learner.Learner, run: Run) -> None:
  """Raises InputError where a checkpoint's parameters are not those of the network that the config describes now."""
  want = jax.eval_shape(lambda: net.create(np.ones(run.num_raters + 1))).params
  if jax.tree.map(np.shape, want) != jax.tree.map(np.shape, params):
    raise InputError(
      f"the checkpoint in {run.workdir} holds another network than its config.json describes to this version of ordseg"
      f" (trained with {run.versions.get('ordseg', 'an unknown version')})."
    )


def _named(data_info: Mapping[str, Any]) -> str:
  return f"{data_info.get('builder')} {data_info.get('version')} ({data_info['fingerprint'][:12]})"


def _describe(run: Run, split: str, step: int) -> dict[str, Any]:
  config = run_info.plain(run.config)
  return {
    "split": split,
    "step": step,
    "data": dict(run.data_info),
    "model": {"head": run.config.model.head, "loss": run.config.loss.name, "config": config},
    "versions": run_info.versions(),
  }


class _Progress:
  """Says how far an evaluation is and how long it will take; a line at most every few seconds."""

  _SECONDS_BETWEEN_LINES = 10.0

  def __init__(self, num_images: int, split: str):
    self._num_images, self._split = num_images, split
    self._start = self._last = time.monotonic()

  def __call__(self, num_done: int) -> None:
    now = time.monotonic()
    if now - self._last < self._SECONDS_BETWEEN_LINES:
      return
    self._last = now
    left = (now - self._start) / num_done * (self._num_images - num_done)
    print(f"{self._split}: {num_done}/{self._num_images} images | ETA {format_duration(left)}", flush=True)
