"""Segmentation networks whose probabilities say how much the raters disagree."""

from ordseg.errors import interrupts

__version__ = "0.1.0"

if interrupts.is_program():  # before the slow imports
  interrupts.leave_at_once()


def __getattr__(name: str) -> object:
  """Imports what stands at the front door when it is first asked for: it needs JAX, which not every program does."""
  if name == "read_out":
    from ordseg.ordinal import read_out

    return read_out
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# `python -m ordseg.predict` and its kin, from before there was one command, are modules of this folder.
__path__.append(f"{__path__[0]}/cli/aliases")
