"""What config files share: the data set they are for, and arguments: ``--config=configs/x.py:loss=rps,width=32``."""

import ast
import difflib
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from ordseg import losses
from ordseg.config import Config

GetConfig = Callable[[str | None], ConfigDict]


def overlay(builder: str = "", dataset: str = "", **arguments: Any) -> Callable[[Callable[..., None]], GetConfig]:
  """Returns a decorator that makes ``get_config`` of a function that changes fields of the default config.

  Args:
    builder: of the data set; '' is the default config's.
    dataset: the builder's own config; the argument ``config=`` names another.
    **arguments: further arguments of the config file, with their defaults; the function gets them by name.

  Each overlay also takes ``loss=``, as config.loss.name; a binary loss takes the sigmoid head.
  """

  def decorate(change: Callable[..., None]) -> GetConfig:
    def get_config(arg: str | None = None) -> ConfigDict:
      config = Config().to_config_dict()
      config.data.builder = builder or config.data.builder
      data_config = dataset if builder else dataset or config.data.config
      given = parse_arg(arg, loss=config.loss.name, config=data_config, **arguments)
      set_loss(config, given["loss"])
      config.data.config = given["config"]
      change(config, **{name: given[name] for name in arguments})
      return config

    get_config.__doc__ = change.__doc__
    return get_config

  return decorate


def parse_arg(arg: str | None, **defaults: Any) -> dict[str, Any]:
  """Parses what stands behind the colon of ``--config=path:arg``.

  Args:
    arg: ``name=value`` pairs separated by commas; a bare ``name`` means ``name=True``. None or '' gives the defaults.
    **defaults: the arguments this config knows. A value takes the type of its default.

  Returns:
    All names with their values.

  Raises:
    ValueError: an unknown name, or a value of another type than the default's.

  >>> parse_arg("loss=rps,debug", loss="rps_bce", debug=False, width=16)
  {'loss': 'rps', 'debug': True, 'width': 16}
  """
  values = dict(defaults)
  for item in filter(None, (arg or "").split(",")):
    name, given, text = item.partition("=")
    if name not in defaults:
      near = difflib.get_close_matches(name, defaults, n=1, cutoff=0.5)
      hint = f" Did you mean '{near[0]}'?" if near else ""
      known = ", ".join(defaults) or "none"
      raise ValueError(f"config argument '{name}' is unknown.{hint} This config takes: {known}.")
    values[name] = _convert(name, text if given else "True", defaults[name])
  return values


def set_loss(config: ConfigDict, name: str) -> None:
  """Sets ``config.loss.name``, and the head that the loss is meant for."""
  config.loss.name = name
  config.model.head = losses.LOSSES.find(name).default_head


def _convert(name: str, text: str, default: Any) -> Any:
  if isinstance(default, str):
    return text
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    value = text
  if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
    value = float(value)
  if type(value) is not type(default):
    raise ValueError(
      f"config argument {name}={text} must be a {type(default).__name__}, as its default {default!r} is."
    )
  return value
