"""Segmentation networks whose probabilities say how much the raters disagree."""

from ordseg.errors import interrupts

__version__ = "0.1.0"

if interrupts.is_program():  # before the slow imports
  interrupts.leave_at_once()

# `python -m ordseg.predict` and its kin, from before there was one command, are modules of this folder.
__path__.append(f"{__path__[0]}/cli/aliases")
