"""A few images with everything that is awkward: missing raters, an image nobody rated, padding, an empty panel."""

import jax
import numpy as np

from ordseg.errors import InputError
from ordseg.evaluation import evaluator
from ordseg.input_pipeline import EvalBatch
from tests.reference import ordinal_np

R, SIZE, NUM_BINS = 4, 12, 10


def images(seed=0, num=6, size=SIZE):
  """Returns level probabilities, masks, valid, counts; of six and more, 1 and 2 lack raters, 3 all, 5 has no marks."""
  rng = np.random.default_rng(seed)
  probs = rng.dirichlet(np.full(R + 1, 0.3), (num, size, size)).astype(np.float32)
  latent = rng.random((num, size, size, 1)) * np.linspace(0.2, 1.0, num).reshape(-1, 1, 1, 1)
  masks = (rng.random((num, size, size, R)) < latent**2).astype(np.uint8)
  valid = np.ones((num, R), np.uint8)
  if num >= 6:
    valid[1, 0] = valid[2, 1:] = valid[3] = 0
    masks[5] = 0
  counts = np.ones((num, size, size), np.uint8)
  counts[4:5, 5:] = 0
  return probs, masks, valid, counts


def read_out(data, name):
  """[I, H, W] float64, as the numpy oracle has it: the majority is that of the n raters who answered."""
  probs, n = data[0].astype(np.float64), data[2].sum(-1)
  num_raters = probs.shape[-1] - 1
  if name == "mean_vote":
    return probs @ (np.arange(num_raters + 1) / num_raters)
  level = np.eye(num_raters + 1)
  weights = [[ordinal_np.majority_prob(row, max(int(answers), 1)) for row in level] for answers in n]
  return np.einsum("ihwl,il->ihw", probs, np.asarray(weights))


def batches_of(data, batch_size=4, order=None, truth=False):
  """Batches of the images in `order`, filled up with dummies."""
  probs, masks, valid, counts = data
  order = np.arange(len(probs)) if order is None else np.asarray(order, int)
  for start in range(0, len(order), batch_size):
    take = order[start : start + batch_size]
    fill = batch_size - len(take)

    def padded(x, take=take, fill=fill):
      return np.concatenate([x[take], np.zeros((fill, *x.shape[1:]), x.dtype)])

    yield EvalBatch(
      ids=[f"image-{k:02d}" for k in take],
      groups=[f"patient-{k // 2}" for k in take],
      batch={
        "image": padded(probs[..., :1]),
        "rater_masks": padded(masks),
        "rater_valid": padded(valid),
        "mask": padded(counts),
        "prediction": padded(probs),
        **({"level_probs": padded(probs)} if truth else {}),
      },
      num_real=len(take),
    )


def predict(batch):
  return np.asarray(batch["prediction"])


def run(data, gather=lambda tree: tree, **kwargs):
  return evaluator.evaluate(predict, batches_of(data, **kwargs), num_raters=R, num_bins=NUM_BINS, gather=gather)


def run_processes(data, orders, **kwargs):
  """Evaluates as several processes would, each its own images; returns the result of each."""
  states = []
  for order in orders:
    try:
      run(data, gather=lambda tree: states.append(tree) or tree, order=order, **kwargs)
    except InputError:
      assert len(order) == 0
  merged = jax.tree.map(lambda *parts: np.concatenate(parts), *states)
  return [run(data, gather=lambda _: merged, order=order, **kwargs) for order in orders]
