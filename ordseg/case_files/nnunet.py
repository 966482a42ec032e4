"""What nnU-Net's dataset.json says: which label is what, and which channel of a map is which label.

nnU-Net v2, documentation/dataset_format.md and region_based_training.md. A label that is a list is a region; then the
network has a sigmoid per region and no channel of the background.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from ordseg import records
from ordseg.errors import InputError

FILE = "dataset.json"
KEY, OLD_KEY = "probabilities", "softmax"  # of the npz files of versions 2 and 1
_BACKGROUND, _IGNORE = "background", "ignore"


@dataclasses.dataclass(frozen=True)
class Labels:
  """The foreground of a data set.

  Attributes:
    path: of the dataset.json.
    values: name -> numbers in label files.
    channels: name -> channel of the map.
    ignore: number of the pixels that nobody judged; None where there is none.
    regions: of a data set trained on regions: the label that each channel writes into a segmentation; else ().
  """

  path: pathlib.Path
  values: dict[str, tuple[int, ...]]
  channels: dict[str, int]
  ignore: int | None = None
  regions: tuple[int, ...] = ()

  @property
  def num_channels(self) -> int:
    """Of a map."""
    return len(self.values) + (0 if self.regions else 1)

  def segmented(self, probs: np.ndarray) -> np.ndarray:
    """Returns the label map [..] that nnU-Net writes beside probabilities [C, ..]."""
    if not self.regions:
      return probs.argmax(0)
    out = np.zeros(probs.shape[1:], np.int64)
    for label, one in zip(self.regions, probs, strict=True):
      out[one > 0.5] = label
    return out


def read_labels(folder: pathlib.Path) -> Labels | None:
  """Returns what a dataset.json in a folder says; None where there is none.

  Raises:
    InputError: damaged, or without labels.
  """
  path = folder / FILE
  if not path.is_file():
    return None
  content = records.read_json(path)
  labels = content.get("labels")
  if not isinstance(labels, dict) or not labels:
    raise InputError(f"{path}: expected the field labels, name to number, as nnU-Net v2 has it.")
  numbers = {str(name): _numbers(path, name, value) for name, value in labels.items()}
  ignore = numbers.pop(_IGNORE, None)
  is_regions = any(isinstance(value, list) and len(value) > 1 for value in labels.values())
  values = {name: found for name, found in numbers.items() if name != _BACKGROUND and found != (0,)}
  if not values:
    raise InputError(f"{path}: names no label but the background.")
  if not is_regions and any(len(found) != 1 for found in values.values()):
    raise InputError(f"{path}: a label is a number, or a list of several.")
  channels = {name: k if is_regions else found[0] for k, (name, found) in enumerate(values.items())}
  order = content.get("regions_class_order") if is_regions else ()
  if is_regions and (not isinstance(order, list) or len(order) != len(values)):
    raise InputError(f"{path}: regions need regions_class_order, a label for each of {', '.join(values)}.")
  return Labels(path, values, channels, ignore[0] if ignore else None, tuple(int(one) for one in order or ()))


def _numbers(path: pathlib.Path, name: Any, value: Any) -> tuple[int, ...]:
  found = value if isinstance(value, list) else [value]
  if not found or not all(isinstance(one, int) and one >= 0 for one in found):
    hint = " It is of version 1: its labels map numbers to names." if isinstance(value, str) else ""
    raise InputError(f"{path}: the label {name!r} must be a number or a list of numbers, found {value!r}.{hint}")
  return tuple(found)
