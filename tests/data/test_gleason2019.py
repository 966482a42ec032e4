"""gleason2019: its settings, and memory that does not grow with the number of cores; records: test_benchmarks.py."""

import tracemalloc

import numpy as np
import pytest
from tensorflow_datasets.core import shuffle

import data
from data import DataError
from data.gleason2019 import gleason2019_dataset_builder as gleason
from tests.data.archives import gleason2019 as archive
from tests.data.archives import save

SIDE = 400  # pixels
CORE_BYTES = SIDE * SIDE * (3 + 6)  # the picture and six maps


def write_cores(root, num):
  """Noise, which zlib cannot shrink: what is kept in memory by mistake shows."""
  rng = np.random.default_rng(0)
  classes = np.asarray(gleason.VALUES, np.uint8)
  for n in range(num):
    name = f"slide{n + 1:03d}_core001"
    save(root / "Train Imgs" / f"{name}.jpg", rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    for r in range(6):
      save(root / f"Maps{r + 1}_T" / f"{name}{archive.ENDING}", rng.choice(classes, (SIDE, SIDE)))


def peak_of_build(tmp_path, num, monkeypatch):
  # TFDS sorts a split in memory until this many bytes, then on disk: a constant as well, but of 1 GB.
  monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1 << 18)
  write_cores(tmp_path / f"raw{num}", num)
  builder = data.get_builder("gleason2019", data_dir=str(tmp_path / f"built{num}"), overrides={"tile_size": 128})
  tracemalloc.start()
  try:
    data.prepare(builder, manual_dir=str(tmp_path / f"raw{num}"))
    return tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()


def test_peak_memory_does_not_grow_with_the_number_of_cores(tmp_path, monkeypatch):
  archive.write(tmp_path / "small")
  builder = data.get_builder("gleason2019", data_dir=str(tmp_path / "first"))
  data.prepare(builder, manual_dir=str(tmp_path / "small"))  # what is imported and cached once does not count
  few, many = (peak_of_build(tmp_path, num, monkeypatch) for num in (3, 8))
  assert CORE_BYTES < few < 4 * CORE_BYTES  # the tracer sees the arrays, and no second core
  assert many < 1.25 * few


def test_tiles_are_cut_lazily(tmp_path, monkeypatch):
  archive.write(tmp_path)
  opened = []
  read = gleason.image_io.read_picture
  monkeypatch.setattr(gleason.image_io, "read_picture", lambda path, **k: opened.append(path.name) or read(path, **k))
  builder = data.get_builder("gleason2019", data_dir=str(tmp_path), overrides={"tile_size": 32})
  splits = builder.split_examples(tmp_path)
  assert not opened
  next(iter(splits["train"]))
  assert len([name for name in opened if name.endswith(".jpg")]) == 1


@pytest.mark.parametrize("tile_size", [0, 17, 1024])
def test_tiles_cover_the_core_once(tmp_path, tile_size):
  archive.write(tmp_path)
  (path,) = tmp_path.glob("Train Imgs/slide001_core012.jpg")
  maps = [tmp_path / f"Maps{r}_T" / f"slide001_core012{archive.ENDING}" for r in range(1, 7)]
  present = [p if p.exists() else None for p in maps]
  case = gleason.Case(path, "slide001", present)

  def read(size):
    settings = {"tile_size": size, "positive": "3,6"}
    return list(data.get_builder("gleason2019", data_dir=str(tmp_path), overrides=settings).read(case))

  tiles, (whole,) = read(tile_size), read(0)
  assert sum(t["image"].shape[0] * t["image"].shape[1] for t in tiles) == archive.SIZE[0] * archive.SIZE[1]
  assert all(max(t["image"].shape[:2]) <= (tile_size or 99) for t in tiles)
  assert sum(int(t["image"].sum()) for t in tiles) == int(whole["image"].sum())
  for r, map_path in enumerate(present):
    if map_path is not None:
      values = gleason.image_io.read_picture(map_path)
      assert sum(int(t["rater_masks"][..., r].sum()) for t in tiles) == int(np.isin(values, [3, 6]).sum()) > 0


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"positive": "3,7"}, r"builder_args\.positive='3,7' must be some of 1, 3, 4, 5, 6"),
    ({"positive": "0"}, r"builder_args\.positive='0'"),
    ({"positive": ""}, r"builder_args\.positive=''"),
    ({"positive": "3 4"}, r"builder_args\.positive='3 4'"),
    ({"tile_size": 8}, r"builder_args\.tile_size=8 must be 0"),
    ({"tile_size": -1}, r"builder_args\.tile_size=-1"),
  ],
)
def test_settings_are_checked(settings, message):
  with pytest.raises(DataError, match=message):
    data.get_builder("gleason2019", overrides=settings)
