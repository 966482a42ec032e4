"""The file that keeps what was counted of one predictor on a data set.

``sums.npz`` in an evaluation folder holds the sums of each image, so that intervals and comparisons need no model.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ordseg import metrics, records
from ordseg.errors import InputError
from ordseg.evaluation import votes
from ordseg.metrics import ImageSums, SampleScores, Scores, SurfaceScores

FILE, VERSION = "sums.npz", 2
_SURFACE, _SAMPLES = "surface.", "samples."


@dataclasses.dataclass(frozen=True)
class Stored:
  """Content of sums.npz.

  Attributes:
    scores: without ranks.
    ids: [I].
    groups: [I].
    votes: [I, votes.NUM_BYTES] digests of the votes; None in what earlier versions wrote.
  """

  scores: Scores
  ids: list[str]
  groups: list[str]
  votes: np.ndarray | None = None

  def rows(self, index: np.ndarray) -> "Stored":
    """Returns some of the images."""
    s = self.scores
    outlines = None if s.surface is None else SurfaceScores(**{name: x[index] for name, x in vars(s.surface).items()})
    sampled = None if s.samples is None else SampleScores(**{name: x[index] for name, x in vars(s.samples).items()})
    scores = Scores(s.sums.rows(index), surface=outlines, has_levels=s.has_levels, samples=sampled)
    names, groups = ([x[k] for k in index.tolist()] for x in (self.ids, self.groups))
    return Stored(scores, names, groups, None if self.votes is None else self.votes[index])


def arrays(stored: Stored) -> dict[str, Any]:
  """Returns the content of sums.npz."""
  out = {field.name: getattr(stored.scores.sums, field.name) for field in dataclasses.fields(ImageSums)}
  for prefix, extra in ((_SURFACE, stored.scores.surface), (_SAMPLES, stored.scores.samples)):
    out |= {} if extra is None else {f"{prefix}{name}": value for name, value in vars(extra).items()}
  names = {"ids": np.asarray(stored.ids, np.str_), "groups": np.asarray(stored.groups, np.str_)}
  levels = {} if stored.scores.has_levels else {"has_levels": False}
  if stored.votes is not None:
    out["votes"] = stored.votes
  return {"version": VERSION, "num_bins": stored.scores.num_bins, **levels, **names, **out}


def read(folder: pathlib.Path) -> Stored:
  """Reads sums.npz back.

  Raises:
    InputError: the file is missing, damaged, of another evaluation than metrics.json, or of another version.
  """
  path = folder / FILE
  again = records.again(folder)
  if not path.is_file():
    raise InputError(f"{folder} holds no {FILE}, as older evaluations do not. {again}")
  arrays = records.parse_npz(records.member(folder, FILE), path, again)
  version = arrays.get("version")
  if version is None or version.shape or version != VERSION:
    raise InputError(f"{path} has format version {version}, expected {VERSION}. {again}")
  names = [field.name for field in dataclasses.fields(ImageSums)]
  if missing := [name for name in (*names, "num_bins", "ids", "groups") if name not in arrays]:
    raise InputError(f"{path} is damaged: it lacks {', '.join(missing)}. {again}")
  _check_shapes(path, arrays, names)
  surface, sampled = (
    {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
    for prefix in (_SURFACE, _SAMPLES)
  )
  sums = ImageSums(**{name: arrays[name] for name in names})
  has_levels = bool(arrays.get("has_levels", True))
  scores = Scores(
    sums,
    surface=SurfaceScores(**surface) if surface else None,
    has_levels=has_levels,
    samples=SampleScores(**sampled) if sampled else None,
  )
  return Stored(scores, arrays["ids"].tolist(), arrays["groups"].tolist(), arrays.get("votes"))


def _check_shapes(path: pathlib.Path, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
  num_images, num_raters = arrays["rater_valid"].shape if arrays["rater_valid"].ndim == 2 else (-1, -1)
  pattern = metrics.empty(max(num_raters, 0), int(arrays["num_bins"]))
  for name in (*names, "ids", "groups"):
    want = (num_images, *(getattr(pattern, name).shape[1:] if name in names else ()))
    if arrays[name].shape != want:
      raise InputError(f"{path} is damaged: {name} has shape {arrays[name].shape}, expected {want}.")
  if "votes" in arrays and arrays["votes"].shape != (num_images, votes.NUM_BYTES):
    raise InputError(f"{path} is damaged: votes has shape {arrays['votes'].shape}, expected one digest per image.")
