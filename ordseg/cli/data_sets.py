"""The data set of a run: the way from a workdir to a split of its data, for programs.

The builders are the package ``data`` of a clone of the repository, which the wheel lacks. run_train.py and run_eval.py
say which; `ordseg` finds it beside itself, where it was installed with ``pip install -e`` from a clone.
"""

import importlib
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from ordseg.errors import InputError, extras
from ordseg.prediction.predictor import TrainedRun
from ordseg.training import parallel


def builders(clone: pathlib.Path | None = None) -> Any:
  """Returns the package of builders of a clone, whatever `data` the working directory has.

  Args:
    clone: its folder; None: where ordseg itself is.

  Raises:
    InputError: they are not there.
  """
  clone = clone or pathlib.Path(__file__).resolve().parents[2]
  if not (clone / "run_train.py").is_file() or not (clone / "data" / "__init__.py").is_file():
    raise InputError(
      "the builders of data sets come with a clone of ordseg, not with the installed package. In the clone: "
      "pip install -e '.[train,images,data,report]', or python run_train.py and python run_eval.py."
    )
  if sys.path[:1] != [str(clone)]:
    sys.path.insert(0, str(clone))  # config files import `configs` too
  try:
    package = importlib.import_module("data")
  except ImportError as error:
    raise InputError(extras.explain(error, "data/") or f"the builders in data/ cannot be imported: {error}.") from error
  if pathlib.Path(str(package.__file__)).resolve().parent != clone / "data":
    raise InputError(f"a package named data that is not that of ordseg's builders was imported: {package.__file__}.")
  return package


def open_builder(package: Any, run: TrainedRun, *, data_dir: str | None = None, manual_dir: str | None = None) -> Any:
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


def check_same(run: TrainedRun, data_info: Mapping[str, object]) -> None:
  """Raises InputError where a data set is not that of the training."""
  if data_info["fingerprint"] != run.data_info["fingerprint"]:
    raise InputError(
      f"{run.workdir} was trained on {_named(run.data_info)}, but the data set here is {_named(data_info)}: "
      "their splits may overlap. Point --data_dir or --manual_dir to the data of the training."
    )


def _named(data_info: Mapping[str, Any]) -> str:
  return f"{data_info.get('builder')} {data_info.get('version')} ({data_info['fingerprint'][:12]})"
