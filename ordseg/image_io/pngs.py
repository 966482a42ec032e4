"""PNG through libpng (imagecodecs), which keeps 16 bits of every kind; palettes keep their indices through Pillow.

The format: W3C PNG (third edition), sections 5 (chunks) and 11 (their content).
"""

import dataclasses
import io
import pathlib
import struct
import zlib

import numpy as np
import PIL.Image

from ordseg.image_io import bounds
from ordseg.image_io.image_file import damaged

MAGIC = b"\x89PNG\r\n\x1a\n"
PALETTE = 3
_SAMPLES = {0: 1, 2: 3, PALETTE: 1, 4: 2, 6: 4}  # by colour type, transparency among them
_COLOURS = {0: 1, 2: 3, 4: 1, 6: 3}
_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # where an orientation may stand


@dataclasses.dataclass(frozen=True)
class Layout:
  """What the chunks of a PNG say.

  Attributes:
    shape: (H, W).
    bits: per sample.
    kind: the colour type of the standard.
    frames: of an animation; 1 for a picture.
    texts: the chunks that may hold an orientation, whole.
  """

  shape: tuple[int, int]
  bits: int
  kind: int
  frames: int
  texts: bytes


def layout(path: pathlib.Path, content: bytes) -> Layout:
  """Checks the length and checksum of every chunk, and that the file can hold what its header claims.

  Raises:
    InputError: cut short, damaged, or claiming too much; names the file.
  """
  view, place, head, data, frames, texts = memoryview(content), len(MAGIC), None, 0, 1, b""
  name = b""
  while name != b"IEND":
    if place + 12 > len(view):
      raise damaged(path, f"the PNG is cut short: it ends at byte {len(view):,} without its IEND chunk")
    length, name = struct.unpack_from(">I4s", view, place)
    end = place + 12 + length
    if end > len(view):
      raise damaged(path, f"the PNG is cut short: chunk {_named(name)} at byte {place:,} is not whole")
    if zlib.crc32(view[place + 4 : end - 4]) != struct.unpack_from(">I", view, end - 4)[0]:
      raise damaged(path, f"the PNG is damaged: the checksum of chunk {_named(name)} at byte {place:,} is wrong")
    if name == b"IHDR" and length == 13:
      head = struct.unpack_from(">II2B", view, place + 8)
    elif name == b"acTL" and length == 8:
      frames = struct.unpack_from(">I", view, place + 8)[0]
    elif name in _TEXTS:
      texts += view[place:end]
    data += length * (name == b"IDAT")
    place = end
  if head is None or not data or head[3] not in _SAMPLES:
    raise damaged(path, "the PNG is damaged: it has no header, no data, or colours of no known type")
  width, height, bits, kind = head
  row = (width * bits * _SAMPLES[kind] + 7) // 8 + 1  # a byte says how the row is filtered
  samples = _SAMPLES[kind] if kind != PALETTE else 3
  needed = height * width * samples * (2 if bits == 16 else 1)
  bounds.check(path, needed, data, ratio=bounds.DEFLATE, packed=height * row, shape=(height, width))
  return Layout((height, width), bits, kind, frames, texts)


def decode(content: bytes, found: Layout) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns [H, W, C] and the transparency [H, W] or None: 0 and 1 of one bit, else uint8, or uint16 of 16 bits.

  As every reader does, 2 and 4 bits are stretched to 8, and colours that a tRNS chunk makes transparent become so.
  """
  import imagecodecs

  values = np.asarray(imagecodecs.png_decode(content)).reshape(*found.shape, -1)
  channels = _COLOURS[found.kind]
  colours, alpha = values[..., :channels], None
  if values.shape[-1] > channels:
    colours, alpha = np.ascontiguousarray(colours), values[..., channels]
  return (colours & 1 if found.bits == 1 else colours), alpha


def exif(found: Layout) -> PIL.Image.Exif:
  """Returns the EXIF data as Pillow finds them in the chunks, without decoding the picture."""
  pixel = _chunk(b"IHDR", struct.pack(">II5B", 1, 1, 8, 0, 0, 0, 0)) + found.texts + _chunk(b"IDAT", _PIXEL)
  with PIL.Image.open(io.BytesIO(MAGIC + pixel + _chunk(b"IEND", b"")), formats=("PNG",)) as image:
    return image.getexif()


_PIXEL = zlib.compress(b"\0\0")


def _chunk(name: bytes, body: bytes) -> bytes:
  return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _named(name: bytes) -> str:
  return name.decode("latin-1") if name.isalpha() else repr(name)
