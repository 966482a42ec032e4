"""Exports a trained run as one file that runs without this package: a JAX artefact, or ONNX (`ordseg.cli.export`).

Both map prepared images [B, H, W, C] float32 to the probabilities of 0..R votes [B, H, W, R + 1]; metadata.json beside
them says how images are prepared and what the outputs mean (docs/export.md).
"""

import importlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ordseg import files, models, ordinal, records, run_record
from ordseg.errors import InputError
from ordseg.prediction import predictor
from ordseg.prediction.predictor import TrainedRun
from ordseg.training import loop
from ordseg.types import Array

FORMATS = ("jax", "onnx")
_FILES = {"jax": "model.jax", "onnx": "model.onnx"}
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
TOLERANCE = 1e-4
AXES = ("depth", "height", "width")


def level_probs_fn(
  run: TrainedRun, step: str | int, recalibration: str = ""
) -> tuple[Callable[[Array], Array], int, dict[str, Any] | None]:
  """Returns (images [B, H, W, C] -> level_probs [B, H, W, L]) with the parameters and the recalibration map inside.

  The others are the checkpoint's step, and the content of the map's file, None without one.
  """
  with loop.open_checkpoints(run.config, run.workdir) as checkpoints:
    params, found_step = checkpoints.restore_eval_params(step)
  predictor.check_fits(params, run)
  model = run.level_model()
  recalibrate, content = None, None
  if recalibration:
    options = predictor.PredictOptions(found_step, recalibration=recalibration)
    checkpoints = [predictor.digest(params)]
    recalibrate, content = predictor.find_recalibration([run], options, steps=[found_step], checkpoints=checkpoints)

  def predict(images: Array) -> Array:
    log_probs = model.log_level_probs(params, images)
    return jnp.exp(log_probs if recalibrate is None else recalibrate(log_probs))

  return predict, found_step, content


def metadata(run: TrainedRun, step: int, recalibration: Mapping[str, object] | None = None) -> dict[str, Any]:
  """Returns what a user of the exported file must know, ready for JSON; `recalibration` is the content of its file."""
  names = [*ordinal.READ_OUTS, *(f"at_least_{j}" for j in range(1, run.panel.num_raters + 1))]
  axes = ["batch", *AXES[-run.panel.num_axes :]]
  classes = [run.panel.num_classes] if run.panel.num_classes > 1 else []
  return {
    "input": {
      "shape": [*axes, run.panel.num_channels],
      "dtype": "float32",
      "multiples_of": dict(zip(axes[1:], models.size_multiples(run.config.model), strict=True)),
      "preprocess": run_record.plain(run.config.preprocess),
      "trained_on": dict(run.image_info),
    },
    "output": {
      "shape": [*axes, *classes, run.panel.num_raters + 1],
      "classes": [name for name in run.class_names if name],
      "meaning": f"probability that 0, 1, .., {run.panel.num_raters} of {run.panel.num_raters} raters mark the pixel",
      "read_outs": {name: ordinal.read_out_weights(name, run.panel.num_raters).tolist() for name in names},
    },
    "model": {
      "head": run.config.model.head,
      "network": run.config.model.name,
      "loss": run.config.loss.name,
      "step": step,
    },
    "recalibration": None if recalibration is None else _without_paths(recalibration),
    "data": dict(run.data_info),
    "versions": run_record.versions(),
    "intended_use": "Research. Not for clinical use.",
  }


def _without_paths(recalibration: Mapping[str, Any]) -> dict[str, Any]:
  """A map's file without the folders of the machine it was fitted on."""
  fitted = {key: value for key, value in recalibration["fitted"].items() if key != "workdirs"}
  return {**{key: value for key, value in recalibration.items() if key != "file"}, "fitted": fitted}


def export_run(
  run: TrainedRun,
  out_dir: pathlib.Path,
  *,
  file_format: str,
  step: str | int,
  size: tuple[int, ...],
  recalibration: str = "",
) -> pathlib.Path:
  """Writes the model and metadata.json; both are checked against the run on a random image first.

  Args:
    run: The trained run, as `predictor.load_run` returns it.
    out_dir: made if missing.
    file_format: ``jax`` (any batch; any multiples of `models.size_multiples`) or ``onnx`` (any batch, one size).
    step: a checkpoint's step, 'best' or 'last'.
    size: H and W, or D, H and W, of the ONNX model.
    recalibration: a method fitted for this run, or the path of its file; it becomes part of the model.

  Returns:
    The model's path.

  Raises:
    InputError: no such checkpoint, a size the network cannot halve, a missing converter, or an export that does not
      reproduce the run to 1e-4.
  """
  multiples = models.size_multiples(run.config.model)
  if len(size) != run.panel.num_axes or any(n < m or n % m for n, m in zip(size, multiples, strict=True)):
    raise InputError(
      f"--size={','.join(map(str, size))} must be {','.join(AXES[-run.panel.num_axes :])}: multiples of"
      f" {','.join(map(str, multiples))}, which this network halves."
    )
  predict, found_step, content = level_probs_fn(run, step, recalibration)
  image = np.random.default_rng(0).uniform(-1, 1, (2, *size, run.panel.num_channels)).astype(np.float32)
  want = np.asarray(jax.jit(predict)(image))
  about = metadata(run, found_step, content)
  if file_format == "jax":
    artefact = _to_jax(predict, run.panel.num_channels, multiples)
    found = np.asarray(jax.export.deserialize(bytearray(artefact)).call(image))
  else:
    artefact = _to_onnx(predict, (*size, run.panel.num_channels), about)
    found = _run_onnx(artefact, image)
  error = float(np.abs(found - want).max())
  if error > TOLERANCE:
    raise InputError(f"{run.workdir}: the exported model differs from the run by {error:.1e}; nothing was written.")
  out_dir.mkdir(parents=True, exist_ok=True)
  path = out_dir / _FILES[file_format]
  files.sweep(out_dir)
  files.write_bytes(path, artefact)
  records.write_json(out_dir / "metadata.json", {**about, "largest_difference_from_the_run": error})
  return path


def _to_jax(predict: Callable[[Array], Array], num_channels: int, multiples: tuple[int, ...]) -> bytes:
  names = [axis[0] for axis in AXES[-len(multiples) :]]
  axes = [f"{multiple}*{name}" if multiple > 1 else name for multiple, name in zip(multiples, names, strict=True)]
  shape = jax.export.symbolic_shape(f"b, {', '.join(axes)}, {num_channels}")
  argument = jax.ShapeDtypeStruct(shape, jnp.float32)
  return bytes(jax.export.export(jax.jit(predict), platforms=_PLATFORMS)(argument).serialize())


def _to_onnx(predict: Callable[[Array], Array], shape: tuple[int, ...], about: dict[str, Any]) -> bytes:
  model: Any = _optional("jax2onnx").to_onnx(predict, [("batch", *shape)], model_name="ordseg")
  entry = model.metadata_props.add()
  entry.key, entry.value = "ordseg", json.dumps(about)
  return model.SerializeToString()


def _optional(name: str) -> Any:
  """Imports a package of the extra ``onnx``."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise InputError(f"--format=onnx needs the package {name}: pip install 'ordseg[onnx]'.") from error


def _run_onnx(content: bytes, image: np.ndarray) -> np.ndarray:
  session = _optional("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
  return np.asarray(session.run(None, {session.get_inputs()[0].name: image})[0])
