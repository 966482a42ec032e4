"""Which structures are scored: the channel of each in the maps, and its numbers in the raters' label files."""

import dataclasses
import re
from collections.abc import Collection

from ordseg.case_files.nnunet import Labels
from ordseg.case_files.options import Options
from ordseg.errors import InputError, did_you_mean

FOREGROUND = "foreground"
_NUMBERED = re.compile(r"(.+?)=(\d+)")


@dataclasses.dataclass(frozen=True)
class Structure:
  """One structure.

  Attributes:
    name: as the user or a dataset.json calls it.
    channel: of the maps; -1: the one that is no background.
    values: numbers in label files that mean it; () = masks say by themselves what is marked.
  """

  name: str = FOREGROUND
  channel: int = -1
  values: tuple[int, ...] = ()


def resolve(options: Options, of_maps: Labels | None, of_masks: Labels | None) -> tuple[Structure, ...]:
  """Returns the structures to be scored.

  Args:
    options: `channel` and `classes`.
    of_maps: the dataset.json beside the maps, which knows channels.
    of_masks: the one beside the masks.

  Raises:
    InputError: several structures and none named, or an unknown name.
  """
  known = of_maps or of_masks
  if options.classes:
    return _named(options.classes, known, of_masks or of_maps)
  if options.channel >= 0:
    return (Structure(channel=options.channel),)
  if known is None or options.levels:
    return (Structure(),)
  if len(known.values) > 1:
    raise InputError(
      f"{known.path}: names several classes, {', '.join(known.values)}: say which with "
      f"--classes={next(iter(known.values))}, names with commas between, or --classes=all."
    )
  ((name, channel),) = known.channels.items()
  return (Structure(name, channel if of_maps is not None else -1, _values(of_masks, name)),)


def _named(text: str, known: Labels | None, of_masks: Labels | None) -> tuple[Structure, ...]:
  names = list(known.values) if text.strip() == "all" and known else [word.strip() for word in text.split(",")]
  out = [_one(name, known, of_masks) for name in names]
  _check_once([one.name for one in out])
  return tuple(out)


def _one(name: str, known: Labels | None, of_masks: Labels | None) -> Structure:
  if found := _NUMBERED.fullmatch(name):
    return Structure(found[1], int(found[2]), (int(found[2]),))
  if known is None:
    raise InputError(f"--classes={name}: no dataset.json beside maps or masks names it; give its number: {name}=1.")
  for labels in filter(None, (known, of_masks)):
    if name not in labels.values:
      raise InputError(
        f"--classes={name}: {labels.path} does not name it.{did_you_mean(name, labels.values)} It names "
        f"{', '.join(labels.values)}."
      )
  return Structure(name, known.channels[name], _values(of_masks or known, name))


def _values(labels: Labels | None, name: str) -> tuple[int, ...]:
  """Returns the numbers of a class in label files; () where it is all that they hold, which 255 may stand for."""
  if labels is None or (len(labels.values) == 1 and labels.ignore is None):
    return ()
  return labels.values.get(name, ())


def _check_once(names: Collection[str]) -> None:
  twice = {name for name in names if list(names).count(name) > 1}
  if twice or "" in names:
    raise InputError(f"--classes={','.join(names)}: names {min(twice, default='nothing')!r} twice or nothing.")
