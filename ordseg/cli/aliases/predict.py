"""``python -m ordseg.predict`` is ``ordseg predict``."""

from ordseg.cli.predict import main

__all__ = ["main"]

if __name__ == "__main__":
  main()
