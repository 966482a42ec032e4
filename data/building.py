"""Builds data sets so that an interrupted build is never taken for a whole one, and reads them. No TensorFlow."""

import builtins
import contextlib
import os
import pathlib
import shutil
import sys
import types
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle, utils

from data import downloads, fingerprints
from data.common import Example, RaterBuilder
from data.errors import DataError, did_you_mean
from ordseg import locks


def prepare(builder: RaterBuilder, *, manual_dir: str = "") -> None:
  """Builds the data set of `builder` unless it is there already; see `data.prepare`."""
  folder = pathlib.Path(builder.data_dir)
  source = _find_source(builder, manual_dir, must_exist=not folder.exists())
  if not folder.exists():  # a finished data set may lie where we cannot write: no lock then
    _build_once(builder, folder, source)
  if not builder.info.splits:  # built after this builder was made
    builder.info.read_from_directory(folder)
  check_whole(builder)
  _check_same(builder, source)


def _build_once(builder: RaterBuilder, folder: pathlib.Path, source: pathlib.Path | None) -> None:
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locks.hold(folder.parent / f".{folder.name}.lock", what=f"builds {folder}", wait=True) as locked:
      if folder.exists():
        return  # another process built it while we waited
      if locked:
        _remove_leftovers(folder)
      _build(builder, source)
  except OSError as error:
    if not folder.exists():  # else another machine that shares this folder was faster: its data set is as good
      raise DataError(f"{builder.name}: cannot be built in {folder} ({error}).") from error


def _find_source(builder: RaterBuilder, manual_dir: str, *, must_exist: bool) -> pathlib.Path | None:
  """Finds the user's files; None for generated data, and for built data whose files are gone meanwhile."""
  if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
    return None
  root = pathlib.Path(manual_dir).expanduser() if manual_dir else default_manual_dir(builder)
  if builder.DOWNLOADS and not manual_dir:
    return _downloaded(builder, root, fetch=must_exist)
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


def _downloaded(builder: RaterBuilder, manual_root: pathlib.Path, *, fetch: bool) -> pathlib.Path | None:
  """Returns the downloaded files; those that the user put into the default folder come first."""
  if manual_root.is_dir():
    with contextlib.suppress(DataError):
      return builder.find_source(manual_root)
  folder = pathlib.Path(builder.data_dir_root) / "downloads" / builder.name
  if fetch:
    _fetch(builder, folder)
  return builder.find_source(folder) if downloads.are_there(builder.DOWNLOADS, folder) else None


