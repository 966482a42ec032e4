"""Benchmarks as TFDS builders with one example schema, built and read without TensorFlow (data/README.md).

  builder = data.get_builder("rater_phantom")
  data.prepare(builder)                             # once; later calls reuse what is there
  source = data.data_source(builder, "train")       # source[i] is a dict of numpy arrays, len(source) records

Importing this package is fast: TFDS is imported by the first call that needs it.
"""

import importlib
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from data.errors import DataError, did_you_mean

if TYPE_CHECKING:
  from data.common import RaterBuilder, RaterConfig

__all__ = [
  "DataError",
  "data_source",
  "fingerprint",
  "get_builder",
  "info",
  "list_builders",
  "list_configs",
  "prepare",
  "read_settings",
  "verify",
]


def list_builders() -> tuple[str, ...]:
  """Returns the names of all benchmarks: the folders of this package that hold ``<name>_dataset_builder.py``."""
  here = pathlib.Path(__file__).parent
  return tuple(sorted(p.parent.name for p in here.glob("*/*_dataset_builder.py") if p.stem.startswith(p.parent.name)))


def list_configs(name: str) -> tuple[str, ...]:
  """Returns the config names of a benchmark; the first is its default.

  Raises:
    DataError: unknown benchmark.
  """
  return tuple(config.name for config in _builder_class(name).BUILDER_CONFIGS)


def get_builder(
  name: str,
  *,
  config_name: str = "",
  data_dir: str = "",
  manual_dir: str = "",
  overrides: Mapping[str, Any] | None = None,
) -> "RaterBuilder":
  """Returns the TFDS builder of a benchmark; builds nothing yet.

  Args:
    name: one of `list_builders`.
    config_name: one of `list_configs`; '' is the first.
    data_dir: where built data sets live; '' is TFDS's own place, $TFDS_DATA_DIR or ~/tensorflow_datasets.
    manual_dir: the folder with the user's files, for builders that read their settings off it (folder_raters).
    overrides: settings of the builder config to change; None leaves one as it is. The result gets a config name of
      its own, so that two settings never share a folder.

  Raises:
    DataError: unknown benchmark, config or setting, or a setting out of range.
  """
  builder_class = _builder_class(name)
  changed = {setting: value for setting, value in (overrides or {}).items() if value is not None}
  config = _builder_config(name, config_name).with_overrides(changed)
  config = builder_class.discover(config, manual_dir)
  try:
    return builder_class(config=config, data_dir=str(pathlib.Path(data_dir).expanduser()) if data_dir else None)
  except DataError:
    raise
  except ValueError as error:  # it reads dataset_info.json where there is one
    raise DataError(
      f"{name}: the data set in {data_dir or 'the default folder'} is not whole ({' '.join(str(error).split())}). "
      "Delete its folder and run again."
    ) from error


def read_settings(name: str, texts: Mapping[str, str], *, config_name: str = "") -> dict[str, Any]:
  """Returns settings that a command line gave as texts, for `get_builder`, each of its setting's type.

  Raises:
    DataError: unknown benchmark, config or setting, or a text that is no value of the setting's type.
  """
  config = _builder_config(name, config_name)
  settings = config.read(texts)
  config.with_overrides(settings)
  return settings


def _builder_config(name: str, config_name: str) -> "RaterConfig":
  configs = {config.name: config for config in _builder_class(name).BUILDER_CONFIGS}
  if config_name and config_name not in configs:
    raise DataError(
      f"config.data.config={config_name!r} is no config of {name}.{did_you_mean(config_name, configs)}"
      f" Configs: {', '.join(configs)}."
    )
  return configs[config_name or next(iter(configs))]


def _builder_class(name: str) -> "type[RaterBuilder]":
  if name not in list_builders():
    known = list_builders()
    raise DataError(
      f"config.data.builder={name!r} is unknown.{did_you_mean(name, known)} Benchmarks: {', '.join(known)}."
    )
  return importlib.import_module(f"{__name__}.{name}.{name}_dataset_builder").Builder


def prepare(builder: "RaterBuilder", *, manual_dir: str = "") -> None:
  """Builds the data set unless it is there already. Shows progress; an interrupted build leaves nothing behind.

  Processes that call this at the same time build once. Data that are there already are used only if they are whole and
  were built with the same settings and, where the files can still be found, from the same files.

  Args:
    builder: from `get_builder`.
    manual_dir: folder with the files the user downloaded, for builders that need some; '' is
      ``<data_dir>/downloads/manual``.

  Raises:
    DataError: files are missing or damaged, or what is there is not whole or was built otherwise.
  """
  _building().prepare(builder, manual_dir=manual_dir)


def fingerprint(builder: "RaterBuilder") -> str:
  """Returns 64 hex digits that depend on the examples and their splits alone: not on order, machine or shard layout.

  Computed from the examples while they were written, and stored beside them.

  Raises:
    DataError: the data set is not built, or not whole.
  """
  return _building().check_whole(builder)["fingerprint"]


def info(builder: "RaterBuilder") -> dict[str, Any]:
  """Returns what a run records of its data, ready for JSON.

  Returns:
    {'builder', 'config', 'version', 'fingerprint', 'settings': {field: value} of the builder config, 'licence',
    'homepage', 'citation': BibTeX, 'splits': {name: number of examples}}; '' for a homepage or citation there is not;
    'raters', their names, where they have some; and 'classes', the names of the structures, where there are several.

  Raises:
    DataError: the data set is not built, or not whole.
  """
  record = _building().check_whole(builder)
  return {
    "builder": builder.name,
    "config": builder.config.name,
    "version": str(builder.version),
    "fingerprint": record["fingerprint"],
    "settings": record["settings"],
    "licence": builder.LICENSE,
    **({"raters": list(builder.rater_names)} if builder.rater_names else {}),
    **({"classes": list(builder.class_names)} if builder.class_names else {}),
    "homepage": builder.HOMEPAGE,
    "citation": builder.info.citation.strip(),
    "splits": {name: split.num_examples for name, split in builder.info.splits.items()},
  }


def verify(builder: "RaterBuilder") -> None:
  """Reads every record back and compares with the stored fingerprint.

  Raises:
    DataError: some record is not what was written.
  """
  _building().verify(builder)


def data_source(builder: "RaterBuilder", split: str, *, skip: Collection[str] = ()) -> Sequence[dict[str, Any]]:
  """Opens a split for random access; safe to read from several threads.

  Args:
    builder: a builder whose data set is prepared.
    split: train, validation or test, or a TFDS slice such as ``train[:10%]``.
    skip: features to leave out of the records. ``level_probs`` may be named whether the benchmark has it or not;
      training does not need it, and decoding it takes half of the reading time.

  Returns:
    A sequence of records in the schema of data/README.md: 'id' and 'group' are bytes, all else numpy arrays.

  Raises:
    DataError: the data set is not built or not whole, or has no such split or feature.
  """
  return _building().data_source(builder, split, skip=skip)


def _building() -> Any:
  return importlib.import_module(f"{__name__}.building")
