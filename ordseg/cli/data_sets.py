"""The data set of a run: the way from a workdir to a split of its data, for programs.

The builders are the package ``data``, which is beside ordseg in a clone of the repository but not in the wheel; so it
is handed in, or looked up by name.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from ordseg.errors import InputError
from ordseg.prediction.predictor import Run
from ordseg.training import parallel


def builders() -> Any:
  """Returns the package of builders.

  Raises:
    InputError: it is not there.
  """
  try:
    package = importlib.import_module("data")
  except ImportError as error:
    raise InputError(f"the builders in data/ cannot be imported ({error}). Run this in a clone of ordseg.") from error
  if not hasattr(package, "get_builder"):
    raise InputError("the folder 'data' here is not that of ordseg's builders. Run this in a clone of ordseg.")
  return package


def open_builder(package: Any, run: Run, *, data_dir: str | None = None, manual_dir: str | None = None) -> Any:
  """Opens the data set that a run was trained on, and builds it where it is not there.

  Args:
    package: of the builders.
    run: whose data set it is.
    data_dir: where built data sets live now; None: where the run's config says.
    manual_dir: where the raw files are now; None: where the run's config says.
  """
  section = run.config.data
  settings = run.data_info.get("settings")  # with those that the builder found in the files
  if not isinstance(settings, Mapping):
    raise InputError(f"{run.workdir}/config.json is damaged: its 'data' lacks 'settings'.")
  manual_dir = section.manual_dir if manual_dir is None else manual_dir
  builder = package.get_builder(
    section.builder,
    config_name=section.config,
    data_dir=section.data_dir if data_dir is None else data_dir,
    manual_dir=manual_dir,
    overrides=settings,
  )
  parallel.first_process_first(lambda: package.prepare(builder, manual_dir=manual_dir))
  return builder


def check_same(run: Run, data_info: Mapping[str, Any]) -> None:
  """Raises InputError where a data set is not that of the training."""
  if data_info["fingerprint"] != run.data_info["fingerprint"]:
    raise InputError(
      f"{run.workdir} was trained on {_named(run.data_info)}, but the data set here is {_named(data_info)}: "
      "their splits may overlap. Point --data_dir or --manual_dir to the data of the training."
    )


def _named(data_info: Mapping[str, Any]) -> str:
  return f"{data_info.get('builder')} {data_info.get('version')} ({data_info['fingerprint'][:12]})"
