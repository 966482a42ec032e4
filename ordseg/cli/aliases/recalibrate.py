"""``python -m ordseg.recalibrate`` is ``ordseg recalibrate``."""

from ordseg.cli.recalibrate import main

__all__ = ["main"]

if __name__ == "__main__":
  main()
