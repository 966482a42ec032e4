"""Arguments of a config: ``--config=configs/x.py:loss=rps,width=32``."""

import ast
import difflib
from typing import Any

# A model of these has one probability per pixel, so that it is the baseline that its name promises.
BINARY_LOSSES = ("bce_majority", "bce_soft", "bce_staple", "bce_dice", "bce_ml1_ace", "dml", "label_smoothing", "svls")
BINARY_LOSSES += ("focal", "mbls", "nacl")


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


def set_loss(config: Any, name: str) -> None:
  """Sets ``config.loss.name``, and the sigmoid head for the losses of a binary model, which want no levels."""
  config.loss.name = name
  if name in BINARY_LOSSES:
    config.model.head = "sigmoid"


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
