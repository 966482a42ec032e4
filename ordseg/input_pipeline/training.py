"""Training batches: endless, resumable, the same for any number of processes and threads.

They are a pure function of (seed, step). The examples of global step t sit at the positions p = t * B .. t * B + B - 1,
with B the global batch size; position p belongs to epoch p // len(source), whose order is seeded by (seed, epoch), and
its augmentation is seeded by (seed, p). Process i of n takes every n-th position from the i-th on.
"""

import functools
from collections.abc import Callable

import cv2
import grain
import numpy as np

from ordseg import rng
from ordseg.config import Augment, Data, Preprocess
from ordseg.errors import InputError
from ordseg.input_pipeline import augment, examples, panels, preprocess

LabelWeights = Callable[[np.ndarray, np.ndarray], np.ndarray]

_NUM_STEPS = 2**31  # stands for "endless"


class TrainBatches:
  """Random access to the training batches of one process: `batches[step]`. Takes what `train_iterator` takes."""

  def __init__(
    self,
    source: examples.Source,
    *,
    data_config: Data,
    preprocess_config: Preprocess,
    augment_config: Augment,
    per_process_batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    label_weights: LabelWeights | None = None,
  ):
    examples.check_share(process_index, process_count)
    if per_process_batch_size < 1:
      raise InputError(f"the batch size per process must be >= 1, got {per_process_batch_size}.")
    self._panel = examples.read_panel(source)
    self._raters = data_config.raters
    panels.check(self._raters, self._panel.num_raters)
    self._label_weights = label_weights
    self._transform = augment.augment if self._panel.num_axes == 2 else augment.augment_volume
    self._source = source
    self._crop_size = tuple(data_config.crop_size)
    if len(self._crop_size) != self._panel.num_axes:
      axes = ("H, W", "D, H, W")[self._panel.num_axes - 2]
      raise InputError(
        f"config.data.crop_size={self._crop_size} must be {self._panel.num_axes} integers ({axes}): the data are"
        f" {('images', 'volumes')[self._panel.num_axes - 2]}."
      )
    self._preprocess = preprocess_config
    self._augment = augment_config
    self._batch_size = per_process_batch_size
    self._process = (process_index, process_count)
    self._shuffle_seed = rng.numpy_seed(seed, "shuffle")
    self._augment_seed = rng.numpy_seed(seed, "augment")
    self._rater_seed = rng.numpy_seed(seed, "raters")
    # grain's own shuffle takes 0.5 ms per example of a small set (it walks cycles of 2**16). Two epochs are kept, for
    # read-ahead crosses from one to the next.
    self._order = functools.lru_cache(maxsize=2)(self._epoch_order)

  def __len__(self) -> int:
    return _NUM_STEPS

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    process_index, process_count = self._process
    first = index * self._batch_size * process_count + process_index
    positions = range(first, first + self._batch_size * process_count, process_count)
    return examples.stack(map(self._example, positions), self._batch_size)

  def _epoch_order(self, epoch: int) -> np.ndarray:
    return np.random.default_rng([*self._shuffle_seed, epoch]).permutation(len(self._source))

  def _example(self, position: int) -> dict[str, np.ndarray]:
    epoch, k = divmod(position, len(self._source))
    draws = np.random.default_rng([*self._augment_seed, position])
    chosen = np.random.default_rng([*self._rater_seed, position])
    return examples.read(self._source, int(self._order(epoch)[k]), lambda e: self._augmented(e, draws, chosen))

  def _augmented(
    self, example: examples.Example, draws: np.random.Generator, chosen: np.random.Generator
  ) -> dict[str, np.ndarray]:
    examples.check(example, self._panel)
    valid = panels.choose(example["rater_valid"], self._raters, chosen)
    whole = examples.as_uint8(example["rater_masks"])
    image, rater_masks, mask = self._transform(
      preprocess.prepare_image(example["image"], self._preprocess),
      whole.reshape(*whole.shape[: self._panel.num_axes], -1),  # to geometry a class is more masks
      draws,
      self._augment,
      crop_size=self._crop_size,
    )
    rater_masks = rater_masks.reshape(*mask.shape, *valid.shape)
    out = {"image": image, "rater_masks": rater_masks, "rater_valid": valid, "mask": mask}
    if self._label_weights is not None:  # of the whole image, not of what the crop happens to show
      out["label_weights"] = self._weights_of(whole, valid, self._label_weights)
    return out

  def _weights_of(self, rater_masks: np.ndarray, valid: np.ndarray, label_weights: LabelWeights) -> np.ndarray:
    if self._panel.num_classes == 1:
      return label_weights(rater_masks, valid)
    return np.stack([label_weights(rater_masks[..., k, :], valid[k]) for k in range(self._panel.num_classes)])


def train_iterator(
  source: examples.Source,
  *,
  data_config: Data,
  preprocess_config: Preprocess,
  augment_config: Augment,
  per_process_batch_size: int,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
  label_weights: LabelWeights | None = None,
) -> grain.DatasetIterator:
  """Returns the endless training batches of one process.

  Every epoch visits each example once, in a new order; batches run across epochs, so a set smaller than the batch is
  fine. Over all processes, step t holds the same examples with the same augmentations for every `process_count`, and a
  state saved under one number of processes may be restored under another (with the same global batch size).

  Args:
    source: the training examples.
    data_config: the fields `crop_size` (h, w), or (d, h, w) for volumes, `raters` (see `panels.check`) and
      `num_threads` (0: read in the caller's thread).
    preprocess_config: How images are prepared; see `preprocess.prepare_image`.
    augment_config: How images are augmented; see `augment.augment`.
    per_process_batch_size: b, examples per step on this process.
    seed: Seed of order and augmentation, >= 0.
    process_index: which share of each global batch is this process's.
    process_count: the number of shares.
    label_weights: (rater_masks [H, W, R], rater_valid [R]) -> [N] float32 of the whole image; batches then carry it.
      Shapes are those of images and one class; see `types.Batch` for others.

  Returns:
    A grain iterator with `get_state()` and `set_state()` (a dict that JSON can hold) over dicts of `image`
    [b, h, w, C] float32, `rater_masks` [b, h, w, R] uint8, `rater_valid` [b, R] uint8, `mask` [b, h, w] uint8, and
    `label_weights` [b, N] float32 where asked for.

  Raises:
    InputError: an empty source, a batch size < 1, or (also later, from `next`) an example that breaks the schema.
  """
  batches = TrainBatches(
    source,
    data_config=data_config,
    preprocess_config=preprocess_config,
    augment_config=augment_config,
    per_process_batch_size=per_process_batch_size,
    seed=seed,
    process_index=process_index,
    process_count=process_count,
    label_weights=label_weights,
  )
  cv2.setNumThreads(0)  # our threads have a batch each; OpenCV's own on top of them would only compete
  num_threads = data_config.num_threads
  options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads + 1 if num_threads else 0)
  return iter(grain.MapDataset.source(batches).to_iter_dataset(options))
