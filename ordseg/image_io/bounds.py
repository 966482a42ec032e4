"""What an image may take in memory, judged by its header before any of it is taken."""

import os
import pathlib

from ordseg.errors import InputError
from ordseg.image_io.image_file import damaged

VARIABLE = "ORDSEG_MAX_IMAGE_GIB"
_BOMB_RATIO = 250  # pictures shrink to a 100th at most where they show something; blank ones to a 1000th and less
# The most that one byte can become. Deflate: 258 bytes for 2 bits (RFC 1951: a match of 258 needs two codes of a bit).
# LZW: 3840 bytes for a code of 12 bits, as its table has 4096 entries and each is longer by one than another.
# PackBits: 128 bytes for 2. JPEG: 16 x 16 pixels of colour for 6 bits (one for the DC of each block; the AC of many
# blocks in one run), twice that where a scan is left out.
DEFLATE, LZW, PACKBITS, JPEG, RLE_BMP, PLAIN = 1032, 2560, 64, 2048, 128, 1
_SLACK = 1 << 12


def check(
  path: pathlib.Path,
  needed: int,
  stored: int,
  *,
  ratio: float = 0,
  packed: int | None = None,
  shape: tuple[int, ...] = (),
) -> None:
  """Refuses a picture that its file cannot hold, and one that unpacks to far more than pictures do.

  Args:
    path: the file.
    needed: bytes of the picture in memory.
    stored: bytes of the file that hold it.
    ratio: bytes that one in the file can become by its compression, at most; 0 = no bound is known.
    packed: bytes that the compression gives, where these are fewer than in memory: 1 bit per pixel.
    shape: what the header says, for the message.

  Raises:
    InputError: names the file.
  """
  claim = f"its header claims {' x '.join(map(str, shape)) or needed} {'pixels' if shape else 'bytes'}"
  if ratio and (needed if packed is None else packed) > stored * ratio + _SLACK * ratio:
    raise damaged(path, f"{claim}, more than its {stored:,} bytes can hold; it is damaged or cut short")
  limit = _limit()
  if needed > limit and needed > stored * _BOMB_RATIO:
    raise InputError(
      f"{path}: {claim}, {needed / 2**30:.1f} GiB, {needed // max(stored, 1):,} times the file; it would fill "
      f"the memory. If the file is genuine, cut it into tiles, or set the environment variable {VARIABLE}"
      f"={max(1, -(-needed // 2**30))}."
    )


def _limit() -> float:
  text = os.environ.get(VARIABLE, "") or "1"
  try:
    return float(text) * 2**30
  except ValueError:
    raise InputError(f"{VARIABLE}={text!r} must be a number of GiB.") from None
