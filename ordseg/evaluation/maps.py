"""Maps of any tool with their masks, case by case out of files, to one result per structure."""

import dataclasses
import hashlib
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ordseg import image_io
from ordseg.case_files import Case, Pairs, Structure
from ordseg.evaluation.accumulator import MultiRaterMetrics
from ordseg.evaluation.result import EvalResult
from ordseg.metrics import Region
from ordseg.statistics import Settings

_DIGITS = 32  # of digests


@dataclasses.dataclass(frozen=True)
class Scored:
  """One structure.

  Attributes:
    structure: its name and where it was found.
    result: every number.
    about: what metrics.json says of the maps, as its section ``model``.
  """

  structure: Structure
  result: EvalResult
  about: dict[str, Any]


def score_pairs(
  pairs: Pairs,
  *,
  num_bins: int = 15,
  region: Region | None = None,
  surface_tolerance: float | None = None,
  settings: Settings | None = Settings(),  # noqa: B008
  progress: Callable[[int], None] | None = None,
) -> list[Scored]:
  """Scores maps against masks, one case in memory at a time; what stays of it is its sums.

  Args:
    pairs: from `case_files.pair`.
    num_bins: of the calibration errors.
    region: which pixels count, of those that the files let count.
    surface_tolerance: of the surface Dice; None leaves distances between outlines out.
    settings: of the intervals; None leaves them out.
    progress: called with the number of cases done.

  Returns:
    One per structure.

  Raises:
    InputError: what reading a case refuses, or `MultiRaterMetrics.update`; names the file or the case.
  """
  options: dict[str, Any] = {"num_bins": num_bins, "region": region, "surface_tolerance": surface_tolerance}
  sampled = pairs.num_members > 1 and not pairs.has_levels
  classes = [_Class(one, MultiRaterMetrics(**options), sampled=sampled) for one in pairs.structures]
  cases = iter(pairs)
  for done in range(1, len(pairs) + 1):
    _add(next(cases), classes)  # nothing here holds the case while the next one is read
    if progress is not None:
      progress(done)
  return [Scored(one.structure, one.scores.compute(settings), one.about(pairs)) for one in classes]


def _add(case: Case, classes: Sequence["_Class"]) -> None:
  image = _image(case)
  for one in classes:
    one.add(case, image)


class _Class:
  """One structure while cases come."""

  def __init__(self, structure: Structure, scores: MultiRaterMetrics, *, sampled: bool):
    self.structure, self.scores, self._sampled = structure, scores, sampled
    self._digest = hashlib.sha256()
    self._notes: Tally[str] = Tally()
    self._groups: set[str] = set()
    self._members: set[int] = set()

  def add(self, case: Case, image: np.ndarray | None) -> None:
    """Counts a case."""
    name = self.structure.name
    probs = case.probs[name]
    spaced = case.spacing if case.spacing and all(length > 0 for length in case.spacing) else None
    self.scores.update(
      probs,
      case.rater_masks[name],
      case.rater_valid,
      group=case.group,
      name=case.name,
      mask=case.pixel_valid,
      spacing=spaced,
      image=image,
      samples=case.members.get(name, (probs,)) if self._sampled else None,
    )
    self._digest.update(f"{case.name} {probs.shape} ".encode() + np.ascontiguousarray(probs, "<f4").tobytes())
    self._notes.update(case.notes)
    self._groups.add(case.group)
    self._members.add(len(case.members.get(name, (None,))))

  def about(self, pairs: Pairs) -> dict[str, Any]:
    """Returns the section ``model`` of metrics.json: that these are maps, and how they were read."""
    found, content = pairs.listing, pairs.content
    changed = {
      field.name: getattr(pairs.options, field.name)
      for field in dataclasses.fields(pairs.options)
      if getattr(pairs.options, field.name) != field.default
    }
    return {
      "kind": "maps",
      "structure": dataclasses.asdict(self.structure),
      "has_levels": pairs.has_levels,
      "numbers": {"kind": content.kind, "one": content.top, "type": str(content.dtype)},
      "first_map": content.example,
      "members": max(self._members),
      "options": changed,
      "how": list(found.how),
      "odd": list(found.odd),
      "notes": [{"note": note, "num_cases": count} for note, count in sorted(self._notes.items())],
      "cases": {
        "matched": len(found.matched),
        "without_map": list(found.missing),
        "without_mask": list(found.unrated),
        "maps_of_unknown_cases": list(found.unknown),
      },
      "patients": len(self._groups),
      "digest": self._digest.hexdigest()[:_DIGITS],
    }


def _image(case: Case) -> np.ndarray | None:
  """Returns the picture [H, W, C] or volume [D, H, W, C] of a case; None where there is none."""
  if case.image is None:
    return None
  pages = image_io.read(case.image).pages
  is_volume = next(iter(case.rater_masks.values())).ndim > 3
  return pages if is_volume else pages[0]
