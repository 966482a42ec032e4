"""Lets pydicom decode JPEG kinds with imagecodecs, which TIFF needs anyway.

pydicom alone decodes RLE, and with Pillow baseline JPEG; what scanners and archives write most, lossless JPEG, JPEG-LS
and JPEG 2000 of 16 bits, needs a decoder that pydicom does not bring.
"""

import functools
import struct
from typing import Any

import numpy as np

LABEL = "imagecodecs"
# Transfer syntax -> function of imagecodecs (PS3.5 annex A.4).
_DECODE = {
  "1.2.840.10008.1.2.4.51": "jpeg8_decode",  # extended, 12 bits
  "1.2.840.10008.1.2.4.57": "jpegsof3_decode",  # lossless
  "1.2.840.10008.1.2.4.70": "jpegsof3_decode",  # lossless, first order prediction
  "1.2.840.10008.1.2.4.80": "jpegls_decode",
  "1.2.840.10008.1.2.4.81": "jpegls_decode",
  "1.2.840.10008.1.2.4.90": "jpeg2k_decode",
  "1.2.840.10008.1.2.4.91": "jpeg2k_decode",
}
DECODER_DEPENDENCIES = dict.fromkeys(_DECODE, ("numpy", "imagecodecs"))  # pydicom reads this


def is_available(uid: str) -> bool:
  """Returns whether a transfer syntax can be decoded; pydicom asks."""
  return uid in _DECODE


def decode_frame(source: bytes, runner: Any) -> bytes:
  """Decodes a frame; pydicom calls it.

  Args:
    source: the code stream.
    runner: pydicom's `DecodeRunner`; takes how the result is stored.

  Returns:
    The samples, colours by pixel.
  """
  import imagecodecs

  found = _stated_size(source)
  if found is not None and found != (runner.rows, runner.columns):  # before memory is taken for it
    raise ValueError(
      f"the code stream is of {found[0]} x {found[1]} pixels, the header of {runner.rows} x {runner.columns}"
    )
  values = np.asarray(getattr(imagecodecs, _DECODE[str(runner.transfer_syntax)])(source))
  want = (runner.rows, runner.columns, *([runner.samples_per_pixel] if runner.samples_per_pixel > 1 else []))
  if values.shape != want:
    raise ValueError(f"the code stream holds {values.shape}, the header says {want}")
  if values.dtype.kind not in "iu":
    raise ValueError(f"the code stream holds {values.dtype}")
  runner.set_option("bits_allocated", 8 * values.dtype.itemsize)
  if runner.samples_per_pixel > 1:
    runner.set_option("planar_configuration", 0)
  return values.tobytes()


def _stated_size(source: bytes) -> tuple[int, int] | None:
  """Returns (rows, columns) that a code stream begins with; None where it does not say.

  JPEG 2000: the SIZ marker (ITU-T T.800 A.5.1); JPEG and JPEG-LS: the frame header (T.81 B.2.2, T.87 C.2.2).
  """
  if source[:4] == b"\xff\x4f\xff\x51" and len(source) >= 24:
    right, bottom, left, top = struct.unpack(">4I", source[8:24])
    return bottom - top, right - left
  place = 2
  while place + 9 <= len(source) and source[place] == 0xFF:
    marker, length = source[place + 1], int.from_bytes(source[place + 2 : place + 4], "big")
    if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
      rows, columns = struct.unpack(">2H", source[place + 5 : place + 9])
      return rows, columns
    place += 2 + length
  return None


def plugin_for(uid: object) -> str:
  """Returns which of pydicom's plugins decodes a transfer syntax; '' leaves the choice to pydicom."""
  _register()
  return LABEL if uid in _DECODE else ""


@functools.cache
def _register() -> None:
  from pydicom.pixels.decoders.base import get_decoder

  for uid in _DECODE:
    decoder = get_decoder(uid)
    if LABEL not in decoder.available_plugins:
      decoder.add_plugin(LABEL, (__name__, "decode_frame"))
