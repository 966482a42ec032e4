"""Maps of a DICOM image as DICOM: segmentation objects, and pictures as secondary captures, through highdicom."""

import contextlib
import importlib
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import ordseg
from ordseg import files
from ordseg.errors import InputError
from ordseg.image_io import dicom_planes, dicom_stacks
from ordseg.image_io.image_file import ImageFile

MAX_FRACTION = 255  # stands for probability 1
_MAKER = {"manufacturer": "ordseg", "manufacturer_model_name": "ordseg", "device_serial_number": "0"}
_NOTE = "research, not for clinical use"


def is_dicom(image: ImageFile) -> bool:
  """Returns whether an image was read from DICOM."""
  return isinstance(image.header, list)


def write_probabilities(path: pathlib.Path, values: Mapping[str, np.ndarray], image: ImageFile) -> None:
  """Writes probabilities as one segmentation object of type FRACTIONAL, a segment each.

  Args:
    path: The file; replaced at once.
    values: label -> [D, H, W] in [0, 1]; stored in steps of 1 / 255.
    image: what they are maps of.

  Raises:
    InputError: highdicom is not installed, the image lacks what a segmentation must refer to, or no place to write.
  """
  stack = np.clip(np.stack(list(values.values()), axis=-1), 0, 1)
  _write(path, image, stack, list(values), "FRACTIONAL", "probabilities")


def write_mask(path: pathlib.Path, values: np.ndarray, image: ImageFile, label: str) -> None:
  """Writes a mask [D, H, W] of 0 and 1 as a segmentation object of type BINARY; see `write_probabilities`."""
  _write(path, image, values.astype(np.uint8)[..., None], [label], "BINARY", label)


def write_capture(path: pathlib.Path, picture: np.ndarray, image: ImageFile) -> None:
  """Writes a picture [H, W, 3] uint8 as a secondary capture in the patient's study."""
  hd, sc = _highdicom(), importlib.import_module("highdicom.sc")
  first = image.header[0]
  with _explained(path, image):
    out = sc.SCImage.from_ref_dataset(
      first,
      pixel_array=np.ascontiguousarray(picture),
      photometric_interpretation="RGB",
      bits_allocated=8,
      coordinate_system="PATIENT",
      series_instance_uid=hd.UID(),
      series_number=_series_number(first, 2),
      sop_instance_uid=hd.UID(),
      instance_number=1,
      manufacturer=_MAKER["manufacturer"],
      patient_orientation=("L", "P"),
    )
    out.SeriesDescription = f"ordseg overlay ({_NOTE})"
    _save(out, path)


def _write(
  path: pathlib.Path, image: ImageFile, stack: np.ndarray, labels: list[str], kind: str, description: str
) -> None:
  hd, seg = _highdicom(), importlib.import_module("highdicom.seg")
  first = image.header[0]
  with _explained(path, image):
    out = seg.Segmentation(
      source_images=image.header,
      pixel_array=_in_file_order(stack, image),
      segmentation_type=kind,
      segment_descriptions=[_segment(hd, seg, k, label) for k, label in enumerate(labels, start=1)],
      series_instance_uid=hd.UID(),
      series_number=_series_number(first, 0 if kind == "BINARY" else 1),
      sop_instance_uid=hd.UID(),
      instance_number=1,
      software_versions=ordseg.__version__,
      fractional_type="PROBABILITY",
      max_fractional_value=MAX_FRACTION,
      series_description=f"ordseg {description} ({_NOTE})"[:64],
      content_description=_NOTE,
      omit_empty_frames=bool(stack.any()),
      **_MAKER,
    )
    _save(out, path)


def _in_file_order(stack: np.ndarray, image: ImageFile) -> np.ndarray:
  """Returns pages [D, ...] as the frames of a multi-frame source lie in its file; of a series as they are."""
  if len(image.header) > 1 or len(stack) == 1:
    return stack
  planes = dicom_planes.planes_of(image.path, image.header[0], len(stack))
  out = np.empty_like(stack)
  out[dicom_stacks.stacked(image.path, planes, allow_gaps=True).order] = stack
  return out


def _segment(hd: Any, seg: Any, number: int, label: str) -> Any:
  structure = hd.sr.CodedConcept("91723000", "SCT", "Anatomical structure")
  algorithm = hd.AlgorithmIdentificationSequence(
    name="ordseg", version=ordseg.__version__, family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence")
  )
  return seg.SegmentDescription(
    segment_number=number,
    segment_label=label[:64],
    segmented_property_category=structure,
    segmented_property_type=structure,
    algorithm_type="AUTOMATIC",
    algorithm_identification=algorithm,
  )


def _series_number(first: Any, offset: int) -> int:
  return 1000 * (int(first.get("SeriesNumber", 0) or 0) % 1000) + 900 + offset


def _highdicom() -> Any:
  try:
    return importlib.import_module("highdicom")
  except ImportError as error:
    raise InputError("DICOM output needs the package highdicom: pip install 'ordseg[dicom]'.") from error


@contextlib.contextmanager
def _explained(path: pathlib.Path, image: ImageFile) -> Iterator[None]:
  """Turns what highdicom says of an image that does not allow the object into one line."""
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # on the form of the patient's name, which is copied as it is
      yield
  except OSError as error:
    raise InputError(f"{path}: cannot be written ({error}).") from error
  except (AttributeError, ValueError, TypeError, KeyError) as error:
    reason = " ".join(str(error).split())
    raise InputError(f"{image.path}: DICOM output cannot refer to this image ({reason}).") from error


def _save(dataset: Any, path: pathlib.Path) -> None:
  with files.replacing(path) as part:
    dataset.save_as(part)
