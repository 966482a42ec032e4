"""Trains the tiny config: python -m tests.helpers.train_worker WORKDIR [section.field=value ...]"""

import ast
import sys

import numpy as np

from ordseg import errors
from ordseg.config import Parallel
from ordseg.training import parallel
from tests.helpers import training


def check_gathering() -> None:
  """Asserts what only several processes can show."""
  me, count = parallel.process_index(), parallel.process_count()
  ragged = {"sum": np.full((me + 1, 2), 2**40 + me), "id": np.asarray([f"{me}"] * (me + 1)), "x": np.full(me, 0.1)}
  got = parallel.gather_across_processes(ragged)
  wanted = [i for i in range(count) for _ in range(i + 1)]
  assert got["sum"].dtype == np.int64 and got["sum"][:, 1].tolist() == [2**40 + i for i in wanted]
  assert got["id"].tolist() == [str(i) for i in wanted]
  assert got["x"].tolist() == [0.1] * sum(range(count))  # as float64: float32 has no 0.1
  assert parallel.any_process(me == 1) and not parallel.any_process(False)
  calls = []
  parallel.first_process_first(lambda: calls.append(me))
  assert calls == [me]
  try:
    parallel.first_process_first(lambda: 1 // 0 if me == 0 else calls.append("too far"))
  except ZeroDivisionError:
    assert me == 0
  except errors.InputError as error:
    assert me != 0 and "first process stopped" in str(error)
  else:
    raise AssertionError("the first process failed and nobody said so")
  assert calls == [me]


def main() -> None:
  workdir, *changes = sys.argv[1:]
  config = training.tiny_config()
  for change in changes:
    path, _, text = change.partition("=")
    section, field = path.split(".")
    config[section][field] = ast.literal_eval(text)
  with errors.one_line_errors():
    parallel.setup(Parallel(**config.parallel))
    if parallel.process_count() > 1:
      check_gathering()
    training.train_tiny(workdir, config)


if __name__ == "__main__":
  main()
