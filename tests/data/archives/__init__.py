"""Writers of small archives, each in its distributor's exact layout, quirks included.

A module for a benchmark has CONFIGS (its config names), `write(root)`, which returns {config: {id: Expected}}, and
FAULTS: functions that damage what `write` wrote and return (config, the pattern of the error).
tests/data/test_benchmarks.py does the rest.
"""

import dataclasses
import pathlib

import nibabel
import numpy as np
import PIL.Image


@dataclasses.dataclass(frozen=True)
class Expected:
  """A record as it must come back.

  Attributes:
    group: the patient.
    image: [H, W, C].
    masks: one [H, W] of 0 and 1 per rater; None: missing.
    split: its name, where the distributor decides it.
    spacing: mm.
  """

  group: str
  image: np.ndarray
  masks: list
  split: str = ""
  spacing: tuple = (0.0, 0.0)


def save(path: pathlib.Path, values: np.ndarray, **kwargs) -> None:
  """Writes a picture; [H, W, 1] as grey."""
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values).save(path, **kwargs)


def save_nifti(path: pathlib.Path, values: np.ndarray, affine=None) -> None:
  """Writes an array in nibabel's order, [x, y, z]."""
  path.parent.mkdir(parents=True, exist_ok=True)
  nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


def disc(size, centre, radius) -> np.ndarray:
  """[H, W] uint8."""
  y, x = np.mgrid[: size[0], : size[1]]
  return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2).astype(np.uint8)


def damage(path: pathlib.Path) -> None:
  """Cuts a file in half."""
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
