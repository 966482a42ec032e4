"""Pictures: JPEG, BMP, GIF and palettes through Pillow; PNG through libpng (`pngs`), PGM and PPM by numpy (`pnm`)."""

import dataclasses
import io
import pathlib
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import PIL.Image

from ordseg.errors import InputError
from ordseg.image_io import bounds, orientation, pngs, pnm
from ordseg.image_io.image_file import ImageFile, OtherFormatError, damaged

_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM")
_RATIOS = {"JPEG": bounds.JPEG, "MPO": bounds.JPEG, "GIF": bounds.LZW}
_MODES = {"1": np.uint8, "L": np.uint8, "RGB": np.uint8, "I;16": np.uint16, "I": np.int32, "F": np.float32}
_WAY_OUT = {"CMYK": "Its colours depend on a printing profile: convert it to RGB and store that as PNG."}
_JPEG = b"\xff\xd8"
_EIGHT_BITS = (_JPEG, b"BM", b"GIF8")
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # not a stuffed byte, a fill byte or a restart marker
_EOI, _ALONE = 0xD9, (0x01, 0xD8)  # the end; markers without a length
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))  # then length and precision
_ORIENTATION, _WITH_EXIF = 274, ("JPEG", "MPO", "PNG")
_HEAD_BYTES = 512


def read(path: pathlib.Path) -> ImageFile:
  """Reads a picture of one frame, upright; transparency and palette beside it.

  Raises:
    InputError: an animation, a damaged file, or colours that need a profile.
  """
  if path.suffix.lower() == ".gz":
    return pnm.read_zipped(path)
  with path.open("rb") as file:
    content = file.read(_HEAD_BYTES)
    if content.startswith((pngs.MAGIC, _JPEG)) or pnm.is_plain(content):
      file.seek(0)
      content = file.read()
  if not content:
    raise damaged(path, "it is empty")
  if pnm.is_plain(content):
    return pnm.read(path, content)
  if content.startswith(pngs.MAGIC):
    return _png(path, content)
  if content.startswith(_JPEG):
    _check_jpeg(path, content)
    return _decode(path, io.BytesIO(content))
  if content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
    raise OtherFormatError(f"{path}: is a TIFF, whatever its name says.")
  return _decode(path, path)


def stored_dtype(path: pathlib.Path) -> np.dtype | None:
  """Returns the type of the values that `read` gives, from the first bytes; None where they do not tell."""
  if path.suffix.lower() == ".gz":
    return None
  with path.open("rb") as file:
    head = file.read(_HEAD_BYTES)
  if head.startswith(pngs.MAGIC):
    return np.dtype(np.uint16 if head[24:25] == b"\x10" else np.uint8)
  if head.startswith(_EIGHT_BITS):
    return np.dtype(np.uint8)
  return pnm.stored_dtype(path, head) if pnm.is_plain(head) else None


def _png(path: pathlib.Path, content: bytes) -> ImageFile:
  found = pngs.layout(path, content)
  _check_animation(path, found.frames)
  if found.kind == pngs.PALETTE:
    return _decode(path, io.BytesIO(content))
  values, alpha = pngs.decode(content, found)
  file = _picture(path, values, alpha=alpha)
  return _upright(file, lambda: pngs.exif(found)) if found.texts else file


def _decode(path: pathlib.Path, source: pathlib.Path | io.BytesIO) -> ImageFile:
  """Reads through Pillow."""
  limit = PIL.Image.MAX_IMAGE_PIXELS
  PIL.Image.MAX_IMAGE_PIXELS = None  # it refuses what microscopes make; `bounds` judges by the file
  try:
    # Pillow warns of EXIF data and previews that are damaged; viewers show such pictures all the same.
    with warnings.catch_warnings(action="ignore"), PIL.Image.open(source, formats=_FORMATS) as image:
      notes = _check_frames(path, image)
      _check_size(path, image)
      file = _shallow(path, image)
      file = dataclasses.replace(file, notes=notes) if notes else file
      return _upright(file, image.getexif) if image.format in _WITH_EXIF else file
  except PIL.UnidentifiedImageError:
    raise damaged(
      path, "it is no PNG, JPEG, BMP, GIF or PPM, whatever its name says, or its header is damaged"
    ) from None
  finally:
    PIL.Image.MAX_IMAGE_PIXELS = limit


