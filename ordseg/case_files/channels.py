"""Which channel of a map is the foreground: named, or found where there is one answer."""

import pathlib

import numpy as np

from ordseg.case_files import map_values
from ordseg.case_files.nnunet import Labels
from ordseg.case_files.structures import FOREGROUND, Structure
from ordseg.errors import InputError


def pick(
  probs: np.ndarray, structure: Structure, path: pathlib.Path, *, labels: Labels | None, num_raters: int
) -> np.ndarray:
  """Returns the channel of a structure.

  Args:
    probs: [C, ..] probabilities.
    structure: its channel, or -1.
    path: the file, for errors.
    labels: of the dataset.json beside the maps.
    num_raters: R, for a hint.

  Returns:
    [..].

  Raises:
    InputError: no such channel, or several that may be meant.
  """
  count = len(probs)
  if labels is not None and count not in (1, labels.num_channels):
    raise InputError(f"{path}: has {count} channels, {labels.path} names {labels.num_channels}: of another data set?")
  if labels is not None and count > 1 and not labels.regions and not map_values.excludes(probs):
    raise InputError(f"{path}: its {count} channels do not sum to 1, as nnU-Net's softmax does; is it of another tool?")
  if structure.channel >= 0 and count > 1:
    if structure.channel >= count:
      raise InputError(f"{path}: has {count} channels, numbered from 0; there is no channel {structure.channel}.")
    return probs[structure.channel]
  if count == 1:
    if structure.channel > (0 if structure.name == FOREGROUND else 1):
      raise InputError(
        f"{path}: has one channel; channel {structure.channel} of {structure.name!r} is not in it. If it is the map of "
        f"that class alone, leave --channel or --classes out; label files are read by --marked==={structure.channel}."
      )
    return probs[0]
  if count == 2 and map_values.excludes(probs):
    return probs[1]
  sums = "sum to 1" if map_values.excludes(probs) else "do not sum to 1, so that none is the background"
  levels = f"; if they are the probabilities of 0 to {num_raters} marks, --levels" if count == num_raters + 1 else ""
  raise InputError(
    f"{path}: has {count} channels, which {sums}: say which is the foreground with --channel={count - 1}, or name "
    f"several with --classes=name=number{levels}."
  )


def as_levels(probs: np.ndarray, path: pathlib.Path, *, num_raters: int) -> np.ndarray:
  """Returns [.., L] level probabilities, L = R + 1, of channels [C, ..].

  Raises:
    InputError: another number of channels, or they do not sum to 1.
  """
  if len(probs) != num_raters + 1:
    raise InputError(
      f"{path}: --levels: has {len(probs)} channels; the panel of {num_raters} raters has {num_raters + 1} levels, "
      f"0 to {num_raters} marks."
    )
  if not map_values.excludes(probs):
    raise InputError(f"{path}: --levels: its channels do not sum to 1.")
  return np.moveaxis(probs, 0, -1)
