"""``python -m ordseg.compare`` is ``ordseg compare``."""

from ordseg.cli.compare import main

__all__ = ["main"]

if __name__ == "__main__":
  main()
