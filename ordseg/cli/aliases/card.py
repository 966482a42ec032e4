"""``python -m ordseg.card`` is ``ordseg card``."""

from ordseg.cli.card import main

__all__ = ["main"]

if __name__ == "__main__":
  main()
