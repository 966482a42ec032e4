"""Segmentation networks whose probabilities say how much the raters disagree."""

__version__ = "0.1.0"
