"""Trains a segmentation network on the masks of several raters.

  python run_train.py --config=configs/quickstart.py --workdir=runs/mine
  python run_train.py --config=configs/quickstart.py --workdir=runs/mine --config.loss.alpha=0.5 --config.seed=1
  python run_train.py --config=configs/quickstart.py:baseline --workdir=runs/baseline

docs/configs.md lists every field. A run continues where its workdir stands; next comes run_eval.py.
"""

from ordseg.errors import interrupts

interrupts.leave_at_once()  # Ctrl-C during the slow imports

from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

import data
from ordseg import config, errors
from ordseg.cli import config_files
from ordseg.training import parallel, loop

_ARGV: list[str] = []  # what the config flag looks for its fields in
_BUILDER_ARGS: dict[str, str] = {}
_HELP = "Config file, with an argument after a colon if it takes one. --config.<section>.<field>= changes one field."
_CONFIG = config_flags.DEFINE_config_file("config", None, _HELP, sys_argv=_ARGV)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run; made if missing, continued if it holds a run.")
flags.mark_flags_as_required(["config", "workdir"])


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses flags; what is wrong with them becomes one line that names the field and the nearest right name."""
  with errors.one_line_errors(flags.Error):
    path = config_files.config_path(argv)
    config_files.check_config_file(path)
    _ARGV[:], texts = config_files.split_builder_args(argv)
    _BUILDER_ARGS.update(texts)
    try:
      return flags.FLAGS(_ARGV)
    except flags.IllegalFlagValueError as error:
      raise errors.InputError(config_files.explain_flag_error(error)) from error
    except (AttributeError, KeyError):  # ml_collections met an override of a field that is not there
      plain = config_flags.config_flags.ConfigFileFlagParser("config").parse(path)
      config_files.check_overrides(plain, _ARGV)
      raise


def main(argv: Sequence[str]) -> None:
  """Prepares the data and trains."""
  logging.set_verbosity(logging.ERROR)  # the libraries' own progress is not the user's
  with errors.one_line_errors():
    if argv[1:]:
      raise errors.InputError(f"unexpected arguments {' '.join(argv[1:])!r}; see --help")
    given = _CONFIG.value.to_dict()
    section = given["data"]
    section["builder_args"] |= data.read_settings(section["builder"], _BUILDER_ARGS, config_name=section["config"])
    cfg = config.resolve(given)
    parallel.setup(cfg.parallel)
    builder = data.get_builder(
      cfg.data.builder,
      config_name=cfg.data.config,
      data_dir=cfg.data.data_dir,
      manual_dir=cfg.data.manual_dir,
      overrides=cfg.data.builder_args,
    )
    parallel.first_process_first(lambda: data.prepare(builder, manual_dir=cfg.data.manual_dir))
    loop.train(
      cfg,
      train_source=data.data_source(builder, cfg.data.train_split, skip=("level_probs",)),
      validation_source=data.data_source(builder, cfg.data.validation_split),
      workdir=str(_WORKDIR.value),
      data_info=data.info(builder),
    )


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
