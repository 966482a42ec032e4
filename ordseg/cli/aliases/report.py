"""``python -m ordseg.report`` is ``ordseg report``."""

from ordseg.cli.report import main

__all__ = ["main"]

if __name__ == "__main__":
  main()
