"""``python -m ordseg.export`` is ``ordseg export``."""

from ordseg.cli.export import main

__all__ = ["main"]

if __name__ == "__main__":
  main()
