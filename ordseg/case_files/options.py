"""What a user may say of maps and masks where the files leave more than one answer."""

import dataclasses
import re
from typing import Any

from ordseg import image_io, settings
from ordseg.errors import InputError
from ordseg.settings import field

MISSING = ("refuse", "skip")
ANY = "*"  # of `Options.map_suffix`: whichever there is


def _check_axes(text: str) -> str:
  is_right = not text or (len(set(text)) == len(text) and {"y", "x"} <= set(text) <= set("czyx"))
  return "" if is_right else "some of c, z, y and x, each once, y and x among them: zyx, czyx, xyzc"


def _check_rule(text: str) -> str:
  try:
    image_io.parse_rule(text)
  except InputError as error:
    return str(error).partition(" must be ")[2].removesuffix(".")
  return ""


def _check_group(text: str) -> str:
  try:
    groups = re.compile(text).groups
  except re.error as error:
    return f"a regular expression ({error})"
  return "" if groups or not text else "a regular expression with a parenthesis, such as '(.*)_slice'"


@dataclasses.dataclass(frozen=True)
class Options:
  """Each field is the flag ``--<field>`` in errors; its meaning stands in its help.

  Raises:
    InputError: a value that may not be, or two that exclude each other.
  """

  key: str = field("", help="which array of an .npz file is the map; '' = the one there is, or probabilities")
  map_prefix: str = field("", help="what a map's name has before the case's")
  map_suffix: str = field(ANY, help="what it has after it, as _prob or /prob (<case>/prob.npz); * = the one there is")
  members: str = field("", help="several maps of a case: a pattern of what their names have after the case's, _sample*")
  map_axes: str = field(
    "", help="axes of arrays without a place: c channel, z page, y row, x column", check=_check_axes
  )
  channel: int = field(-1, help="which channel is the foreground, from 0; -1 finds it", ge=-1)
  classes: str = field("", help="names of a dataset.json, or name=number of channel and label, with commas; or all")
  levels: bool = field(False, help="the channels are the probabilities of 0, 1, .., R marks")
  from_logits: bool = field(False, help="the numbers are logits: sigmoid of one channel, softmax of several")
  scale: float = field(
    0.0, help="what stands for 1; 0 = 1 of floats, 255 of 8-bit, 65535 of 16-bit numbers", ge=0, lt=float("inf")
  )
  resample: bool = field(False, help="take maps on another grid than the masks', by linear interpolation")
  missing: str = field("refuse", help="cases without a map", choices=MISSING)
  marked: str = field("binary", help="which values of a mask are marked, as binary or >=128", check=_check_rule)
  group_regex: str = field(
    "", help="finds the group (patient) in a case's name, as its first parenthesis", check=_check_group
  )

  def __post_init__(self) -> None:
    for declared in dataclasses.fields(self):
      value: Any = getattr(self, declared.name)
      setting = settings.setting_of(declared)
      assert setting is not None
      setting.validate(value, declared.default, path=f"--{declared.name}")
    if sum([self.channel >= 0, bool(self.classes), self.levels]) > 1:
      raise InputError("--channel, --classes and --levels exclude each other: give one.")
    if self.from_logits and self.scale:
      raise InputError("--from_logits and --scale exclude each other: give one.")

  @property
  def own_suffix(self) -> str | None:
    """What maps' names have after the case's, where the user says it; None finds it."""
    return None if self.map_suffix == ANY else image_io.plain(self.map_suffix)
