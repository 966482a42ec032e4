"""Every benchmark from a small archive in its distributor's layout: records pixel by pixel, faults by their message."""

import importlib
import pkgutil

import jax
import numpy as np
import pytest

import data
from data import DataError
from ordseg import input_pipeline
from ordseg.config import resolve
from ordseg.training import loop
from tests.data import archives

ARCHIVES = {
  info.name: importlib.import_module(f"{archives.__name__}.{info.name}")
  for info in pkgutil.iter_modules(archives.__path__)
}
BENCHMARKS = {name: module for name, module in ARCHIVES.items() if hasattr(module, "CONFIGS")}
CONFIGS = [(name, config) for name, module in BENCHMARKS.items() for config in module.CONFIGS]
# One of each kind is enough to train on, as the rest differ in numbers alone: int16, four channels of float32, tiles.
TRAINED = ("lidc_idri", "qubiq", "gleason2019")
FAULTS = [
  pytest.param(name, fault, id=f"{name}-{fault.__name__}")
  for name, module in BENCHMARKS.items()
  for fault in module.FAULTS
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """Archives, each written once: name -> (folder, what its configs must give)."""
  made = {}

  def get(name):
    if name not in made:
      root = tmp_path_factory.mktemp(name)
      made[name] = (root, BENCHMARKS[name].write(root))
    return made[name]

  return get


def build(name, config, root, data_dir):
  settings = getattr(BENCHMARKS[name], "OVERRIDES", {})
  builder = data.get_builder(name, config_name=config, data_dir=str(data_dir), manual_dir=str(root), overrides=settings)
  data.prepare(builder, manual_dir=str(root))
  return builder


@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_every_record_is_what_the_files_hold(written, tmp_path, name, config):
  root, everything = written(name)
  expected = everything[config]
  builder = build(name, config, root, tmp_path)
  found, groups = {}, {}
  for split in builder.info.splits:
    for record in data.data_source(builder, split):
      found[record["id"].decode()] = (split, record)
      assert groups.setdefault(record["group"], split) == split, "a group is cut by a split"
  assert sorted(found) == sorted(expected)
  assert {"train", "validation", "test"} == set(builder.info.splits)
  for key, want in expected.items():
    split, record = found[key]
    assert want.split in ("", split), key
    assert record["group"].decode() == want.group
    assert record["image"].dtype == builder.image_dtype
    np.testing.assert_array_equal(record["image"], want.image, err_msg=key)
    np.testing.assert_array_equal(record["rater_valid"], [mask is not None for mask in want.masks], err_msg=key)
    for r, mask in enumerate(want.masks):
      empty = np.zeros(want.image.shape[:2])
      np.testing.assert_array_equal(
        record["rater_masks"][..., r], empty if mask is None else mask, err_msg=f"{key} {r}"
      )
    np.testing.assert_allclose(record["spacing"], want.spacing, rtol=1e-6)
  data.verify(builder)
  assert builder.LICENSE


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_faults_are_named_and_leave_nothing_behind(tmp_path, name, fault):
  root = tmp_path / "raw"
  BENCHMARKS[name].write(root)
  config, message = fault(root)
  with pytest.raises(DataError, match=message) as caught:
    build(name, config, root, tmp_path / "built")
  assert "\n" not in str(caught.value)
  assert not list((tmp_path / "built").rglob("dataset_info.json"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_empty_folder_is_told_the_layout(tmp_path, name):
  (tmp_path / "raw").mkdir()
  with pytest.raises(DataError, match=f"{name}.*expected|expected.*{name}"):
    build(name, BENCHMARKS[name].CONFIGS[0], tmp_path / "raw", tmp_path / "built")


def ready(name, root, data_dir):
  """Returns the benchmark's own config at a tiny size, and its built data."""
  config = importlib.import_module(f"configs.{name}").get_config()
  config.data.crop_size = (16, 16)
  config.model.width, config.model.depth = 4, 2
  config.train.num_steps = config.train.eval_every_steps = 2
  config.train.batch_size = jax.device_count()
  config.optim.warmup_steps = 1
  config = resolve(config)
  settings = {**config.data.builder_args, **getattr(BENCHMARKS[name], "OVERRIDES", {})}
  builder = data.get_builder(
    name, config_name=config.data.config, data_dir=str(data_dir), manual_dir=str(root), overrides=settings
  )
  data.prepare(builder, manual_dir=str(root))
  return config, builder


@pytest.mark.parametrize("name", BENCHMARKS)
def test_its_own_config_makes_batches_of_it(written, tmp_path, name):
  config, builder = ready(name, written(name)[0], tmp_path)
  batches = input_pipeline.train_iterator(
    data.data_source(builder, "train"),
    data_config=config.data,
    preprocess_config=config.preprocess,
    augment_config=config.augment,
    per_process_batch_size=2,
    seed=0,
  )
  batch = next(batches)
  assert batch["image"].shape == (2, 16, 16, builder.num_channels) and batch["image"].dtype == np.float32
  assert batch["rater_masks"].shape == (2, 16, 16, builder.num_raters)
  assert batch["rater_valid"].shape == (2, builder.num_raters) and batch["rater_valid"].any(1).all()
  assert np.isfinite(batch["image"]).all() and np.ptp(batch["image"]) > 0.1  # scaled, not flattened


@pytest.mark.parametrize(
  "name", [name if name in TRAINED else pytest.param(name, marks=pytest.mark.slow) for name in BENCHMARKS]
)
def test_training_takes_steps_on_it_under_its_own_config(written, tmp_path, name):
  config, builder = ready(name, written(name)[0], tmp_path)
  sources = [data.data_source(builder, split) for split in ("train", "validation")]
  summary = loop.train(
    config, train_source=sources[0], validation_source=sources[1], workdir=tmp_path / "w", data_info=data.info(builder)
  )
  assert int(summary.state.step) == 2 and summary.best_step == 2
