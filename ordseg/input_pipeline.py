"""From a random-access source of examples to batches: training (endless, resumable) and evaluation (each image once).

A source has `len` and `[index]` and yields dicts of the example schema (data/README.md): 'id', 'group', 'image'
[H, W, C], 'rater_masks' [H, W, R] in {0, 1}, 'rater_valid' [R].

Training batches are a pure function of (seed, step): example k of global step t sits at position p = t * batch_size + k,
the epoch is p // len(source), its order and the augmentation of p are seeded by (seed, epoch) and (seed, p). So neither
the number of processes nor that of threads changes what is trained on, and the state of the iterator is the step.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import queue
import threading
import time
import types
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import cv2
import grain
import numpy as np

from ordseg import augment, ordinal, preprocess, rng
from ordseg.types import Batch, Config
from ordseg.validate import InputError, did_you_mean

Example = Mapping[str, Any]
_NEEDED = ("id", "image", "rater_masks", "rater_valid")
_NUM_STEPS = 2**31  # of the endless training iterator


class Source(Protocol):
  """Random access to examples; reading from several threads at once must be safe."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: Any, /) -> Any: ...


@dataclasses.dataclass(frozen=True)
class _Panel:
  """What all examples of a source share: the number of channels and of raters."""

  num_channels: int
  num_raters: int

  @classmethod
  def of(cls, source: Source) -> "_Panel":
    if not len(source):
      raise InputError("the data set holds no examples.")
    example = source[0]
    panel = cls(_channels(example, "image"), _channels(example, "rater_masks"))
    panel.check(example)
    return panel

  def check(self, example: Example) -> None:
    """Raises InputError, without the example's name, where the example breaks the schema or differs from the first."""
    for name, expected in (("image", self.num_channels), ("rater_masks", self.num_raters)):
      found = _channels(example, name)
      if found != expected:
        raise InputError(f"{name} has {found} channels where the first example has {expected}.")
    image, masks, valid = np.shape(example["image"]), example["rater_masks"], np.asarray(example["rater_valid"])
    if image[:2] != masks.shape[:2]:
      raise InputError(f"image is {image[0]} x {image[1]} pixels but rater_masks {masks.shape[0]} x {masks.shape[1]}.")
    if masks.dtype.kind not in "uib" or (masks.size and (masks.max() > 1 or masks.min() < 0)):
      raise InputError(f"rater_masks ({masks.dtype}) must hold integers in {{0, 1}}.")
    if valid.shape != (self.num_raters,) or not np.isin(valid, (0, 1)).all():
      raise InputError(f"rater_valid must be {self.num_raters} values in {{0, 1}}, got {valid.tolist()}.")


def _channels(example: Example, name: str) -> int:
  missing = [n for n in _NEEDED if n not in example]
  if missing:
    raise InputError(f"the example has no field {missing[0]!r}.{did_you_mean(missing[0], example)}")
  shape = np.shape(example[name])
  if len(shape) != 3 or 0 in shape:
    raise InputError(f"{name} must have three axes, none empty, got shape {shape}.")
  return shape[2]


def _read(source: Source, index: int, convert: Callable[[Example], Any]) -> Any:
  """Reads and converts one example; puts its id in front of what is wrong with it."""
  example = source[index]
  try:
    return convert(example)
  except InputError as error:
    name = _text(example["id"]) if "id" in example else f"number {index}"
    raise InputError(f"example {name}: {error}") from error


def _text(value: Any) -> str:
  value = value.item() if isinstance(value, np.ndarray | np.generic) else value
  return value.decode() if isinstance(value, bytes) else str(value)


def _plain(config: Config) -> Config:
  """A section without ConfigDict's lookups, which cost more than some transforms."""
  return types.SimpleNamespace(**config)


def _check_share(process_index: int, process_count: int) -> None:
  if not 0 <= process_index < process_count:
    raise ValueError(f"process_index={process_index} must be in [0, process_count={process_count}).")


# Training ------------------------------------------------------------------------------------------------------------


