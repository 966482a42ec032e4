"""Evaluation batches, each example once, and the pixel counts of the levels."""

import collections
import dataclasses
import functools
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from ordseg import ordinal
from ordseg.config import Preprocess
from ordseg.errors import InputError
from ordseg.input_pipeline import examples, preprocess
from ordseg.types import Batch, Panel

_Item = tuple[str, str, dict[str, np.ndarray]]  # id, group, arrays


@dataclasses.dataclass(frozen=True)
class EvalBatch:
  """Whole images of one shape. The first `num_real` entries are examples, the rest are dummies that do not count.

  Attributes:
    ids: num_real ids.
    groups: num_real groups (patients); '' where an example has none.
    batch: numpy arrays with a leading axis of the full batch size; dummies are 0 everywhere, so are their `mask` and
      `rater_valid`.
    num_real: examples that count.
  """

  ids: list[str]
  groups: list[str]
  batch: Batch
  num_real: int


def eval_batches(
  source: examples.Source,
  *,
  preprocess_config: Preprocess,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
  keep: Sequence[str] = ("level_probs",),
  num_threads: int = 2,
) -> Iterator[EvalBatch]:
  """Yields every example exactly once over all processes, whole and at its own size.

  Examples wait in one bucket per shape until `batch_size` of them are there. At most 4 * batch_size wait in all; beyond
  that the fullest bucket leaves as a short batch.

  Args:
    source: the examples.
    preprocess_config: How images are prepared; see `preprocess.prepare_image`.
    batch_size: Images of every batch; short ones are filled up with dummies.
    process_index: this process takes the examples process_index, process_index + process_count, ..
    process_count: the number of processes.
    keep: further fields that travel in `batch`, in their own dtype, where an example has them.
    num_threads: threads that read ahead.

  Yields:
    `EvalBatch`es, whose `batch` is as that of `train_iterator` (mask 1 on all pixels of real examples), plus `keep`.

  Raises:
    InputError: an empty source, a batch size < 1, or an example that breaks the schema.
  """
  examples.check_share(process_index, process_count)
  if batch_size < 1:
    raise InputError(f"the evaluation batch size must be >= 1, got {batch_size}.")
  convert = functools.partial(
    _eval_item, panel=examples.read_panel(source), preprocess_config=preprocess_config, keep=keep
  )
  buckets: dict[Hashable, list[_Item]] = collections.defaultdict(list)
  for item in examples.read_ahead(source, range(process_index, len(source), process_count), convert, num_threads):
    key = tuple((name, array.shape, array.dtype.str) for name, array in item[2].items())
    buckets[key].append(item)
    if len(buckets[key]) == batch_size:
      yield _eval_batch(buckets.pop(key), batch_size)
    elif sum(map(len, buckets.values())) > 4 * batch_size:
      yield _eval_batch(buckets.pop(max(buckets, key=lambda k: len(buckets[k]))), batch_size)
  for items in buckets.values():
    yield _eval_batch(items, batch_size)


def _eval_item(example: examples.Example, *, panel: Panel, preprocess_config: Preprocess, keep: Sequence[str]) -> _Item:
  examples.check(example, panel)
  image = preprocess.prepare_image(example["image"], preprocess_config)
  arrays = {
    "image": image,
    "rater_masks": examples.as_uint8(example["rater_masks"]),
    "rater_valid": examples.as_uint8(example["rater_valid"]),
    "mask": np.ones(image.shape[:-1], np.uint8),
  }
  arrays |= {name: np.asarray(example[name]) for name in keep if name in example}
  return examples.as_text(example["id"]), examples.as_text(example.get("group", "")), arrays


def _eval_batch(items: Sequence[_Item], batch_size: int) -> EvalBatch:
  ids, groups, arrays = zip(*items, strict=True)
  dummy = {name: np.zeros_like(array) for name, array in arrays[0].items()}
  batch = examples.stack([*arrays, *[dummy] * (batch_size - len(items))], batch_size)
  return EvalBatch(ids=list(ids), groups=list(groups), batch=batch, num_real=len(items))


def level_counts(source: examples.Source, *, limit: int, num_threads: int = 2) -> np.ndarray:
  """Counts the pixels of each level 0..R, for the first output bias.

  Exact where all raters answered. Where n < R did, a pixel with c votes is shared among the levels by the posterior
  P(l | c, n), which is proportional to the hypergeometric P(c | l, n) under a flat prior over the levels. Examples that
  nobody answered do not count.

  Args:
    source: the examples.
    limit: at most this many are read, evenly spaced.
    num_threads: threads that read ahead.

  Returns:
    [L] float64, expected pixels; [K, L] of several classes.

  Raises:
    InputError: an empty source, limit < 1, or an example that breaks the schema.
  """
  if limit < 1:
    raise InputError(f"level_counts needs limit >= 1, got {limit}.")
  panel = examples.read_panel(source)
  total = min(limit, len(source))
  indices = [i * len(source) // total for i in range(total)]
  votes = np.zeros((panel.num_classes, *(panel.num_raters + 1,) * 2), np.int64)  # [k, n, c]: got c of n votes
  convert = functools.partial(_vote_counts, panel=panel)
  for by_class in examples.read_ahead(source, indices, convert, num_threads):
    for k, (num_valid, counts) in enumerate(by_class):
      votes[k, num_valid] += counts
  likelihood = ordinal.thinning_matrices(panel.num_raters)[1:]  # [n, l, c]
  evidence = likelihood.sum(axis=1, keepdims=True)
  posterior = np.divide(likelihood, evidence, out=np.zeros_like(likelihood), where=evidence > 0)  # 0 where c > n
  out = np.einsum("nlc,knc->kl", posterior, votes[:, 1:].astype(np.float64))
  return out if panel.num_classes > 1 else out[0]


def _vote_counts(example: examples.Example, *, panel: Panel) -> list[tuple[int, np.ndarray]]:
  """Returns n and [L] int64, how many pixels got 0..R votes, of each class."""
  examples.check(example, panel)
  rater_masks = examples.as_uint8(example["rater_masks"])
  out = []
  for k, valid in enumerate(np.atleast_2d(examples.as_uint8(example["rater_valid"]))):
    own = rater_masks[..., k, :] if panel.num_classes > 1 else rater_masks
    votes = np.zeros(own.shape[:-1], np.intp)
    for r in np.flatnonzero(valid):
      votes += own[..., r]
    out.append((int(valid.sum()), np.bincount(votes.ravel(), minlength=panel.num_raters + 1)))
  return out
