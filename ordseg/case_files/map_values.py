"""Stored numbers as probabilities: codes, logits, label maps, and what is refused rather than guessed.

What a number means is a property of the whole set of maps: a file of zeros alone may be a label map or a probability.
"""

import dataclasses
import pathlib
from collections.abc import Iterable

import numpy as np
import scipy.special

from ordseg.case_files.map_reading import Stored
from ordseg.case_files.options import Options
from ordseg.errors import InputError

TOLERANCE = 1e-6  # outside [0, 1]: rounding, as of 255 times a float32 of 1/255
_FEW = 32  # different values, or the largest label
_PERCENT = 100
_SAMPLE = 4096
_TOPS = {1: 255, 2: 65535}  # by bytes of an unsigned type
_SNAP = 2e-7  # of floats that are codes over 255 or 65535: two roundings of float32 near 1
_SUM = 2e-3  # of the channels of a softmax in float16
CODES, FLOATS, LABELS, LOGITS = "codes", "floats", "labels", "logits"


@dataclasses.dataclass(frozen=True)
class Content:
  """What the numbers of a set of maps are.

  Attributes:
    kind: ``codes`` (whole numbers that stand for fractions), ``floats``, ``labels`` (0 and 1, or numbers of classes)
      or ``logits``.
    top: what stands for 1.
    low: the smallest number seen.
    high: the largest number seen.
    notes: what a user must know: label maps, constant maps, per cent.
    dtype: of the first map.
    example: what the first map is, in words.
  """

  kind: str
  top: float
  low: float
  high: float
  dtype: np.dtype
  notes: tuple[str, ...] = ()
  example: str = ""

  @property
  def is_label_map(self) -> bool:
    """Whether the maps are 0 and 1 or numbers of classes, not probabilities."""
    return self.kind == LABELS


