import itertools
import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import default
from ordseg import input_pipeline
from ordseg.errors import InputError
from ordseg.input_pipeline import preprocess
from tests.reference import ordinal_np

SIZE = (12, 10)


def make_example(index, size=SIZE, *, channels=1, raters=3, **fields):
  """The image's largest value is its index, so a batch tells which examples it holds."""
  rng = np.random.default_rng(index)
  image = rng.uniform(0, 0.9, (*size, channels)).astype(np.float32) * index
  image[size[0] // 2, size[1] // 2] = index
  example = {
    "id": f"image {index}".encode(),
    "group": f"patient {index // 2}",
    "image": image,
    "rater_masks": (rng.random((*size, raters)) < 0.4).astype(np.uint8),
    "rater_valid": np.ones(raters, bool),
    "spacing": np.zeros(2, np.float32),
  }
  return {**example, **fields}


def make_source(num_examples, **kwargs):
  return [make_example(i, **kwargs) for i in range(num_examples)]


def make_config(*, enabled=False, num_threads=0, crop_size=SIZE):
  config = default.get_config()
  config.data.crop_size, config.data.num_threads = crop_size, num_threads
  config.preprocess.low, config.preprocess.high = -1000.0, 1000.0  # prepared = stored / 1000
  config.augment.update({"enabled": enabled, "elastic_alpha": 1.0, "elastic_sigma": 4.0, "gamma": 0.2, "noise": 0.1})
  return config


def iterator(source, *, batch_size=4, seed=0, process=(0, 1), **kwargs):
  config = make_config(**kwargs)
  return input_pipeline.train_iterator(
    source,
    data_config=config.data,
    preprocess_config=config.preprocess,
    augment_config=config.augment,
    per_process_batch_size=batch_size,
    seed=seed,
    process_index=process[0],
    process_count=process[1],
  )


def take(iterator, num_batches):
  return list(itertools.islice(iterator, num_batches))


def indices(batch):
  return np.rint(np.asarray(batch["image"]).max(axis=(1, 2, 3)) * 1000).astype(int).tolist()


def assert_equal(batches, others):
  assert len(batches) == len(others)
  for batch, other in zip(batches, others, strict=True):
    assert batch.keys() == other.keys()
    for name in batch:
      np.testing.assert_array_equal(batch[name], other[name], err_msg=name)


def global_steps(source, process_count, num_steps, states=None, **kwargs):
  """Runs every process and puts their batches together: position k * n + i is example k of process i."""
  shares = []
  for i in range(process_count):
    it = iterator(source, batch_size=12 // process_count, process=(i, process_count), **kwargs)
    if states:
      it.set_state(states[0])
    shares.append(take(it, num_steps))
  return [
    {name: np.stack([b[name] for b in step], axis=1).reshape(12, *step[0][name].shape[1:]) for name in step[0]}
    for step in zip(*shares, strict=True)
  ]


# Training ------------------------------------------------------------------------------------------------------------


def test_batches_have_the_documented_arrays():
  source = make_source(5, size=(20, 6), channels=2)
  for batch in take(iterator(source, enabled=True), 3):
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
      "image": ((4, *SIZE, 2), np.float32),
      "rater_masks": ((4, *SIZE, 3), np.uint8),
      "rater_valid": ((4, 3), np.uint8),
      "mask": ((4, *SIZE), np.uint8),
    }
    assert all(array.flags.c_contiguous for array in batch.values())
    assert 0 < batch["mask"].mean() < 1  # 6 columns of 10 are there


def test_without_augmentation_a_batch_holds_the_prepared_examples():
  source = make_source(6)
  for batch in take(iterator(source), 3):
    for k, index in enumerate(indices(batch)):
      np.testing.assert_allclose(batch["image"][k], source[index]["image"] / 1000, atol=1e-6)
      np.testing.assert_array_equal(batch["rater_masks"][k], source[index]["rater_masks"])
      np.testing.assert_array_equal(batch["mask"][k], 1)


@pytest.mark.parametrize(("num_examples", "batch_size"), [(8, 4), (7, 4), (3, 8), (1, 2)])
def test_every_epoch_visits_each_example_once(num_examples, batch_size):
  num_epochs = 2 * batch_size
  steps = take(iterator(make_source(num_examples), batch_size=batch_size), num_epochs * num_examples // batch_size)
  epochs = np.reshape([i for batch in steps for i in indices(batch)], (num_epochs, num_examples))
  np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(num_examples), (num_epochs, 1)))
  if num_examples > 2:
    assert len({tuple(e) for e in epochs}) >= 5  # a new order each time; 3 examples have 6


