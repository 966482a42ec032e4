"""Colours of masks: names, darkness, how many there are. Arithmetic is in 8 bits; of 16 bits the upper ones."""

import numpy as np

GREYISH = 16  # of 255: channels that differ no more show a grey, such as the (4, 2, 4) and (252, 254, 252) of DRIVE
BLURRED = 40  # of 255: colours nearer than this are one colour with smooth edges
_EDGE = 8  # of 255: what counts as black, and, from the other end, as white
_LUMA = np.asarray([0.299, 0.587, 0.114])  # ITU-R BT.601


def eight_bit(values: np.ndarray) -> np.ndarray:
  """Returns colours as 0 .. 255, int."""
  return (values >> 8 if values.dtype == np.uint16 else values).astype(np.int64)


def luminance(colour: np.ndarray) -> float:
  """Returns how bright [3] of 0 .. 255 is, 0 .. 255 (ITU-R BT.601)."""
  return float(np.asarray(colour) @ _LUMA)


def is_black(colour: np.ndarray) -> bool:
  """Says whether [3] is black but for rounding."""
  return int(np.max(colour)) <= _EDGE


def is_white(colour: np.ndarray) -> bool:
  """Says whether [3] is white but for rounding."""
  return int(np.min(colour)) >= 255 - _EDGE


def name(colour: np.ndarray) -> str:
  """Returns ``#rrggbb``."""
  return "#" + "".join(f"{int(part):02x}" for part in np.asarray(colour))


def parse(text: str) -> np.ndarray:
  """Returns [3] of ``#rrggbb``."""
  return np.asarray(tuple(bytes.fromhex(text[1:])))


def is_constant(pixels: np.ndarray) -> bool:
  """Says whether all pixels [.., C] are equal."""
  flat = pixels.reshape(-1, pixels.shape[-1])
  return bool((flat == flat[:1]).all())


def spread(pixels: np.ndarray) -> int:
  """Returns the largest difference between the channels of a pixel, 0 .. 255."""
  parts = eight_bit(pixels)
  return int((parts.max(-1) - parts.min(-1)).max(initial=0))


def split(pages: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray] | None:
  """Splits pages into their two colours.

  Args:
    pages: [D, H, W, C], C = 1 or 3, uint8 or uint16.

  Returns:
    The first colour [3] of 0 .. 255, the second or None, and where it is [D, H, W]; None where there are more.
  """
  flat = pages.reshape(-1, pages.shape[-1])
  is_other = (flat != flat[0]).any(-1)
  first = _three(flat[0])
  where = is_other.reshape(pages.shape[:-1])
  if not is_other.any():
    return first, None, where
  other = flat[np.argmax(is_other)]
  if (flat[is_other] != other).any():
    return None
  return first, _three(other), where


def most_common(pixels: np.ndarray, limit: int = 4) -> list[str]:
  """Returns the names of the colours that cover most, the first one the most."""
  codes, counts = np.unique(_codes(pixels), return_counts=True)
  order = np.argsort(-counts, kind="stable")[:limit]
  return [f"#{int(codes[i]):06x}" for i in order]


def count(pixels: np.ndarray) -> int:
  """Returns the number of different colours."""
  return len(np.unique(_codes(pixels)))


def number_of(text: str, palette: np.ndarray | None) -> int | None:
  """Returns where in a palette [n, 3] a colour stands; None where it does not."""
  if palette is None:
    return None
  found = np.flatnonzero((eight_bit(palette) == parse(text)).all(-1))
  return int(found[0]) if len(found) else None


def distance(pages: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
  """Returns the largest difference of a channel to a colour, [D, H, W] of 0 .. 255."""
  return np.abs(eight_bit(pages) - np.asarray(colour)).max(-1)


def _three(colour: np.ndarray) -> np.ndarray:
  return np.broadcast_to(eight_bit(colour), (3,))


def _codes(pixels: np.ndarray) -> np.ndarray:
  parts = np.broadcast_to(eight_bit(pixels), (*pixels.shape[:-1], 3))
  return (parts[..., 0] << 16) | (parts[..., 1] << 8) | parts[..., 2]
