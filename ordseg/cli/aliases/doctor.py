"""``python -m ordseg.doctor`` is ``ordseg check``."""

from ordseg.cli.check import main

__all__ = ["main"]

if __name__ == "__main__":
  main()