class Survey:
  """Looks at maps, one at a time, until it is known what their numbers are."""

  def __init__(self, options: Options):
    self._options = options
    self._few: set[float] | None = set()
    self._low, self._high = np.inf, -np.inf
    self._kinds: dict[str, pathlib.Path] = {}

  def of(self, maps: Iterable[Stored]) -> Content:
    """Returns what they are; takes no more of them than it needs.

    Raises:
      InputError: several types, or numbers whose meaning the user must say; names the way out.
    """
    first: Stored | None = None
    for one in maps:
      first = first or one
      self._add(one)
      if self._is_settled(one.values.dtype):
        break
    if first is None:
      raise InputError("there is no map to look at.")
    return dataclasses.replace(self._content(first), example=_described(first))

  def _add(self, one: Stored) -> None:
    values = one.values
    self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
    if self._few is not None:
      flat = values.reshape(-1)
      sample = np.unique(flat[:: max(1, flat.size // _SAMPLE)])
      if len(sample) <= _FEW:  # whether there are others is found without sorting them all
        sample = np.concatenate([sample, np.unique(flat[~np.isin(flat, sample)])])
      self._few |= set(sample.astype(float).tolist())
      self._few = self._few if len(self._few) <= _FEW else None

  def _is_settled(self, dtype: np.dtype) -> bool:
    if self._options.from_logits:
      return self._low < -TOLERANCE or self._high > 1 + TOLERANCE
    return self._few is None and (dtype.kind not in "iu" or self._high > _PERCENT)

  def _content(self, first: Stored) -> Content:
    few, options, ends = self._few, self._options, (self._low, self._high, first.values.dtype)
    if options.from_logits:
      if self._low >= 0 and self._high <= 1:
        raise InputError(
          f"{first.path}: --from_logits, but all values of the set lie in [{self._low:g}, {self._high:g}], as "
          "probabilities do; leave the flag out."
        )
      return Content(LOGITS, 1, *ends)
    is_whole = few is not None and all(value.is_integer() for value in few)
    constant = (
      (f"every value of the set is {self._low:g}: a constant map",) if few is not None and len(few) == 1 else ()
    )
    if is_whole and few is not None and few <= {0.0, 1.0} and options.scale in (0, 1):
      return Content(LABELS, 1, *ends, (*constant, _label_note("0 and 1")))
    top = options.scale or self._top(first, is_whole)
    if not top:
      return Content(LABELS, 1, *ends, (_label_note(f"whole numbers from {self._low:g} to {self._high:g}"),))
    if few is not None and few <= {0.0, float(top)}:
      return Content(CODES if top != 1 else FLOATS, top, *ends, (*constant, _label_note(f"0 and {top:g}")))
    return Content(CODES if top > 1 else FLOATS, top, *ends, (*constant, *self._warned(first.values.dtype, top)))

  def _top(self, first: Stored, is_whole: bool) -> float:
    """What stands for 1; 0 of label maps of several classes."""
    dtype = first.values.dtype
    if is_whole and self._low >= 0 and 1 < self._high < _FEW:
      return 0
    if dtype.kind == "f":
      return 1
    if dtype.kind == "u" and dtype.itemsize in _TOPS:
      top = _TOPS[dtype.itemsize]
      if self._few is not None and len(self._few) == 2 and 0.0 in self._few and top not in self._few:
        raise InputError(
          f"{first.path}: the maps of the set hold 0 and {self._high:g} alone: label maps? Then give "
          f"--scale={self._high:g}; if {top} stands for 1, --scale={top}."
        )
      return top
    raise InputError(
      f"{first.path}: holds whole numbers of type {dtype}, {self._low:g} to {self._high:g}; say what stands for 1: "
      "--scale=100 for per cent."
    )

  def _warned(self, dtype: np.dtype, top: float) -> tuple[str, ...]:
    notes = []
    if dtype == np.uint8 and top == 255:
      notes.append("8-bit codes: probabilities in steps of 1/255")
    if dtype.kind in "iu" and self._high <= _PERCENT < top:
      notes.append(f"no value is above {self._high:g} of {top:g}: if they are per cent, give --scale=100")
    return tuple(notes)


def _described(one: Stored) -> str:
  key = f" key {one.key}," if one.key else ""
  axes = "pages, rows, columns, channels" if one.image is not None else "axes as stored"
  return f"{one.path.name}:{key} {one.values.dtype}, {' x '.join(map(str, one.values.shape))} ({axes})"


def _label_note(what: str) -> str:
  return f"label maps ({what}), not probabilities: scored as 0 and 1"


def check_type(stored: Stored, content: Content) -> None:
  """Checks that a map is of the kind that the set's first is.

  Raises:
    InputError: floats among codes, 16 bits among 8 bits.
  """
  have, want = stored.values.dtype, content.dtype
  if have != want and not (have.kind == want.kind == "f") and content.kind != LABELS:
    raise InputError(f"{stored.path}: holds {have}, the set's first map {want}: maps of a set have one type.")


def probabilities(values: np.ndarray, content: Content, path: pathlib.Path, *, is_regions: bool) -> np.ndarray:
  """Turns the channels of a map into probabilities.

  Args:
    values: [C, ..] as stored.
    content: what the set's numbers are; no label maps of several classes.
    path: the file, for errors.
    is_regions: channels do not exclude each other: logits are taken by sigmoid.

  Returns:
    [C, ..]: float64 of codes, code / top rounded right, so that a bin's edge is met exactly; else floats of the
    stored type, float32 at least.

  Raises:
    InputError: values outside [0, 1].
  """
  if content.kind == LOGITS:
    return _of_logits(values, is_regions)
  if values.dtype.kind in "biu":
    out = values.astype(np.float64) / content.top
  else:
    out = values.astype(np.float64) / content.top if content.top != 1 else values
    out = out.astype(np.float32) if out.dtype == np.float16 else out
  low, high = float(out.min()), float(out.max())
  if low < -TOLERANCE or high > 1 + TOLERANCE:
    raise InputError(_outside(path, values))
  snapped = _snapped(out) if out.dtype.kind == "f" and values.dtype.kind == "f" else None
  if snapped is not None:
    return snapped
  return np.clip(out, 0, 1) if low < 0 or high > 1 else out


def _outside(path: pathlib.Path, values: np.ndarray) -> str:
  low, high = float(values.min()), float(values.max())
  if low < -TOLERANCE:
    what = "logits? Then give --from_logits"
  else:
    scale = _PERCENT if high <= _PERCENT else np.ceil(high)
    what = f"per cent, or another scale? Then give --scale={scale:g}; logits: --from_logits"
  return f"{path}: holds values from {low:g} to {high:g}, expected probabilities in [0, 1]: {what}."


def _of_logits(values: np.ndarray, is_regions: bool) -> np.ndarray:
  logits = values.astype(np.float64)
  out = scipy.special.expit(logits) if len(values) == 1 or is_regions else scipy.special.softmax(logits, axis=0)
  return out.astype(np.float64 if values.dtype == np.float64 else np.float32)


def _snapped(values: np.ndarray) -> np.ndarray | None:
  """Returns floats that are k / 255 or k / 65535 but for rounding as the float64 nearest to that; else None."""
  flat = values.reshape(-1)
  sample = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)
  for top in _TOPS.values():
    if np.abs(sample - np.rint(sample * top) / top).max() <= _SNAP:
      exact = np.rint(values.astype(np.float64) * top) / top
      if np.abs(values - exact).max() <= _SNAP:
        return np.clip(exact, 0, 1)
  return None


def excludes(probs: np.ndarray) -> bool:
  """Returns whether the channels [C, ..] sum to 1, as those of a softmax do."""
  return bool(np.abs(probs.sum(0, dtype=np.float64) - 1).max() <= _SUM + len(probs) / 510 * (probs.dtype == np.float64))
