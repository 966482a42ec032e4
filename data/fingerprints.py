"""A data set's fingerprint: the same for the same examples, whatever their order, the machine or the shard layout."""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import DataError
from ordseg import records

FILENAME = "fingerprint.json"  # inside the built data set, so it is renamed into place together with the records
_KEYS = ("fingerprint", "splits", "settings", "source")
_OF_A_SPLIT = {"num_examples", "digest"}


def example_digest(example: Mapping[str, Any]) -> bytes:
  """Returns the SHA-256 of an example: names, dtypes, shapes and values of its features, in the order of their names.

  Args:
    example: feature name -> text, bytes or array. Text and its UTF-8 bytes count as equal, as TFDS reads one back as
      the other.
  """
  digest = hashlib.sha256()
  for name in sorted(example):
    value = example[name]
    if isinstance(value, str):
      value = value.encode()
    if isinstance(value, bytes):
      head, body = "text", value
    else:
      array = np.asarray(value)
      little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
      head, body = f"{little_endian.dtype.str} {array.shape}", little_endian.tobytes()
    digest.update(f"{name} {head} {len(body)}\n".encode())
    digest.update(body)
  return digest.digest()


def short_code(text: str, *, digits: int = 16) -> str:
  """Returns the first hex digits of the SHA-256 of a text: tells lists of files or settings apart."""
  return hashlib.sha256(text.encode()).hexdigest()[:digits]


def combine(digests: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
  """Combines the digests of all examples, by split.

  Returns:
    {'fingerprint': 64 hex digits, 'splits': {split: {'num_examples', 'digest'}}}.
  """
  splits = {
    split: {"num_examples": len(items), "digest": hashlib.sha256(b"".join(sorted(items))).hexdigest()}
    for split, items in sorted(digests.items())
  }
  text = "".join(f"{split} {entry['num_examples']} {entry['digest']}\n" for split, entry in splits.items())
  return {"fingerprint": hashlib.sha256(text.encode()).hexdigest(), "splits": splits}


def write(folder: str | pathlib.Path, record: Mapping[str, Any]) -> None:
  """Writes `record` into a data set that is being built (the folder gets its final name only afterwards)."""
  (pathlib.Path(folder) / FILENAME).write_text(records.json_text(record), encoding="utf-8")


def read(folder: str | pathlib.Path) -> dict[str, Any]:
  """Reads the record of a built data set.

  Raises:
    DataError: the file is missing or damaged, so the folder is no whole data set of this package.
  """
  path = pathlib.Path(folder) / FILENAME
  if not path.is_file():
    raise DataError(f"{folder} is not a whole data set: there is no {FILENAME}. {REBUILD}")
  try:
    record = records.read_json(path, REBUILD)
  except DataError as error:
    raise DataError(f"{folder} is not a whole data set: {error}") from error
  if not all(key in record for key in _KEYS):
    raise DataError(f"{folder} is not a whole data set: {FILENAME} lacks one of {', '.join(_KEYS)}. {REBUILD}")
  splits = record["splits"]
  if not (isinstance(splits, dict) and all(isinstance(s, dict) and s.keys() >= _OF_A_SPLIT for s in splits.values())):
    raise DataError(f"{folder} is not a whole data set: {FILENAME} has 'splits' {splits!r}. {REBUILD}")
  return record


REBUILD = "Delete that folder and run again, or choose another --config.data.data_dir."
