"""Predicts files one after the other; what is wrong with one does not stop the others."""

import dataclasses
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging

from ordseg import files, image_io
from ordseg.errors import InputError, check_choice
from ordseg.image_io import ImageFile, segmentations, writing
from ordseg.input_pipeline import preprocess
from ordseg.models import sliding_window
from ordseg.models.sliding_window import Windows
from ordseg.prediction import maps, overlay, summary
from ordseg.prediction.measures import Extent
from ordseg.prediction.predictor import Predictor, TrainedRun
from ordseg.progress import Progress

_SECONDS = 5.0  # between two lines about one file
LARGE_PIXELS = 50_000_000  # of a page: its maps are kept on disk, not in memory


@dataclasses.dataclass(frozen=True)
class OutputOptions:
  """What to write, and how.

  Attributes:
    maps: names with commas between, or ``all``; see `maps.get_maps`.
    precision: of maps that are no masks: ``float32``, or ``uint16`` (PNG always).
    windows: how large images are covered.
    overlay: whether to draw a picture with a legend.
    dicom: whether maps and pictures of DICOM images are also written as DICOM.
    allow_gaps: whether a DICOM series may lack slices; see `image_io.read`.
  """

  maps: str = ",".join(maps.ALWAYS)
  precision: str = "float32"
  windows: Windows = dataclasses.field(default_factory=Windows)
  overlay: bool = True
  dicom: bool = False
  allow_gaps: bool = False

  def __post_init__(self) -> None:
    check_choice(self.precision, writing.PRECISIONS, field="--precision")