def _upright(file: ImageFile, exif: Callable[[], Mapping[int, Any]]) -> ImageFile:
  try:
    with warnings.catch_warnings(action="ignore"):
      code = int(exif().get(_ORIENTATION, orientation.UPRIGHT))
  except Exception:  # Pillow has many for damaged EXIF; every viewer shows such a picture as it is stored
    return dataclasses.replace(file, notes=(*file.notes, "its EXIF data are damaged, so it is taken as stored"))
  return orientation.turned(file, code)


def _check_animation(path: pathlib.Path, frames: int) -> None:
  if frames > 1:
    raise InputError(f"{path}: an animation of {frames} frames is no image.")


def _check_frames(path: pathlib.Path, image: PIL.Image.Image) -> tuple[str, ...]:
  frames = getattr(image, "n_frames", 1)
  if frames > 1 and image.format == "MPO":  # a photograph with its preview, depth or gain map; viewers show the first
    return (f"the first of the {frames} pictures in the file",)
  _check_animation(path, frames)
  return ()


def _check_size(path: pathlib.Path, image: PIL.Image.Image) -> None:
  width, height = image.size
  size = {"I;16": 2, "I": 4, "F": 4}.get(image.mode, len(image.getbands()))
  ratio = _RATIOS.get(str(image.format), 0)
  if image.format in ("BMP", "DIB"):
    ratio = bounds.RLE_BMP if image.info.get("compression") in (1, 2) else bounds.PLAIN
    ratio *= 8 if image.mode in ("1", "P", "L") else 2  # 1 bit becomes a byte, 16 bits become three bytes
  bounds.check(path, height * width * size, path.stat().st_size, ratio=ratio, shape=(height, width))


def _shallow(path: pathlib.Path, image: PIL.Image.Image) -> ImageFile:
  """Reads the pixels; what Pillow shortens to 8 bits a channel does not come here."""
  if image.mode == "P":
    return _indexed(path, image)
  if image.mode in ("LA", "PA", "RGBA"):
    values = np.asarray(image.convert("RGBA") if image.mode == "PA" else image)
    return _picture(path, np.ascontiguousarray(values[..., :-1]), alpha=values[..., -1])
  if image.mode not in _MODES:
    way_out = _WAY_OUT.get(image.mode, "Store it as grey or RGB.")
    raise InputError(f"{path}: pictures of mode {image.mode!r} are not read. {way_out}")
  values = np.array(image, dtype=_MODES[image.mode])
  key = image.info.get("transparency")  # the one grey of a GIF that is not seen
  alpha = np.where(values == key, 0, 255).astype(np.uint8) if isinstance(key, int) and values.ndim == 2 else None
  return _picture(path, values, alpha=alpha)


def _indexed(path: pathlib.Path, image: PIL.Image.Image) -> ImageFile:
  indices = np.array(image, dtype=np.uint8)
  palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
  if int(indices.max(initial=0)) >= len(palette):
    raise damaged(path, f"it has pixels of colour {indices.max()}, but a palette of {len(palette)} colours; damaged?")
  alpha, clear = None, image.info.get("transparency")
  if clear is not None:
    of_colour = np.full(256, 255, np.uint8)
    if isinstance(clear, bytes):
      of_colour[: len(clear)] = np.frombuffer(clear, np.uint8)
    else:
      of_colour[int(clear)] = 0
    alpha = of_colour[indices]
  is_grey = bool((palette == palette[:, :1]).all())
  values = palette[indices, 0] if is_grey else palette[indices]
  return _picture(path, values, alpha=alpha, indices=indices, palette=palette)


def _picture(path: pathlib.Path, values: np.ndarray, **beside: Any) -> ImageFile:
  """Puts [H, W] or [H, W, C] and what lies beside it into pages."""
  for name in ("alpha", "indices"):
    if beside.get(name) is not None:
      beside[name] = beside[name][None]
  return ImageFile(path, values.reshape(1, *values.shape[:2], -1), **beside)


def _check_jpeg(path: pathlib.Path, content: bytes) -> None:
  """Checks that the picture ends with its EOI marker (ITU-T T.81, annex B); libjpeg makes up what is missing."""
  place = 2
  while found := _MARKER.search(content, place):
    kind, place = found[0][-1], found.end()
    if kind == _EOI:
      return
    if kind in _FRAMES and content[place + 2 : place + 3] not in (b"", b"\x08"):
      raise InputError(f"{path}: a JPEG of {content[place + 2]} bits a value is not read; store it as PNG or TIFF.")
    if kind not in _ALONE:
      place += int.from_bytes(content[place : place + 2], "big")
  raise damaged(path, f"the JPEG is cut short: it ends at byte {len(content):,} without its end marker")
