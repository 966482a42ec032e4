"""Damaged image files, read in a process with little memory: a part of faults.py, which starts it.

python benchmarks/fault_images.py FOLDER SEED FIRST LAST: one JSON line for each of the trials FIRST .. LAST - 1.

Trial n damages a file of kind n mod 20 in one of the ways of damage.py, and reads it with ordseg.image_io.read:

| outcome | meaning |
|---|---|
| refused | ValueError of the house (InputError) of one line |
| equal | read, and every pixel is as it was: the damage lies where no pixel is |
| other pixels | read, and some pixel differs: a format without a checksum cannot tell |
| traceback | any other exception, or an InputError of several lines |
"""

import json
import pathlib
import random
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import damage
import nibabel as nib
import numpy as np
import PIL.Image
import pydicom
import tifffile
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from ordseg import image_io
from ordseg.errors import InputError

MEMORY_BYTES = 1_000_000_000  # beyond what the process has taken when its libraries are loaded
_DRAWS = np.random.default_rng(0)
_SMOOTH = cv2.GaussianBlur(_DRAWS.uniform(0, 255, (48, 40)), (0, 0), 2)
GREY8 = np.clip((_SMOOTH - 100) * 4, 0, 255).astype(np.uint8)
GREY16 = (GREY8.astype(np.uint16) * 200 + _DRAWS.integers(0, 200, GREY8.shape)).astype(np.uint16)
RGB = np.stack([GREY8, GREY8[::-1], GREY8[:, ::-1]], axis=-1)
VOLUME = np.stack([GREY16 // (k + 1) for k in range(4)]).astype(np.int16)


def _pillow(image: np.ndarray, **options: Any) -> Callable[[pathlib.Path], Any]:
  return lambda path: PIL.Image.fromarray(image).save(path, **options)


def _palette(path: pathlib.Path) -> None:
  PIL.Image.fromarray(RGB).quantize(16).save(path)


def _tiff(image: np.ndarray, **options: Any) -> Callable[[pathlib.Path], Any]:
  return lambda path: tifffile.imwrite(path, image, **options)


def _nifti(
  volume: np.ndarray, kind: Any = nib.Nifti1Image, slope: float | None = None
) -> Callable[[pathlib.Path], Any]:
  def write(path: pathlib.Path) -> None:
    image = kind(volume.transpose(2, 1, 0), np.diag([0.8, 0.8, 3.0, 1.0]))
    if slope is not None:
      image.header.set_slope_inter(slope, -100)
    nib.save(image, path)

  return write


def _dicom(image: np.ndarray, syntax: str = ExplicitVRLittleEndian, **fields: Any) -> Callable[[pathlib.Path], Any]:
  def write(path: pathlib.Path) -> None:
    header = pydicom.dataset.FileMetaDataset()
    header.MediaStorageSOPClassUID, header.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=["a"])
    header.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    ds = pydicom.Dataset()
    ds.file_meta = header
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CTImageStorage, header.MediaStorageSOPInstanceUID, "CT"
    ds.PatientID, ds.StudyInstanceUID = "p", generate_uid(entropy_srcs=["b"])
    ds.SeriesInstanceUID, ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["c"]), generate_uid(entropy_srcs=["d"])
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *image.shape[:2], 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * image.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, 0
    ds.PixelSpacing, ds.ImagePositionPatient, ds.ImageOrientationPatient = [0.5, 0.5], [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.InstanceNumber, ds.SliceThickness = 1, 1
    for name, value in fields.items():
      setattr(ds, name, value)
    ds.PixelData = image.tobytes()
    if syntax == RLELossless:
      ds.compress(RLELossless)
    ds.save_as(path, enforce_file_format=True)

  return write


# Kind -> (suffix, writer, whether the format has a checksum over its pixels).
KINDS: dict[str, tuple[str, Callable[[pathlib.Path], Any], bool]] = {
  "PNG, 8 bits": (".png", _pillow(GREY8), True),
  "PNG, 16 bits": (".png", _pillow(GREY16), True),
  "PNG, colour": (".png", _pillow(RGB), True),
  "PNG, palette": (".png", _palette, True),
  "JPEG, grey": (".jpg", _pillow(GREY8, quality=90), False),
  "JPEG, colour": (".jpg", _pillow(RGB, quality=90), False),
  "BMP": (".bmp", _pillow(GREY8), False),
  "GIF": (".gif", _pillow(GREY8), False),
  "PGM": (".pgm", _pillow(GREY8), False),
  "PPM": (".ppm", _pillow(RGB), False),
  "TIFF, plain": (".tif", _tiff(GREY16), False),
  "TIFF, LZW": (".tif", _tiff(GREY8, compression="lzw"), False),
  "TIFF, deflate": (".tif", _tiff(GREY8, compression="zlib", predictor=True), True),
  "TIFF, tiles and pages": (".tif", _tiff(VOLUME, tile=(32, 32), photometric="minisblack"), False),
  "NIfTI": (".nii", _nifti(VOLUME), False),
  "NIfTI, gzip": (".nii.gz", _nifti(VOLUME), True),
  "NIfTI, gzip, scaled": (".nii.gz", _nifti(VOLUME, slope=0.5), True),
  "NIfTI-2": (".nii", _nifti(VOLUME, kind=nib.Nifti2Image), False),
  "DICOM": (".dcm", _dicom(GREY16, RescaleSlope=1, RescaleIntercept=-1024), False),
  "DICOM, RLE": (".dcm", _dicom(GREY8, RLELossless), False),
}


def write_all(folder: pathlib.Path) -> dict[str, tuple[bytes, str, np.ndarray]]:
  """Returns kind -> (bytes of a whole file, suffix, its pixels as they are read)."""
  out = {}
  for name, (suffix, write, _) in KINDS.items():
    path = folder / f"whole{suffix}"
    write(path)
    out[name] = (path.read_bytes(), suffix, np.array(image_io.read(path).pages))
  return out


def trial(
  number: int, seed: int, whole: dict[str, tuple[bytes, str, np.ndarray]], folder: pathlib.Path
) -> dict[str, Any]:
  """Damages a file, reads it, and returns what came of it."""
  draws = random.Random(f"{seed} {number}")
  name, how = list(KINDS)[number % len(KINDS)], damage.KINDS[number // len(KINDS) % len(damage.KINDS)]
  data, suffix, pixels = whole[name]
  path = folder / f"damaged{suffix}"
  path.write_bytes(damage.content(data, how, draws))
  start, message = time.monotonic(), ""
  try:
    found = np.asarray(image_io.read(path).pages)
    outcome = (
      "equal" if found.shape == pixels.shape and np.array_equal(found, pixels, equal_nan=True) else "other pixels"
    )
  except InputError as error:
    message = str(error)
    outcome = "traceback" if "\n" in message else "refused"
  except BaseException as error:
    outcome, message = "traceback", f"{type(error).__name__}: {error}"
  return {
    "kind": name,
    "damage": how,
    "outcome": outcome,
    "message": message[:300],
    "seconds": round(time.monotonic() - start, 3),
    "peak_mb": _peak_mb(),
  }


def _peak_mb() -> int:
  """Returns the most memory that this process held; ru_maxrss would count what its parent held when it began."""
  status = pathlib.Path("/proc/self/status").read_text()
  return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def main() -> None:
  folder, (seed, first, last) = pathlib.Path(sys.argv[1]), map(int, sys.argv[2:5])
  warnings.simplefilter("ignore")
  whole = write_all(folder)
  taken = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES, taken + MEMORY_BYTES))
  for number in range(first, last):
    print(json.dumps({"number": number, **trial(number, seed, whole, folder)}), flush=True)


if __name__ == "__main__":
  main()
