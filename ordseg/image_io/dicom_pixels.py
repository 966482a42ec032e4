"""The numbers of DICOM pixels as the standard means them.

Decoding, colour conversion, bit depth and palettes are pydicom's; slope and intercept of slices and frames, and what
counts as brighter, are applied here.
"""

import pathlib
from typing import TYPE_CHECKING

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import dicom_decoders
from ordseg.image_io.dicom_files import reason
from ordseg.image_io.dicom_planes import group, has_groups, integer, number
from ordseg.image_io.scaling import rescaled

if TYPE_CHECKING:
  from pydicom import Dataset

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_RLE = "1.2.840.10008.1.2.5"


def num_frames(file: pathlib.Path, data: "Dataset") -> int:
  """Returns NumberOfFrames, 1 where it is absent or empty."""
  frames = integer(file, data, "NumberOfFrames", 1)
  if frames < 1:
    raise InputError(f"{file}: NumberOfFrames is {frames}.")
  return frames


def read_stored(file: pathlib.Path, data: "Dataset") -> np.ndarray:
  """Decodes the frames.

  Returns:
    [F, H, W, C]: stored values, or float pixel data; colours as RGB.

  Raises:
    InputError: a header that does not fit the bytes, a compression without a decoder, damage.
  """
  from pydicom.pixels.utils import pixel_array

  _check_claims(file, data)
  frames, plugin = num_frames(file, data), dicom_decoders.plugin_for(data.file_meta.TransferSyntaxUID)
  try:
    values = pixel_array(data, decoding_plugin=plugin)
  except RuntimeError as error:
    raise InputError(f"{file}: {_undecoded(data, error)}") from error
  except (AttributeError, KeyError, NotImplementedError, ValueError, TypeError, IndexError, EOFError) as error:
    raise InputError(f"{file}: its pixels cannot be read ({reason(error)}).") from error
  shape = (frames, int(data.Rows), int(data.Columns), int(data.SamplesPerPixel))
  if values.size != np.prod(shape, dtype=np.int64):
    raise InputError(f"{file}: its pixels are {values.shape}, its header says {shape}.")
  return values.reshape(shape).astype(values.dtype.newbyteorder("="), copy=False)


def to_values(file: pathlib.Path, data: "Dataset", stored: np.ndarray) -> tuple[np.ndarray, list[str]]:
  """Turns stored values [F, H, W, C] into what they mean.

  Palettes become colours. MONOCHROME1 (less is brighter) is turned round in the stored values, then modality LUT or
  slope and intercept of each frame are applied (to HU for CT), as GDCM does. Value of interest and presentation are for
  screens, and stay out.

  Returns:
    [F, H, W, C], and notes.
  """
  notes: list[str] = []
  kind = str(data.PhotometricInterpretation)
  if kind == "PALETTE COLOR":
    return _coloured(data, stored), notes
  if kind in _COLOUR:
    return stored, notes
  padding = data.get("PixelPaddingValue")
  if isinstance(padding, int) and (stored == padding).any():
    notes.append(f"padding (stored value {padding}) is left as it is")
  if kind == "MONOCHROME1":
    stored = _turned_round(file, data, stored)
    notes.append("turned round from MONOCHROME1, so that more is brighter")
  if "RedPaletteColorLookupTableData" in data:
    notes.append("its supplemental palette is left out")
  if data.get("RealWorldValueMappingSequence") or group(data, 0, "RealWorldValueMappingSequence") is not None:
    notes.append("its RealWorldValueMapping is not applied")
  if data.get("ModalityLUTSequence"):
    from pydicom.pixels.processing import apply_modality_lut

    return apply_modality_lut(stored, data), notes
  return _rescaled_frames(file, data, stored), notes


def _coloured(data: "Dataset", stored: np.ndarray) -> np.ndarray:
  """Looks indices up in the palette, [F, H, W, 3]; uint8 where its 16 bits hold numbers of 8 (PS3.3 C.7.6.3.1.6)."""
  from pydicom.pixels.processing import apply_color_lut

  out = np.asarray(apply_color_lut(stored[..., 0], data)).reshape(*stored.shape[:3], -1)[..., :3]
  if out.dtype == np.uint16:
    high, low = out >> 8, out & 255
    if not low.any() or (low == high).all():
      return high.astype(np.uint8)
  return out


def _rescaled_frames(file: pathlib.Path, data: "Dataset", stored: np.ndarray) -> np.ndarray:
  scales = [_scale(file, data, k) for k in range(len(stored))]
  try:
    if len(set(scales)) == 1:
      return rescaled(stored, *scales[0])
    parts = [rescaled(stored[k : k + 1], *scale) for k, scale in enumerate(scales)]
  except InputError as error:
    raise InputError(f"{file}: {error} (RescaleSlope, RescaleIntercept).") from error
  return np.concatenate(parts)


def _scale(file: pathlib.Path, data: "Dataset", frame: int) -> tuple[float, float]:
  """Returns slope and intercept of a frame; 1 and 0 where it has none."""
  item = group(data, frame, "PixelValueTransformationSequence") if has_groups(data) else data
  item = data if item is None else item
  if data.get("Modality") == "RTDOSE" and "DoseGridScaling" in data:
    return _finite(file, data, "DoseGridScaling", 1.0), 0.0
  return _finite(file, item, "RescaleSlope", 1.0), _finite(file, item, "RescaleIntercept", 0.0)


