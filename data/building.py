"""Builds data sets so that an interrupted build is never taken for a whole one, and reads them. No TensorFlow."""

import builtins
import contextlib
import fcntl
import os
import pathlib
import shutil
import types
from collections.abc import Collection, Iterator
from typing import Any
from unittest import mock

import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from data import fingerprints
from data.common import RaterBuilder
from data.errors import DataError, did_you_mean


def prepare(builder: RaterBuilder, *, manual_dir: str = "") -> None:
  """Builds the data set of `builder` unless it is there already; see `data.prepare`."""
  folder = pathlib.Path(builder.data_dir)
  source = _find_source(builder, manual_dir, must_exist=not folder.exists())
  folder.parent.mkdir(parents=True, exist_ok=True)
  with _lock(folder.parent / f".{folder.name}.lock") as locked:
    if not folder.exists():
      if locked:
        _remove_leftovers(folder)
      _build(builder, folder, source)
  check_whole(builder)
  _check_same(builder, source)


def _find_source(builder: RaterBuilder, manual_dir: str, *, must_exist: bool) -> pathlib.Path | None:
  """Finds the user's files; None for generated data, and for built data whose files are gone meanwhile."""
  if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
    return None
  root = pathlib.Path(manual_dir).expanduser() if manual_dir else default_manual_dir(builder)
  if root.is_dir():
    try:
      return builder.find_source(root)
    except DataError:
      if must_exist or manual_dir:
        raise
  if must_exist:
    how = "" if manual_dir else " (the default)"
    raise DataError(
      f"{builder.name}: there is no folder {root}{how}. Set --config.data.manual_dir to the folder that holds "
      f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
    )
  return None


def default_manual_dir(builder: RaterBuilder) -> pathlib.Path:
  """Returns where the user's files are looked for unless a folder is given: TFDS's ``<data_dir>/downloads/manual``."""
  return pathlib.Path(builder.data_dir_root) / "downloads" / "manual"


def _build(builder: RaterBuilder, folder: pathlib.Path, source: pathlib.Path | None) -> None:
  config = tfds.download.DownloadConfig(manual_dir=source, try_download_gcs=False)
  try:
    with _spill_without_tensorflow():
      builder.download_and_prepare(download_config=config, file_format="array_record")
  except DataError:
    raise
  except OSError as error:
    if folder.exists():  # another machine that shares this folder was faster: its data set is as good
      builder.info.read_from_directory(builder.data_dir)
      return
    raise DataError(f"{builder.name}: cannot be built in {folder} ({error}).") from error


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[bool]:
  """Holds a lock among the processes of this machine; yields False on a file system that has no locks."""
  with path.open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX)
      locked = True
    except OSError:
      locked = False
    yield locked


def _remove_leftovers(folder: pathlib.Path) -> None:
  """Removes what killed builds left. TFDS builds in ``incomplete.<random>_<version>`` beside the final folder."""
  for leftover in folder.parent.glob(f"incomplete.*_{folder.name}"):
    shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _spill_without_tensorflow() -> Iterator[None]:
  """Lets TFDS sort a split of more than 1 GB on disk, for which it would import TensorFlow's file API."""
  gfile = types.SimpleNamespace(GFile=builtins.open, exists=os.path.exists, remove=os.remove)
  errors = types.SimpleNamespace(ResourceExhaustedError=MemoryError)
  fake = types.SimpleNamespace(io=types.SimpleNamespace(gfile=gfile), errors=errors)
  # 1000 open files, TFDS's number, would pass the usual limit of 1024.
  with mock.patch.object(shuffle, "tf", fake), mock.patch.object(shuffle, "BUCKETS_NUMBER", 100):
    yield


def check_whole(builder: RaterBuilder) -> dict[str, Any]:
  """Checks that the folder of `builder` holds all that a finished build wrote; returns its fingerprint record.

  Raises:
    DataError: it does not, or it was built with other settings.
  """
  folder = pathlib.Path(builder.data_dir)
  if not folder.exists():
    raise DataError(f"{builder.name}: nothing is built in {folder}. Call data.prepare(builder) first.")
  record = fingerprints.read(folder)
  counts = {name: entry["num_examples"] for name, entry in record["splits"].items()}
  found = {name: split.num_examples for name, split in builder.info.splits.items()}
  missing = [p for split in builder.info.splits.values() for p in split.filepaths if not pathlib.Path(p).exists()]
  if counts != found or missing:
    what = f"{missing[0]} is missing" if missing else f"splits are {found}, expected {counts}"
    raise DataError(f"{folder} is not a whole data set: {what}. {fingerprints.REBUILD}")
  return record


def _check_same(builder: RaterBuilder, source: pathlib.Path | None) -> None:
  """Refuses to hand out built data for files or settings they were not built from."""
  record = fingerprints.read(builder.data_dir)
  if record["settings"] != builder.settings():
    raise DataError(
      f"{builder.data_dir} was built with the settings {record['settings']}, not {builder.settings()}. "
      f"{fingerprints.REBUILD}"
    )
  if source is not None and builder.source_signature(source) != record["source"]:
    raise DataError(f"{builder.data_dir} was built from other files than {source} holds now. {fingerprints.REBUILD}")


def data_source(builder: RaterBuilder, split: str, *, skip: Collection[str] = ()) -> Any:
  """Opens a split; see `data.data_source`."""
  check_whole(builder)
  name, known = split.partition("[")[0], sorted(builder.info.splits)
  if name not in known:
    raise DataError(f"{builder.name} has no split {name!r}.{did_you_mean(name, known)} Splits: {', '.join(known)}.")
  decoders = {name: tfds.decode.SkipDecoding() for name in skip}
  return builder.as_data_source(split, decoders=decoders or None)


def verify(builder: RaterBuilder) -> None:
  """Reads all records back; see `data.verify`."""
  for split, expected in check_whole(builder)["splits"].items():
    source = builder.as_data_source(split)
    digests = [fingerprints.example_digest(source[i]) for i in range(len(source))]
    if fingerprints.combine({split: digests})["splits"][split] != expected:
      raise DataError(f"{builder.data_dir}: the records of split {split!r} are not those written. {fingerprints.REBUILD}")

