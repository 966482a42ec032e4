"""``python -m ordseg.doctor`` is ``ordseg check``."""

import sys

from ordseg.cli.main import run

if __name__ == "__main__":
  run("check", sys.argv[1:])
