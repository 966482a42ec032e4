"""``python -m ordseg.export`` is ``ordseg export``."""

import sys

from ordseg.cli.main import run

if __name__ == "__main__":
  run("export", sys.argv[1:])
