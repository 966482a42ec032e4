"""Stored values of a mask as 0 and 1: what counts as marked, by number, colour or transparency.

Without a rule a mask must say it by itself: 0 and one other value; two colours, of which one is plainly the ground; or
one colour that is transparent elsewhere. Anything else is refused with the rule that would settle it.
"""

import dataclasses
import operator
import pathlib
import re
from collections.abc import Callable

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import colours
from ordseg.image_io.image_file import ImageFile

TOLERANCE = 1e-4  # of a float mask: relative to the whole number, absolute below 1
NEAR = 127  # of 255, in every channel: half the way from black to the full colour
_FEW = 3  # colours near the one that counts; smooth edges make more
_COMPARE: dict[str, Callable[..., np.ndarray]] = {
  "==": operator.eq,
  "!=": operator.ne,
  ">=": operator.ge,
  ">": operator.gt,
  "<=": operator.le,
  "<": operator.lt,
}
_NUMBER = re.compile(r"(alpha)?\s*(==|!=|>=|>|<=|<)\s*(-?\d+(?:\.\d+)?)")
_COLOUR = re.compile(r"(==|!=|~)\s*#([0-9a-fA-F]{6})")
_BINARY = "binary"


@dataclasses.dataclass(frozen=True)
class Rule:
  """What counts as marked.

  Attributes:
    text: as the user gave it.
    of: what it looks at: ``binary``, ``value``, ``alpha`` or ``colour``.
    compare: ``==``, ``!=``, ``>=``, ``>``, ``<=``, ``<``, or ``~`` for near a colour.
    number: to compare with.
    colour: to compare with, 0 .. 255.
  """

  text: str = _BINARY
  of: str = _BINARY
  compare: str = ""
  number: float = 0.0
  colour: tuple[int, int, int] = (0, 0, 0)


BINARY = Rule()


def parse_rule(text: str) -> Rule:
  """Reads a rule: ``binary``, ``>=128``, ``==2``, ``alpha>=128``, ``==#ff0000``, ``~#ff0000``.

  Raises:
    InputError: it is none of these.
  """
  if text.strip() == _BINARY:
    return BINARY
  if found := _NUMBER.fullmatch(text.strip()):
    return Rule(text, found[1] or "value", found[2], number=float(found[3]))
  if found := _COLOUR.fullmatch(text.strip()):
    red, green, blue = bytes.fromhex(found[2])
    return Rule(text, "colour", found[1], colour=(red, green, blue))
  raise InputError(
    f"{text!r} must be 'binary' (0 and one other value) or a comparison such as '>=128', '==2', '!=0', 'alpha>=128', "
    "'==#ff0000' or '~#ff0000' (near that colour)."
  )


def to_binary(
  values: np.ndarray, path: pathlib.Path, *, threshold: float | None = None, foreground: float | None = None
) -> np.ndarray:
  """Turns stored mask values into 0 and 1.

  Args:
    values: any shape; floats within `TOLERANCE` of a whole number count as that.
    path: where they come from, for the error.
    threshold: values >= threshold are marked.
    foreground: values equal to it are marked, all others must be 0. With neither, the mask must hold 0 and one other
      value at most (0/1, 0/255, ...); that other value is marked.

  Returns:
    uint8, same shape.

  Raises:
    InputError: unexpected values, fractions, NaN; names some.
  """
  values = settled(values, path)
  if threshold is not None:
    return (values >= threshold).astype(np.uint8)
  marked = _two_values(values, foreground)
  if marked is None:
    wanted = "0 and one other value" if foreground is None else f"0 and {foreground:g}"
    raise InputError(f"{path}: a mask holds {wanted}; found {_shown(values)}. A grey mask needs a threshold.")
  return marked


def to_marks(file: ImageFile, rule: Rule = BINARY, *, setting: str = "") -> np.ndarray:
  """Says where a mask is marked.

  Args:
    file: with its transparency and palette, as `reading.read_stored` gives it.
    rule: what counts.
    setting: how a user gives a rule, with {} for it, to be named in errors: ``--config.x.marked={}``.

  Returns:
    [D, H, W] uint8, 0 or 1.

  Raises:
    InputError: the mask does not say what is marked, or not by that rule; names a rule that settles it.
  """
  return _Mask(file, setting).marks(rule)


def settled(values: np.ndarray, path: pathlib.Path) -> np.ndarray:
  """Returns floats as whole numbers where they are so but for rounding: .9999999998 is 1, .5 stays.

  Raises:
    InputError: NaN or infinity.
  """
  if values.dtype.kind != "f":
    return values
  strange = np.count_nonzero(~np.isfinite(values))
  if strange:
    raise InputError(f"{path}: a mask holds {strange} values that are not finite (nan or infinity).")
  whole = np.rint(values)
  is_near = np.abs(values - whole) <= TOLERANCE * np.maximum(1, np.abs(whole))
  return np.where(is_near, whole + 0, values)