def test_seeds_give_other_orders_and_other_augmentations():
  source = make_source(40)
  orders = [[i for b in take(iterator(source, batch_size=40, seed=s), 1) for i in indices(b)] for s in (0, 1, 0)]
  assert orders[0] == orders[2] != orders[1]
  one = [take(iterator(make_source(1), batch_size=1, seed=s, enabled=True), 2) for s in (0, 1)]
  images = [batch["image"] for batches in one for batch in batches]
  assert all(not np.array_equal(a, b) for a, b in itertools.combinations(images, 2))


def test_no_two_examples_share_an_augmentation():
  images = [image for batch in take(iterator([make_example(1)] * 3, enabled=True), 3) for image in batch["image"]]
  assert all(not np.array_equal(a, b) for a, b in itertools.combinations(images, 2))


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("num_examples", [5, 24])
def test_the_global_batches_do_not_depend_on_the_number_of_processes(num_examples, enabled):
  source = make_source(num_examples)
  one = global_steps(source, 1, 5, enabled=enabled)
  for process_count in (2, 3):
    assert_equal(one, global_steps(source, process_count, 5, enabled=enabled))


def test_processes_share_an_uneven_set_without_losing_an_example():
  steps = global_steps(make_source(5), 3, 5)  # 60 places: 12 epochs
  counts = np.bincount([i for batch in steps for i in indices(batch)])
  np.testing.assert_array_equal(counts, [12] * 5)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_threads_change_nothing(num_threads):
  source = make_source(9)
  expected = take(iterator(source, enabled=True), 6)
  assert_equal(expected, take(iterator(source, enabled=True, num_threads=num_threads), 6))


@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize("num_done", [0, 1, 4])
def test_resuming_is_exact(num_threads, num_done):
  source = make_source(7)
  first = iterator(source, enabled=True, num_threads=num_threads)
  take(first, num_done)
  state = json.loads(json.dumps(first.get_state()))
  expected = take(first, 4)
  second = iterator(source, enabled=True, num_threads=num_threads)
  take(second, 2)  # where it stood before must not matter
  second.set_state(state)
  assert_equal(expected, take(second, 4))
  assert first.get_state() == second.get_state()


def test_training_resumes_exactly_through_prefetch():
  source = make_source(7)
  expected = take(iterator(source, enabled=True), 7)
  with input_pipeline.prefetch(iterator(source, enabled=True, num_threads=2), dict, 3) as items:
    assert_equal(expected[:4], take(items, 4))
    state = json.loads(json.dumps(items.get_state()))
  with input_pipeline.prefetch(iterator(source, enabled=True, num_threads=2), dict, 2) as items:
    items.set_state(state)
    assert_equal(expected[4:], take(items, 3))


def test_a_state_restores_under_another_number_of_processes():
  source = make_source(7)
  expected = global_steps(source, 2, 5, enabled=True)[3:]
  it = iterator(source, batch_size=6, process=(1, 2), enabled=True)
  take(it, 3)
  assert_equal(expected, global_steps(source, 3, 2, states=[it.get_state()], enabled=True))


def test_missing_raters_travel_with_their_examples():
  source = make_source(6)
  for i, example in enumerate(source):
    example["rater_valid"] = np.asarray([True, i % 2 == 0, i % 3 == 0])
  for batch in take(iterator(source), 4):
    expected = [[1, i % 2 == 0, i % 3 == 0] for i in indices(batch)]
    np.testing.assert_array_equal(batch["rater_valid"], expected)


def test_a_wrong_share_or_batch_size_is_refused():
  with pytest.raises(ValueError, match="process_index=2"):
    iterator(make_source(2), process=(2, 2))
  with pytest.raises(InputError, match=">= 1, got 0"):
    iterator(make_source(2), batch_size=0)


# What is wrong with an example ---------------------------------------------------------------------------------------

