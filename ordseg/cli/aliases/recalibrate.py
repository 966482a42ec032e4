"""``python -m ordseg.recalibrate`` is ``ordseg recalibrate``."""

import sys

from ordseg.cli.main import run

if __name__ == "__main__":
  run("recalibrate", sys.argv[1:])
