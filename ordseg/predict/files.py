"""Predicts files one after the other; what is wrong with one does not stop the others."""

import csv
import dataclasses
import io
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ordseg import image_io, logging_utils, preprocess, sliding_window
from ordseg.image_io import ImageFile, writing
from ordseg.predict import maps, overlay
from ordseg.predict.measures import Extent
from ordseg.predictor import Predictor
from ordseg.sliding_window import Windows
from ordseg.validate import InputError, check_choice

LARGE_PIXELS = 50_000_000  # of a page: its maps are kept on disk, not in memory
_COLUMNS: tuple[str, ...] = (
  "file",
  "status",
  "pages",
  "height",
  "width",
  "size",
  "size_low",
  "size_high",
  "size_expected",
  "unit",
)
_COLUMNS += ("seconds", "message")


@dataclasses.dataclass(frozen=True)
class Options:
  """What to write, and how.

  Attributes:
    maps: names with commas between, or ``all``; see `maps.get_maps`.
    precision: of maps that are no masks: ``float32``, or ``uint16`` (PNG always).
    windows: how large images are covered.
    overlay: whether to draw a picture with a legend.
  """

  maps: str = ",".join(maps.ALWAYS)
  precision: str = "float32"
  windows: Windows = dataclasses.field(default_factory=Windows)
  overlay: bool = True

  def __post_init__(self) -> None:
    check_choice(self.precision, writing.PRECISIONS, field="--precision")


