"""PGM and PPM: grey and colour of 8 and 16 bits as stored; bitmaps and float maps of that family through Pillow.

Pillow stretches values of another maximum than 255 and 65535 and cuts 16-bit colour to 8 bits; OpenCV keeps them, but
not their maximum. The format is a header of four numbers and the values (netpbm's pgm(5) and ppm(5)): numpy reads it.
"""

import pathlib
import re
import zlib

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import bounds
from ordseg.image_io.image_file import ImageFile, damaged

_KINDS = {b"P2": 1, b"P3": 3, b"P5": 1, b"P6": 3}
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEAD = re.compile(rb"(P[2356])" + _SPACE + rb"(\d+)" + _SPACE + rb"(\d+)" + _SPACE + rb"(\d+)(?:#[^\r\n]*[\r\n]|\s)")
_HEAD_BYTES = 1 << 16  # comments may be long


def is_plain(content: bytes) -> bool:
  """Says whether this is a PGM or PPM with whole numbers."""
  return content[:2] in _KINDS and content[2:3] in b" \t\r\n\v\f#"


def read(path: pathlib.Path, content: bytes) -> ImageFile:
  """Reads the one picture of a file.

  Raises:
    InputError: a damaged header, values that are missing or above the maximum, or several pictures.
  """
  kind, shape, top, start = _header(path, content)
  count = shape[0] * shape[1] * shape[2]
  if kind in (b"P2", b"P3"):
    values = _parsed(path, content[start:], count)
  else:
    dtype = np.dtype(">u2") if top > 255 else np.dtype(np.uint8)
    _check_length(path, shape, count * dtype.itemsize, len(content) - start)
    values = np.frombuffer(content, dtype, count, start)
  largest = int(values.max(initial=0))
  if largest > top:
    raise damaged(path, f"it holds {largest}, more than the {top} its header allows; it is damaged")
  return ImageFile(path, values.astype(_dtype(top)).reshape(1, *shape))


def read_zipped(path: pathlib.Path) -> ImageFile:
  """Reads a file that gzip packed; its checksum is checked, and no more is unpacked than the header says."""
  packed = path.read_bytes()
  reader = zlib.decompressobj(wbits=31)
  content = reader.decompress(packed, _HEAD_BYTES)
  if not is_plain(content):
    raise InputError(f"{path}: holds no PGM or PPM of whole numbers.")
  kind, shape, top, start = _header(path, content)
  count = shape[0] * shape[1] * shape[2] * (2 if top > 255 else 1)
  needed = start + (count if kind in (b"P5", b"P6") else 12 * count)
  bounds.check(path, needed, len(packed), ratio=bounds.DEFLATE, shape=shape[:2])
  content += reader.decompress(reader.unconsumed_tail, max(0, needed - len(content)) + 3)
  if not reader.eof:
    raise damaged(path, "the gzip file does not end where its header says; it is damaged or cut short")
  return read(path, content)


def stored_dtype(path: pathlib.Path, head: bytes) -> np.dtype | None:
  """Returns the type of the values; None where the header is longer than `head`."""
  return _dtype(_header(path, head)[2]) if _HEAD.match(head) else None


def _dtype(top: int) -> np.dtype:
  return np.dtype(np.uint16 if top > 255 else np.uint8)


def _header(path: pathlib.Path, content: bytes) -> tuple[bytes, tuple[int, int, int], int, int]:
  """Returns kind, (H, W, C), the maximum, and where the values start."""
  found = _HEAD.match(content[:_HEAD_BYTES])
  if found is None:
    raise damaged(path, "the header of the PGM or PPM is damaged")
  width, height, top = (int(number) for number in found.groups()[1:])
  if not (0 < top < 65536 and width and height):
    raise damaged(path, f"its header claims {height} x {width} pixels of values up to {top}; it is damaged")
  return found[1], (height, width, _KINDS[found[1]]), top, found.end()


def _parsed(path: pathlib.Path, text: bytes, count: int) -> np.ndarray:
  try:
    values = np.array(re.sub(rb"#[^\r\n]*", b"", text).split(), np.int64)
  except ValueError:
    raise damaged(path, "it holds something that is no number; it is damaged") from None
  if len(values) != count:
    raise damaged(path, f"it holds {len(values):,} numbers, its header claims {count:,}; it is damaged or cut short")
  if values.min(initial=0) < 0:
    raise damaged(path, "it holds negative numbers; it is damaged")
  return values


def _check_length(path: pathlib.Path, shape: tuple[int, ...], needed: int, found: int) -> None:
  if found < needed:
    raise damaged(path, f"its header claims {shape[0]} x {shape[1]} pixels or {needed:,} bytes; found {found:,}")
  if found > needed + 2:  # a line end at most
    raise InputError(f"{path}: {found - needed:,} bytes follow the picture; a file of several pictures is not read.")
