"""Volumes and several structures end to end: pipeline, augmentation, training, evaluation, prediction, export."""

import dataclasses
import functools
import json

import chex
import nibabel
import numpy as np
import pytest

from ordseg import input_pipeline as pipeline
from ordseg.cli import evaluate as eval_loop
from ordseg.config import resolve
from ordseg.errors import InputError
from ordseg.evaluation import counting, evaluator
from ordseg.input_pipeline import augment
from ordseg.metrics import Region, surface
from ordseg.models import sliding_window
from ordseg.models.sliding_window import Windows
from ordseg.ordinal import staple
from ordseg.prediction import OutputOptions, predict_files, predictor
from ordseg.training import loop
from ordseg.types import Panel
from tests.helpers.training import tiny_config

R, CLASSES = 3, ("core", "rim")
INFO = {"builder": "tiny", "version": "1", "fingerprint": "0" * 64, "settings": {}, "licence": "none"}


def draw(number, classes, shape=(5, 16, 14)):
  """A ball, brighter inside; the first structure is the ball, the second the shell around it."""
  draws = np.random.default_rng(number)
  centre = [draws.uniform(0.3, 0.7) * n for n in shape]
  grid = np.meshgrid(*map(np.arange, shape), indexing="ij")
  distance = np.sqrt(sum((s * (g - c)) ** 2 for g, c, s in zip(grid, centre, (2, 1, 1), strict=True)))
  radii = 4 + draws.normal(0, 0.5, R)
  core = distance[..., None] < radii
  structures = np.stack([core, (distance[..., None] < radii + 2) & ~core], -2)[..., :classes, :]
  valid = np.ones((classes, R), bool)
  valid[0, number % R] = number % 2 == 0
  masks = (structures & valid).astype(np.uint8)
  image = 200 * (distance < 4) + 100 * (distance < 6) + draws.normal(0, 10, shape)
  return {
    "id": f"volume{number}".encode(),
    "group": f"patient{number}".encode(),
    "image": np.clip(image, 0, 255).astype(np.uint8)[..., None],
    "rater_masks": masks if classes > 1 else masks[..., 0, :],
    "rater_valid": valid if classes > 1 else valid[0],
    "spacing": np.asarray([2.0, 1.0, 1.0], np.float32),
  }


def assert_same(got, want):
  chex.assert_trees_all_equal(dataclasses.asdict(got.model.sums), dataclasses.asdict(want.model.sums))
  assert got.ids == want.ids and json.dumps(got.metrics) == json.dumps(want.metrics)


@functools.cache
def source(classes, count=6, first=0):
  return [draw(first + k, classes) for k in range(count)]


def config_for(**changes):
  config = tiny_config(**{"model__name": "unet3d", "data__crop_size": (4, 16, 16), "eval__batch_size": 2, **changes})
  config.augment.rotate_degrees = 0.0
  return config


def train(workdir, classes, **changes):
  info = {**INFO, **({"classes": list(CLASSES)} if classes > 1 else {})}
  config = resolve(config_for(**changes))
  loop.train(
    config, train_source=source(classes), validation_source=source(classes, 3, 10), workdir=workdir, data_info=info
  )
  return workdir, info


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return train(tmp_path_factory.mktemp("two") / "run", 2)


def batches(classes, **kwargs):
  return list(
    pipeline.eval_batches(source(classes), preprocess_config=config_for().preprocess, batch_size=2, keep=(), **kwargs)
  )


def uncertain(batch):
  """Level probabilities that depend on the image alone."""
  image = np.asarray(batch["image"])[..., 0]
  probs = np.stack([1 - image, 1.2 + 0 * image, 1.1 + image / 2, 1.05 + image], -1)
  probs = np.stack([probs, probs[..., ::-1]], -2)
  return (probs / probs.sum(-1, keepdims=True)).astype(np.float32)


# --- The way in -------------------------------------------------------------------------------------------------------


def train_batch(classes, step=0, **changes):
  config = config_for(**changes)
  iterator = pipeline.TrainBatches(
    source(classes),
    data_config=config.data,
    preprocess_config=config.preprocess,
    augment_config=config.augment,
    per_process_batch_size=3,
    seed=0,
    label_weights=staple.label_weights,
  )
  return iterator[step]


def test_training_batches_carry_volumes_and_classes():
  batch = train_batch(2)
  assert batch["image"].shape == (3, 4, 16, 16, 1) and batch["mask"].shape == (3, 4, 16, 16)
  assert batch["rater_masks"].shape == (3, 4, 16, 16, 2, R) and batch["rater_valid"].shape == (3, 2, R)
  assert batch["label_weights"].shape == (3, 2, R + 1)
  assert batch["mask"][..., :14].any() and not batch["rater_masks"][batch["mask"] == 0].any()


