"""What a user may say of maps and masks where the files leave more than one answer."""

import dataclasses
import re

from ordseg import image_io
from ordseg.errors import InputError, check_choice

MISSING = ("refuse", "skip")


@dataclasses.dataclass(frozen=True)
class Options:
  """Each field is the flag ``--<field>`` in errors.

  Attributes:
    key: which array of an ``.npz`` file is the map; '' = the one there is, or ``probabilities``.
    map_prefix: what a map's name has before the case's.
    map_suffix: what it has after it, folder and slash included (``_prob``, ``/prob``); None finds it.
    members: several maps of a case: a shell pattern of what their names have after the case's, ``_sample*``.
    map_axes: the axes of arrays without a place in space, of the letters c (channel), z (page), y (row), x (column).
    channel: which channel is the foreground, from 0; -1 finds it.
    classes: names with commas between, each known to a dataset.json, or ``name=number`` for channel and label; ``all``
      of a dataset.json.
    levels: the channels are the probabilities of 0, 1, .., R marks.
    from_logits: the numbers are logits: sigmoid of one channel, softmax of several.
    scale: what stands for 1; 0 = 1 of floats, 255 of 8-bit, 65535 of 16-bit whole numbers.
    resample: takes a map on another grid than the masks', by linear interpolation.
    missing: cases without a map: ``refuse`` or ``skip``.
    marked: which values of a mask are marked, see `image_io.parse_rule`.
    group_regex: finds the group (patient) in a case's name, as its first parenthesis.
  """

  key: str = ""
  map_prefix: str = ""
  map_suffix: str | None = None
  members: str = ""
  map_axes: str = ""
  channel: int = -1
  classes: str = ""
  levels: bool = False
  from_logits: bool = False
  scale: float = 0.0
  resample: bool = False
  missing: str = "refuse"
  marked: str = "binary"
  group_regex: str = ""

  def __post_init__(self) -> None:
    check_choice(self.missing, MISSING, field="--missing")
    if not 0 <= self.scale < float("inf"):
      raise InputError(f"--scale={self.scale:g} must be > 0: what stands for probability 1.")
    if self.channel < -1:
      raise InputError(f"--channel={self.channel} must be 0 or more.")
    if set(self.map_axes) - set("czyx") or len(set(self.map_axes)) < len(self.map_axes):
      raise InputError(f"--map_axes={self.map_axes!r} must be some of c, z, y and x, each once: zyx, czyx, xyzc.")
    if self.map_axes and not {"y", "x"} <= set(self.map_axes):
      raise InputError(f"--map_axes={self.map_axes!r} must have y (rows) and x (columns).")
    if sum([self.channel >= 0, bool(self.classes), self.levels]) > 1:
      raise InputError("--channel, --classes and --levels exclude each other: give one.")
    if self.from_logits and self.scale:
      raise InputError("--from_logits and --scale exclude each other: give one.")
    try:
      image_io.parse_rule(self.marked)
    except InputError as error:
      raise InputError(f"--marked={error}") from None
    try:
      groups = re.compile(self.group_regex).groups
    except re.error as error:
      raise InputError(f"--group_regex={self.group_regex!r}: {error}.") from error
    if self.group_regex and groups < 1:
      raise InputError(f"--group_regex={self.group_regex!r} has no parenthesis: '(.*)_slice'.")
