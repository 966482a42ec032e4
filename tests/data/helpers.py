"""Small archives in the layouts the builders read, and a builder whose examples a test chooses."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from data import common

ROOT = pathlib.Path(__file__).parent.parent.parent


def run_python(code, *, cwd=None, check=True, **environment):
  """Runs `code` in a fresh interpreter that finds this repository as the entry scripts do; returns its result."""
  start = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
  result = subprocess.run(
    [sys.executable, "-c", start + code],
    cwd=cwd,
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  if check:
    assert result.returncode == 0, result.stderr
  return result


def write_png(path, array):
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(array).save(path)


def write_lidc(root, patients, *, size=(12, 10), seed=0):
  """Writes the tree of lidc_slices and returns {id: (image [H,W] uint8, masks [H,W,4] 0/1)}.

  Args:
    root: the folder LIDC-IDRI-slices.
    patients: patient -> list over nodules of (slice numbers, slots that hold marks).
  """
  rng = np.random.default_rng(seed)
  written = {}
  for patient, nodules in patients.items():
    for k, (slices, marked) in enumerate(nodules):
      folder = root / patient / f"nodule-{k}"
      for s in slices:
        image = rng.integers(0, 256, size, dtype=np.uint8)
        masks = rng.integers(0, 2, (*size, 4), dtype=np.uint8) * np.isin(np.arange(4), marked).astype(np.uint8)
        write_png(folder / "images" / f"slice-{s}.png", image)
        for r in range(4):
          write_png(folder / f"mask-{r}" / f"slice-{s}.png", masks[..., r] * 255)
        written[f"{patient}/nodule-{k}/slice-{s}"] = (image, masks)
  return written


def example(name, *, group="g0", num_raters=2, size=(3, 4), seed=0, **changes):
  rng = np.random.default_rng([seed, sum(map(ord, name))])
  record = {
    "id": name,
    "group": group,
    "image": rng.integers(0, 256, (*size, 1), dtype=np.uint8),
    "rater_masks": rng.integers(0, 2, (*size, num_raters), dtype=np.uint8),
    "rater_valid": np.ones(num_raters, np.bool_),
    "spacing": np.array([0.5, 0.25], np.float32),
  }
  return record | changes


@dataclasses.dataclass(eq=False, kw_only=True)
class FakeConfig(common.RaterConfig):
  num_raters: int = 2
  share: float = 0.5
  mode: str = "a"
  on: bool = False


class FakeBench(common.RaterBuilder, skip_registration=True):
  """A builder of whatever `splits` holds: split -> function that returns an iterable of examples."""

  name = "fake_bench"
  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [FakeConfig(name="small")]
  splits = {"train": lambda: [example("a"), example("b"), example("c")], "test": lambda: [example("d", group="g1")]}

  @property
  def num_raters(self):
    return self.config.num_raters

  def split_examples(self, source):
    assert source is None
    return {split: function() for split, function in self.splits.items()}


def make(data_dir, splits=None, **settings):
  config = FakeBench.BUILDER_CONFIGS[0].with_overrides(settings)
  builder = FakeBench(data_dir=str(data_dir), config=config)
  if splits is not None:
    builder.splits = splits
  return builder
