"""``python -m ordseg.report`` is ``ordseg report``."""

import sys

from ordseg.cli.main import run

if __name__ == "__main__":
  run("report", sys.argv[1:])