def test_a_crop_without_augmentation_is_a_part_of_the_volume():
  volume = draw(0, 2)
  image, masks = volume["image"].astype(np.float32), volume["rater_masks"].reshape(5, 16, 14, -1)
  config = config_for().augment
  config.enabled = False
  for seed in range(8):
    got = augment.augment_volume(image, masks, np.random.default_rng(seed), config, crop_size=(3, 8, 20))
    fits = [
      z for z in range(3) if np.array_equal(got[0][:, :, 3:17], image[z : z + 3, got_row(got, image, z) :][:, :8])
    ]
    assert fits and not got[2][:, :, :3].any() and not got[2][:, :, 17:].any() and got[2][:, :, 3:17].all()
    np.testing.assert_array_equal(
      got[1][:, :, 3:17], masks[fits[0] : fits[0] + 3, got_row(got, image, fits[0]) :][:, :8]
    )


def got_row(got, image, z):
  """The row of the volume that a crop of 8 rows begins with, 0 if there is none."""
  rows = [y for y in range(9) if np.array_equal(got[0][:, :, 3:17], image[z : z + 3, y : y + 8])]
  return rows[0] if rows else 0


def test_slices_are_turned_and_bent_alike_and_any_number_of_masks_is():
  rng = np.random.default_rng(0)
  plane = rng.normal(size=(20, 24, 1)).astype(np.float32)
  mask = (rng.random((20, 24, 1)) < 0.4).astype(np.uint8)
  volume, masks = np.stack([plane] * 90), np.repeat(np.stack([mask] * 90), 3, axis=-1)
  config = config_for().augment
  config.rotate_degrees, config.elastic_alpha, config.elastic_sigma, config.gamma = 30.0, 1.5, 4.0, 0.2
  image, raters, counts = augment.augment_volume(volume, masks, np.random.default_rng(3), config)
  assert image.shape == volume.shape and raters.shape == masks.shape
  for z in range(1, 90):
    np.testing.assert_array_equal(image[z], image[0])
    np.testing.assert_array_equal(raters[z], raters[0])
  assert (raters[..., 0] == raters[..., 2]).all() and 0.3 < counts.mean() < 1
  assert np.abs(image[0] - plane).max() > 0.1


def test_volumes_shorter_than_the_crop_are_padded_and_masked():
  volume = draw(0, 1)
  config = config_for().augment
  image, masks, counts = augment.augment_volume(
    volume["image"].astype(np.float32), volume["rater_masks"], np.random.default_rng(0), config, crop_size=(9, 16, 14)
  )
  np.testing.assert_array_equal(counts.any(axis=(1, 2)), [0, 0, 1, 1, 1, 1, 1, 0, 0])
  assert image.shape == (9, 16, 14, 1) and not masks[counts == 0].any()


def test_level_counts_are_those_of_each_class():
  together = pipeline.level_counts(source(2), limit=6)
  for k in range(2):
    alone = [{**e, "rater_masks": e["rater_masks"][..., k, :], "rater_valid": e["rater_valid"][k]} for e in source(2)]
    np.testing.assert_allclose(together[k], pipeline.level_counts(alone, limit=6))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"data__crop_size": (16, 16)}, r"crop_size=\(16, 16\) must be 3 integers \(D, H, W\): the data are volumes"),
    ({"model__name": "unet"}, r"model.name='unet' does not fit: the data are volumes. Use 'unet3d'"),
    ({"model__head": "sigmoid", "loss__name": "svls"}, r"loss.name='svls' looks at neighbours .* takes no volumes"),
  ],
)
def test_what_does_not_fit_volumes_is_refused(tmp_path, change, message):
  with pytest.raises(InputError, match=message):
    train(tmp_path / "run", 1, **change)
  assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"rater_masks": np.zeros((5, 16, 14, 1, R), np.uint8)}, r"have an axis for one class: leave it out"),
    ({"rater_masks": np.zeros((5, 16, 13, 2, R), np.uint8)}, r"image has 5 x 16 x 14 pixels, rater_masks 5 x 16 x 13"),
    ({"rater_valid": np.ones(R, bool)}, r"rater_valid must be 2 x 3 values"),
    ({"image": np.zeros((16, 14, 1), np.uint8)}, r"rater_masks must have 3 axes"),
  ],
)
def test_records_that_break_the_schema_are_named(change, message):
  broken = [{**draw(0, 2), **change}]
  with pytest.raises(InputError, match=rf"example volume0: .*{message}"):
    list(pipeline.eval_batches(broken, preprocess_config=config_for().preprocess, batch_size=1))


# --- Evaluation -------------------------------------------------------------------------------------------------------


