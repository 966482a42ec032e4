import gc
import itertools
import threading
import time

import pytest

from ordseg import input_pipeline
from ordseg.errors import InputError


def take(iterator, num_items):
  return list(itertools.islice(iterator, num_items))


class Counter:
  """0, 1, .. stop - 1 with a state, counting what was read."""

  def __init__(self, stop=10**9):
    self.position, self.stop = 0, stop

  def __iter__(self):
    return self

  def __next__(self):
    if self.position >= self.stop:
      raise StopIteration
    self.position += 1
    return self.position - 1

  def get_state(self):
    return {"position": self.position}

  def set_state(self, state):
    self.position = state["position"]


def wait_until(condition):
  deadline = time.monotonic() + 5
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.002)


def prefetch_threads():
  return [t for t in threading.enumerate() if t.name == "prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
  yield
  wait_until(lambda: not prefetch_threads())


def test_prefetch_keeps_the_order_and_applies_put_fn_in_its_thread():
  threads = set()

  def put(x):
    threads.add(threading.current_thread().name)
    return -x

  with input_pipeline.prefetch(Counter(20), put, 3) as items:
    assert list(items) == [-i for i in range(20)]
    assert next(items, "end") == "end"
  assert threads == {"prefetch"}


@pytest.mark.parametrize("size", [1, 3])
def test_prefetch_reads_ahead_by_its_size_and_no_more(size):
  counter = Counter()
  with input_pipeline.prefetch(counter, lambda x: x, size) as items:
    for consumed in range(4):
      wait_until(lambda: counter.position == consumed + size)  # noqa: B023
      time.sleep(0.005)
      assert counter.position == consumed + size
      assert next(items) == consumed


def test_the_state_is_that_of_what_was_consumed():
  counter = Counter()
  with input_pipeline.prefetch(counter, lambda x: x, 4) as items:
    assert items.get_state() == {"position": 0}
    for k in range(3):
      assert next(items) == k
    wait_until(lambda: counter.position == 7)
    state = items.get_state()
    assert state == {"position": 3}
    take(items, 5)
    items.set_state(state)
    assert items.get_state() == state
    assert take(items, 2) == [3, 4]
  with input_pipeline.prefetch(Counter(), lambda x: x, 2) as other:
    other.set_state(state)
    assert take(other, 2) == [3, 4]


@pytest.mark.parametrize("where", ["iterator", "put_fn"])
def test_exceptions_reach_the_consumer_after_the_items_before_them(where):
  def fail_at_2(x):
    if x == 2:
      raise InputError("example x: broken")
    return x

  items, put = (map(fail_at_2, Counter()), lambda x: x) if where == "iterator" else (Counter(), fail_at_2)
  with input_pipeline.prefetch(items, put, 5) as ahead:
    assert take(ahead, 2) == [0, 1]
    for _ in range(2):
      with pytest.raises(InputError, match="example x: broken"):
        next(ahead)


def test_a_closed_prefetcher_is_at_its_end():
  items = input_pipeline.prefetch(Counter(), lambda x: x, 2)
  next(items)
  items.close()
  items.close()
  assert not prefetch_threads()
  assert list(items) == []
  assert items.get_state() == {"position": 1}


def test_closing_wakes_a_consumer_that_waits():
  release, result = threading.Event(), []

  def blocked():
    release.wait(5)
    yield 1

  items = input_pipeline.prefetch(blocked(), lambda x: x, 1)
  consumer = threading.Thread(target=lambda: result.append(list(items)))
  consumer.start()
  closer = threading.Thread(target=items.close)
  closer.start()
  release.set()
  closer.join(5)
  consumer.join(5)
  assert not consumer.is_alive()
  assert result in ([[]], [[1]])


def test_letting_a_prefetcher_go_ends_its_thread():
  items = input_pipeline.prefetch(Counter(), lambda x: x, 2)
  next(items)
  assert prefetch_threads()
  del items
  gc.collect()
  wait_until(lambda: not prefetch_threads())


def test_wait_seconds_measures_the_consumers_waiting():
  def slow(x):
    time.sleep(0.03)
    return x

  with input_pipeline.prefetch(Counter(3), slow, 1) as items:
    list(items)
    assert items.wait_seconds > 0.06
  counter = Counter()
  with input_pipeline.prefetch(counter, lambda x: x, 5) as items:
    wait_until(lambda: counter.position == 5)
    time.sleep(0.25)  # the consumer's own work is no waiting
    take(items, 5)
    assert items.wait_seconds < 0.2


def test_items_without_a_state_can_be_prefetched_but_not_saved():
  with input_pipeline.prefetch(iter([1, 2]), str, 1) as items:
    assert list(items) == ["1", "2"]
    with pytest.raises(TypeError, match="has no get_state"):
      items.get_state()


def test_prefetch_needs_room_for_one():
  with pytest.raises(InputError, match="size >= 1, got 0"):
    input_pipeline.prefetch(Counter(), lambda x: x, 0)