BAD = {
  "no image": ({"image": None}, r"field 'image' is missing"),
  "rank": ({"image": np.zeros(SIZE, np.uint8)}, r"image must have three axes.*\(12, 10\)"),
  "size": ({"image": np.zeros((12, 11, 1), np.uint8)}, "image has 12 x 11 pixels, rater_masks 12 x 10"),
  "channels": ({"image": np.zeros((*SIZE, 3), np.uint8)}, "image has 3 channels where the first example has 1"),
  "raters": ({"rater_masks": np.zeros((*SIZE, 4), np.uint8)}, "rater_masks has 4 channels where the first example has"),
  "nan": ({"image": np.full((*SIZE, 1), np.nan, np.float32)}, "image holds 120 values that are NaN"),
  "labels": (
    {"rater_masks": np.full((*SIZE, 3), 255, np.uint8)},
    r"rater_masks must hold integers in \{0, 1\}; got uint8 up to 255",
  ),
  "negative": ({"rater_masks": np.full((*SIZE, 3), -1, np.int8)}, r"rater_masks must hold integers in \{0, 1\}"),
  "soft masks": ({"rater_masks": np.full((*SIZE, 3), 0.5, np.float32)}, ".*got float32 up to 0.5"),
  "panel": ({"rater_valid": np.ones(2, bool)}, r"rater_valid must be 3 values in \{0, 1\}, got \[True, True\]"),
  "validity": ({"rater_valid": np.asarray([0, 1, 2])}, r"rater_valid must be 3 values in \{0, 1\}"),
}


def bad_source(name):
  source = make_source(6)
  source[4] |= BAD[name][0]
  source[4] = {k: v for k, v in source[4].items() if v is not None}
  return source


@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize("name", BAD)
def test_training_names_the_example_and_what_is_wrong(name, num_threads):
  it = iterator(bad_source(name), num_threads=num_threads)
  with pytest.raises(InputError, match=f"^example image 4: {BAD[name][1]}") as caught:
    take(it, 2)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_evaluation_names_the_example_too(name):
  batches = input_pipeline.eval_batches(
    bad_source(name), preprocess_config=make_config().preprocess, batch_size=2, num_threads=2
  )
  with pytest.raises(InputError, match=f"^example image 4: {BAD[name][1]}"):
    list(batches)


def test_an_example_without_id_is_named_by_its_number():
  source = make_source(3)
  del source[0]["id"]
  with pytest.raises(InputError, match=r"^example number 0: field 'id' is missing"):
    iterator(source)


@pytest.mark.parametrize(
  "make",
  [
    iterator,
    lambda source: next(input_pipeline.eval_batches(source, preprocess_config=make_config().preprocess, batch_size=1)),
    lambda source: input_pipeline.level_counts(source, limit=1),
  ],
)
def test_an_empty_source_is_refused(make):
  with pytest.raises(InputError, match="holds no examples"):
    make([])


# Evaluation ----------------------------------------------------------------------------------------------------------

SIZES = [(8, 6), (6, 8), (5, 5)]


def mixed_source(num_examples=11, **fields):
  return [make_example(i, SIZES[i * i % 3], **fields) for i in range(num_examples)]


def evaluate(source, **kwargs):
  kwargs = {"preprocess_config": make_config().preprocess, "batch_size": 4, **kwargs}
  return list(input_pipeline.eval_batches(source, **kwargs))


@pytest.mark.parametrize("process_count", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 20])
def test_evaluation_visits_each_example_once_and_whole(process_count, batch_size):
  source, seen = mixed_source(), []
  for i in range(process_count):
    for item in evaluate(source, batch_size=batch_size, process_index=i, process_count=process_count):
      assert len(item.ids) == len(item.groups) == item.num_real
      assert all(len(array) == batch_size for array in item.batch.values())
      for k, name in enumerate(item.ids):
        index = int(name.removeprefix("image "))
        seen.append(index)
        assert index % process_count == i
        assert item.groups[k] == f"patient {index // 2}"
        example = source[index]
        prepared = preprocess.prepare_image(example["image"], make_config().preprocess)
        np.testing.assert_array_equal(item.batch["image"][k], prepared)
        np.testing.assert_array_equal(item.batch["rater_masks"][k], example["rater_masks"])
        np.testing.assert_array_equal(item.batch["rater_valid"][k], 1)
        np.testing.assert_array_equal(item.batch["mask"][k], 1)
  assert sorted(seen) == list(range(len(source)))


