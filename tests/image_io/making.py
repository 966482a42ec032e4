"""Small DICOM objects with just the attributes that a test needs, and what a refusal must be like."""

import warnings

import numpy as np
import pydicom
import pydicom.uid
import pytest
from pydicom.dataset import Dataset

from ordseg import image_io
from ordseg.errors import InputError

SPACING, DEPTH = [0.5, 0.25], 2.5  # mm: rows, columns; slices
AXES = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]  # oblique
NORMAL = np.cross(AXES[:3], AXES[3:])
START = np.asarray([10.0, -20.0, 30.0])


def place(k):
  """Position of slice k."""
  return [round(float(x), 6) for x in START + DEPTH * k * NORMAL]


def item(**tags):
  out = Dataset()
  for name, value in tags.items():
    setattr(out, name, value)
  return out


def sequence(*items, **tags):
  return pydicom.Sequence([*items] or [item(**tags)])


def dataset(pixels, *, bits=16, signed=True, **tags):
  """A slice [H, W], colours [H, W, 3] or frames [F, H, W]; a value of "absent" deletes the attribute."""
  kind = np.dtype(f"{'i' if signed else 'u'}{bits // 8}")
  colour = 3 if pixels.ndim == 3 and pixels.shape[-1] == 3 else 1
  meta = pydicom.dataset.FileMetaDataset()
  meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
  out = Dataset()
  out.file_meta = meta
  out.SOPClassUID = meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
  out.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
  out.Modality, out.PatientID, out.StudyInstanceUID, out.SeriesInstanceUID = "CT", "p", "1.2.3", "1.2.3.4"
  out.FrameOfReferenceUID = "1.2.3.5"
  out.Rows, out.Columns = pixels.shape[:2] if colour == 3 else pixels.shape[-2:]
  out.SamplesPerPixel, out.PhotometricInterpretation = colour, "RGB" if colour == 3 else "MONOCHROME2"
  if colour == 3:
    out.PlanarConfiguration = 0
  out.BitsAllocated = out.BitsStored = bits
  out.HighBit, out.PixelRepresentation = bits - 1, int(signed)
  out.PixelSpacing, out.ImageOrientationPatient, out.ImagePositionPatient = SPACING, AXES, place(0)
  raw = np.ascontiguousarray(pixels.astype(kind)).tobytes()
  out.PixelData = raw + b"\0" * (len(raw) % 2)
  for name, value in tags.items():
    if isinstance(value, str) and value == "absent":
      delattr(out, name)
    else:
      setattr(out, name, value)
  return out


def save(data, path):
  path.parent.mkdir(parents=True, exist_ok=True)
  data.save_as(path, enforce_file_format=True)
  return path


def series(folder, pages, **tags):
  """Files whose names say nothing of the order."""
  for k, page in enumerate(pages):
    save(dataset(page, ImagePositionPatient=place(k), **tags), folder / f"{(7 * k) % len(pages)}.dcm")
  return folder


def enhanced(pages, places, *, slopes=None, **tags):
  """A multi-frame object whose geometry and scale lie in functional groups."""
  out = dataset(pages, PixelSpacing="absent", ImageOrientationPatient="absent", ImagePositionPatient="absent", **tags)
  out.NumberOfFrames = len(pages)
  out.SOPClassUID = out.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
  shared = item(
    PixelMeasuresSequence=sequence(PixelSpacing=SPACING, SliceThickness=DEPTH, SpacingBetweenSlices=DEPTH),
    PlaneOrientationSequence=sequence(ImageOrientationPatient=AXES),
  )
  frames = []
  for k, z in enumerate(places):
    slope, intercept = (slopes or [(1, -1024)] * len(places))[k]
    frames.append(
      item(
        PlanePositionSequence=sequence(ImagePositionPatient=place(z)),
        FrameContentSequence=sequence(StackID="1", DimensionIndexValues=[1, k + 1]),
        PixelValueTransformationSequence=sequence(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU"),
      )
    )
  out.SharedFunctionalGroupsSequence = sequence(shared)
  out.PerFrameFunctionalGroupsSequence = sequence(*frames)
  return out


def lut(entries, first=0, bits=16):
  return {
    "LUTDescriptor": [len(entries), first, bits],
    "LUTData": np.asarray(entries, "<u2").tobytes(),
    "ModalityLUTType": "US",
  }


def refused(path, message, **options):
  """Reads a file that must be refused: in one short line that names it, without a warning."""
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    with pytest.raises(InputError, match=message) as caught:
      image_io.read(path, **options)
  text = str(caught.value)
  assert str(path if path.is_dir() else path.parent) in text and "\n" not in text and len(text) < 500, text
  return text
