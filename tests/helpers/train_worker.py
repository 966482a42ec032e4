"""Trains the tiny config in a process of its own: python -m tests.helpers.train_worker WORKDIR [section.field=value ...]"""

import ast
import sys

from ordseg import parallel, validate
from tests.helpers import training


def main() -> None:
  workdir, *changes = sys.argv[1:]
  config = training.tiny_config()
  for change in changes:
    path, _, text = change.partition("=")
    section, field = path.split(".")
    config[section][field] = ast.literal_eval(text)
  with validate.one_line_errors():
    parallel.setup(config.parallel.distributed)
    training.train_tiny(workdir, config)


if __name__ == "__main__":
  main()
