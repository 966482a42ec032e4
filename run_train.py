"""Trains a segmentation network on the masks of several raters.

  python run_train.py --config=configs/quickstart.py --workdir=runs/mine
  python run_train.py --config=configs/quickstart.py --workdir=runs/mine --config.loss.alpha=0.5 --config.seed=1
  python run_train.py --config=configs/quickstart.py:baseline --workdir=runs/baseline

configs/default.py lists every field with its unit and allowed values. A run continues where its workdir stands; the
workdir then holds config.json, checkpoints/, train_metrics.jsonl and TensorBoard events. Next: run_eval.py.
"""

from ordseg.errors import interrupts

interrupts.leave_at_once()  # Ctrl-C during the slow imports

from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

import data
from configs import default
from ordseg import config_check, errors
from ordseg.training import parallel, loop

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "Config file, with an argument after a colon where it takes one. "
  "Change a field with --config.<section>.<field>=<value>.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run; made if missing, continued if it holds a run.")
flags.mark_flags_as_required(["config", "workdir"])


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses flags; what is wrong with them becomes one line that names the field and the nearest right name."""
  with errors.one_line_errors(flags.Error):
    path = config_check.config_path(argv)
    config_check.check_config_file(path)
    try:
      return flags.FLAGS(argv)
    except flags.IllegalFlagValueError as error:
      raise errors.InputError(config_check.explain_flag_error(error)) from error
    except (AttributeError, KeyError):  # ml_collections met an override of a field that is not there
      plain = config_flags.config_flags.ConfigFileFlagParser("config").parse(path)
      config_check.check_overrides(plain, argv)
      raise


def main(argv: Sequence[str]) -> None:
  """Prepares the data and trains."""
  logging.set_verbosity(logging.ERROR)  # the libraries' own progress is not the user's
  with errors.one_line_errors():
    if argv[1:]:
      raise errors.InputError(f"unexpected arguments {' '.join(argv[1:])!r}; see --help")
    config = _CONFIG.value
    config_check.check(config, default.get_config())
    parallel.setup(config.parallel.distributed, **parallel.timeouts(config.parallel))
    builder = data.get_builder(
      config.data.builder,
      config_name=config.data.config,
      data_dir=config.data.data_dir,
      manual_dir=config.data.manual_dir,
      overrides=config.data.builder_args.to_dict(),
    )
    parallel.first_process_first(lambda: data.prepare(builder, manual_dir=config.data.manual_dir))
    loop.train(
      config,
      train_source=data.data_source(builder, config.data.train_split, skip=("level_probs",)),
      validation_source=data.data_source(builder, config.data.validation_split),
      workdir=str(_WORKDIR.value),
      data_info=data.info(builder),
    )


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
