"""Unpacks zip archives that strangers made."""

import lzma
import pathlib
import shutil
import stat
import struct
import uuid
import zipfile
import zlib

from data.errors import DataError

# What zipfile and its decompressors raise for content that is not whole.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError)


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """Unpacks a zip archive, once: a folder that is there is whole, for it is renamed into place at the end.

  `__MACOSX` and hidden files are left out.

  Args:
    archive: the zip file.
    folder: where its content shall be.

  Returns:
    `folder`.

  Raises:
    DataError: damaged, or it holds a path that leads out of the folder, or a link, or there is no room; nothing is
      unpacked then.
  """
  if folder.is_dir():
    return folder
  temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")  # mkdtemp's would be closed to other users
  try:
    temporary.mkdir(parents=True)
    with zipfile.ZipFile(archive) as file:
      members = [member for member in file.infolist() if not _is_rubbish(member)]
      for member in members:
        _check(archive, member)
      print(f"Unpacking {archive} ({len(members)} files)", flush=True)
      for member in members:
        file.extract(member, temporary)  # checks the CRC
    temporary.replace(folder)
  except (*_DAMAGE, OSError) as error:
    if not folder.is_dir():  # else another process was faster
      raise DataError(_explain(archive, folder, error)) from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  return folder


def _explain(archive: pathlib.Path, folder: pathlib.Path, error: Exception) -> str:
  if isinstance(error, OSError) and error.errno is not None:  # the disk's fault; bz2's OSError has no number
    return f"{archive}: cannot be unpacked to {folder} ({error})."
  return f"{archive}: is no whole zip archive ({error}). Download it again."


def _path(member: zipfile.ZipInfo) -> pathlib.PurePosixPath:
  return pathlib.PurePosixPath(member.filename.replace("\\", "/"))


def _is_rubbish(member: zipfile.ZipInfo) -> bool:
  parts = _path(member).parts  # none of './', an entry for the root itself, which some versions of Python cannot unpack
  return not parts or any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts)


def _check(archive: pathlib.Path, member: zipfile.ZipInfo) -> None:
  path = _path(member)
  if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
    raise DataError(f"{archive}: holds the path {member.filename!r}, which leads out of its folder; not unpacked.")
  if stat.S_ISLNK(member.external_attr >> 16):
    raise DataError(f"{archive}: holds the link {member.filename!r}; not unpacked.")
