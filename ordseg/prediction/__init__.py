"""Prediction of a user's own files: calibrated maps in the geometry of the image, from a trained workdir.

``ordseg predict``; docs/predict.md. Needs neither TFDS nor the repository.
"""

from ordseg.prediction.files import Options, predict_file, predict_files
from ordseg.prediction.inputs import find_inputs

__all__ = ["Options", "find_inputs", "predict_file", "predict_files"]
