"""Folds by patient: frozen in small text files, so that every machine judges the same patients in the same cell."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

from ordseg.errors import InputError

FOLDER = pathlib.Path(__file__).parent / "manifests"
_SALT = "ordseg study 1"
VALIDATION_SHARE = 0.1  # of the training patients: chosen among on, recalibrated on, never trained on


def _rank(*words: object) -> str:
  return hashlib.sha256("/".join(map(str, (_SALT, *words))).encode()).hexdigest()


def deal(patients: Collection[str], num_folds: int) -> dict[str, int]:
  """Deals patients into folds of equal size (but for one), in the order of a hash of their names.

  Returns:
    patient -> fold, sorted by patient.
  """
  order = sorted(patients, key=_rank)
  return dict(sorted((patient, k % num_folds) for k, patient in enumerate(order)))


def write(path: pathlib.Path, folds: dict[str, int]) -> None:
  """Writes a manifest: one line per patient, its fold first."""
  path.write_text("".join(f"{fold} {patient}\n" for patient, fold in folds.items()))


def read(path: pathlib.Path) -> dict[str, int]:
  """Reads a manifest back.

  Raises:
    InputError: the file is missing or a line is not ``fold patient``.
  """
  if not path.is_file():
    raise InputError(f"{path}: there is no such manifest of folds; --deal=STUDY writes it from the data.")
  out: dict[str, int] = {}
  for number, line in enumerate(path.read_text().splitlines(), 1):
    fold, _, patient = line.partition(" ")
    if not fold.isdigit() or not patient or patient in out:
      raise InputError(f"{path}, line {number}: {line!r} should be a fold and a patient who comes once.")
    out[patient] = int(fold)
  return out


def digest(folds: dict[str, int]) -> str:
  """Returns the SHA-256 of a division."""
  return hashlib.sha256("\n".join(f"{fold} {patient}" for patient, fold in sorted(folds.items())).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Roles:
  """The patients of one cell.

  Attributes:
    train: trained on.
    validation: chosen among and recalibrated on.
    test: judged.
  """

  train: tuple[str, ...]
  validation: tuple[str, ...]
  test: tuple[str, ...]


def roles(folds: dict[str, int], fold: int) -> Roles:
  """Returns who is who where `fold` is judged; sorted."""
  test = sorted(patient for patient, k in folds.items() if k == fold)
  rest = sorted((patient for patient, k in folds.items() if k != fold), key=lambda p: _rank("validation", fold, p))
  num = max(1, round(VALIDATION_SHARE * len(rest)))
  return Roles(tuple(sorted(rest[num:])), tuple(sorted(rest[:num])), tuple(test))


class Part(Sequence[dict[str, Any]]):
  """The examples of some patients out of several sources, for random access by several threads."""

  def __init__(self, sources: Sequence[Any], places: Sequence[tuple[int, int]]):
    self._sources, self._places = sources, list(places)

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, index: Any) -> Any:
    source, row = self._places[index]
    return self._sources[source][row]


def check_patients(found: Collection[str], folds: dict[str, int], path: pathlib.Path) -> None:
  """Raises InputError unless the data hold just the patients of the manifest."""
  missing, strange = sorted(set(folds) - set(found)), sorted(set(found) - set(folds))
  if missing or strange:
    what = f"{len(missing)} patients of it are not in the data" if missing else f"the data hold {len(strange)} others"
    raise InputError(
      f"{path}: {what} ({(missing or strange)[0]!r} first). The study needs all {len(folds)}: docs/study_protocol.md."
    )
