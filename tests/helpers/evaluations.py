"""Evaluation folders as `evaluate.write` leaves them, of a made-up predictor on small images."""

import hashlib
import json

import numpy as np

from ordseg import records
from ordseg.evaluation import MultiRaterMetrics, evaluator, scoring
from ordseg.input_pipeline import EvalBatch

H, W = 20, 24
INFO = {
  "split": "test",
  "step": 40,
  "data": {
    "builder": "blobs",
    "config": "small",
    "version": "1.2.0",
    "fingerprint": "ab" * 32,
    "settings": {"num_raters": 3},
    "licence": "CC0",
  },
  "model": {
    "head": "softmax",
    "loss": "rps_bce",
    "config": {"seed": 7, "data": {"data_dir": "/home/someone/secret"}, "loss": {"alpha": 0.8}},
  },
  "versions": {"ordseg": "0.1.0", "jax": "0.10.2"},
}


def blobs(num_images, num_raters, seed):
  """Returns images, rater masks and true level probabilities: raters mark a pixel independently, by its blob."""
  draws = np.random.default_rng(seed)
  y, x = np.mgrid[:H, :W]
  centre = draws.uniform(6, 14, (2, num_images, 1, 1))
  distance = np.hypot(y - centre[0], x - centre[1])
  share = 1 / (1 + np.exp(distance - draws.uniform(3, 6, (num_images, 1, 1))))
  masks = draws.random((num_images, H, W, num_raters)) < share[..., None]
  levels = np.ones((num_images, H, W, 1))
  for _ in range(num_raters):  # the binomial distribution, one rater at a time
    none, one = [(0, 0)] * 3 + [(0, 1)], [(0, 0)] * 3 + [(1, 0)]
    levels = np.pad(levels, none) * (1 - share[..., None]) + np.pad(levels, one) * share[..., None]
  image = share + draws.normal(0, 0.2, share.shape)
  return image[..., None].astype(np.float32), masks.astype(np.uint8), levels.astype(np.float32)


def write(folder, *, num_images=12, num_raters=3, seed=0, sharpen=2.0, valid=1, oracle=True, info=None, **options):
  """Evaluates the true distribution raised to the power `sharpen`, and writes the folder; returns it.

  Args:
    folder: made if missing.
    num_images: evaluated in one batch.
    num_raters: R.
    seed: of images and votes.
    sharpen: 1 predicts the truth.
    valid: 0: no rater answered anything.
    oracle: whether the data carry the truth.
    info: changes to `INFO`.
    **options: of `evaluate.evaluate`.
  """
  image, masks, levels = blobs(num_images, num_raters, seed)
  prediction = levels**sharpen
  prediction /= prediction.sum(-1, keepdims=True)
  batch = {
    "image": image,
    "rater_masks": masks,
    "rater_valid": np.full((num_images, num_raters), valid, np.uint8),
    "mask": np.ones(masks.shape[:3], np.uint8),
  }
  if oracle:
    batch["level_probs"] = levels
  ids = [f"image-{k:02d}" for k in range(num_images)]
  result = evaluator.evaluate(
    lambda _: prediction, [EvalBatch(ids, ["p"] * num_images, batch, num_images)], num_raters=num_raters, **options
  )
  evaluator.write(result, folder, {**INFO, **(info or {})})
  return folder


MAPS = {
  "model": {"name": "nnunet", "maps": ["/home/someone/secret/predictions"], "first_map": "/x/image-00.npz"},
  "data": {"builder": "blobs"},
}


def write_maps(folder, *, num_images=12, num_raters=3, seed=0, sharpen=1.0, names=None, info=None, edit=None, group=""):
  """Scores the share of raters of `blobs`, one probability per pixel, without a run; writes the folder; returns it.

  Args:
    folder: made if missing.
    num_images: scored.
    num_raters: R.
    seed: of images and votes, as of `write`.
    sharpen: power of the odds.
    names: of the images; as `write` has them by default.
    info: what metrics.json says of the maps.
    edit: changes the masks [I, H, W, R] in place.
    group: of an image, with the place of its number, such as "p{}".
  """
  _, masks, levels = blobs(num_images, num_raters, seed)
  share = (levels * np.arange(num_raters + 1) / num_raters).sum(-1)
  share = share**sharpen / (share**sharpen + (1 - share) ** sharpen)
  if edit is not None:
    edit(masks)
  scores = MultiRaterMetrics()
  for k, name in enumerate(names or [f"image-{k:02d}" for k in range(num_images)]):
    if name is not None:
      scores.update(share[k], masks[k], name=name, group=group.format(k))
  evaluator.write(scores.compute(), folder, MAPS if info is None else info)
  return folder


def change(folder, file, edit):
  """Lets `edit` change the content of a JSON file in place, as if the evaluation had written it so."""
  content = json.loads((folder / file).read_text())
  edit(content)
  records.write_json(folder / file, content)
  sign(folder)


def store(folder, stored):
  """Replaces what sums.npz holds, as if the evaluation had written it so."""
  (folder / scoring.FILE).write_bytes(records.npz_bytes(scoring.arrays(stored)))
  sign(folder)


def sign(folder):
  """Makes one evaluation of the files that a test has changed."""
  metrics = json.loads((folder / "metrics.json").read_text())
  if listed := metrics.get("evaluation"):
    there = [name for name in listed["files"] if (folder / name).exists()]
    listed["files"] |= {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in there}
    records.write_json(folder / "metrics.json", metrics)
