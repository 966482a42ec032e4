"""TIFF files and stacks through tifffile, with what its tags say of colours, transparency, place and wholeness."""

import contextlib
import dataclasses
import logging
import math
import operator
import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import bounds, orientation
from ordseg.image_io.image_file import ImageFile, OtherFormatError, damaged

if TYPE_CHECKING:
  from tifffile import TiffFile, TiffPage, TiffPageSeries

_PICTURES = (b"\x89PNG", b"\xff\xd8", b"BM", b"GIF8")
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# PhotometricInterpretation, TIFF 6.0
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _YCBCR = 0, 1, 2, 3, 4, 6
_COLOURS = {5: "CMYK", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "a camera's colour filter", 34892: "raw sensor"}
_JPEG = 7  # Compression: the decoder turns YCbCr into RGB
_RATIOS = {1: bounds.PLAIN, 5: bounds.LZW, 7: bounds.JPEG, 8: bounds.DEFLATE, 32773: bounds.PACKBITS}
_RATIOS[32946] = bounds.DEFLATE
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated; 0 is data without a meaning
_ORIENTATION = 274
_BESIDE = ("Thumbnail", "Label", "Macro", "Map", "Overview", "Macro image")  # what slide scanners add
# What tifffile says of things that change no pixel: descriptions, private tags.
_HARMLESS = re.compile(
  r"GDAL_NODATA|metadata> raised|STK Datetime|estimating ByteCounts|uic1tag|self\.subfiletype|TiffTag [3-6]\d{4} "
)


def read(path: pathlib.Path) -> ImageFile:
  """Reads the pages of a TIFF file, upright; transparency and colour map beside them.

  Raises:
    InputError: pages of several kinds, missing or damaged parts, colours that need a profile, complex numbers.
  """
  import tifffile

  with _messages() as said:
    try:
      with tifffile.TiffFile(path) as tiff:
        series, notes = _main_series(path, tiff)
        _check_whole(path, tiff, series, said)
        file = _pages(path, series)
    except InputError:
      raise
    except Exception as error:
      with path.open("rb") as file:
        head = file.read(8)
      if head.startswith(_PICTURES):
        raise OtherFormatError(f"{path}: is no TIFF, whatever its name says.") from None
      if not head.startswith(MAGIC):
        what = "it is no TIFF, whatever its name says, or its first bytes are damaged" if head else "it is empty"
        raise damaged(path, what) from None
      raise _damaged(path, [*said, str(error)]) from error
    if said:
      raise _damaged(path, said)
  return dataclasses.replace(file, notes=(*notes, *file.notes)) if notes else file


def stored_dtype(path: pathlib.Path) -> np.dtype | None:
  """Returns the type of the values that `read` gives, from the first page's tags; None where they do not tell."""
  import tifffile

  with _messages(), tifffile.TiffFile(path) as tiff:
    page: Any = tiff.pages[0]
    if page.photometric == _PALETTE or page.dtype is None:
      return None
    return np.dtype(np.uint8) if page.dtype.kind == "b" else page.dtype.newbyteorder("=")


class _Collector(logging.Handler):
  """Takes what tifffile logs in place of raising, less what changes no pixel."""

  def __init__(self) -> None:
    super().__init__(logging.WARNING)
    self.said: list[str] = []

  def emit(self, record: logging.LogRecord) -> None:
    """Keeps one message."""
    text = record.getMessage()
    if not _HARMLESS.search(text):
      self.said.append(re.sub(r"<tifffile\.(\w+)[^>]*>", r"\1", text))


_COLLECTOR = _Collector()


@contextlib.contextmanager
def _messages() -> Iterator[list[str]]:
  """Collects tifffile's messages; nothing reaches stderr."""
  logger, propagates, said = logging.getLogger("tifffile"), logging.getLogger("tifffile").propagate, _COLLECTOR.said
  _COLLECTOR.said = []
  logger.addHandler(_COLLECTOR)
  logger.propagate = False
  try:
    yield _COLLECTOR.said
  finally:
    _COLLECTOR.said = said
    logger.removeHandler(_COLLECTOR)
    logger.propagate = propagates


def _damaged(path: pathlib.Path, said: list[str]) -> InputError:
  reason = "; ".join(dict.fromkeys(" ".join(text.split()).rstrip(".") for text in said if text)) or "unknown"
  return InputError(f"{path}: cannot be read as an image, the TIFF may be damaged or cut short ({reason[:400]}).")


