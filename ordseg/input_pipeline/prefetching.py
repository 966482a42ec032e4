"""Work ahead of the consumer in a thread, with the position of what was consumed."""

import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ordseg.errors import InputError


class Prefetcher(Iterator[Any]):
  """Runs `put_fn` on the items of an iterator in a thread, at most `size` items ahead of the consumer.

  `get_state()` is the position of what was consumed, not of what was read: from there the next item is the one that
  `next` would have returned. An exception in the thread is raised by `next`. Close it, use it in a `with`, or let it
  go: each ends the thread after the item it is at.

  Attributes:
    wait_seconds: time in all that the consumer has spent waiting for items.
  """

  def __init__(self, iterator: Iterator[object], put_fn: Callable[[Any], Any], size: int):
    if size < 1:
      raise InputError(f"prefetch needs size >= 1, got {size}.")
    self.wait_seconds = 0.0
    self._iterator, self._put_fn, self._size = iterator, put_fn, size
    self._state = _state_of(iterator)
    self._start()

  def _start(self) -> None:
    self._ready: queue.SimpleQueue = queue.SimpleQueue()  # of (item, state after it, exception)
    self._slots = threading.Semaphore(self._size)
    stop = threading.Event()
    # The thread holds no reference to this object, so that letting it go ends the thread.
    work = (self._iterator, self._put_fn, self._ready, self._slots, stop)
    thread = threading.Thread(target=_produce, args=work, name="prefetch", daemon=True)
    self._finish = weakref.finalize(self, _finish, self._ready, self._slots, stop, thread)
    thread.start()

  def __next__(self) -> Any:
    start = time.perf_counter()
    item, state, error = self._ready.get()
    self.wait_seconds += time.perf_counter() - start
    if error is not None:
      self._ready.put((None, None, error))  # the thread has ended: whoever asks again gets the same answer
      raise error
    self._state = state
    self._slots.release()
    return item

  def get_state(self) -> Any:
    """Returns the iterator's state after the last item that `next` returned.

    Raises:
      TypeError: the iterator has no `get_state`.
    """
    if not hasattr(self._iterator, "get_state"):
      raise TypeError(f"{type(self._iterator).__name__} has no get_state().")
    return self._state

  def set_state(self, state: object) -> None:
    """Goes to a position that `get_state` returned, and drops what was read ahead."""
    self.close()
    self._iterator.set_state(state)  # pyright: ignore[reportAttributeAccessIssue]
    self._state = state
    self._start()

  def close(self) -> None:
    """Ends the thread and the iteration; waits for the item at work. Calling it again does nothing."""
    self._finish()

  def __enter__(self) -> "Prefetcher":
    return self

  def __exit__(self, *exc_info: object) -> None:
    self.close()


def prefetch(iterator: Iterator[object], put_fn: Callable[[Any], Any], size: int) -> Prefetcher:
  """Runs `put_fn`, usually the transfer to the device, ahead of the consumer.

  Args:
    iterator: read by one thread; its `get_state` and `set_state` are used if it has them.
    put_fn: applied to each item, in order, in that thread.
    size: items kept ready.

  Returns:
    An iterator over put_fn(item); see `Prefetcher`.

  Raises:
    InputError: size < 1.
  """
  return Prefetcher(iterator, put_fn, size)


def _state_of(iterator: Any) -> Any:
  return iterator.get_state() if hasattr(iterator, "get_state") else None


def _produce(
  iterator: Iterator[object],
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
      del item  # or it would live until the next one is there
    except BaseException as error:  # raised again in the consumer
      ready.put((None, None, error))
      return


def _finish(
  ready: queue.SimpleQueue, slots: threading.Semaphore, stop: threading.Event, thread: threading.Thread
) -> None:
  stop.set()
  slots.release()
  if thread is not threading.current_thread():  # the garbage collector may call this from any thread
    thread.join()
  while not ready.empty():
    ready.get()  # read ahead for nobody: give its memory back
  ready.put((None, None, StopIteration()))
