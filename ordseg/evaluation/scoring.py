"""What was counted of one predictor on a data set: every number of it, and the file that keeps it.

``sums.npz`` in an evaluation folder holds the sums of each image, so that intervals and comparisons need no model.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ordseg import metrics, ordinal, records
from ordseg.errors import InputError
from ordseg.metrics import EVERY_IMAGE, GapBins, ImageSums, Pool, Resamples, SurfaceScores, agreement

FILE, VERSION = "sums.npz", 2
_SURFACE = "surface."


@dataclasses.dataclass(frozen=True)
class Scores:
  """What was counted of one predictor.

  Attributes:
    sums: of I images.
    ranks: [2, NUM_RANKS, 5] int64, pooled over them, see `metrics.pooled_ranks`; None leaves out what needs it.
    surface: of I images, None where outlines were not asked for.
  """

  sums: ImageSums
  ranks: np.ndarray | None = None
  surface: SurfaceScores | None = None

  @property
  def num_bins(self) -> int:
    """Bins of the calibration errors."""
    return self.sums.bin_count.shape[-1]

  def metrics(self, groups: Sequence[str], pool: Pool = EVERY_IMAGE) -> dict[str, Any]:
    """Returns read_outs.<name>.<metric> and levels.<metric>; `groups` [I] as in `metrics.top_label_metrics`."""
    return {
      "read_outs": {name: self._read_out(name, groups, pool) for name in ordinal.READ_OUTS},
      "levels": {**metrics.level_metrics(self.sums, pool), **metrics.nested_metrics(self.sums, pool)},
    }

  def panel(self, pool: Pool = EVERY_IMAGE) -> dict[str, Any]:
    """Returns floors.<metric> and raters.<metric>: of the votes, not of the predictor."""
    return {
      "floors": metrics.floor_metrics(self.sums, pool),
      "raters": agreement.rater_metrics(self.sums, num_bins=self.num_bins, pool=pool),
    }

  def resampled(self, groups: Sequence[str], pool: Resamples, *, panel: bool = True) -> dict[str, np.ndarray]:
    """Returns every number of `metrics` and `panel` in each resample, by dotted path, [S] each.

    What needs the pooled ranks, and lists and matrices, are left out.

    Args:
      groups: [I].
      pool: S resamples.
      panel: whether to include `panel`.
    """
    tree = dataclasses.replace(self, ranks=None).metrics(groups, pool)
    return _columns({**tree, **self.panel(pool)} if panel else tree)

  def gap_bins(self, *, panel: bool = True) -> dict[str, GapBins]:
    """Returns bins per image of each number of `resampled` that is made of absolute gaps, by dotted path."""
    out = metrics.all_gaps(self.sums)
    if panel:
      out["raters.leave_one_out.mr_ece"] = GapBins(agreement.left_out_bins(self.sums, self.num_bins), "pooled")
    return out

  def _read_out(self, name: str, groups: Sequence[str], pool: Pool) -> dict[str, Any]:
    out = metrics.read_out_metrics(self.sums, name, pool)
    if self.ranks is not None:
      out |= metrics.histogram_metrics(self.ranks[ordinal.READ_OUTS.index(name)], self.num_bins)
    out |= metrics.top_label_metrics(self.sums, name, groups, pool)
    if self.surface is not None:
      out |= metrics.surface_metrics(self.surface, name, self.sums.label_area(5) > 0, pool)
    return out


def _columns(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
  out: dict[str, np.ndarray] = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      out |= _columns(value, f"{prefix}{name}.")
    elif np.ndim(value) == 1:
      out[prefix + name] = value
  return out


@dataclasses.dataclass(frozen=True)
class Stored:
  """Content of sums.npz.

  Attributes:
    scores: without ranks.
    ids: [I].
    groups: [I].
  """

  scores: Scores
  ids: list[str]
  groups: list[str]


def arrays(stored: Stored) -> dict[str, Any]:
  """Returns the content of sums.npz."""
  out = {field.name: getattr(stored.scores.sums, field.name) for field in dataclasses.fields(ImageSums)}
  if stored.scores.surface is not None:
    out |= {f"{_SURFACE}{name}": value for name, value in vars(stored.scores.surface).items()}
  names = {"ids": np.asarray(stored.ids, np.str_), "groups": np.asarray(stored.groups, np.str_)}
  return {"version": VERSION, "num_bins": stored.scores.num_bins, **names, **out}


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
  surface = {name.removeprefix(_SURFACE): x for name, x in arrays.items() if name.startswith(_SURFACE)}
  sums = ImageSums(**{name: arrays[name] for name in names})
  scores = Scores(sums, surface=SurfaceScores(**surface) if surface else None)
  return Stored(scores, arrays["ids"].tolist(), arrays["groups"].tolist())


def _check_shapes(path: pathlib.Path, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
  num_images, num_raters = arrays["rater_valid"].shape if arrays["rater_valid"].ndim == 2 else (-1, -1)
  pattern = metrics.empty(max(num_raters, 0), int(arrays["num_bins"]))
  for name in (*names, "ids", "groups"):
    want = (num_images, *(getattr(pattern, name).shape[1:] if name in names else ()))
    if arrays[name].shape != want:
      raise InputError(f"{path} is damaged: {name} has shape {arrays[name].shape}, expected {want}.")