def predict_files(
  predictor: Predictor,
  inputs: Mapping[str, pathlib.Path],
  output: pathlib.Path,
  options: Options,
  *,
  say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
  """Predicts images and writes their maps and ``summary.csv``.

  Args:
    predictor: from `predictor.load`.
    inputs: name -> file; see `find_inputs`.
    output: folder; maps are ``<output>/<name>_<map>.<suffix>``.
    options: what to write.
    say: takes lines of progress.

  Returns:
    The rows of summary.csv: ``status`` is ok or failed, and ``message`` what was wrong or odd.

  Raises:
    InputError: the folder cannot be written to, or a map is unknown.
  """
  maps.get_maps(options.maps, predictor.run.num_raters)
  _check_writable(output)
  rows = []
  for number, (name, path) in enumerate(inputs.items(), start=1):
    started = time.monotonic()
    row: dict[str, Any] = {"file": str(path), "status": "ok", "message": ""}
    try:
      row |= predict_file(predictor, path, output / name, options, say=say)
    except InputError as error:
      row |= {"status": "failed", "message": str(error)}
    except MemoryError:
      row |= {"status": "failed", "message": f"{path}: not enough memory."}
    row["seconds"] = round(time.monotonic() - started, 2)
    rows.append(row)
    shown = row["message"] or f"{row['size']:.4g} {row['unit']} ({row['size_low']:.4g} to {row['size_high']:.4g})"
    say(f"{number}/{len(inputs)} {name}: {row['status']}, {shown}")
    logging_utils.write_text(output / "summary.csv", _csv(rows))  # complete so far, if it is cut short here
  return rows


def predict_file(
  predictor: Predictor,
  path: pathlib.Path,
  target: pathlib.Path,
  options: Options,
  *,
  say: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Predicts one image, page by page, and writes its maps.

  Args:
    predictor: from `predictor.load`.
    path: a file, or the folder of a DICOM series.
    target: what the files written begin with.
    options: what to write.
    say: takes lines of progress.

  Returns:
    pages, height, width, the measures of `Extent` and ``message``, which names what differs from the training.

  Raises:
    InputError: the image does not fit the network, cannot be read, or its maps cannot be written.
  """
  image = _fitting(image_io.read(path), predictor.run.num_channels)
  wanted = maps.get_maps(options.maps, predictor.run.num_raters)
  num_pages, height, width = image.pages.shape[:3]
  large = height * width > LARGE_PIXELS and num_pages == 1
  suffix = writing.suffix_for(image, is_large=large)
  with tempfile.TemporaryDirectory(dir=_made(target.parent), prefix=".part-") as scratch:
    sinks = {name: _sink(pathlib.Path(scratch) / name, image, name, large=large) for name in {*wanted, *maps.ALWAYS}}
    extent = Extent()
    functions = {**maps.get_maps(",".join(maps.ALWAYS), predictor.run.num_raters), **wanted}
    for page in range(num_pages):
      scaling = _scaling(image, page, predictor)
      progress = _Progress(path, page, num_pages, say)
      strips = sliding_window.predict_rows(
        predictor.predict, image.pages[page], options.windows, prepare=scaling.apply, progress=progress
      )
      for rows, level_probs in strips:
        extent.add(level_probs)
        for name, sink in sinks.items():
          sink[page, rows] = functions[name](level_probs)
    for name in wanted:
      values = sinks[name]
      if name == "mask" and suffix == ".png":
        values = values * np.uint8(255)
      writing.write_map(target.with_name(f"{target.name}_{name}{suffix}"), values, image, precision=options.precision)
    if options.overlay:
      shown = int(np.argmax(sinks["mean_vote"].sum(axis=(1, 2)))) if num_pages > 1 else 0
      picture = overlay.draw(image.pages[shown], sinks["mean_vote"][shown], sinks["mask"][shown])
      picture.save(target.with_name(f"{target.name}_overlay.png"))
  facts = {"pages": num_pages, "height": height, "width": width}
  return {**facts, **extent.measures(image.spacing, num_pages), "message": _differences(image, predictor)}


def _fitting(image: ImageFile, num_channels: int) -> ImageFile:
  """Returns the image with the channels of the training; a grey picture stored as RGB counts as grey."""
  pages = image.pages
  if not pages.size:
    raise InputError(f"{image.path}: is empty, {pages.shape}.")
  if num_channels == 1 and pages.shape[-1] == 3 and (pages == pages[..., :1]).all():
    pages = pages[..., :1]
  if pages.shape[-1] != num_channels:
    raise InputError(
      f"{image.path}: has {pages.shape[-1]} channels; the network was trained on images of {num_channels}."
    )
  return dataclasses.replace(image, pages=pages)


def _scaling(image: ImageFile, page: int, predictor: Predictor) -> preprocess.Scaling:
  try:
    return preprocess.fit(image.pages[page], predictor.run.config.preprocess)
  except InputError as error:
    raise InputError(f"{image.path}: {error}") from error


def _differences(image: ImageFile, predictor: Predictor) -> str:
  """Says what a user should know before trusting the maps; '' where nothing differs from the training."""
  seen, told = predictor.run.image_info, []
  if seen.get("dtype") and seen["dtype"] != str(image.pages.dtype):
    told.append(f"values are {image.pages.dtype}, in training {seen['dtype']}")
  trained, here = [x for x in seen.get("spacing", []) if x], [x for x in image.spacing[1:] if x]
  if trained and here and not np.allclose(trained, here, rtol=0.25):
    sizes = [" x ".join(f"{mm:g}" for mm in spacing) for spacing in (here, trained)]
    told.append(f"pixels are {sizes[0]} mm, in training {sizes[1]} mm")
  return f"warning: {'; '.join(told)}" if told else ""


def _sink(path: pathlib.Path, image: ImageFile, name: str, *, large: bool) -> np.ndarray:
  dtype = np.uint8 if name == "mask" else np.float32
  if large:
    return np.memmap(path, dtype, "w+", shape=image.pages.shape[:3])
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


def _csv(rows: list[dict[str, Any]]) -> str:
  text = io.StringIO()
  writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  return text.getvalue()


class _Progress:
  """Says how far a file is; a line at most every few seconds."""

  _SECONDS = 5.0

  def __init__(self, path: pathlib.Path, page: int, num_pages: int, say: Callable[[str], None]):
    self._what = f"{path.name}" + (f" page {page + 1}/{num_pages}" if num_pages > 1 else "")
    self._say, self._start = say, time.monotonic()
    self._last = self._start

  def __call__(self, done: int, total: int) -> None:
    now = time.monotonic()
    if now - self._last > self._SECONDS and done < total:
      self._last = now
      left = logging_utils.format_duration((now - self._start) / done * (total - done))
      self._say(f"  {self._what}: {done}/{total} windows | ETA {left}")
