"""``python -m ordseg`` is ``ordseg``."""

from ordseg.cli.main import main

if __name__ == "__main__":
  main()