class TrainBatches:
  """Random access to the training batches of one process: `batches[step]`. See the module's docstring."""

  def __init__(
    self,
    source: Source,
    *,
    data_config: Config,
    preprocess_config: Config,
    augment_config: Config,
    per_process_batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
  ):
    _check_share(process_index, process_count)
    if per_process_batch_size < 1:
      raise InputError(f"the batch size per process must be >= 1, got {per_process_batch_size}.")
    self._panel = _read_panel(source)
    self._source = source
    self._crop_size = tuple(data_config.crop_size)
    self._preprocess = _plain(preprocess_config)
    self._augment = _plain(augment_config)
    self._batch_size = per_process_batch_size
    self._shuffle_seed = rng.numpy_seed(seed, "shuffle")
    self._augment_seed = rng.numpy_seed(seed, "augment")
    self._process = (process_index, process_count)
    # Two epochs: read-ahead crosses from one to the next.
    self._order = functools.lru_cache(maxsize=2)(self._order)

  def __len__(self) -> int:
    return _NUM_STEPS

  def __getitem__(self, step: int) -> dict[str, np.ndarray]:
    index, count = self._process
    first = step * self._batch_size * count + index
    examples = [self._example(first + k * count) for k in range(self._batch_size)]
    return _stack(examples)

  def _order(self, epoch: int) -> np.ndarray:
    return np.random.default_rng([*self._shuffle_seed, epoch]).permutation(len(self._source))

  def _example(self, position: int) -> dict[str, np.ndarray]:
    epoch, k = divmod(position, len(self._source))
    draws = np.random.default_rng([*self._augment_seed, position])
    return _read(self._source, int(self._order(epoch)[k]), functools.partial(self._augmented, draws=draws))

  def _augmented(self, example: Example, draws: np.random.Generator) -> dict[str, np.ndarray]:
    self._panel.check(example)
    image, masks, mask = augment.augment(
      preprocess.prepare_image(example["image"], self._preprocess),
      np.asarray(example["rater_masks"], np.uint8),
      draws,
      self._augment,
      crop_size=self._crop_size,
    )
    return {"image": image, "rater_masks": masks, "rater_valid": _uint8(example["rater_valid"]), "mask": mask}


def _read_panel(source: Source) -> _Panel:
  if not len(source):
    raise InputError("the data set holds no examples.")
  return _read(source, 0, _Panel.of)


def _uint8(values: Any) -> np.ndarray:
  return np.asarray(values).astype(np.uint8)


