"""``ordseg evaluate``: from a trained workdir and a data source to metrics, tables and a report."""

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ordseg import errors, input_pipeline, run_record
from ordseg.cli import data_sets, flags
from ordseg.evaluation import evaluator, from_config
from ordseg.evaluation import folder as evaluation_folder
from ordseg.models import sliding_window
from ordseg.prediction import predictor as predictors
from ordseg.prediction.predictor import PredictOptions, Predictor
from ordseg.progress import Progress
from ordseg.reporting import report
from ordseg.training import parallel


def evaluate_run(
  workdirs: Sequence[str | pathlib.Path],
  options: PredictOptions,
  *,
  source: input_pipeline.Source,
  split: str,
  data_info: Mapping[str, object],
) -> list[pathlib.Path]:
  """Evaluates a run, or several as an ensemble, and writes ``<first workdir>/eval/<split>/``. All processes must call.

  Args:
    workdirs: of the runs.
    options: what to predict with; anything but the plain way is added to the folder's name.
    source: the examples of `split`.
    split: its name; characters that do not belong in a folder name become ``_``.
    data_info: of the data set that `source` belongs to.

  Returns:
    The folder written to; one per class, ``<split>-<class>``, where there are several.

  Raises:
    InputError: another data set than the run was trained on, or what `predictor.load` says.
  """
  predictor = predictors.load(workdirs, options)
  run = predictor.run
  data_sets.check_same(run, data_info)
  name = _folder(split, options, len(workdirs))
  suffixes = [f"-{one}" if one else "" for one in evaluation_folder.names_of(run.class_names)]
  out_dirs = [run.workdir / "eval" / f"{name}{suffix}" for suffix in suffixes]
  if parallel.is_first_process():
    errors.check_writable(run.workdir / "eval")
    for out_dir in out_dirs:
      evaluation_folder.sweep(out_dir)
  predict = sliding_window.windowed(predictor.predict, from_config.windows(run.config))
  results = evaluator.evaluate_classes(
    lambda batch: predict(np.asarray(batch["image"])),
    input_pipeline.eval_batches(
      source,
      preprocess_config=run.config.preprocess,
      batch_size=run.config.eval.batch_size,
      process_index=parallel.process_index(),
      process_count=parallel.process_count(),
      keep=("level_probs", "spacing"),
    ),
    num_raters=run.panel.num_raters,
    num_classes=run.panel.num_classes,
    **from_config.options(run.config.eval),
    gather=parallel.gather_across_processes,
    progress=Progress(split, "images", len(source) // parallel.process_count()),
  )
  about = _describe(predictor, workdirs, options, split, data_info)
  if parallel.is_first_process():
    _write(results, out_dirs, [{**about, **({"class": label} if label else {})} for label in run.class_names])
  return out_dirs


def _write(
  results: Sequence[evaluator.EvalResult], out_dirs: Sequence[pathlib.Path], infos: Sequence[Mapping[str, object]]
) -> None:
  """Writes the folders of all classes, with their reports; none replaces its former one before all are whole."""
  with contextlib.ExitStack() as stack:
    for result, out_dir, info in zip(results, out_dirs, infos, strict=True):
      folder = stack.enter_context(evaluation_folder.replacing(out_dir))
      evaluator.write_files(result, folder, info)
      report.write_report(folder)
  for out_dir in out_dirs:
    print(report.text_summary(out_dir))
    print(f"report: {out_dir / 'report.html'}")


def _folder(split: str, options: PredictOptions, num_runs: int) -> str:
  return evaluation_folder.name_of(split + options.label(num_runs))


def _describe(
  predictor: Predictor,
  workdirs: Sequence[str | pathlib.Path],
  options: PredictOptions,
  split: str,
  data_info: Mapping[str, object],
) -> dict[str, Any]:
  run = predictor.run
  names = {"raters": data_info["raters"]} if data_info.get("raters") else {}  # runs of earlier versions lack them
  plain_way = len(workdirs) == 1 and not options.label()
  return {
    "split": split,
    "step": predictor.steps[0],
    "data": {**run.data_info, **names},
    "model": {"head": run.config.model.head, "loss": run.config.loss.name, "config": run_record.plain(run.config)},
    "versions": run_record.versions(),
    **({} if plain_way else {"predicted_by": {"workdirs": [str(w) for w in workdirs], "steps": list(predictor.steps)}}),
    **({} if plain_way else {"flips": options.flips, "dropout_samples": options.dropout_samples}),
    **_recalibration(predictor, options, split, len(workdirs)),
  }


def _recalibration(predictor: Predictor, options: PredictOptions, split: str, num_runs: int) -> dict[str, Any]:
  """What the report of a recalibrated evaluation must know: the map, and the folder of the evaluation without it."""
  if predictor.recalibration is None:
    return {}
  before = _folder(split, options.uncalibrated(), num_runs)
  about = {key: value for key, value in predictor.recalibration.items() if key != "parameters"}
  return {"recalibration": {**about, "named": options.recalibration, "before": before}}


def run(args: argparse.Namespace, clone: pathlib.Path | None = None) -> None:
  """Opens the run's data set, evaluates the checkpoint and prints the summary.

  Args:
    args: of the command line.
    clone: folder with the builders; see `data_sets.builders`.
  """
  with errors.one_line_errors():
    first = predictors.load_run(args.workdir[0])
    parallel.setup(first.config.parallel)
    package = data_sets.builders(clone)
    builder = data_sets.open_builder(package, first, data_dir=args.data_dir, manual_dir=args.manual_dir)
    evaluate_run(
      args.workdir,
      PredictOptions(args.step, args.flips, args.dropout_samples, args.recalibration),
      source=package.data_source(builder, args.split),
      split=args.split,
      data_info=package.info(builder),
    )


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("evaluate", sys.argv[1:] if argv is None else argv))
