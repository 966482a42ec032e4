"""Fetches a benchmark's files from its distributor, with their published checksums."""

import dataclasses
import hashlib
import http.client
import pathlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterable

from data.errors import DataError
from ordseg import files

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60.0
_SECONDS_BETWEEN_LINES = 5.0


@dataclasses.dataclass(frozen=True)
class Download:
  """A file to fetch.

  Attributes:
    url: the address of the file.
    name: what the file is called here.
    sha256: 64 hex digits, as published.
  """

  url: str
  name: str
  sha256: str


def are_there(downloads: Iterable[Download], folder: pathlib.Path) -> bool:
  """Returns whether all files were fetched before; only whole and checked ones get their name."""
  return all((folder / download.name).is_file() for download in downloads)


def fetch(downloads: Iterable[Download], folder: pathlib.Path, *, terms: str) -> None:
  """Fetches what is not there yet.

  Args:
    downloads: the files to fetch.
    folder: where to put them.
    terms: licence and terms, printed before the first byte is asked for.

  Raises:
    DataError: the server does not answer, or sends less or other bytes than published; what came is thrown away.
  """
  missing = [download for download in downloads if not (folder / download.name).is_file()]
  if not missing:
    return
  print(f"Terms of what is downloaded now: {terms}", flush=True)
  folder.mkdir(parents=True, exist_ok=True)
  for download in missing:
    _fetch_one(download, folder / download.name)


def _fetch_one(download: Download, path: pathlib.Path) -> None:
  by_hand = f"Download it by hand and point --config.data.manual_dir to its folder: {download.url}"
  try:
    with files.replacing(path) as part:
      digest = _receive(download, part)
      if digest != download.sha256:
        raise DataError(f"{path.name}: its SHA-256 is {digest}, published is {download.sha256}. {by_hand}")
  except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
    raise DataError(f"{path.name}: cannot be downloaded ({error}). {by_hand}") from error


def _receive(download: Download, part: pathlib.Path) -> str:
  """Writes the answer to `part` and returns its SHA-256."""
  digest, done, said = hashlib.sha256(), 0, time.monotonic()
  request = urllib.request.Request(download.url, headers={"User-Agent": "ordseg"})
  with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer, part.open("wb") as file:
    size = int(answer.headers.get("Content-Length") or 0)
    print(f"Downloading {download.name} ({size / 1e6:.1f} MB)", flush=True)
    while chunk := answer.read(_CHUNK):
      digest.update(chunk)
      file.write(chunk)
      done += len(chunk)
      if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
        said = time.monotonic()
        print(f"  {done / 1e6:.1f} of {size / 1e6:.1f} MB", flush=True)
  if size and done != size:
    raise DataError(f"{download.name}: the connection ended after {done} of {size} bytes. Try again.")
  return digest.hexdigest()