def test_dummies_count_nowhere():
  source = make_source(3, level_probs=np.full((*SIZE, 4), 0.25, np.float32))
  (item,) = evaluate(source, batch_size=5)
  assert item.num_real == 3
  for name, array in item.batch.items():
    assert not array[3:].any(), name
  assert item.batch["rater_masks"].dtype == item.batch["mask"].dtype == item.batch["rater_valid"].dtype == np.uint8


def test_further_fields_travel_where_they_exist():
  probs = np.random.default_rng(0).dirichlet(np.ones(4), SIZE).astype(np.float32)
  source = [make_example(0, level_probs=probs), make_example(1)]
  items = {item.ids[0]: item.batch for item in evaluate(source)}
  np.testing.assert_array_equal(items["image 0"]["level_probs"][0], probs)
  assert "level_probs" not in items["image 1"]
  assert all("level_probs" not in item.batch for item in evaluate(source, keep=()))


def test_an_example_without_group_has_an_empty_one():
  source = make_source(1)
  del source[0]["group"]
  assert evaluate(source)[0].groups == [""]


class CountingSource:
  def __init__(self, examples):
    self.examples, self.num_read = examples, 0

  def __len__(self):
    return len(self.examples)

  def __getitem__(self, index):
    self.num_read += 1
    return self.examples[index]


@pytest.mark.parametrize("same_size", [True, False])
def test_evaluation_holds_only_a_few_examples_at_a_time(same_size):
  examples = [make_example(i, (4, 4) if same_size else (2 + i, 3), channels=1) for i in range(60)]
  source, num_seen = CountingSource(examples), 0
  for item in input_pipeline.eval_batches(
    source, preprocess_config=make_config().preprocess, batch_size=2, num_threads=2
  ):
    # One for the panel, what waits in buckets, what the threads read ahead.
    assert source.num_read - num_seen <= 1 + (4 * 2 + 1) + 2 * 2
    num_seen += item.num_real
  assert num_seen == 60


def test_evaluation_stops_reading_when_its_consumer_stops():
  source = CountingSource(make_source(50))
  batches = input_pipeline.eval_batches(source, preprocess_config=make_config().preprocess, batch_size=2)
  next(batches)
  batches.close()
  num_read = source.num_read
  assert num_read < 12
  time.sleep(0.02)
  assert source.num_read == num_read
  assert not any(t.name.startswith("read") for t in threading.enumerate())


def test_evaluation_checks_its_arguments():
  with pytest.raises(InputError, match="batch size must be >= 1, got 0"):
    evaluate(make_source(1), batch_size=0)
  with pytest.raises(ValueError, match="process_index=1"):
    evaluate(make_source(1), process_index=1)


# Level counts --------------------------------------------------------------------------------------------------------


def test_level_counts_of_full_panels_are_exact():
  source = mixed_source(raters=5)
  votes = np.concatenate([e["rater_masks"].sum(-1).ravel() for e in source])
  expected = np.bincount(votes, minlength=6)
  counts = input_pipeline.level_counts(source, limit=100)
  assert counts.dtype == np.float64
  np.testing.assert_array_equal(counts, expected)


@settings(max_examples=15, deadline=None)
@given(raters=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_level_counts_of_missing_raters_are_the_posterior(raters, seed):
  rng = np.random.default_rng(seed)
  source = make_source(4, size=(4, 4), raters=raters)
  for example in source:
    example["rater_valid"] = rng.random(raters) < 0.7
  expected, num_pixels = np.zeros(raters + 1), 0
  for example in source:
    valid = example["rater_valid"]
    if not valid.any():
      continue
    num_pixels += 16
    for c in example["rater_masks"][..., valid].sum(-1).ravel():
      likelihood = np.asarray([ordinal_np.thin(level, valid.sum())[c] for level in np.eye(raters + 1)])
      expected += likelihood / likelihood.sum()
  counts = input_pipeline.level_counts(source, limit=10)
  np.testing.assert_allclose(counts, expected, atol=1e-9)
  assert counts.sum() == pytest.approx(num_pixels)


def test_level_counts_read_evenly_spaced_examples_up_to_the_limit():
  source = CountingSource(make_source(10))
  counts = input_pipeline.level_counts(source, limit=4)
  assert source.num_read == 1 + 4
  np.testing.assert_array_equal(
    counts, input_pipeline.level_counts([source.examples[i] for i in (0, 2, 5, 7)], limit=9)
  )
  with pytest.raises(InputError, match="limit >= 1"):
    input_pipeline.level_counts(source, limit=0)
