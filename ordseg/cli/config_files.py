"""The flag ``--config`` of the programs that take a config file: what is wrong with it, in one line."""

import pathlib
import re
from collections.abc import Sequence

from ml_collections import ConfigDict

from ordseg.errors import InputError, did_you_mean

_BUILDER_ARGS = "config.data.builder_args"


def split_builder_args(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
  """Takes ``--config.data.builder_args.name=value`` off a command line: only the builder knows its settings' types.

  Returns:
    The other arguments, and name -> text of the settings; the last one of a name counts.

  Raises:
    InputError: a setting without a value.
  """
  rest: list[str] = []
  texts: dict[str, str] = {}
  arguments = iter(argv)
  for arg in arguments:
    start, dot, setting = arg.lstrip("-").partition(f"{_BUILDER_ARGS}.")
    if not arg.startswith("-") or start or not dot:
      rest.append(arg)
      continue
    name, given, text = setting.partition("=")
    value = text if given else next(arguments, None)
    if value is None:
      raise InputError(f"--{_BUILDER_ARGS}.{name} needs a value: --{_BUILDER_ARGS}.{name}=<value>.")
    texts[name] = value
  return rest, texts


def check_overrides(config: object, argv: Sequence[str]) -> None:
  """Checks that each ``--config.a.b=c`` of a command line names a field that `config` has.

  Raises:
    InputError: naming the first unknown field, the section it was looked for in, and the nearest name there.
  """
  for arg in argv:
    if arg.startswith("--config."):
      _check_path(config, arg.removeprefix("--config.").split("=")[0])


def _check_path(config: object, path: str) -> None:
  here, where = config, "config"
  for name in path.split("."):
    if not isinstance(here, ConfigDict):
      raise InputError(f"--config.{path}: {where} is a single value and has no field '{name}'.")
    if name not in here:
      raise InputError(
        f"--config.{path}: {where} has no field '{name}'.{did_you_mean(name, here)} Fields: {', '.join(here)}."
      )
    here, where = here[name], f"{where}.{name}"


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