def predict_files(
  predictor: Predictor,
  inputs: Mapping[str, pathlib.Path],
  output: pathlib.Path,
  options: OutputOptions,
  *,
  say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
  """Predicts images and writes their maps and ``summary.csv``.

  Args:
    predictor: The loaded runs, as `predictor.load` returns them.
    inputs: name -> file; see `find_inputs`.
    output: folder; maps are ``<output>/<name>_<map>.<suffix>``.
    options: what to write.
    say: takes lines of progress.

  Returns:
    The rows of summary.csv, one per file, or per file and class: ``status`` is ok or failed, and ``message`` what was
    wrong or odd. What is wrong with one file, whatever it is, does not stop the others.

  Raises:
    InputError: the folder cannot be written to (any more), or a map is unknown.
  """
  maps.get_maps(options.maps, predictor.run.panel.num_raters)
  _check_writable(output)
  files.sweep(output, *{(output / name).parent for name in inputs})
  rows: list[dict[str, Any]] = []
  summary.write(output, rows)
  for number, (name, path) in enumerate(inputs.items(), start=1):
    started = time.monotonic()
    found = _tried(predictor, path, output, name, options, say)
    seconds = round(time.monotonic() - started, 2)
    found = [{"file": str(path), "status": "ok", "seconds": seconds, **row} for row in found]
    rows += found
    summary.write(output, rows)  # complete so far, if it is cut short here
    for row in found:
      what = f"{name} {row['class']}" if row.get("class") else name
      say(f"{number}/{len(inputs)} {what}: {row['status']}, {summary.said(row)}")
  return rows


def _tried(
  predictor: Predictor,
  path: pathlib.Path,
  output: pathlib.Path,
  name: str,
  options: OutputOptions,
  say: Callable[[str], None],
) -> list[dict[str, Any]]:
  """Returns the rows of one file: one that says ``failed`` where anything went wrong that is the file's own."""
  try:
    return predict_file(predictor, path, output / name, options, say=say)
  except Exception as error:  # readers and writers of six formats fail in ways of their own
    fatal = summary.fatal(error)
    if fatal is not None:
      raise InputError(f"--output={output}: the maps of {name} cannot be written ({fatal.strerror}).") from error
    logging.debug("%s", path, exc_info=True)
    return [{"status": "failed", "message": summary.explained(path, error)}]


def predict_file(
  predictor: Predictor,
  path: pathlib.Path,
  target: pathlib.Path,
  options: OutputOptions,
  *,
  say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
  """Predicts one image, page by page, or as a volume where the network takes volumes, and writes its maps.

  Args:
    predictor: The loaded runs, as `predictor.load` returns them.
    path: a file, or the folder of a DICOM series.
    target: what the files written begin with; with several classes their names follow.
    options: what to write.
    say: takes lines of progress.

  Returns:
    Of each class: its name, pages, height, width, the measures of `Extent` and ``message``, which names what differs
    from the training.

  Raises:
    InputError: the image does not fit the network, cannot be read, or its maps cannot be written.
  """
  run = predictor.run
  image = _fitting(image_io.read(path, allow_gaps=options.allow_gaps), run)
  num_pages, height, width = image.pages.shape[:3]
  folder = _made(target.parent)
  with files.scratch(folder) as scratch:
    made = scratch / "made"
    made.mkdir()
    classes = [_Maps(image, options, run.panel.num_raters, scratch / str(k)) for k in range(run.panel.num_classes)]
    for place, level_probs in _parts(predictor, image, options.windows, say):
      for k, one in enumerate(classes):
        one.add(place, level_probs[..., k, :] if run.panel.num_classes > 1 else level_probs)
    for one, name in zip(classes, run.class_names, strict=True):
      one.write(made / (f"{target.name}_{name}" if name else target.name))
    for path_made in sorted(made.iterdir()):  # all of them, or none
      path_made.replace(folder / path_made.name)
  facts = {"pages": num_pages, "height": height, "width": width, "message": _message(image, predictor, options)}
  return [
    {"class": name, **facts, **one.extent.measures(image.spacing, num_pages)}
    for one, name in zip(classes, run.class_names, strict=True)
  ]


def _parts(
  predictor: Predictor, image: ImageFile, windows: Windows, say: Callable[[str], None]
) -> Iterator[tuple[Any, np.ndarray]]:
  """Yields (where in [D, H, W], level probabilities there), the pages one by one unless the network takes volumes."""
  num_pages = len(image.pages)
  if predictor.run.panel.num_axes == 3:
    scaling, progress = (
      _scaling(image, image.pages, predictor),
      Progress(f"  {image.path.name}", "windows", seconds=_SECONDS, say=say),
    )
    yield from sliding_window.predict_rows(
      predictor.predict, image.pages, windows, prepare=scaling.apply, progress=progress
    )
    return
  for number, page in enumerate(image.pages):
    scaling = _scaling(image, page, predictor)
    name = f"  {image.path.name} page {number + 1}/{num_pages}" if num_pages > 1 else f"  {image.path.name}"
    progress = Progress(name, "windows", seconds=_SECONDS, say=say)
    strips = sliding_window.predict_rows(predictor.predict, page, windows, prepare=scaling.apply, progress=progress)
    for rows, level_probs in strips:
      yield (number, rows), level_probs


class _Maps:
  """The maps of one class while they are made."""

  def __init__(self, image: ImageFile, options: OutputOptions, num_raters: int, scratch: pathlib.Path):
    self.extent = Extent()
    self._image, self._options, self._num_raters = image, options, num_raters
    self._wanted = maps.get_maps(options.maps, num_raters)
    self._functions = {**maps.get_maps(",".join(maps.ALWAYS), num_raters), **self._wanted}
    num_pages, height, width = image.pages.shape[:3]
    large = height * width > LARGE_PIXELS and num_pages == 1
    self._suffix = writing.suffix_for(image, is_large=large)
    scratch.mkdir()
    self._sinks = {name: _sink(scratch / name, image, name, large=large) for name in self._functions}

  def add(self, place: Any, level_probs: np.ndarray) -> None:
    """Takes the level probabilities [.., L] of a part of the image."""
    self.extent.add(level_probs)
    for name, sink in self._sinks.items():
      sink[place] = self._functions[name](level_probs)

  def write(self, target: pathlib.Path) -> None:
    """Writes what was asked for."""
    for name in self._wanted:
      values = self._sinks[name]
      if name == "mask" and self._suffix == ".png":
        values = values * np.uint8(255)
      path = target.with_name(f"{target.name}_{name}{self._suffix}")
      writing.write_map(path, values, self._image, precision=self._options.precision)
    if self._options.overlay:
      votes, pages = self._sinks["mean_vote"], self._image.pages
      shown = int(np.argmax(votes.sum(axis=(1, 2)))) if len(pages) > 1 else 0
      picture = overlay.draw(pages[shown], votes[shown], self._sinks["mask"][shown], flips=overlay.flips(self._image))
      picture.save(target.with_name(f"{target.name}_overlay.png"), compress_level=1)  # 3 times as fast
      if self._options.dicom and segmentations.is_dicom(self._image):
        path = target.with_name(f"{target.name}_overlay.dcm")
        segmentations.write_capture(path, np.asarray(picture), self._image)
    if self._options.dicom and segmentations.is_dicom(self._image):
      self._write_dicom(target)

  def _write_dicom(self, target: pathlib.Path) -> None:
    """Writes the mask, and the probabilities that something is there, as segmentation objects."""
    if "mask" in self._wanted:
      path = target.with_name(f"{target.name}_mask.dcm")
      segmentations.write_mask(path, self._sinks["mask"], self._image, maps.describe("mask", self._num_raters))
    names = [name for name in self._wanted if maps.is_probability(name)]
    if names:
      values = {maps.describe(name, self._num_raters): self._sinks[name] for name in names}
      segmentations.write_probabilities(target.with_name(f"{target.name}_probability.dcm"), values, self._image)


def _fitting(image: ImageFile, run: TrainedRun) -> ImageFile:
  """Returns the image with the channels of the training; a grey picture stored as RGB counts as grey."""
  pages, num_channels = image.pages, run.panel.num_channels
  if not pages.size:
    raise InputError(f"{image.path}: is empty, {pages.shape}.")
  if num_channels == 1 and pages.shape[-1] == 3 and (pages == pages[..., :1]).all():
    pages = pages[..., :1]
  if pages.shape[-1] != num_channels:
    raise InputError(
      f"{image.path}: has {pages.shape[-1]} channels; the network was trained on images of {num_channels}."
    )
  if run.panel.num_axes == 3 and len(pages) == 1:
    raise InputError(f"{image.path}: is a single image; the network was trained on volumes of several slices.")
  return dataclasses.replace(image, pages=pages)


def _scaling(image: ImageFile, values: np.ndarray, predictor: Predictor) -> preprocess.Scaling:
  try:
    return preprocess.fit(values, predictor.run.config.preprocess)
  except InputError as error:
    raise InputError(f"{image.path}: {error}") from error


def _message(image: ImageFile, predictor: Predictor, options: OutputOptions) -> str:
  """Says how the file was read and what a user should know before trusting the maps; '' where that is nothing."""
  clauses = [warning] if (warning := _differences(image, predictor)) else []
  clauses += image.notes
  if options.dicom and not segmentations.is_dicom(image):
    clauses.append("no DICOM image: --dicom adds nothing")
  return "; ".join(clauses)


def _differences(image: ImageFile, predictor: Predictor) -> str:
  """Says what differs from the training; '' where nothing does."""
  seen, differences = predictor.run.image_info, []
  if seen.get("dtype") and seen["dtype"] != str(image.pages.dtype):
    differences.append(f"values are {image.pages.dtype}, in training {seen['dtype']}")
  spacing = image.spacing[3 - predictor.run.panel.num_axes :]
  trained, here = [x for x in seen.get("spacing", []) if x], [x for x in spacing if x]
  if len(trained) == len(here) > 0 and not np.allclose(trained, here, rtol=0.25):
    sizes = [" x ".join(f"{mm:g}" for mm in spacing) for spacing in (here, trained)]
    differences.append(f"pixels are {sizes[0]} mm, in training {sizes[1]} mm")
  return f"warning: {'; '.join(differences)}" if differences else ""


def _sink(path: pathlib.Path, image: ImageFile, name: str, *, large: bool) -> np.ndarray:
  dtype = np.uint8 if name == "mask" else np.float32
  if large:
    size = int(np.prod(image.pages.shape[:3])) * np.dtype(dtype).itemsize
    with path.open("wb") as file:
      os.posix_fallocate(file.fileno(), 0, size)  # a full disk says so here; a mapped page would end the process
    return np.memmap(path, dtype, "r+", shape=image.pages.shape[:3])
  return np.empty(image.pages.shape[:3], dtype)


def _made(folder: pathlib.Path) -> pathlib.Path:
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f"{folder}: cannot be made ({error}).") from error
  return folder


def _check_writable(output: pathlib.Path) -> None:
  try:
    with tempfile.TemporaryFile(dir=_made(output)):
      pass
  except OSError as error:
    raise InputError(f"--output={output}: cannot be written to ({error}).") from error
