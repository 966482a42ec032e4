"""The evaluation program: from a trained workdir and a data source to metrics, tables and a report."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ordseg import evaluate, input_pipeline, learner, parallel, report, run_info, train_loop
from ordseg.logging_utils import format_duration
from ordseg.types import Batch, Config
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
  """

  workdir: pathlib.Path
  config: Config
  num_raters: int
  num_channels: int
  data_info: Mapping[str, Any]


def load_run(workdir: str | pathlib.Path) -> Run:
  """Reads config.json.

  Raises:
    InputError: the folder holds no run.
  """
  info = run_info.read(workdir)
  return Run(pathlib.Path(workdir), info["config"], info["num_raters"], info["num_channels"], info["data"])


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
    params, found_step = checkpoints.restore_eval_params(step)
  params = parallel.replicate(params)

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
    progress=_progress(len(source), split),
  )
  out_dir = run.workdir / "eval" / "".join(c if c.isalnum() or c in "-." else "_" for c in split)
  if parallel.is_first_process():
    evaluate.write(result, out_dir, _describe(run, split, found_step))
    page = report.write_report(out_dir)
    print(report.text_summary(out_dir))
    print(f"report: {page}")
  return out_dir


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


def _progress(num_images: int, split: str) -> Callable[[int], None]:
  """Returns a function of the images done so far that says, now and then, how far the evaluation is."""
  del num_images, split
  return lambda done: None


__all__ = ["Run", "evaluate_run", "format_duration", "load_run"]