def _main_series(path: pathlib.Path, tiff: "TiffFile") -> tuple["TiffPageSeries", tuple[str, ...]]:
  """Returns the one full-resolution series, and a note on what else the file holds.

  Thumbnails and reduced levels are what NewSubfileType says, what lies in SubIFDs, and what slide formats name so.
  """
  everything = tiff.series
  if not everything:
    raise damaged(path, "it holds no picture; the TIFF may be damaged")
  main = [series for series in everything if not _is_beside(series)]
  if not main:
    raise InputError(f"{path}: holds reduced pictures only (NewSubfileType 1); the full one lies elsewhere.")
  strange = [series for series in main[1:] if series is not main[0]]
  strange += [level for level in main[0].levels[1:] if not _is_reduced(level)]
  if strange:
    sizes = ", ".join(dict.fromkeys(_size(series) for series in (main[0], *strange)))
    raise InputError(
      f"{path}: holds {1 + len(strange)} pictures of different kinds ({sizes}), none marked as a reduced copy. Store "
      "one picture, or one stack of equal pages, per file."
    )
  count = sum(len(series.levels) for series in everything)
  return main[0], (f"the full-resolution one of the {count} pictures in the file",) if count > 1 else ()


def _size(series: "TiffPageSeries") -> str:
  return f"{' x '.join(map(str, series.shape))} {series.dtype}"


def _is_beside(series: "TiffPageSeries") -> bool:
  page = series.keyframe
  is_slide = series.kind not in ("generic", "shaped", "uniform", "ome", "imagej")
  return bool(page.subfiletype & 0b101) or (is_slide and series.name in _BESIDE)


def _is_reduced(level: "TiffPageSeries") -> bool:
  page = level.keyframe
  return bool(page.subfiletype & 1) or page.is_subifd or level.kind not in ("generic", "shaped", "uniform", "imagej")


def _check_whole(path: pathlib.Path, tiff: "TiffFile", series: "TiffPageSeries", said: list[str]) -> None:
  """Checks, before memory is taken, that all pages and all their strips or tiles are in the file."""
  if said:
    raise _damaged(path, said)
  size = tiff.filehandle.size
  page = series.keyframe
  if page.dtype is None or series.dtype.kind not in "buif":
    raise InputError(f"{path}: values of type {series.dtype or 'unknown'} are not read; store real numbers.")
  height, width = page.imagelength, page.imagewidth
  needed = math.prod(series.shape) * series.dtype.itemsize
  planned = (tiff.imagej_metadata or {}).get("images", 1) if series.kind == "imagej" else 1
  if planned * math.prod(page.shape) > math.prod(series.shape):
    raise damaged(path, f"it is not whole: ImageJ wrote {planned} images, found {_size(series)}")
  if series.dataoffset is not None:
    if series.dataoffset + needed > size:
      bounds.check(path, needed, size - series.dataoffset, ratio=bounds.PLAIN, shape=series.shape)
      raise damaged(path, f"the TIFF is cut short: its pixels need {series.dataoffset + needed:,} bytes of {size:,}")
    return
  stored = list(series.pages)
  pages = [one for one in stored if one is not None]
  if series.is_multifile:
    raise InputError(f"{path}: is one of several files of a data set (OME or MicroManager); store it as one file.")
  held = math.prod(page.shape) * len(pages)
  if len(pages) < len(stored) or held * series.dtype.itemsize != needed:
    found = f"found {len(pages)} pages of {page.shape}"
    raise damaged(path, f"it is not whole: its description says {_size(series)}, {found}")
  counts = 0
  for number, one in enumerate(pages):
    starts, lengths = one.dataoffsets, one.databytecounts
    if len(starts) != len(lengths) or not starts or min(starts) < 1 or min(lengths) < 1:
      raise damaged(path, f"page {number} lacks strips or tiles; store it without gaps")
    end = max(map(operator.add, starts, lengths))
    if end > size:
      raise damaged(path, f"the TIFF is cut short or damaged: page {number} goes up to byte {end:,} of {size:,}")
    counts += sum(lengths)
  packed = needed * page.bitspersample // (8 * series.dtype.itemsize)
  ratio = _RATIOS.get(int(page.compression), 0)
  bounds.check(path, needed, min(counts, size), ratio=ratio, packed=packed, shape=(len(pages), height, width))


def _pages(path: pathlib.Path, series: "TiffPageSeries") -> ImageFile:
  """Reads the pixels and gives them their meaning."""
  page = series.keyframe
  axes, sizes = series.axes, dict(zip(series.axes, series.shape, strict=True))
  channel = "S" if "S" in sizes else "C" if "C" in sizes else ""
  deep = [axis for axis in axes if axis not in ("Y", "X", channel) and sizes[axis] > 1]
  if "Y" not in sizes or "X" not in sizes or len(deep) > 1:
    raise InputError(
      f"{path}: a TIFF of axes {axes} {series.shape} is not read; expected pages of [H, W] or [H, W, C]."
    )
  if channel == "S" and sizes.get("C", 1) > 1:
    raise InputError(
      f"{path}: a TIFF of axes {axes} {series.shape} is not read: it has {sizes['C']} channels of {sizes['S']} colours "
      "each. Store the channels as one axis."
    )
  _check_colours(path, page, series.dtype)
  turn = _check_alike(path, series)
  values = series.asarray()
  order = [*(a for a in axes if a not in ("Y", "X", channel)), "Y", "X", *([channel] if channel else [])]
  if order != list(axes):
    values = values.transpose([axes.index(axis) for axis in order])
  values = values.reshape(-1, sizes["Y"], sizes["X"], sizes[channel] if channel else 1)
  if not values.dtype.isnative:
    values = values.astype(values.dtype.newbyteorder("="))
  if page.photometric == _WHITE_IS_ZERO:
    values = _inverted(path, values, page.bitspersample)
  values = values.astype(np.uint8) if values.dtype == np.bool_ else values
  file = _with_palette(path, values, page) if page.photometric == _PALETTE else ImageFile(path, values)
  if channel == "S":
    file = _without_alpha(file, page)
  return orientation.turned(file, turn)


