"""Whether evaluations are of the same masks, and the images that all of them have."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from ordseg.errors import InputError
from ordseg.evaluation import result, scoring
from ordseg.evaluation.scoring import Stored
from ordseg.reporting.report import reading

# Must be equal in metrics.json, whatever the images are.
_SETTINGS = ("num_raters", "num_bins", "roi.kind", "roi.margin")
# Must be equal too where an earlier version kept no digest of the votes.
_SAME_DATA = ("data.fingerprint", "split", "num_images")
_SHOWN = 3  # names in a message


@dataclasses.dataclass(frozen=True)
class Run:
  """One evaluation, of a run or of maps: what a report shows, and the sums per image.

  Attributes:
    evaluation: its numbers, of the images that are compared.
    stored: likewise.
    left_out: its images that others lack.
    groups_of: the evaluation whose groups are used, where this one names none; None where its own are.
  """

  evaluation: reading.Evaluation
  stored: Stored
  left_out: tuple[str, ...] = ()
  groups_of: pathlib.Path | None = None

  @property
  def folder(self) -> pathlib.Path:
    """Of the evaluation."""
    return self.evaluation.folder


def read(folder: pathlib.Path) -> Run:
  """Reads an evaluation.

  Raises:
    InputError: it is missing or damaged.
  """
  return Run(reading.load(folder), scoring.read(folder))


def aligned(runs: Sequence[Run]) -> list[Run]:
  """Returns the runs on the images that all of them have, with one grouping.

  Images are the same where their names and the digests of their votes are. Where one of the evaluations is of an
  earlier version, without digests, data set, split, images and counts of votes must be those of the others.

  Raises:
    InputError: settings differ, an image has other masks in one of them, or no image is in all.
  """
  by_digest = all(run.stored.votes is not None for run in runs)
  for other in runs[1:]:
    _check_settings(runs[0], other, by_digest)
  if not by_digest:
    return list(runs)
  return _with_one_grouping(_on_common_images(runs))


def _check_settings(first: Run, other: Run, by_digest: bool) -> None:
  a, b = first.evaluation, other.evaluation
  differing = [
    f"{path} is {a.text(path)} in {a.folder} and {b.text(path)} in {b.folder}"
    for path in (*(() if by_digest else _SAME_DATA), *_SETTINGS)
    if a.text(path) != b.text(path)
  ]
  if not differing and not by_digest:
    differing = _image_gaps(first, other)
  if not differing:
    return
  old = [str(run.folder) for run in (first, other) if run.stored.votes is None]
  way_out = ""
  if not by_digest and old and len(old) < 2:
    way_out = f" {old[0]} is of an earlier version, which kept no digest of the votes: evaluate it again."
  raise InputError(f"these evaluations cannot be compared: {'; '.join(differing)}.{way_out}")


def _image_gaps(first: Run, other: Run) -> list[str]:
  where = f"in {first.folder} and {other.folder}"
  for what, a, b in (
    ("id", first.stored.ids, other.stored.ids),
    ("group", first.stored.groups, other.stored.groups),
  ):
    if a != b:
      pair = next(((x, y) for x, y in zip(a, b, strict=False) if x != y), (f"{len(a)} images", f"{len(b)} images"))
      return [f"the {what} of an image differs {where}: {pair[0]!r} and {pair[1]!r}"]
  x, y = first.stored.scores.sums, other.stored.scores.sums
  for name in ("rater_valid", "level_count"):
    if x_y := np.flatnonzero((getattr(x, name) != getattr(y, name)).any(-1)).tolist():
      image = first.stored.ids[x_y[0]]
      return [f"the votes on image {image!r} differ {where}: was one of them resized or preprocessed otherwise?"]
  return []


def _on_common_images(runs: Sequence[Run]) -> list[Run]:
  """Checks the masks of the images that all have, and leaves out the others."""
  common = set(runs[0].stored.ids).intersection(*(run.stored.ids for run in runs[1:]))
  if not common:
    examples = "; ".join(f"{', '.join(run.stored.ids[:_SHOWN])}, .. in {run.folder}" for run in runs)
    volumes = {name for run in runs for name in run.stored.ids}
    sliced = any(name.rpartition("/z")[0] in volumes for run in runs for name in run.stored.ids)
    why = " One of them counts the slices of volumes as images, another whole volumes." if sliced else ""
    raise InputError(f"these evaluations cannot be compared: no image is in all of them, by name: {examples}.{why}")
  kept = [_restricted(run, common) for run in runs]
  first = kept[0].stored
  for run in kept[1:]:
    assert first.votes is not None and run.stored.votes is not None
    if wrong := np.flatnonzero((first.votes != run.stored.votes).any(-1)).tolist():
      also = f" (and on {len(wrong) - 1} more)" if len(wrong) > 1 else ""
      raise InputError(
        f"these evaluations cannot be compared: the masks on image {first.ids[wrong[0]]!r}{also} are not the same in "
        f"{kept[0].folder} and {run.folder}: other raters answered, or one was resized, turned or cut otherwise."
      )
  return kept


def _restricted(run: Run, common: set[str]) -> Run:
  """Returns the run on some of its images, sorted by name as ever; itself where these are all."""
  stored = run.stored
  index = np.flatnonzero([name in common for name in stored.ids])
  if len(index) == len(stored.ids):
    return run
  kept = stored.rows(index)
  e = run.evaluation
  numbers = {name: x for name, x in e.metrics.items() if name not in ("oracle", "intervals")}
  numbers |= result.all_metrics(kept.scores, None, kept.groups)
  evaluation = dataclasses.replace(e, metrics=numbers, curves=result.curves(kept.scores))
  return Run(evaluation, kept, tuple(name for name in stored.ids if name not in common))


def _with_one_grouping(runs: list[Run]) -> list[Run]:
  """Gives runs without groups those of the first that has some; refuses groups that differ."""
  known = [run for run in runs if any(run.stored.groups)]
  if not known:
    return runs
  groups = known[0].stored.groups
  for run in known[1:]:
    # Their names may differ, what they put together may not.
    if (pair := _other_group(groups, run.stored.groups)) is not None:
      names = " and ".join(repr(run.stored.ids[k]) for k in pair)
      raise InputError(
        f"these evaluations cannot be compared: the groups differ in {known[0].folder} and {run.folder}: one puts "
        f"{names} together, the other does not."
      )
  return [
    dataclasses.replace(
      run,
      stored=dataclasses.replace(run.stored, groups=groups),
      groups_of=None if any(run.stored.groups) else known[0].folder,
    )
    for run in runs
  ]


def _other_group(a: Sequence[str], b: Sequence[str]) -> tuple[int, int] | None:
  """Returns two images that one grouping puts together and the other does not; '' is a group of its own."""
  for one, other in ((a, b), (b, a)):
    first: dict[str, int] = {}
    for k, name in enumerate(one):
      start = first.setdefault(name, k) if name else k
      if start != k and (not other[k] or other[k] != other[start]):
        return start, k
  return None