def test_each_class_is_evaluated_as_if_it_were_alone():
  together = evaluator.evaluate_classes(uncertain, batches(2), num_raters=R, num_classes=2)
  for k, found in enumerate(together):
    alone = [{**e, "rater_masks": e["rater_masks"][..., k, :], "rater_valid": e["rater_valid"][k]} for e in source(2)]
    own = pipeline.eval_batches(alone, preprocess_config=config_for().preprocess, batch_size=2)
    want = evaluator.evaluate(lambda batch, k=k: uncertain(batch)[..., k, :], own, num_raters=R)
    assert_same(found, want)
  mean = evaluator.mean_metrics(together)
  path = [result.metrics["read_outs"]["mean_vote"]["brier"] for result in together]
  assert mean["read_outs"]["mean_vote"]["brier"] == pytest.approx(np.mean(path))
  assert mean["classes_with"]["read_outs"]["mean_vote"]["brier"] == 2
  assert evaluator.mean_metrics(together[:1]) is together[0].metrics


def test_a_class_without_a_majority_takes_no_number_from_the_others():
  """Training chooses a checkpoint by the mean over classes: NaN of one class must not make it NaN."""
  have, lacks = (evaluator.evaluate(lambda b: b["prediction"], some, num_raters=3) for some in one_structure())
  assert np.isnan(lacks.metrics["read_outs"]["majority"]["dice"]) and have.metrics["read_outs"]["majority"]["dice"] > 0
  mean = evaluator.mean_metrics([lacks, have])
  for name in ("dice", "iou", "soft_dice_5"):
    assert mean["read_outs"]["majority"][name] == have.metrics["read_outs"]["majority"][name]
    assert mean["classes_with"]["read_outs"]["majority"][name] == 1
  assert mean["classes_with"]["levels"]["rps"] == 2
  assert loop.find_metric(mean, "read_outs.majority.dice") == have.metrics["read_outs"]["majority"]["dice"]


def one_structure():
  """Batches of one image that everybody marked, and of one that nobody did."""
  for marked in (1, 0):
    votes = np.full((1, 4, 4, 3), marked, np.uint8)
    probs = np.full((1, 4, 4, 4), 0.25, np.float32)
    batch = {"rater_masks": votes, "rater_valid": np.ones((1, 3)), "mask": np.ones((1, 4, 4)), "image": probs[..., :1]}
    yield [pipeline.EvalBatch(["a"], [""], {**batch, "prediction": probs}, 1)]


def test_counting_in_parts_changes_no_number(monkeypatch):
  whole = evaluator.evaluate_classes(uncertain, batches(2), num_raters=R, num_classes=2)
  monkeypatch.setattr(counting, "MAX_PIXELS", 300)
  parts = evaluator.evaluate_classes(uncertain, batches(2), num_raters=R, num_classes=2)
  for a, b in zip(parts, whole, strict=True):
    assert_same(a, b)


def test_distances_between_surfaces_know_the_third_axis():
  inside = np.zeros((9, 12, 12), bool)
  inside[3:6, 4:8, 4:8] = True
  moved = np.roll(inside, 2, axis=0)
  (hd95,), (dice,) = surface.mask_scores([inside], [moved], np.asarray([2.5, 1.0, 1.0]), 2.0)
  a, b = (np.argwhere(m & ~eroded(m)) * [2.5, 1.0, 1.0] for m in (inside, moved))
  distances = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
  there, back = distances.min(1), distances.min(0)
  assert hd95[0] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
  assert dice[0] == pytest.approx(((there <= 2).sum() + (back <= 2).sum()) / (len(there) + len(back)))


def eroded(mask):
  padded = np.pad(mask, 1)
  out = mask.copy()
  for axis in range(3):
    for shift in (-1, 1):
      out &= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
  return out


def test_a_region_of_interest_reaches_across_slices():
  masks = np.zeros((1, 9, 9, 9, 1), np.uint8)
  masks[0, 4, 4, 4] = 1
  batch = {"rater_masks": masks, "rater_valid": np.ones((1, 1)), "mask": np.ones((1, 9, 9, 9), np.uint8)}
  found = Region("union_dilated", 2).restrict(batch)["mask"][0]
  grid = np.meshgrid(*[np.arange(9) - 4] * 3, indexing="ij")
  np.testing.assert_array_equal(found, sum(g**2 for g in grid) <= 4)


# --- Whole runs -------------------------------------------------------------------------------------------------------


def test_an_evaluation_writes_one_folder_per_class(run):
  workdir, info = run
  folders = eval_loop.evaluate_run(
    [workdir], predictor.PredictOptions(step="last"), source=source(2, 3, 20), split="test", data_info=info
  )
  assert [folder.name for folder in folders] == ["test-core", "test-rim"]
  for folder, name in zip(folders, CLASSES, strict=True):
    found = json.loads((folder / "metrics.json").read_text())
    assert found["class"] == name and found["num_images"] == 3 and found["num_pixels"] == 3 * 5 * 16 * 14
    assert (folder / "report.html").stat().st_size > 10_000