def _two_values(values: np.ndarray, foreground: float | None = None) -> np.ndarray | None:
  """Marks where 0 and one other whole number are all there is; None otherwise."""
  marked = values != 0
  other = foreground if foreground is not None else values.max(initial=0) or values.min(initial=0)
  if (marked & (values != other)).any() or (values.dtype.kind == "f" and other != np.rint(other)):
    return None
  return marked.astype(np.uint8)


def _shown(values: np.ndarray) -> str:
  found = np.unique(values)
  return ", ".join(f"{value:g}" for value in found[:6].astype(float)) + (", ..." if len(found) > 6 else "")


class _Mask:
  """One mask file, and the sentences about it."""

  def __init__(self, file: ImageFile, setting: str):
    self._file, self._setting = file, setting
    self._is_clear = file.alpha is not None and bool((file.alpha != file.alpha.flat[0]).any())

  def marks(self, rule: Rule) -> np.ndarray:
    if rule.of == "binary":
      return self._binary()
    if rule.of == "colour":
      return self._of_colour(rule)
    values = self._alpha() if rule.of == "alpha" else settled(self._numbers(rule), self._file.path)
    return _COMPARE[rule.compare](values, rule.number).astype(np.uint8)

  def _refusal(self, found: str, *examples: str) -> InputError:
    """One line: what was found, and the rules that would settle it."""
    rules = " or ".join(repr(example) for example in examples)
    if not self._setting:
      return InputError(f"{self._file.path}: {found}. It needs a rule of what is marked, such as {rules}.")
    given = " or ".join(self._setting.format(repr(example)) for example in examples)
    doctor = f"--set='marked={examples[0]}'"
    return InputError(f"{self._file.path}: {found}. Say what is marked: {given} (ordseg check: {doctor}).")

  def _alpha(self) -> np.ndarray:
    if self._file.alpha is None:
      raise InputError(f"{self._file.path}: has no transparency (alpha) to compare with.")
    return self._file.alpha

  def _binary(self) -> np.ndarray:
    pages, alpha = self._file.pages, self._file.alpha
    if self._is_clear:
      return self._in_alpha()
    if alpha is not None and not alpha.flat[0] and colours.is_constant(pages):
      return np.zeros(pages.shape[:3], np.uint8)  # nothing of it can be seen
    if self._is_grey() and self._file.indices is None:
      return self._grey(pages[..., 0])
    return self._two_colours()

  def _is_grey(self) -> bool:
    pages = self._file.pages
    if pages.shape[-1] not in (1, 3):
      raise InputError(f"{self._file.path}: a mask has one channel, found {pages.shape[-1]}. Store one channel.")
    if pages.shape[-1] == 1 or bool((pages == pages[..., :1]).all()):
      return True
    if self._file.header is not None or pages.dtype not in (np.uint8, np.uint16):
      raise InputError(f"{self._file.path}: a mask has one channel, found 3 that differ. Store one channel.")
    return False

  def _grey(self, values: np.ndarray) -> np.ndarray:
    values = settled(values, self._file.path)
    marked = _two_values(values)
    if marked is None:
      levels = np.unique(values)
      top = float(levels[-1])
      examples = [f">={_half(top):g}"] if len(levels) > 8 or top <= 1 else [f"=={levels[-1]:g}", "!=0"]
      what = f"a mask holds 0 and one other value; found {_shown(values)}"
      raise self._refusal(what + (" (grey edges, or a JPEG)" if len(levels) > 8 else ""), *examples)
    return marked

  def _in_alpha(self) -> np.ndarray:
    alpha, pages = self._alpha(), self._file.pages
    seen = alpha > 0
    if not colours.is_constant(pages[seen]):
      names = colours.most_common(pages[seen])
      brightest = max(names, key=lambda name: colours.luminance(colours.parse(name)))
      raise self._refusal(
        f"both the mask's colours ({', '.join(names)}) and its transparency vary",
        *([f"=={brightest}"] if pages.shape[-1] == 3 else ["!=0"]),
        "alpha!=0",
      )
    levels = np.unique(alpha)
    if len(levels) > 2 or levels[0] != 0:
      raise self._refusal(
        f"the mask's colours are constant and its transparency has {len(levels)} levels",
        f"alpha>={_half(levels[-1]):g}",
      )
    return seen.astype(np.uint8)

  def _two_colours(self) -> np.ndarray:
    pages = self._file.pages
    found = colours.split(pages)
    if found is None:
      raise self._many_colours()
    first, second, is_second = found
    if second is None:
      return np.full(pages.shape[:3], self._is_mark(first), np.uint8)
    low, high = sorted((first, second), key=colours.luminance)
    reason = self._doubt(low, high)
    if reason:
      names = [colours.name(colour) for colour in (high, low)]
      raise self._refusal(
        f"the mask has the two colours {' and '.join(names)}, and {reason}", *(f"=={n}" for n in names)
      )
    return (is_second if second is high else ~is_second).astype(np.uint8)

  def _doubt(self, low: np.ndarray, high: np.ndarray) -> str:
    """Returns why it is not plain that the darker of two colours is the ground; '' where it is."""
    if colours.luminance(high) - colours.luminance(low) < 8:
      return "neither is plainly the darker"
    if not colours.is_black(low) and colours.is_white(high):
      return "either may be the mark"
    palette = self._file.palette
    if palette is not None and bool((colours.eight_bit(palette[0]) == high).all()):
      return "the ground would be the first of the palette, which is not the darker"
    return ""

  def _is_mark(self, colour: np.ndarray) -> bool:
    """Says whether the one colour of a mask is the mark."""
    palette = self._file.palette
    if colours.is_black(colour):
      return False
    if palette is None and colours.is_white(colour):
      return True
    if palette is not None and colours.is_black(colours.eight_bit(palette[0])):  # the ground, and not this colour
      return True
    name = colours.name(colour)
    raise self._refusal(f"the mask is {name} all over, which may be all or nothing", f"=={name}", f"!={name}")

  def _many_colours(self) -> InputError:
    names, count = colours.most_common(self._file.pages), colours.count(self._file.pages)
    more = ", ..." if count > len(names) else ""
    what = f"a mask has one channel, found 3 that differ: {count} colours ({', '.join(names)}{more})"
    if colours.spread(self._file.pages) <= colours.GREYISH:
      return self._refusal(f"{what}, greys with edges or of a JPEG", ">=128")
    mark = colours.farthest(self._file.pages)
    if count > 16:
      return self._refusal(f"{what}: it has smooth edges or is a JPEG", f"~{mark}")
    number = colours.number_of(mark, self._file.palette)
    return self._refusal(what, f"=={mark}", *([f"=={number}"] if number is not None else []))

  def _of_colour(self, rule: Rule) -> np.ndarray:
    pages = self._file.pages
    if pages.shape[-1] not in (1, 3) or pages.dtype not in (np.uint8, np.uint16):
      raise InputError(
        f"{self._file.path}: {rule.text!r} names a colour; the mask holds {pages.shape[-1]} channels of {pages.dtype}."
      )
    apart = colours.distance(pages, rule.colour)
    if rule.compare == "~":
      return (apart <= NEAR).astype(np.uint8)
    is_near = (apart > 0) & (apart <= colours.BLURRED)
    if is_near.any() and colours.count(pages[is_near]) > _FEW:
      smooth = np.count_nonzero(is_near)
      name = colours.name(np.asarray(rule.colour))
      raise self._refusal(f"{smooth} pixels are nearly but not quite {name} (smooth edges, or a JPEG)", f"~{name}")
    return ((apart == 0) == (rule.compare == "==")).astype(np.uint8)

  def _numbers(self, rule: Rule) -> np.ndarray:
    """Returns what a number is compared with: values, grey levels, or the numbers of a palette's colours."""
    file, pages = self._file, self._file.pages
    if self._is_clear and colours.is_constant(pages):
      raise self._refusal("the mask's colours are constant, its transparency is not", "alpha!=0")
    if file.indices is not None and file.palette is not None:
      if colours.spread(file.palette) > colours.GREYISH:
        if rule.compare in ("==", "!="):
          return file.indices
        mark = colours.farthest(pages)
        number = colours.number_of(mark, file.palette)
        raise self._refusal(
          f"the mask is a palette of colours, whose numbers have no order as {rule.text!r} asks for",
          f"=={mark}",
          f"=={number}",
        )
      levels = colours.eight_bit(file.palette).max(-1)
      if (
        rule.compare in ("==", "!=")
        and rule.number == int(rule.number)
        and 0 < rule.number < len(levels)
        and rule.number not in levels
      ):
        mark = colours.name(colours.eight_bit(file.palette)[int(rule.number)])
        raise self._refusal(
          f"{rule.text!r} may mean a grey level or the number of a colour in its palette", f"=={mark}"
        )
    if pages.shape[-1] == 1:
      return pages[..., 0]
    if pages.shape[-1] != 3:
      raise InputError(f"{file.path}: a mask has one channel, found {pages.shape[-1]}. Store one channel.")
    if (pages == pages[..., :1]).all():
      return pages[..., 0]
    if pages.dtype.kind in "iu" and colours.spread(pages) <= colours.GREYISH:
      return pages.max(-1)
    raise self._refusal(
      f"the mask holds colours ({', '.join(colours.most_common(pages))}), and {rule.text!r} compares numbers",
      f"=={colours.farthest(pages)}",
    )


def _half(top: float) -> float:
  return (float(top) + 1) // 2 if top > 1 else 0.5
