"""Bits flipped in, and ends cut off, every file of a built data set: one line, or the records that were written."""

import pathlib
import shutil

import numpy as np
import pytest

import data
from data import DataError, fingerprints
from ordseg import input_pipeline
from tests.helpers import training

SMALL = {"num_train": 3, "num_validation": 2, "num_test": 2, "height": 16, "width": 16}
FILES = ("fingerprint.json", "dataset_info.json", "features.json", "train", "test")


def open_builder(folder):
  return data.get_builder("rater_phantom", data_dir=str(folder), overrides=SMALL)


def content(folder):
  """All that a program learns of a data set: its description, and the digests of its records."""
  builder = open_builder(folder)
  data.prepare(builder)
  sources = [data.data_source(builder, split) for split in builder.info.splits]
  return data.info(builder), [fingerprints.example_digest(source[i]) for source in sources for i in range(len(source))]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("built")
  builder = open_builder(folder)
  data.prepare(builder)
  return folder, pathlib.Path(builder.data_dir).relative_to(folder), content(folder)


def fuzz(made, tmp_path, name, times):
  folder, place, want = made
  rng, refusals = np.random.default_rng(len(name)), 0
  (path,) = [p for p in (folder / place).iterdir() if p.name == name or f"-{name}." in p.name]
  used = np.flatnonzero(np.frombuffer(path.read_bytes(), np.uint8))  # most of a small ArrayRecord is padding
  for number in range(times):
    shutil.copytree(folder, tmp_path / str(number))
    damaged = bytearray(path.read_bytes())
    if number % 3:
      damaged[rng.choice(used)] ^= 1 << int(rng.integers(8))
    else:
      damaged = damaged[: rng.choice(used)]
    (tmp_path / str(number) / place / path.name).write_bytes(damaged)
    try:
      assert content(tmp_path / str(number)) == want
    except DataError as error:
      refusals += 1
      assert "\n" not in str(error) and str(tmp_path / str(number)) in str(error)
  return refusals


@pytest.mark.parametrize("name", FILES)
def test_damage_is_one_line_or_changes_nothing(made, tmp_path, name):
  refusals = fuzz(made, tmp_path, name, 12)
  assert refusals > 3 or name == "features.json"  # which nobody reads: the features are the builder's


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damage_is_one_line_or_changes_nothing_at_length(made, tmp_path, name):
  fuzz(made, tmp_path, name, 300)


def test_a_damaged_record_is_named(made, tmp_path):
  folder, place, _ = made
  shutil.copytree(folder, tmp_path / "copy")
  (path,) = (tmp_path / "copy" / place).glob("*-train.*")
  damaged = bytearray(path.read_bytes())
  damaged[damaged.index(bytes(64)) // 2] ^= 1  # the records, then padding, then the places of the records
  path.write_bytes(damaged)
  source = data.data_source(open_builder(tmp_path / "copy"), "train")
  with pytest.raises(DataError, match=r"split 'train': record \d is damaged \(.*Delete that folder"):
    list(source)
  config = training.tiny(data__crop_size=(16, 16), data__num_threads=2)
  batches = input_pipeline.train_iterator(
    source,
    data_config=config.data,
    preprocess_config=config.preprocess,
    augment_config=config.augment,
    per_process_batch_size=2,
    seed=0,
  )
  with pytest.raises(DataError, match=r"split 'train': record \d is damaged"):  # through the threads that read ahead
    for _ in range(3):
      next(batches)
  with pytest.raises(DataError, match=r"split 'train': record \d is damaged"):
    data.verify(open_builder(tmp_path / "copy"))
