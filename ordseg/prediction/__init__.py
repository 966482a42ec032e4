"""Prediction from a trained workdir: of arrays (`load`), and of a user's own files as maps in the image's geometry.

``ordseg predict``; docs/predict.md. Needs neither TFDS nor the repository.
"""

from ordseg.prediction.files import OutputOptions, predict_file, predict_files
from ordseg.prediction.inputs import find_inputs
from ordseg.prediction.predictor import PredictOptions, Predictor, load

__all__ = ["OutputOptions", "PredictOptions", "Predictor", "find_inputs", "load", "predict_file", "predict_files"]
