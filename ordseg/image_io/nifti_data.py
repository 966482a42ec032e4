"""The voxels of a NIfTI file, with every byte accounted for.

nibabel reads as many bytes as the header asks for and stops: a wrong checksum at the end of a gzip stream, a file that
goes on, or a header that claims a terabyte pass. Here the claim is compared with the file before memory is taken, and a
gzip stream is read to its end, where zlib compares CRC-32 and length (RFC 1952).
"""

import math
import pathlib
import zlib
from typing import Any

import numpy as np

from ordseg.errors import InputError

MAX_RATIO = 1032  # deflate cannot shrink more (zlib.net/zlib_tech.html)
MAX_START = 2**26  # bytes of extensions
_PADDING = 512  # bytes that some writers fill the last block with
_GZIP = b"\x1f\x8b"


def read_header(path: pathlib.Path) -> np.void | None:
  """Reads a header as it is stored; nibabel mends some fields (a pixdim of 0 becomes 1).

  Returns:
    Fields of nifti1.h or nifti2.h; None where the file begins otherwise.

  Raises:
    InputError: voxels begin further in than extensions reach: nibabel takes all before them for such, and memory.
  """
  from nibabel import nifti1, nifti2

  with path.open("rb") as stream:
    head = stream.read(4096)
  if head.startswith(_GZIP):
    try:
      head = zlib.decompressobj(wbits=31).decompress(head, 544)
    except zlib.error as error:
      raise InputError(f"{path}: its gzip stream is damaged ({_reason(error)}).") from error
  for dtype in (nifti1.header_dtype, nifti2.header_dtype):
    for kind in (dtype.newbyteorder("<"), dtype.newbyteorder(">")):
      if len(head) < kind.itemsize:
        continue
      header = np.frombuffer(head, kind, 1)[0]
      if header["sizeof_hdr"] == kind.itemsize:
        if not 0 <= header["vox_offset"] <= MAX_START:
          raise InputError(f"{path}: its header says that voxels begin at {header['vox_offset']:g}; it may be damaged.")
        return header
  return None


def check_stream(path: pathlib.Path) -> None:
  """Reads a gzip file to its end, or 64 MB, for its checksums; nothing where it is none."""
  with path.open("rb") as stream:
    packed = stream.read(2) == _GZIP
  if packed:
    _unpacked(path, 2**26)


def read_voxels(path: pathlib.Path, image: Any) -> np.ndarray:
  """Returns the stored numbers [X, Y, Z, ...], not yet scaled.

  Args:
    path: The header's file, for errors.
    image: what nibabel loaded; its data may lie in another file (.img).

  Raises:
    InputError: a type that is not read, or more or fewer bytes than the header says.
  """
  data = image.dataobj
  shape, dtype, offset = tuple(int(n) for n in data.shape), data.dtype, int(data.offset)
  if dtype.kind == "c":
    raise InputError(f"{path}: complex values are not read; store their magnitude.")
  if not shape or min(shape) < 1:
    raise InputError(f"{path}: its header says {' x '.join(map(str, shape)) or 'no'} voxels.")
  file = pathlib.Path(image.file_map["image"].filename)
  if not file.is_file():
    raise InputError(f"{path}: its voxels lie in {file.name}, which is not beside it.")
  if "header" in image.file_map:  # a pair
    check_stream(pathlib.Path(image.file_map["header"].filename))
  count = math.prod(shape)
  buffer = _read(file, offset + count * dtype.itemsize, shape)
  return np.frombuffer(buffer, dtype, count, offset).reshape(shape, order="F")


def _read(file: pathlib.Path, claimed: int, shape: tuple[int, ...]) -> bytes:
  """Returns the whole file, uncompressed; `claimed` bytes by its header, or a little more."""
  size = file.stat().st_size
  said = f"its header says {' x '.join(map(str, shape))} voxels, {claimed} bytes"
  with file.open("rb") as stream:
    packed = stream.read(2) == _GZIP
  if claimed > size * (MAX_RATIO if packed else 1):
    more = " even unpacked" if packed else ""
    raise InputError(f"{file}: {said}; the file of {size} bytes cannot hold them{more}. It is cut short or damaged.")
  if not packed:
    if size > claimed + _PADDING:
      raise InputError(f"{file}: {said}, and the file has {size}. Header and voxels do not belong together.")
    return file.read_bytes()
  buffer = _unpacked(file, claimed + _PADDING + 1)
  if len(buffer) < claimed:
    raise InputError(f"{file}: {said}; unpacked there are {len(buffer)}. It is cut short or damaged.")
  if len(buffer) > claimed + _PADDING:
    raise InputError(f"{file}: {said}, and unpacked the file goes on. Header and voxels do not belong together.")
  return buffer


def _unpacked(file: pathlib.Path, limit: int) -> bytes:
  """Returns up to `limit` bytes of a gzip file, of one or several members; checks each member that is read to its
  end."""
  packed, parts, length = file.read_bytes(), [], 0
  while packed.startswith(_GZIP):
    member = zlib.decompressobj(wbits=31)
    try:
      parts.append(member.decompress(packed, limit - length))
      length += len(parts[-1])
      if length >= limit:
        break
      while not member.eof and member.unconsumed_tail:  # the checksum may lie behind the last byte of data
        parts.append(member.decompress(member.unconsumed_tail, limit - length))
        length += len(parts[-1])
    except zlib.error as error:
      raise InputError(f"{file}: its gzip stream is damaged ({_reason(error)}).") from error
    if not member.eof:
      raise InputError(f"{file}: its gzip stream ends early; it is cut short.")
    packed = member.unused_data
  if length < limit and packed.strip(b"\0"):
    raise InputError(f"{file}: {len(packed)} bytes that are no gzip follow its gzip stream; it is damaged.")
  return parts[0] if len(parts) == 1 else b"".join(parts)


def _reason(error: zlib.error) -> str:
  text = str(error)
  for word, meaning in (
    ("incorrect data check", "its checksum is wrong"),
    ("incorrect length check", "its length is wrong"),
  ):
    if word in text:
      return meaning
  return text
