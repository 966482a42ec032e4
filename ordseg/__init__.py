"""Segmentation networks whose probabilities say how much the raters disagree."""

from ordseg import interrupts

__version__ = "0.1.0"

if interrupts.is_program():  # before the slow imports
  interrupts.leave_at_once()