def _finite(file: pathlib.Path, item: "Dataset", keyword: str, default: float) -> float:
  value = item.get(keyword)
  if value is None or value == "":
    return default
  found = number(item, keyword)
  if found is None:
    raise InputError(f"{file}: {keyword} is {value!r}, expected a number.")
  return found


def _turned_round(file: pathlib.Path, data: "Dataset", stored: np.ndarray) -> np.ndarray:
  if stored.dtype.kind not in "iu":
    raise InputError(f"{file}: MONOCHROME1 of floats is not read; their largest value is unknown.")
  bits = integer(file, data, "BitsStored", 8 * stored.dtype.itemsize)
  top = -1 if integer(file, data, "PixelRepresentation", 0) else (1 << bits) - 1
  return stored.dtype.type(top) - stored


# --- Does the header fit the bytes?


def _check_claims(file: pathlib.Path, data: "Dataset") -> None:
  rows, columns = (integer(file, data, keyword) for keyword in ("Rows", "Columns"))
  samples, frames = integer(file, data, "SamplesPerPixel", 1), num_frames(file, data)
  data.SamplesPerPixel = samples
  if min(rows, columns, samples) < 1:
    raise InputError(f"{file}: its header says {rows} x {columns} pixels of {samples} samples.")
  kind = str(data.get("PhotometricInterpretation") or "")
  if not kind:
    raise InputError(f"{file}: PhotometricInterpretation is absent or empty; what its numbers mean is unknown.")
  if kind not in (*_GREY, *_COLOUR, "PALETTE COLOR"):
    raise InputError(f"{file}: PhotometricInterpretation {kind} is not read; convert it to MONOCHROME2 or RGB.")
  if samples != (3 if kind in _COLOUR else 1):
    raise InputError(f"{file}: {kind} with {samples} samples a pixel contradicts itself.")
  bits = _bits_allocated(file, data)
  syntax, said = data.file_meta.TransferSyntaxUID, f"its header says {frames} x {rows} x {columns} pixels"
  keyword = next(key for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if key in data)
  have = len(data[keyword].value or b"")
  if syntax.is_compressed and syntax.is_encapsulated:
    _check_fragments(file, data, frames, said)
    if syntax == _RLE and frames * rows * columns * samples * bits // 8 > 64 * have:
      raise InputError(f"{file}: {said}; {have} bytes of RLE cannot hold them. It is cut short or damaged.")
    return
  pixels = frames * rows * columns * samples
  need = -(-pixels * bits // 8)
  if kind == "YBR_FULL_422":
    need = need * 2 // 3
  if have < need:
    raise InputError(f"{file}: {said}, {need} bytes; it has {have}. It is cut short or damaged.")
  if have - need >= max(2, need // frames):
    raise InputError(f"{file}: {said}, {need} bytes, and it has {have}. Header and pixels do not belong together.")


def _bits_allocated(file: pathlib.Path, data: "Dataset") -> int:
  if "PixelData" not in data:
    return 32 if "FloatPixelData" in data else 64
  bits = integer(file, data, "BitsAllocated")
  if bits not in (1, 8, 16, 32, 64):
    raise InputError(f"{file}: BitsAllocated {bits} is not read; expected 1, 8, 16 or 32.")
  stored = integer(file, data, "BitsStored", bits)
  if not 1 <= stored <= bits:
    raise InputError(f"{file}: BitsStored is {stored} of {bits} allocated.")
  high = integer(file, data, "HighBit", stored - 1)
  if not stored - 1 <= high < bits:
    raise InputError(f"{file}: HighBit is {high}, with {stored} bits stored of {bits} allocated.")
  if integer(file, data, "PixelRepresentation", 0) not in (0, 1):
    raise InputError(f"{file}: PixelRepresentation is {data.PixelRepresentation}, expected 0 or 1.")
  data.BitsStored, data.HighBit, data.PixelRepresentation = stored, high, int(data.get("PixelRepresentation") or 0)
  return bits


def _check_fragments(file: pathlib.Path, data: "Dataset", frames: int, said: str) -> None:
  from pydicom.encaps import parse_fragments

  try:
    count = parse_fragments(data.PixelData)[0] - 1  # the first is the table of offsets
  except Exception as error:
    raise InputError(f"{file}: its compressed pixels are damaged ({reason(error)}).") from error
  if count < frames:
    raise InputError(f"{file}: {said}; {count} compressed frames are there. It is cut short or damaged.")


def _undecoded(data: "Dataset", error: Exception) -> str:
  """Says whether a decoder is missing or the stream is damaged."""
  name = data.file_meta.TransferSyntaxUID.name
  if "missing dependencies" in str(error) or ("plugin" in str(error) and "requires" in str(error)):
    return f"is compressed as {name}; pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg reads it."
  return f"its pixels ({name}) cannot be decoded, they may be damaged ({reason(error)})."
