"""Pictures: PNG, JPEG, BMP and GIF through Pillow, 16-bit colour PNG through libpng (imagecodecs), PPM by numpy."""

import dataclasses
import io
import pathlib
import re
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import PIL.Image

from ordseg.image_io import bounds, orientation, pnm
from ordseg.image_io.image_file import ImageFile
from ordseg.validate import InputError

_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM")
_RATIOS = {"JPEG": bounds.JPEG, "MPO": bounds.JPEG, "GIF": bounds.LZW}
_MODES = {"1": np.uint8, "L": np.uint8, "RGB": np.uint8, "I;16": np.uint16, "I": np.int32, "F": np.float32}
_WAY_OUT = {"CMYK": "Its colours depend on a printing profile: convert it to RGB and store that as PNG."}
MAGIC = (b"\x89PNG", b"\xff\xd8", b"BM", b"GIF8")
_PNG = b"\x89PNG\r\n\x1a\n"
_DEEP_COLOUR = {2: 3, 4: 1, 6: 3}  # PNG colour type -> channels, where 16 bits are more than Pillow keeps
_ORIENTATION = 274
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # not a stuffed byte, a fill byte or a restart marker
_EOI, _ALONE = 0xD9, (0x01, 0xD8)  # the end; markers without a length


def read(path: pathlib.Path) -> ImageFile:
  """Reads a picture of one frame, upright; transparency and palette beside it.

  Raises:
    InputError: an animation, a damaged file, or colours that need a profile.
  """
  if path.suffix.lower() == ".gz":
    return pnm.read_zipped(path)
  content = path.read_bytes()
  if pnm.is_plain(content):
    return pnm.read(path, content)
  head = _png_head(path, content) if content.startswith(_PNG) else None
  if content.startswith(b"\xff\xd8"):
    _check_jpeg(path, content)
  file = _decode(path, content, head)
  return _collapsed(file)


def stored_dtype(path: pathlib.Path) -> np.dtype | None:
  """Returns the type of the values that `read` gives, from the first bytes; None where they do not tell."""
  if path.suffix.lower() == ".gz":
    return None
  with path.open("rb") as file:
    head = file.read(512)
  if head.startswith(_PNG):
    return np.dtype(np.uint16 if head[24:25] == b"\x10" else np.uint8)
  if head.startswith((b"\xff\xd8", b"BM", b"GIF8")):
    return np.dtype(np.uint8)
  return pnm.stored_dtype(path, head) if pnm.is_plain(head) else None


def _decode(path: pathlib.Path, content: bytes, png: tuple[int, int] | None) -> ImageFile:
  limit = PIL.Image.MAX_IMAGE_PIXELS
  PIL.Image.MAX_IMAGE_PIXELS = None  # Pillow's refuses what microscopes make; `bounds` judges by the file
  try:
    with warnings.catch_warnings(), PIL.Image.open(io.BytesIO(content), formats=_FORMATS) as image:
      warnings.simplefilter("ignore")  # of EXIF data and previews that are damaged: viewers show such pictures
      notes = _check_frames(path, image)
      _check_size(path, image, len(content))
      if png is not None and png[0] == 16 and png[1] in _DEEP_COLOUR:
        file = _deep(path, content, png[1])
      else:
        file = _shallow(path, image, bits=png[0] if png else 8)
      code, more = _orientation(image)
  except PIL.UnidentifiedImageError:
    raise InputError(
      f"{path}: is no PNG, JPEG, BMP, GIF or PPM, whatever its name says, or its header is damaged."
    ) from None
  finally:
    PIL.Image.MAX_IMAGE_PIXELS = limit
  return turned(dataclasses.replace(file, notes=(*notes, *more)), code)


def turned(file: ImageFile, code: int) -> ImageFile:
  """Returns the file upright; a note says so where that turned it."""
  if code == orientation.UPRIGHT or code not in range(2, 9):
    return file
  parts = {
    name: orientation.apply(values, code)
    for name in ("pages", "alpha", "indices")
    if (values := getattr(file, name)) is not None
  }
  return dataclasses.replace(file, notes=(*file.notes, orientation.NOTE), **parts)


def _orientation(image: PIL.Image.Image) -> tuple[int, tuple[str, ...]]:
  try:
    return int(image.getexif().get(_ORIENTATION, orientation.UPRIGHT)), ()
  except Exception:  # Pillow has many for damaged EXIF; every viewer shows such a picture as it is stored
    return orientation.UPRIGHT, ("its EXIF data are damaged, so it is taken as stored",)


def _check_frames(path: pathlib.Path, image: PIL.Image.Image) -> tuple[str, ...]:
  frames = getattr(image, "n_frames", 1)
  if frames > 1 and image.format == "MPO":  # a photograph with its preview, depth or gain map; viewers show the first
    return (f"the first of the {frames} pictures in the file",)
  if frames > 1:
    raise InputError(f"{path}: an animation of {frames} frames is no image.")
  return ()


def _check_size(path: pathlib.Path, image: Any, stored: int) -> None:
  width, height = image.size
  size = {"I;16": 2, "I": 4, "F": 4}.get(image.mode, len(image.getbands()))
  ratio = _RATIOS.get(str(image.format), 0)
  if image.format in ("BMP", "DIB"):
    ratio = bounds.RLE_BMP if image.info.get("compression") in (1, 2) else bounds.PLAIN
    ratio *= 8 if image.mode in ("1", "P", "L") else 2  # 1 bit becomes a byte, 16 bits become three bytes
  bounds.check(path, height * width * size, stored, ratio=ratio, shape=(height, width))


