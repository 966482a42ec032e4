"""Evaluates a trained workdir: metrics.json, per_image.csv, report.html and figures under <workdir>/eval/<split>/.

  python run_eval.py --workdir=runs/mine --split=test
  python run_eval.py --workdir=runs/mine --split=validation --step=best
  python run_eval.py --workdir=runs/seed0,runs/seed1,runs/seed2 --flips
  python run_eval.py --workdir=runs/mine --recalibration=temperature

The config, the data set and the preprocessing come from the workdir. Where the data have moved since the training,
say so with --data_dir or --manual_dir.
"""

from ordseg.errors import interrupts

interrupts.leave_at_once()  # Ctrl-C during the slow imports

from collections.abc import Sequence

from absl import app, flags, logging

import data
from ordseg.cli import evaluate, data_sets
from ordseg.training import parallel
from ordseg.prediction import predictor
from ordseg import errors

_WORKDIR = flags.DEFINE_list("workdir", None, "Folder of a run that run_train.py wrote; several make an ensemble.")
_SPLIT = flags.DEFINE_string("split", "test", "Split to evaluate; TFDS slices such as test[:10%] work.")
_STEP = flags.DEFINE_string("step", "best", "Checkpoint: a step, 'best' (by config.train.best_metric) or 'last'.")
_FLIPS = flags.DEFINE_bool("flips", False, "Average over the mirror images (test-time augmentation).")
_DROPOUT_SAMPLES = flags.DEFINE_integer("dropout_samples", 0, "Average over this many passes with dropout.", 0)
_RECALIBRATION = flags.DEFINE_string("recalibration", "", "Method that ordseg.recalibrate fitted, or its file.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where built data sets live now, if not where config.json says.")
_MANUAL_DIR = flags.DEFINE_string(
  "manual_dir", None, "Where the raw files are now, if the data set must be built again."
)
flags.mark_flag_as_required("workdir")


def main(argv: Sequence[str]) -> None:
  """Opens the run's data set, evaluates the checkpoint and prints the summary."""
  logging.set_verbosity(logging.ERROR)  # the libraries' own progress is not the user's
  with errors.one_line_errors():
    if argv[1:]:
      raise errors.InputError(f"unexpected arguments {' '.join(argv[1:])!r}; see --help")
    workdirs = _WORKDIR.value or []
    run = predictor.load_run(workdirs[0])
    parallel.setup(run.config.parallel)
    builder = data_sets.open_builder(data, run, data_dir=_DATA_DIR.value, manual_dir=_MANUAL_DIR.value)
    evaluate.evaluate_run(
      workdirs,
      predictor.How(_STEP.value, _FLIPS.value, _DROPOUT_SAMPLES.value, _RECALIBRATION.value),
      source=data.data_source(builder, _SPLIT.value),
      split=_SPLIT.value,
      data_info=data.info(builder),
    )


if __name__ == "__main__":
  app.run(main, flags_parser=errors.one_line(flags.FLAGS, flags.Error))
