"""``python -m ordseg.predict`` is ``ordseg predict``."""

import sys

from ordseg.cli.main import run

if __name__ == "__main__":
  run("predict", sys.argv[1:])
