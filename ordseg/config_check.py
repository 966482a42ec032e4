"""Checks a config before anything is built: every field known, of the right type, in range, and fit for the others."""

import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from ordseg import heads, losses, metrics, models
from ordseg.errors import InputError, did_you_mean
from ordseg.input_pipeline import augment, preprocess
from ordseg.training import optim
from ordseg.types import Config

# Sections whose fields the builder, not this project's default config, defines.
_OPEN_SECTIONS = ("data.builder_args",)

_Rule = tuple[Callable[[Any], bool], str]
_POSITIVE: _Rule = (lambda x: x > 0, "> 0")
_AT_LEAST_0: _Rule = (lambda x: x >= 0, ">= 0")
_FRACTION: _Rule = (lambda x: 0 <= x < 1, "in [0, 1)")


def _between(low: float, high: float) -> _Rule:
  """Bounds; beyond them a number is a slip. What the machine has room for is seen when shapes are known (`memory`)."""
  return (lambda x: low <= x <= high, f"in [{low}, {high}]")


_RULES: dict[str, _Rule] = {
  "seed": (lambda x: 0 <= x < 2**32, "in [0, 2**32)"),
  "data.num_threads": _between(0, 1024),
  "data.prefetch_batches": _between(1, 1024),
  "data.crop_size": (
    lambda x: len(x) in (2, 3) and all(isinstance(n, int) and 0 < n <= 65536 for n in x),
    "two integers in [1, 65536] (H, W), or three (D, H, W) for volumes",
  ),
  "model.width": _between(1, 16384),
  "model.depth": _between(1, 12),
  "model.blocks_per_level": _between(1, 64),
  "model.dropout": _FRACTION,
  "optim.learning_rate": _POSITIVE,
  "optim.warmup_steps": _AT_LEAST_0,
  "optim.final_lr_fraction": (lambda x: 0 <= x <= 1, "in [0, 1]"),
  "optim.weight_decay": _AT_LEAST_0,
  "optim.b1": _FRACTION,
  "optim.b2": _FRACTION,
  "optim.clip_norm": _AT_LEAST_0,
  "optim.ema_decay": _FRACTION,
  "train.batch_size": _between(1, 2**20),
  "train.num_steps": _POSITIVE,
  "train.log_every_steps": _POSITIVE,
  "train.eval_every_steps": _POSITIVE,
  "train.checkpoint_every_steps": _POSITIVE,
  "train.keep_last": _POSITIVE,
  "eval.window": (lambda x: x == 0 or x >= 16, "0 or >= 16"),
  "eval.window_slices": _AT_LEAST_0,
  "eval.overlap": _FRACTION,
  "train.keep_best": _AT_LEAST_0,
  "train.best_mode": (lambda x: x in ("min", "max"), "'min' or 'max'"),
  "eval.batch_size": _between(1, 2**20),
  "eval.num_bins": _between(1, 10**6),
  "eval.surface_tolerance": _AT_LEAST_0,
  "parallel.connect_seconds": _between(1, 86400),
  "parallel.heartbeat_seconds": _between(10, 86400),
}


def fields(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yields (dotted path, value) of every leaf, and of every empty section."""
  for name, value in config.items():
    path = f"{prefix}{name}"
    if isinstance(value, ConfigDict) and len(value):
      yield from fields(value, f"{path}.")
    else:
      yield path, value


def config_path(argv: Sequence[str], *, flag: str = "config") -> str:
  """Returns the value of ``--config`` on a command line, as ``--config=path`` or ``--config path``; '' without one."""
  for k, arg in enumerate(argv):
    name, given, value = arg.partition("=")
    if name in (f"--{flag}", f"-{flag}"):
      return value if given else "".join(argv[k + 1 : k + 2])
  return ""


def check_overrides(config: Config, argv: Sequence[str], *, flag: str = "config") -> None:
  """Checks that each ``--config.a.b=c`` of a command line names a field that `config` has.

  Raises:
    InputError: naming the first unknown field, the section it was looked for in, and the nearest name there.
  """
  start = f"--{flag}."
  for arg in argv:
    if not arg.startswith(start):
      continue
    path = arg[len(start) :].split("=")[0]
    _check_path(config, path, flag)


def _check_path(config: Config, path: str, flag: str) -> None:
  here, where = config, flag
  for name in path.split("."):
    if not isinstance(here, ConfigDict):
      raise InputError(f"--{flag}.{path}: {where} is a single value and has no field '{name}'.")
    if name not in here:
      raise InputError(
        f"--{flag}.{path}: {where} has no field '{name}'.{did_you_mean(name, here)} Fields: {', '.join(here)}."
      )
    here, where = here[name], f"{where}.{name}"


def check(config: Config, reference: Config) -> None:
  """Checks a resolved config.

  Args:
    config: what will run.
    reference: the default config; its fields and their types are the schema.

  Raises:
    InputError: one line that names the field, its value and what was expected.
  """
  _check_schema(config, reference)
  for path, (is_right, expected) in _RULES.items():
    value = _lookup(config, path)
    if not is_right(value):
      raise InputError(f"config.{path}={value!r} must be {expected}.")
  head = heads.get_head(config.model.head)
  losses.get_loss(config.loss.name, head, {k: v for k, v in config.loss.items() if k != "name"})
  models.check(config.model)
  preprocess.check(config.preprocess)
  augment.check(config.augment)
  optim.check(config.optim)
  metrics.Region(config.eval.roi, config.eval.roi_margin)


def _check_schema(config: Config, reference: Config) -> None:
  known, given = dict(fields(reference)), dict(fields(config))
  for path, value in given.items():
    if path.startswith(_OPEN_SECTIONS):
      continue
    if path not in known:
      raise InputError(f"config.{path} is no field of this project.{did_you_mean(path, known)} See configs/default.py.")
    want = type(known[path])
    if type(value) is not want and not (want is float and type(value) is int):
      raise InputError(f"config.{path}={value!r} must be a {want.__name__}, as in configs/default.py.")
  for path in known:
    if path not in given and not path.startswith(_OPEN_SECTIONS):
      raise InputError(f"config.{path} is missing. Start from configs/default.py's get_config().")


def _lookup(config: Config, path: str) -> Any:
  value: Any = config
  for name in path.split("."):
    value = value[name]
  return value


def check_config_file(path: str) -> None:
  """Raises InputError unless the file of ``--config=path[:arg]`` is there; names the nearest one that is."""
  file = pathlib.Path(path.split(":")[0])
  if path and not file.is_file():
    siblings = [p.name for p in file.parent.glob("*.py")] if file.parent.is_dir() else []
    raise InputError(f"--config: there is no file {file}.{did_you_mean(file.name, siblings)}")


def explain_flag_error(error: Exception) -> str:
  """Returns one line for a flag that could not be parsed: what the config file itself complained of, if it did."""
  text = str(error)
  match = re.match(r"flag --config=(\S+?): ", text)
  if not match:
    return text.splitlines()[0]
  cause: BaseException = error
  while (before := cause.__cause__ or cause.__context__) is not None:
    cause = before
  return f"--config={match.group(1)}: {cause}"
