"""Unpacks zip archives that strangers made."""

import pathlib
import shutil
import stat
import tempfile
import zipfile

from data.errors import DataError


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """Unpacks a zip archive, once: a folder that is there is whole, for it is renamed into place at the end.

  `__MACOSX` and hidden files are left out.

  Args:
    archive: the file.
    folder: where its content shall be.

  Returns:
    `folder`.

  Raises:
    DataError: damaged, or it holds a path that leads out of the folder, or a link; nothing is unpacked then.
  """
  if folder.is_dir():
    return folder
  folder.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
  try:
    with zipfile.ZipFile(archive) as file:
      members = [member for member in file.infolist() if not _is_rubbish(member)]
      for member in members:
        _check(archive, member)
      print(f"Unpacking {archive} ({len(members)} files)", flush=True)
      for member in members:
        file.extract(member, temporary)  # checks the CRC
    temporary.replace(folder)
  except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
    if not folder.is_dir():  # else another process was faster
      raise DataError(f"{archive}: is no whole zip archive ({error}). Download it again.") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  return folder


def _path(member: zipfile.ZipInfo) -> pathlib.PurePosixPath:
  return pathlib.PurePosixPath(member.filename.replace("\\", "/"))


def _is_rubbish(member: zipfile.ZipInfo) -> bool:
  parts = _path(member).parts
  return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts)


def _check(archive: pathlib.Path, member: zipfile.ZipInfo) -> None:
  path = _path(member)
  if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
    raise DataError(f"{archive}: holds the path {member.filename!r}, which leads out of its folder; not unpacked.")
  if stat.S_ISLNK(member.external_attr >> 16):
    raise DataError(f"{archive}: holds the link {member.filename!r}; not unpacked.")