def _fetch(builder: RaterBuilder, folder: pathlib.Path) -> None:
  """Fetches what is missing; processes of this machine that meet here fetch it once."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with locks.hold(folder.with_name(f".{folder.name}.lock"), what=f"downloads to {folder}", wait=True):
      downloads.fetch(builder.DOWNLOADS, folder, terms=f"{builder.LICENSE} {builder.HOMEPAGE}")
  except OSError as error:
    raise DataError(f"{builder.name}: cannot be downloaded to {folder} ({error}).") from error


def default_manual_dir(builder: RaterBuilder) -> pathlib.Path:
  """Returns where the user's files are looked for unless a folder is given: TFDS's ``<data_dir>/downloads/manual``."""
  return pathlib.Path(builder.data_dir_root) / "downloads" / "manual"


def _build(builder: RaterBuilder, source: pathlib.Path | None) -> None:
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()  # in a log file each redraw would be a line
  config = tfds.download.DownloadConfig(manual_dir=source, try_download_gcs=False)
  with _spill_without_tensorflow():
    builder.download_and_prepare(download_config=config)


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
  assign = utils.temporary_assignment
  with assign(shuffle, "tf", fake), assign(shuffle, "BUCKETS_NUMBER", 100):
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
  try:
    missing = [p for split in builder.info.splits.values() for p in split.filepaths if not pathlib.Path(p).exists()]
  except (ValueError, LookupError, AttributeError) as error:  # the pattern of the names, in dataset_info.json
    raise DataError(
      f"{folder} is not a whole data set: dataset_info.json is damaged ({error}). {fingerprints.REBUILD}"
    ) from error
  if counts != found or missing:
    what = f"{missing[0]} is missing" if missing else f"splits are {found}, expected {counts}"
    raise DataError(f"{folder} is not a whole data set: {what}. {fingerprints.REBUILD}")
  return record


def _check_same(builder: RaterBuilder, source: pathlib.Path | None) -> None:
  """Refuses to hand out built data for files or settings they were not built from."""
  record = fingerprints.read(builder.data_dir)
  if record["settings"] != builder.config.settings():
    raise DataError(
      f"{builder.data_dir} was built with the settings {record['settings']}, not {builder.config.settings()}. "
      f"{fingerprints.REBUILD}"
    )
  if source is not None and builder.source_signature(source) != record["source"]:
    raise DataError(f"{builder.data_dir} was built from other files than {source} holds now. {fingerprints.REBUILD}")


def _open(builder: Any, split: str, decoders: Any = None) -> Sequence[Example]:
  return builder.as_data_source(split, decoders=decoders)


class _Records(Sequence[Example]):
  """The records of a split without some features, which are not decoded; a damaged record is one line."""

  def __init__(self, source: Sequence[Example], where: str, skip: Collection[str] = ()) -> None:
    self._source, self._where, self._skip = source, where, frozenset(skip)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: Any) -> Any:
    try:
      record = self._source[index]
    except (IndexError, MemoryError, OSError):
      raise
    except Exception as error:  # ArrayRecord, protobuf, zlib and TFDS each have errors of their own for damaged bytes
      reason = " ".join(str(error).split())[:200]
      raise DataError(f"{self._where}: record {index} is damaged ({reason}). {fingerprints.REBUILD}") from error
    return {name: value for name, value in record.items() if name not in self._skip}

  def __iter__(self) -> Iterator[Example]:
    return (self[i] for i in range(len(self)))

  def __repr__(self) -> str:
    return f"{self._source!r} without {', '.join(sorted(self._skip)) or 'nothing'}"


def data_source(builder: RaterBuilder, split: str, *, skip: Collection[str] = ()) -> Sequence[Example]:
  """Opens a split; see `data.data_source`."""
  check_whole(builder)
  name, splits = split.partition("[")[0], sorted(builder.info.splits)
  if name not in splits:
    raise DataError(f"{builder.name} has no split {name!r}.{did_you_mean(name, splits)} Splits: {', '.join(splits)}.")
  features = builder.features()
  for feature in skip:
    if feature not in features and feature != "level_probs":
      raise DataError(f"{builder.name} has no feature {feature!r}.{did_you_mean(feature, features)}")
  skip = [feature for feature in skip if feature in features]
  try:
    source = _open(builder, split, {feature: tfds.decode.SkipDecoding() for feature in skip} or None)
    len(source)  # reads the end of each file, where the number of its records is
  except (ValueError, AssertionError, RuntimeError) as error:
    reason = " ".join(str(error).split())[:200]
    raise DataError(f"{builder.name}: cannot open split {split!r} of {builder.data_dir} ({reason}).") from error
  return _Records(source, f"{builder.data_dir}, split {split!r}", skip)


def verify(builder: RaterBuilder) -> None:
  """Reads all records back; see `data.verify`."""
  for split, expected in check_whole(builder)["splits"].items():
    source = _Records(_open(builder, split), f"{builder.data_dir}, split {split!r}")
    digests = [fingerprints.example_digest(source[i]) for i in range(len(source))]
    if fingerprints.combine({split: digests})["splits"][split] != expected:
      raise DataError(
        f"{builder.data_dir}: the records of split {split!r} are not those written. {fingerprints.REBUILD}"
      )
