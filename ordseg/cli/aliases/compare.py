"""``python -m ordseg.compare`` is ``ordseg compare``."""

import sys

from ordseg.cli.main import run

if __name__ == "__main__":
  run("compare", sys.argv[1:])
