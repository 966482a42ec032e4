"""``python -m ordseg.card`` is ``ordseg card``."""

import sys

from ordseg.cli.main import run

if __name__ == "__main__":
  run("card", sys.argv[1:])