def _stack(examples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
  return {name: np.stack([e[name] for e in examples]) for name in examples[0]}


def train_iterator(
  source: Source,
  *,
  data_config: Config,
  preprocess_config: Config,
  augment_config: Config,
  per_process_batch_size: int,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
) -> grain.DatasetIterator:
  """Returns the endless training batches of this process.

  Every epoch visits each example once in a new order; batches run across epochs, so a set smaller than the batch is
  fine. Over all processes, step t holds the same examples with the same augmentations for every `process_count`, and a
  state saved with one number of processes may be restored with another (at the same global batch size).

  Args:
    source: the training examples.
    data_config: the fields `crop_size` and `num_threads` (0: read in the caller's thread).
    preprocess_config: see `preprocess.prepare_image`.
    augment_config: see `augment.augment`.
    per_process_batch_size: b, examples per step on this process.
    seed: of order and augmentation.
    process_index: which share of each global batch is ours.
    process_count: the number of shares.

  Returns:
    An iterator with `get_state()` and `set_state()` (JSON-ready dicts) over dicts of `image` [b, h, w, C] float32,
    `rater_masks` [b, h, w, R] uint8, `rater_valid` [b, R] uint8 and `mask` [b, h, w] uint8, with (h, w) = crop_size.

  Raises:
    InputError: an empty source, or an example (then or while iterating) that breaks the schema; it is named.
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
  )
  cv2.setNumThreads(0)  # our threads each work on a batch; OpenCV's own on top of them would only compete
  threads = data_config.num_threads
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads and threads + 1)
  return iter(grain.MapDataset.source(batches).to_iter_dataset(options))


# Evaluation ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class EvalBatch:
  """Whole images of one shape. The first `num_real` entries are examples, the rest are dummies that do not count.

  Attributes:
    ids: num_real ids.
    groups: num_real groups (patients); '' where the example has none.
    batch: arrays with a leading axis of the full batch size; dummies are 0 everywhere, `mask` and `rater_valid` too.
    num_real: examples that count.
  """

  ids: list[str]
  groups: list[str]
  batch: Batch
  num_real: int


def eval_batches(
  source: Source,
  *,
  preprocess_config: Config,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
  keep: Sequence[str] = ("level_probs",),
  num_threads: int = 2,
) -> Iterator[EvalBatch]:
  """Yields every example exactly once over all processes, whole and at its own size.

  Examples wait in one bucket per shape until `batch_size` of them are there. At most 4 * batch_size wait: beyond that
  the fullest bucket leaves as a short batch.

  Args:
    source: the examples.
    preprocess_config: see `preprocess.prepare_image`.
    batch_size: of every batch; short ones are filled up with dummies.
    process_index: this process takes the examples process_index, process_index + process_count, ..
    process_count: the number of processes.
    keep: further fields that travel in `batch` where an example has them.
    num_threads: threads that read ahead.

  Yields:
    `EvalBatch`es, whose `batch` is as that of `train_iterator` (mask 1 for all pixels of real examples), plus `keep`.

  Raises:
    InputError: an empty source, or an example that breaks the schema; it is named.
  """
  _check_share(process_index, process_count)
  panel = _read_panel(source)
  convert = functools.partial(_eval_example, panel=panel, preprocess_config=_plain(preprocess_config), keep=keep)
  buckets: dict[Hashable, list] = collections.defaultdict(list)
  for item in _read_ahead(source, range(process_index, len(source), process_count), convert, num_threads):
    key = tuple((name, array.shape, array.dtype.str) for name, array in item[2].items())
    buckets[key].append(item)
    if len(buckets[key]) < batch_size:
      if sum(map(len, buckets.values())) <= 4 * batch_size:
        continue
      key = max(buckets, key=lambda k: len(buckets[k]))
    yield _eval_batch(buckets.pop(key), batch_size)
  for items in buckets.values():
    yield _eval_batch(items, batch_size)


def _eval_example(
  example: Example, *, panel: _Panel, preprocess_config: Config, keep: Sequence[str]
) -> tuple[str, str, dict[str, np.ndarray]]:
  panel.check(example)
  image = preprocess.prepare_image(example["image"], preprocess_config)
  arrays = {
    "image": image,
    "rater_masks": _uint8(example["rater_masks"]),
    "rater_valid": _uint8(example["rater_valid"]),
    "mask": np.ones(image.shape[:2], np.uint8),
  }
  arrays |= {name: np.asarray(example[name]) for name in keep if name in example}
  return _text(example["id"]), _text(example.get("group", "")), arrays


def _eval_batch(items: Sequence[tuple[str, str, dict[str, np.ndarray]]], batch_size: int) -> EvalBatch:
  ids, groups, arrays = zip(*items, strict=True)
  dummy = {name: np.zeros_like(array) for name, array in arrays[0].items()}
  batch = _stack([*arrays, *[dummy] * (batch_size - len(items))])
  return EvalBatch(ids=list(ids), groups=list(groups), batch=batch, num_real=len(items))


def _read_ahead(source: Source, indices: Iterable[int], convert: Callable, num_threads: int) -> Iterator:
  """Yields convert(source[i]) in order, read by threads that stay at most 2 * num_threads examples ahead."""
  indices = iter(indices)
  with concurrent.futures.ThreadPoolExecutor(max(1, num_threads), thread_name_prefix="read") as pool:
    submit = functools.partial(pool.submit, _read, source, convert=convert)
    pending = collections.deque(submit(i) for i in itertools.islice(indices, 2 * max(1, num_threads)))
    try:
      while pending:
        result = pending.popleft().result()
        pending.extend(submit(i) for i in itertools.islice(indices, 1))
        yield result
    finally:
      pool.shutdown(wait=False, cancel_futures=True)


def level_counts(source: Source, *, limit: int, num_threads: int = 2) -> np.ndarray:
  """Counts the pixels of each level 0..R, for the first output bias.

  Exact where all raters answered. Where n < R did, a pixel with c votes counts for each level l by its posterior
  P(l | c, n), proportional to the hypergeometric P(c | l, n) under a flat prior over the levels. Examples that nobody
  answered do not count.

  Args:
    source: the examples.
    limit: at most this many are read, evenly spaced from the first on.
    num_threads: threads that read ahead.

  Returns:
    [L] float64, expected pixels.

  Raises:
    InputError: an empty source, limit < 1, or an example that breaks the schema; it is named.
  """
  if limit < 1:
    raise InputError(f"level_counts needs limit >= 1, got {limit}.")
  panel = _read_panel(source)
  total = min(limit, len(source))
  indices = [i * len(source) // total for i in range(total)]
  # [n, c]: pixels with c of n votes, summed as integers.
  votes = sum(_read_ahead(source, indices, functools.partial(_vote_histogram, panel=panel), num_threads))
  likelihood = ordinal.thinning_matrices(panel.num_raters)[1:]  # [n, l, c]
  evidence = likelihood.sum(axis=1, keepdims=True)  # 0 only where c > n
  posterior = np.divide(likelihood, evidence, out=np.zeros_like(likelihood), where=evidence > 0)
  return np.einsum("nlc,nc->l", posterior, np.asarray(votes, np.float64)[1:])


def _vote_histogram(example: Example, *, panel: _Panel) -> np.ndarray:
  panel.check(example)
  valid = _uint8(example["rater_valid"]).astype(bool)
  votes = np.zeros(example["rater_masks"].shape[:2], np.int64)
  for r in np.flatnonzero(valid):
    votes += example["rater_masks"][..., r]
  out = np.zeros((panel.num_raters + 1, panel.num_raters + 1), np.int64)
  out[valid.sum()] = np.bincount(votes.ravel(), minlength=panel.num_raters + 1)
  return out


# Read-ahead to the device --------------------------------------------------------------------------------------------


class Prefetcher(Iterator[Any]):
  """Runs `put_fn` on the items of an iterator in a thread, at most `size` items ahead of the consumer.

  `get_state()` is the position of what was consumed, not of what was read: restored, the next item is the one that
  `next` would have returned. Close it, use it in a `with`, or let it go: the thread ends in each case.

  Attributes:
    wait_seconds: time the consumer has spent waiting for items, all told.
  """

  def __init__(self, iterator: Iterator[Any], put_fn: Callable[[Any], Any], size: int):
    if size < 1:
      raise InputError(f"prefetch needs size >= 1, got {size}.")
    self.wait_seconds = 0.0
    self._iterator, self._put_fn, self._size = iterator, put_fn, size
    self._state = _state_of(iterator)
    self._start()

  def _start(self) -> None:
    self._ready: queue.SimpleQueue = queue.SimpleQueue()
    self._slots = threading.Semaphore(self._size)
    stop = threading.Event()
    # The thread holds no reference to this object, so that letting it go ends the thread.
    args = (self._iterator, self._put_fn, self._ready, self._slots, stop)
    thread = threading.Thread(target=_produce, args=args, name="prefetch", daemon=True)
    self._finish = weakref.finalize(self, _finish, self._ready, self._slots, stop, thread)
    thread.start()

  def __next__(self) -> Any:
    start = time.perf_counter()
    item, state, error = self._ready.get()
    self.wait_seconds += time.perf_counter() - start
    if error is not None:
      self._ready.put((None, None, error))  # the thread is gone: asked again, answer again
      raise error
    self._state = state
    self._slots.release()
    return item

  def get_state(self) -> Any:
    """Returns the iterator's state after the last item that `next` returned."""
    if self._state is None:
      raise TypeError(f"{type(self._iterator).__name__} has no get_state().")
    return self._state

  def set_state(self, state: Any) -> None:
    """Goes to a position that `get_state` returned; drops what was read ahead."""
    self.close()
    self._iterator.set_state(state)  # pyright: ignore[reportAttributeAccessIssue]
    self._state = state
    self._start()

  def close(self) -> None:
    """Ends the thread after the item it is at, and the iteration."""
    self._finish()

  def __enter__(self) -> "Prefetcher":
    return self

  def __exit__(self, *exc_info: object) -> None:
    self.close()


def _state_of(iterator: Any) -> Any:
  return iterator.get_state() if hasattr(iterator, "get_state") else None


def _produce(
  iterator: Iterator[Any],
  put_fn: Callable[[Any], Any],
  ready: queue.SimpleQueue,
  slots: threading.Semaphore,
  stop: threading.Event,
) -> None:
  while True:
    slots.acquire()
    if stop.is_set():
      return
    try:
      item = put_fn(next(iterator))
      ready.put((item, _state_of(iterator), None))
    except BaseException as error:  # noqa: BLE001  (raised in the consumer, whatever it is)
      ready.put((None, None, error))
      return


def _finish(
  ready: queue.SimpleQueue, slots: threading.Semaphore, stop: threading.Event, thread: threading.Thread
) -> None:
  stop.set()
  slots.release()
  if thread is not threading.current_thread():
    thread.join()
  while not ready.empty():
    ready.get()  # what was read ahead: give its memory back
  ready.put((None, None, StopIteration()))


def prefetch(iterator: Iterator[Any], put_fn: Callable[[Any], Any], size: int) -> Prefetcher:
  """Runs `put_fn`, usually the transfer to the device, ahead of the consumer; see `Prefetcher`.

  Args:
    iterator: its `get_state` / `set_state` are used if it has them.
    put_fn: applied to each item, in order, in the thread.
    size: items kept ready.

  Returns:
    An iterator over put_fn(item).

  Raises:
    InputError: size < 1.
  """
  return Prefetcher(iterator, put_fn, size)
