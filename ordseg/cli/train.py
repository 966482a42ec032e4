"""``ordseg train``: trains a network on the masks of several raters; a run continues where its workdir stands."""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags as absl_flags
from ml_collections import config_flags

from ordseg import errors
from ordseg.cli import config_files, data_sets, flags
from ordseg.config import resolve
from ordseg.training import loop, parallel


def read_config(path: str, overrides: Sequence[str]) -> dict[str, Any]:
  """Reads a config file and changes fields of it.

  Args:
    path: The file, with an argument after a colon where it takes one.
    overrides: ``--config.section.field=value``, or name and value as two.

  Returns:
    Section -> field -> value, not yet checked (`config.resolve` does).

  Raises:
    InputError: no such file or field, or a value that cannot be read.
  """
  config_files.check_config_file(path)
  values, argv = absl_flags.FlagValues(), ["", f"--config={path}", *overrides]
  holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
  try:
    values(argv)
  except absl_flags.IllegalFlagValueError as error:
    raise errors.InputError(config_files.explain_flag_error(error)) from error
  except (AttributeError, KeyError):  # ml_collections met an override of a field that is not there
    plain = config_flags.config_flags.ConfigFileFlagParser("config").parse(path)
    config_files.check_overrides(plain, overrides)
    raise
  return holder.value.to_dict()


def run(args: argparse.Namespace, clone: pathlib.Path | None = None) -> None:
  """Prepares the data and trains.

  Args:
    args: What `flags.parse` made of the command line.
    clone: The folder with the builders; see `data_sets.builders`.
  """
  with errors.one_line_errors(absl_flags.Error):
    data = data_sets.builders(clone)
    overrides, settings = config_files.split_builder_args(args.rest)
    given = read_config(args.config, overrides)
    section = given["data"]
    section["builder_args"] |= data.read_settings(section["builder"], settings, config_name=section["config"])
    config = resolve(given)
    parallel.setup(config.parallel)
    builder = data.get_builder(
      config.data.builder,
      config_name=config.data.config,
      data_dir=config.data.data_dir,
      manual_dir=config.data.manual_dir,
      overrides=config.data.builder_args,
    )
    parallel.first_process_first(lambda: data.prepare(builder, manual_dir=config.data.manual_dir))
    loop.train(
      config,
      train_source=data.data_source(builder, config.data.train_split, skip=("level_probs",)),
      validation_source=data.data_source(builder, config.data.validation_split),
      workdir=args.workdir,
      data_info=data.info(builder),
    )


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("train", sys.argv[1:] if argv is None else argv))