def test_prediction_writes_each_class_in_the_geometry_of_the_volume(run, tmp_path):
  workdir, _ = run
  volume = draw(30, 2)
  affine = np.asarray([[0, -1.0, 0, 5], [1.0, 0, 0, -3], [0, 0, 2.0, 7], [0, 0, 0, 1]])
  nibabel.save(nibabel.Nifti1Image(volume["image"][..., 0].T, affine), tmp_path / "scan.nii.gz")
  nibabel.save(nibabel.Nifti1Image(volume["image"][0, ..., 0].T, affine), tmp_path / "slice.nii.gz")
  net = predictor.load([workdir], predictor.PredictOptions(step="last"))
  options = OutputOptions(maps="mean_vote,mask", windows=Windows(size=0, slices=0))
  inputs = {"scan": tmp_path / "scan.nii.gz", "slice": tmp_path / "slice.nii.gz"}
  rows = predict_files(net, inputs, tmp_path / "maps", options, say=lambda _: None)
  assert [row["status"] for row in rows] == ["ok", "ok", "failed"]
  assert "trained on volumes" in rows[2]["message"]
  prepared = volume["image"].astype(np.float32) * 2 / 255 - 1
  want = net.predict(prepared[None])[0]
  for k, name in enumerate(CLASSES):
    found = nibabel.load(tmp_path / "maps" / f"scan_{name}_mean_vote.nii.gz")
    np.testing.assert_allclose(found.affine, affine)
    np.testing.assert_allclose(found.get_fdata().T, want[..., k, :] @ (np.arange(R + 1) / R), atol=1e-5)
    assert rows[k]["class"] == name and rows[k]["unit"] == "ml"
    mask = nibabel.load(tmp_path / "maps" / f"scan_{name}_mask.nii.gz").get_fdata()
    assert rows[k]["size"] == pytest.approx(mask.sum() * 2 / 1000)


def test_windows_of_a_volume_cover_it_and_blend():
  image = np.random.default_rng(0).normal(size=(11, 40, 37, 1)).astype(np.float32)

  def pixelwise(x):
    probs = np.stack([np.exp(x[..., 0]), np.ones_like(x[..., 0])], -1)
    return probs / probs.sum(-1, keepdims=True)

  windows = Windows(size=16, slices=6, overlap=0.3, batch_size=3, multiples=(2, 4, 4))
  np.testing.assert_allclose(sliding_window.predict_image(pixelwise, image, windows), pixelwise(image), atol=1e-5)
  whole = sliding_window.windowed(pixelwise, windows)(np.stack([image, image]))
  np.testing.assert_allclose(whole[1], pixelwise(image), atol=1e-5)


def test_windows_with_a_margin_are_the_whole_volume():
  config = config_for()
  config.model.norm = "none"
  from ordseg.training.learner import make_learner

  net = make_learner(resolve(config), Panel(1, R, num_axes=3))
  params = net.create(np.ones(R + 1)).params
  predict = functools.partial(net.predict, params)
  image = np.random.default_rng(0).normal(size=(40, 44, 40, 1)).astype(np.float32)
  windows = Windows(size=28, slices=28, multiples=(2,), margin=10)
  found = sliding_window.predict_image(predict, image, windows)
  np.testing.assert_allclose(found, predict(image[None])[0], atol=1e-5)


def test_an_export_takes_volumes_and_names_the_classes(run, tmp_path):
  pytest.importorskip("flatbuffers")
  import jax

  from ordseg.prediction import export

  workdir, _ = run
  path = export.export_run(predictor.load_run(workdir), tmp_path, file_format="jax", step="last", size=(4, 16, 16))
  about = json.loads((tmp_path / "metadata.json").read_text())
  assert about["input"]["shape"] == ["batch", "depth", "height", "width", 1]
  assert about["output"]["classes"] == list(CLASSES) and about["output"]["shape"][-2:] == [2, R + 1]
  image = np.random.default_rng(0).normal(size=(1, 6, 20, 18, 1)).astype(np.float32)
  found = jax.export.deserialize(bytearray(path.read_bytes())).call(image)
  want = predictor.load([workdir], predictor.PredictOptions(step="last")).predict(image)
  np.testing.assert_allclose(found, want, atol=1e-5)
  with pytest.raises(InputError, match=r"--size=16,16 must be depth,height,width: multiples of 2,2,2"):
    export.export_run(predictor.load_run(workdir), tmp_path, file_format="jax", step="last", size=(16, 16))