def _shallow(path: pathlib.Path, image: PIL.Image.Image, *, bits: int) -> ImageFile:
  """Reads what Pillow keeps whole: 8 bits a channel, and 16 or 32 of grey."""
  if image.mode == "P":
    return _indexed(path, image)
  if image.mode == "PA":
    image = image.convert("RGBA")
  key = image.info.get("transparency")  # the one colour that is not seen
  if image.mode in ("LA", "RGBA"):
    values = np.asarray(image)
    return _picture(path, values[..., :-1], alpha=values[..., -1])
  if image.mode not in _MODES:
    way_out = _WAY_OUT.get(image.mode, "Store it as grey or RGB.")
    raise InputError(f"{path}: pictures of mode {image.mode!r} are not read. {way_out}")
  values = np.array(image, dtype=_MODES[image.mode])
  if key is not None and image.mode == "L" and bits < 8:
    key *= 255 // (2**bits - 1)  # Pillow stretches the values and not the key
  alpha = None if key is None else _keyed(values, key)
  return _picture(path, values, alpha=alpha)


def _keyed(values: np.ndarray, key: Any) -> np.ndarray:
  hidden = values == np.asarray(key, values.dtype)
  hidden = hidden.all(-1) if hidden.ndim == 3 else hidden
  return np.where(hidden, 0, 255).astype(np.uint8)


def _indexed(path: pathlib.Path, image: Any) -> ImageFile:
  indices = np.array(image, dtype=np.uint8)
  palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
  if int(indices.max(initial=0)) >= len(palette):
    raise InputError(f"{path}: has pixels of colour {indices.max()}, but a palette of {len(palette)} colours; damaged?")
  alpha, clear = None, image.info.get("transparency")
  if clear is not None:
    of_colour = np.full(256, 255, np.uint8)
    if isinstance(clear, bytes):
      of_colour[: len(clear)] = np.frombuffer(clear, np.uint8)
    else:
      of_colour[int(clear)] = 0
    alpha = of_colour[indices]
  return _picture(path, palette[indices], alpha=alpha, indices=indices, palette=palette)


def _deep(path: pathlib.Path, content: bytes, kind: int) -> ImageFile:
  """Reads 16-bit colour or grey with transparency, of which Pillow keeps 8 bits."""
  import imagecodecs

  values = imagecodecs.png_decode(content)
  channels = _DEEP_COLOUR[kind]
  values = values.reshape(*values.shape[:2], -1)
  alpha = values[..., channels] if values.shape[-1] > channels else None
  return _picture(path, values[..., :channels], alpha=alpha)


def _picture(path: pathlib.Path, values: np.ndarray, **beside: Any) -> ImageFile:
  """Puts [H, W] or [H, W, C] and what lies beside it into pages."""
  pages = np.ascontiguousarray(values).reshape(1, *values.shape[:2], -1)
  for name in ("alpha", "indices"):
    if beside.get(name) is not None:
      beside[name] = beside[name][None]
  return ImageFile(path, pages, **beside)


def _collapsed(file: ImageFile) -> ImageFile:
  """A palette of greys is a grey picture."""
  palette = file.palette
  if palette is not None and (palette == palette[:, :1]).all():
    return dataclasses.replace(file, pages=np.ascontiguousarray(file.pages[..., :1]))
  return file


def _png_head(path: pathlib.Path, content: bytes) -> tuple[int, int]:
  """Checks every chunk's length and checksum, which Pillow does in part; returns bits per sample and colour type."""
  view, place, head, data = memoryview(content), len(_PNG), None, 0
  while True:
    if place + 12 > len(view):
      raise InputError(f"{path}: the PNG is cut short: it ends at byte {len(view):,} without its IEND chunk.")
    length, name = struct.unpack_from(">I4s", view, place)
    end = place + 12 + length
    if end > len(view):
      raise InputError(f"{path}: the PNG is cut short: chunk {name!r} at byte {place:,} is not whole.")
    if zlib.crc32(view[place + 4 : end - 4]) != struct.unpack_from(">I", view, end - 4)[0]:
      raise InputError(f"{path}: the PNG is damaged: the checksum of chunk {name!r} at byte {place:,} is wrong.")
    if name == b"IHDR" and length == 13:
      head = struct.unpack_from(">II2B", view, place + 8)
    data += length * (name == b"IDAT")
    place = end
    if name == b"IEND":
      break
  if head is None or not data:
    raise InputError(f"{path}: the PNG is damaged: it has no header or no data.")
  width, height, bits, kind = head
  samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(kind, 1)
  needed = height * ((width * bits * samples + 7) // 8 + 1)
  bounds.check(path, needed, data, ratio=bounds.DEFLATE, shape=(height, width))
  return bits, kind


def _check_jpeg(path: pathlib.Path, content: bytes) -> None:
  """Checks that the picture ends with its EOI marker (ITU-T T.81, annex B); libjpeg makes up what is missing."""
  place = 2
  while found := _MARKER.search(content, place):
    kind, place = found[0][-1], found.end()
    if kind == _EOI:
      return
    if kind not in _ALONE:
      place += int.from_bytes(content[place : place + 2], "big")
  raise InputError(f"{path}: the JPEG is cut short: it ends at byte {len(content):,} without its end marker.")