def _check_colours(path: pathlib.Path, page: "TiffPage", dtype: np.dtype) -> None:
  kind = int(page.photometric)
  if kind == _YCBCR and int(page.compression) == _JPEG:
    return
  if kind not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK):
    name = _COLOURS.get(kind, f"PhotometricInterpretation {kind}") if kind != _YCBCR else "YCbCr without JPEG"
    raise InputError(f"{path}: TIFF colours of the kind {name} are not read; convert them to RGB or grey.")
  if kind == _WHITE_IS_ZERO and dtype.kind not in "bu":
    raise InputError(f"{path}: is WhiteIsZero with values of type {dtype}, whose white is unknown; invert it first.")


def _inverted(path: pathlib.Path, values: np.ndarray, bits: int) -> np.ndarray:
  """WhiteIsZero: 0 is white, the largest number of that many bits is black."""
  if values.dtype == np.bool_:
    return ~values
  top = values.dtype.type(2**bits - 1)
  if int(values.max(initial=0)) > int(top):
    raise damaged(path, f"it holds values above {top}, the largest of {bits} bits; it is damaged")
  return top - values


def _with_palette(path: pathlib.Path, indices: np.ndarray, page: "TiffPage") -> ImageFile:
  """Looks colours up in the ColorMap, whose numbers have 16 bits whatever they mean."""
  if page.colormap is None or indices.shape[-1] != 1 or indices.dtype.kind != "u":
    raise InputError(f"{path}: is a TIFF with a palette, but has no ColorMap of its colours.")
  palette = np.asarray(page.colormap).T
  if int(indices.max(initial=0)) >= len(palette):
    raise damaged(path, f"it has pixels of colour {indices.max()}, but a ColorMap of {len(palette)}; damaged?")
  high, low = palette >> 8, palette & 255
  if palette.max(initial=0) < 256:  # old writers, as libtiff knows them
    palette = palette.astype(np.uint8)
  elif (low == high).all() or not low.any():
    palette = high.astype(np.uint8)
  is_grey = bool((palette == palette[:, :1]).all())
  colours = palette[indices[..., 0]]
  pages = np.ascontiguousarray(colours[..., :1]) if is_grey else colours
  return ImageFile(path, pages, indices=indices[..., 0], palette=palette)


def _without_alpha(file: ImageFile, page: "TiffPage") -> ImageFile:
  """ExtraSamples says which of the samples are transparency; all others are channels."""
  extra = [int(kind) for kind in page.extrasamples]
  first = file.pages.shape[-1] - len(extra)
  clear = [first + k for k, kind in enumerate(extra) if kind in _ALPHA]
  if not clear or first < 1:
    return file
  kept = [k for k in range(file.pages.shape[-1]) if k not in clear]
  pages = file.pages[..., : len(kept)] if kept == list(range(len(kept))) else file.pages[..., kept]
  return dataclasses.replace(file, pages=np.ascontiguousarray(pages), alpha=file.pages[..., clear[0]])


def _check_alike(path: pathlib.Path, series: "TiffPageSeries") -> int:
  """Checks every page against the first, whose tags tifffile decodes them all by; returns their Orientation.

  tifffile itself looks at the second, the eighth and the last page of a long stack.
  """
  first, codes = series.keyframe, set()
  kind = _kind(first)
  for number, one in enumerate(series.pages):
    if one is None or one.is_virtual:  # no tags of its own
      continue
    page = one.aspage()
    if _kind(page) != kind:
      sizes = " and ".join(dict.fromkeys(f"{' x '.join(map(str, one.shape))} {one.dtype}" for one in (first, page)))
      raise InputError(
        f"{path}: page {number} is of another kind than the first ({sizes}): size, type, compression, colours, "
        "NewSubfileType or ColorMap. Store one stack of equal pages per file."
      )
    codes.add(int(page.tags.valueof(_ORIENTATION, orientation.UPRIGHT)))
  if len(codes) > 1:
    raise InputError(f"{path}: its pages are turned differently (Orientation {sorted(codes)}); store them alike.")
  return codes.pop() if codes else orientation.UPRIGHT


def _kind(page: "TiffPage") -> tuple[Any, ...]:
  return page.hash, page.subfiletype & 1, None if page.colormap is None else page.colormap.tobytes()
