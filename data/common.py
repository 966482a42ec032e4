"""What all builders share: the example schema, settings that can be overridden, and checks on every record.

Importing this module imports TFDS; `import data` alone does not.
"""

import ast
import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow_datasets as tfds

from data import archives, downloads, files, fingerprints
from data.errors import DataError, did_you_mean
from data.schema import Example, check_example, join_classes, make_example
from ordseg import settings

__all__ = ["Example", "RaterBuilder", "RaterConfig", "check_example", "join_classes", "make_example"]


@dataclasses.dataclass(eq=False, kw_only=True)
class RaterConfig(tfds.core.BuilderConfig):
  """A builder config whose own fields are the settings that decide the content of the data set.

  A subclass adds plain fields (bool, int, float, str) with defaults. Those made with `settings.field` say themselves
  which values they take; what depends on several fields is checked in `__post_init__`, after this class's.
  """

  def __post_init__(self) -> None:
    for declared in dataclasses.fields(self):
      if setting := settings.setting_of(declared):
        path, value = f"config.data.builder_args.{declared.name}", getattr(self, declared.name)
        try:
          setting.validate(value, declared.default, path=path)
        except DataError as error:
          meant = f" ({setting.help})." if setting.allowed else "."  # a bound alone does not tell the unit
          raise DataError(str(error).removesuffix(".") + meant) from None

  def settings(self) -> dict[str, Any]:
    """Returns field -> value of the fields that the subclass added."""
    inherited = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
    return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in inherited}

  def read(self, texts: Mapping[str, str]) -> dict[str, Any]:
    """Returns settings, as texts of a command line, as values of the settings' types; of unknown ones the text.

    Raises:
      DataError: a text is no value of the setting's type.
    """
    known = self.settings()
    return {name: _read(known[name], text, name) if name in known else text for name, text in texts.items()}

  def with_overrides(self, overrides: Mapping[str, Any]) -> Self:
    """Returns a copy with other settings, under a name of its own, so that two settings never share a folder.

    Args:
      overrides: field -> value. Values equal to the present ones change nothing, not even the name.

    Raises:
      DataError: unknown field, or a value of another type than the field's.
    """
    present = self.settings()
    changed = {}
    for name, value in overrides.items():
      if name not in present:
        known = ", ".join(present) or "none"
        raise DataError(
          f"config.data.builder_args.{name} is no setting of this builder.{did_you_mean(name, present)}"
          f" Settings: {known}."
        )
      value = _as_type_of(present[name], value, name)
      if value != present[name]:
        changed[name] = value
    if not changed:
      return self
    code = fingerprints.short_code(json.dumps(changed, sort_keys=True), digits=10)
    return dataclasses.replace(self, name=f"{self.name}-{code}", **changed)


def _read(default: Any, text: str, name: str) -> Any:
  """Reads the text of a setting as the type of its default."""
  if isinstance(default, str):
    return text
  try:
    value = ast.literal_eval(text.capitalize() if text.lower() in ("true", "false") else text)
  except (ValueError, SyntaxError):
    value = text
  return _as_type_of(default, value, name)


def _as_type_of(default: Any, value: Any, name: str) -> Any:
  if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  if type(value) is not type(default):
    raise DataError(
      f"config.data.builder_args.{name}={value!r} must be of type {type(default).__name__}, as its default {default!r}."
    )
  return value


class _Info(tfds.core.DatasetInfo):
  """TFDS's own, less an empty temporary folder for every builder made before its data are built."""

  def initialize_from_bucket(self) -> None:
    """Does nothing: no data set of this package is published there."""

  def read_from_directory(self, dataset_info_dir: Any) -> None:
    """Reads what a finished build wrote; DataError where it did not write it."""
    try:
      super().read_from_directory(dataset_info_dir)
    except Exception as error:
      reason = " ".join(str(error).split())
      raise DataError(f"{dataset_info_dir} is not a whole data set ({reason}). {fingerprints.REBUILD}") from error


class RaterBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Base of all builders: a subclass says what is in the files and how a case is read, this class does the rest.

  The subclass is named ``Builder`` and lives in ``data/<name>/<name>_dataset_builder.py``. It sets BUILDER_CONFIGS (a
  list of `RaterConfig`) and the class variables below, then `split_cases` and `read`. A property of the same name in
  small letters is overridden where the config decides. Generated data have `split_examples` alone.
  """

  VERSION = tfds.core.Version("1.0.0")  # raised whenever the same files would give other records
  RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
  HOMEPAGE: ClassVar[str] = ""
  LICENSE: ClassVar[str] = ""
  NUM_RATERS: ClassVar[int] = 0  # R, the size of a full panel
  NUM_CHANNELS: ClassVar[int] = 1  # C of the images
  IMAGE_DTYPE: ClassVar[type[np.generic]] = np.uint8  # or uint16, int16, float32
  LEVEL_PROBS: ClassVar[bool] = False  # True: records carry the exact distribution over the vote counts

  # Of the files that the user downloads:
  LAYOUT: ClassVar[str] = ""  # which folders and files there are, in one line; '' for generated data
  HOLDS: ClassVar[str] = ""  # a glob that matches in the folder that `split_cases` gets; '': in any
  FOLDERS: ClassVar[tuple[str, ...]] = ()  # globs: where that folder may be in the one that the user names, if not it
  ARCHIVE: ClassVar[str] = ""  # the name of a zip file that holds all of it
  DOWNLOADS: ClassVar[tuple[downloads.Download, ...]] = ()  # fetched where the user names no folder

  def __init_subclass__(cls, **kwargs: Any) -> None:
    super().__init_subclass__(**kwargs)
    if cls.LAYOUT:  # TFDS's own, a line for the user; what has none is generated
      archive = f", or {cls.ARCHIVE}" if cls.ARCHIVE else ""
      cls.MANUAL_DOWNLOAD_INSTRUCTIONS = f"{cls.LAYOUT}{archive}; see data/{cls.name}/README.md."

  def __init__(self, *, file_format: str = "array_record", **kwargs: Any) -> None:
    # The format is fixed here, not when building: a builder made while another process builds must read it too.
    super().__init__(file_format=file_format, **kwargs)

  @classmethod
  def discover(cls, config: Any, manual_dir: str) -> Any:
    """Returns the config with the settings that only the user's files can tell; by default there are none.

    Args:
      config: the chosen `RaterConfig`, overrides applied.
      manual_dir: the folder that the user named; '' where none was.
    """
    del manual_dir
    return config

  @property
  def num_raters(self) -> int:
    """R, the size of a full panel."""
    return self.NUM_RATERS

  @property
  def num_axes(self) -> int:
    """2 for images [H, W, C], 3 for volumes [D, H, W, C]."""
    return 2

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the structures where several are segmented side by side; () for one, which has no axis."""
    return ()

  @property
  def rater_names(self) -> tuple[str, ...]:
    """Names of the raters, in the order of the columns; () where the data set does not say who they are."""
    return ()

  def split_cases(self, source: pathlib.Path) -> Mapping[str, Sequence[Any]]:
    """Returns split -> what `read` reads one at a time (paths, say); files are looked for here, but not opened yet.

    A split without cases is left out. `files.by_split` sorts cases into their splits.

    Args:
      source: the folder that `find_source` returned.

    Raises:
      DataError: files are missing, or there are some that LAYOUT does not tell of.
    """
    raise NotImplementedError

  def read(self, case: Any) -> Iterable[Example]:
    """Returns the examples of one case, in the schema of data/README.md (`make_example`).

    Args:
      case: one of those that `split_cases` returned.

    Raises:
      DataError: a file is damaged or not what LAYOUT says; names the file.
    """
    raise NotImplementedError

  def split_examples(self, source: pathlib.Path | None) -> Mapping[str, Iterable[Example]]:
    """Returns split -> examples, which are read while they are asked for, one case in memory at a time.

    Args:
      source: the folder that `find_source` returned; None for generated data.
    """
    assert source is not None, f"{self.name} has no LAYOUT"
    return {split: self._read_all(cases) for split, cases in self.split_cases(source).items()}

  def _read_all(self, cases: Iterable[Any]) -> Iterator[Example]:
    for case in cases:
      yield from self.read(case)

  def find_source(self, manual_dir: pathlib.Path) -> pathlib.Path:
    """Returns the first folder in which HOLDS matches: `manual_dir`, one of its FOLDERS, or those of ARCHIVE.

    Args:
      manual_dir: the folder that the user named.

    Raises:
      DataError: the files are not there; says which layout was expected.
    """
    if not self.HOLDS:
      return manual_dir
    root, archive = files.root_below(manual_dir, self.FOLDERS, self.HOLDS), manual_dir / self.ARCHIVE
    if root is None and self.ARCHIVE and archive.is_file():
      root = files.root_below(self.unpacked(archive), self.FOLDERS, self.HOLDS)
    if root is None:
      layout = f"{self.ARCHIVE} or {self.LAYOUT}" if self.ARCHIVE else self.LAYOUT
      where = f"{manual_dir} (--config.data.manual_dir)"
      raise DataError(f"{self.name}: expected {layout} in {where}; found no {self.HOLDS}.")
    return root

  def unpacked(self, archive: pathlib.Path) -> pathlib.Path:
    """Returns the folder with the content of a zip archive, unpacked beside the built data sets on the first call."""
    status = archive.stat()
    name = f"{archive.stem}-{status.st_size}-{status.st_mtime_ns}"
    return archives.unpack(archive, pathlib.Path(self.data_dir_root) / "downloads" / "extracted" / name)

  def source_signature(self, source: pathlib.Path) -> str:
    """Returns a short code of the files' names and sizes: tells whether built data came from these files.

    Hidden files do not count: unfinished downloads and what file managers leave come and go.
    """
    lines = []
    for path in sorted(source.rglob("*")):
      name = path.relative_to(source)
      if not any(part.startswith(".") for part in name.parts) and path.is_file():
        lines.append(f"{name.as_posix()} {path.stat().st_size}\n")
    return fingerprints.short_code("".join(lines))

  @property
  def num_channels(self) -> int:
    """C of the images."""
    return self.NUM_CHANNELS

  @property
  def image_dtype(self) -> np.dtype:
    """dtype of the images: uint8, uint16, int16 or float32."""
    return np.dtype(self.IMAGE_DTYPE)

  @property
  def config(self) -> Any:
    """The builder's config, a `RaterConfig`."""
    return self.builder_config

  def _info(self) -> tfds.core.DatasetInfo:
    metadata = self.get_metadata()
    return _Info(
      builder=self,
      features=tfds.features.FeaturesDict(self.features()),
      description=metadata.description,
      citation=metadata.citation,
      homepage=self.HOMEPAGE,
      license=self.LICENSE,
    )

  def features(self) -> dict[str, Any]:
    """Returns the example schema of data/README.md as TFDS features."""

    # Arrays go in as zlib: Image would need TensorFlow, and a plain Tensor stores each integer in 8 bytes.
    def array(*last: int, dtype: Any) -> tfds.features.Tensor:
      return tfds.features.Tensor(shape=(*(None,) * self.num_axes, *last), dtype=dtype, encoding="zlib")

    classes = (len(self.class_names),) if self.class_names else ()
    features: dict[str, Any] = {
      "id": tfds.features.Text(),
      "group": tfds.features.Text(),
      "image": array(self.num_channels, dtype=self.image_dtype),
      "rater_masks": array(*classes, self.num_raters, dtype=np.uint8),
      "rater_valid": tfds.features.Tensor(shape=(*classes, self.num_raters), dtype=np.bool_),
      "spacing": tfds.features.Tensor(shape=(self.num_axes,), dtype=np.float32),
    }
    if self.LEVEL_PROBS:
      features["level_probs"] = array(*classes, self.num_raters + 1, dtype=np.float32)
    return features

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, Example]]]:
    source = None
    self._source_signature = ""
    if self.MANUAL_DOWNLOAD_INSTRUCTIONS:
      source = self.find_source(pathlib.Path(dl_manager.manual_dir))
      self._source_signature = self.source_signature(source)
    splits = self.split_examples(source)
    if not splits:
      raise DataError(f"{self.name}: there is no example in any split.")
    return {split: self._generate_examples(split, examples) for split, examples in splits.items()}

  def _generate_examples(self, split: str, examples: Iterable[Example]) -> Iterator[tuple[str, Example]]:
    for example in examples:
      check_example(
        example,
        num_raters=self.num_raters,
        num_channels=self.num_channels,
        dtype=self.image_dtype,
        num_axes=self.num_axes,
        num_classes=len(self.class_names),
      )
      self._digests[split].append(fingerprints.example_digest(example))
      yield example["id"], example

  def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
    # TFDS calls this with `data_dir` pointing at a temporary folder, which it renames once all is written.
    self._digests: dict[str, list[bytes]] = collections.defaultdict(list)
    super()._download_and_prepare(dl_manager, download_config)
    record = fingerprints.combine(self._digests)
    record |= {"settings": self.config.settings(), "source": self._source_signature}
    fingerprints.write(self.data_dir, record)

  def _log_download_bytes(self) -> None:
    print(f"Building {self.name}/{self.config.name} {self.version} in {self.data_dir}", flush=True)

  def _log_download_done(self) -> None:
    counts = ", ".join(f"{name} {split.num_examples}" for name, split in self.info.splits.items())
    print(f"Built {self.name}/{self.config.name}: {counts} examples", flush=True)
