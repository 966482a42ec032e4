"""``ordseg recalibrate``: fits a recalibration map to the votes of a validation split; kept beside the checkpoint."""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ordseg import errors, files, input_pipeline, ordinal, recalibration, records, run_record
from ordseg.cli import data_sets, flags
from ordseg.config import Parallel
from ordseg.errors import InputError, check_choice
from ordseg.evaluation import from_config
from ordseg.models import sliding_window
from ordseg.models.ensembles import LevelPredictFn
from ordseg.prediction import predictor as predictors
from ordseg.prediction.predictor import PredictOptions, Predictor
from ordseg.progress import Progress
from ordseg.recalibration import METHODS, Check, Fit, Judgement, Sample, Sampler
from ordseg.training import parallel

_PIXELS = 1_000_000  # drawn to fit on, about, unless --pixels_per_image says otherwise
_MOST_PER_IMAGE = 1 << 16


def fit_run(
  workdirs: Sequence[str | pathlib.Path],
  options: PredictOptions,
  *,
  method: str,
  loss: str,
  source: input_pipeline.Source,
  split: str,
  data_info: Mapping[str, object],
  pixels_per_image: int = 0,
  seed: int = 0,
  read_out: str = "mean_vote",
  always: bool = False,
) -> tuple[pathlib.Path, dict[str, Any]]:
  """Predicts a split, fits a map to its votes, and writes ``<first workdir>/recalibration/<method>.json``.

  Args:
    workdirs: The folder of each run.
    options: What the runs predict with; anything but the plain way is added to the file's name.
    method: a key of `recalibration.METHODS`, or ``auto``: the best of those that suit the predictions.
    loss: one of `recalibration.LOSSES`.
    source: the examples of `split`.
    split: The name of that split.
    data_info: Name, version and fingerprint of the data set that `source` belongs to.
    pixels_per_image: drawn of each image to fit on, and as many to check with; 0: a million from all images together.
    seed: Seed of the draw of pixels.
    read_out: The read-out by which a map is judged, ``mean_vote`` or ``majority``.
    always: keep the map of `method` whatever cross-validation says.

  Returns:
    The file, and its content; ``method`` is ``none`` there where no map beat the predictions as they are.

  Raises:
    InputError: no votes, another data set than the run was trained on, or what `predictor.load` and
      `recalibration.fit_sample` say. Nothing is written then.
  """
  _check_arguments(method, loss, read_out, always)
  if pixels_per_image < 0:
    raise InputError(f"--pixels_per_image={pixels_per_image} must be >= 0.")
  predictor = predictors.load(workdirs, options.uncalibrated())
  data_sets.check_same(predictor.run, data_info)
  errors.check_writable(predictor.run.workdir / "recalibration")
  if predictor.run.panel.num_classes > 1:
    raise InputError(f"{predictor.run.workdir} segments several structures; a recalibration map is of one.")
  size = pixels_per_image or min(max(_PIXELS // max(len(source), 1), 64), _MOST_PER_IMAGE)
  sampler = Sampler(size, seed)
  _draw(predictor, source, sampler, split)
  sample, others = sampler.samples()
  if sample is None:
    raise InputError(f"--split={split}: no pixel has a vote, so there is nothing to fit to.")
  methods = _suitable(sample) if method == recalibration.AUTO else [method]
  judged = recalibration.judge(methods, sample, loss=loss, read_out=read_out, seed=seed)
  if judged is None and method == recalibration.AUTO:
    raise InputError("--method=auto needs pixels of two images (or groups) at least, to leave one out; name a method.")
  best = method if judged is None or method != recalibration.AUTO else _best(judged)
  found = recalibration.fit_sample(best, sample, loss=loss)
  kept = best if always or judged is None else judged.kept
  if kept == recalibration.NONE:
    nothing = recalibration.Recalibration(recalibration.NONE, sample.num_raters, {})
    found = dataclasses.replace(found, recalibration=nothing, after=found.before, converged=True, at_bounds=())
  content = {
    **found.recalibration.plain(),
    "asked": method,
    "judged": None if judged is None else dataclasses.asdict(judged),
    "fitted": {
      **_origin(predictor, workdirs, options, split, data_info),
      "num_images": sampler.num_images,
      "num_pixels": sampler.num_pixels,
      "pixels_per_image": size,
      "seed": seed,
      "share_of_votes": float(sample.weight @ (sample.votes / sample.num_valid) / sample.weight.sum()),
      **_scores(found, sample, recalibration.check(found, others) if others is not None else None, others),
      "versions": run_record.versions(),
    },
  }
  path = predictors.recalibration_path(predictor.run.workdir, method, options, len(workdirs))
  path.parent.mkdir(parents=True, exist_ok=True)
  files.sweep(path.parent)
  records.write_json(path, content)
  return path, content


def _origin(
  predictor: Predictor,
  workdirs: Sequence[str | pathlib.Path],
  options: PredictOptions,
  split: str,
  data_info: Mapping[str, object],
) -> dict[str, Any]:
  """Returns what a map was fitted on: the runs, how they predict, and the data."""
  return {
    "workdirs": [str(workdir) for workdir in workdirs],
    "steps": list(predictor.steps),
    "checkpoints": list(predictor.checkpoints),
    "flips": options.flips,
    "dropout_samples": options.dropout_samples,
    "split": split,
    "data": {key: data_info.get(key) for key in ("builder", "config", "version", "fingerprint")},
  }


def _check_arguments(method: str, loss: str, read_out: str, always: bool) -> None:
  check_choice(method, (*METHODS, recalibration.AUTO), field="--method")
  check_choice(loss, recalibration.LOSSES, field="--loss")
  check_choice(read_out, ordinal.READ_OUTS, field="--read_out")
  if always and method == recalibration.AUTO:
    raise InputError("--always keeps the map of one method; with --method=auto there is none to keep.")


def _suitable(sample: Sample) -> list[str]:
  """Names the methods that can be fitted to these predictions."""
  every = recalibration.has_every_level(sample)
  return [name for name, line in METHODS.items() if every or not line.needs_levels]


def _best(judged: Judgement) -> str:
  """The method with the lowest Brier score, kept or not."""
  return min((name for name in judged.scores if name != recalibration.NONE), key=lambda name: judged.scores[name].brier)


def _draw(predictor: Predictor, source: input_pipeline.Source, sampler: Sampler, split: str) -> None:
  """Predicts the images of a split and draws from each."""
  config = predictor.run.config
  log_probs_of = _windowed(predictor, from_config.windows(config))
  region, progress = from_config.options(config.eval)["region"], Progress(split, "images", len(source))
  done = 0
  for item in input_pipeline.eval_batches(
    source, preprocess_config=config.preprocess, batch_size=config.eval.batch_size, keep=()
  ):
    log_probs = log_probs_of(np.asarray(item.batch["image"]))
    batch = {name: np.asarray(x) for name, x in region.restrict(item.batch).items()}
    for k, (name, group) in enumerate(zip(item.ids, item.groups, strict=True)):
      votes = (batch["rater_masks"][k], batch["rater_valid"][k], batch["mask"][k])
      sampler.add(log_probs[k], *votes, name=name, group=group)
    done += item.num_real
    progress(done)


def _windowed(predictor: Predictor, windows: sliding_window.Windows) -> LevelPredictFn:
  """Log-probabilities of images of any size: where windows overlap, of the average that the user will see."""
  average = sliding_window.windowed(predictor.predict, windows)

  def predict(images: np.ndarray) -> np.ndarray:
    if windows.hold(images.shape[1:-1]):
      return predictor.log_predict(images)
    return predictors.safe_log(average(images))

  return predict


def _scores(found: Fit, sample: Sample, checked: Check | None, others: Sample | None) -> dict[str, Any]:
  out: dict[str, Any] = {
    "loss": found.loss,
    "per": "vote" if found.by_vote else "pixel",
    "pixels": len(sample),
    "before": found.before,
    "after": found.after,
    "converged": found.converged,
    "at_bounds": list(found.at_bounds),
    "ruled_out": found.ruled_out,
    "check": None,
  }
  if checked is not None and others is not None:
    errors = {"error_pixels": checked.error_pixels, "error_images": checked.error_images}
    out["check"] = {"pixels": len(others), "before": checked.before, "after": checked.after, **errors}
  return out


def summary(content: Mapping[str, Any]) -> list[str]:
  """Returns what a fit found, and what to beware of, as lines of text."""
  fitted, check = content["fitted"], content["fitted"]["check"]
  parameters = {name: values for name, values in content["parameters"].items() if len(values) <= 12}
  shown = ", ".join(f"{name} {' '.join(f'{x:.4g}' for x in values)}" for name, values in parameters.items())
  if content["method"] == recalibration.NONE:
    shown = f"no map is kept of {content['asked']}"
  lines = [
    f"{content['method']}: {shown or str(len(content['parameters']['logit'])) + ' knots'}",
    f"{fitted['num_images']} images of {fitted['split']}, {fitted['pixels']:,} of {fitted['num_pixels']:,} pixels",
    f"{fitted['loss']} per {fitted['per']}: {fitted['before']:.6f} before, {fitted['after']:.6f} after",
  ]
  if check is not None:
    gain, spread = check["before"] - check["after"], check["error_images"]
    by_image = f", {spread:.1g} over the images" if spread is not None else ", unknown over images (there is one)"
    lines.append(
      f"on {check['pixels']:,} other pixels: {check['before']:.6f} before, {check['after']:.6f} after; "
      f"gain {gain:.2g}, its standard error {check['error_pixels']:.1g} from drawing pixels{by_image}"
    )
  lines += _judgement(content)
  return lines + [f"warning: {text}" for text in warnings(content)]


def _judgement(content: Mapping[str, Any]) -> list[str]:
  """The lines of the cross-validation."""
  judged = content["judged"]
  if judged is None:
    return []
  name = "MR-ECE" if judged["read_out"] == "mean_vote" else "ECE"
  scores = "; ".join(
    f"{'as predicted' if method == recalibration.NONE else method} {score['brier']:.5f}, {score['ece']:.5f}"
    for method, score in judged["scores"].items()
  )
  return [f"{judged['read_out']} on images left out ({judged['folds']} folds), Brier score and {name}: {scores}"]


def warnings(content: Mapping[str, Any]) -> list[str]:
  """Returns what a user should know before trusting a fit."""
  fitted, check, notes = content["fitted"], content["fitted"]["check"], []
  if fitted["split"].split("[")[0] != "validation":
    notes.append(f"fitted on {fitted['split']}: scores on those images no longer say how the map does on new ones")
  if not fitted["converged"]:
    notes.append("the search ended before its slope was flat; try another --loss or more --pixels_per_image")
  if fitted["at_bounds"]:
    notes.append(f"at a bound: {', '.join(fitted['at_bounds'])}. These votes do not limit the map; use more images")
  if fitted["ruled_out"]:
    notes.append(f"{fitted['ruled_out']:.2%} of the pixels have votes that the predictions call impossible; left out")
  if fitted["share_of_votes"] in (0.0, 1.0):
    notes.append("all votes are the same: the map only learns to say so everywhere")
  if content["judged"] is None:
    notes.append("one image or group alone: whether the map helps on others could not be judged")
  elif content["method"] == recalibration.NONE:
    return [
      *notes,
      "nothing beat the predictions as they are on images left out, so they stay (--always keeps the map)",
    ]
  elif content["judged"]["kept"] == recalibration.NONE:
    notes.append("on images left out it did not beat the predictions as they are; it is kept because of --always")
  if fitted["after"] >= fitted["before"] * (1 - 1e-6):
    notes.append("nothing was gained: the predictions are as good without the map")
  elif check is not None and check["before"] - check["after"] < 2 * (check["error_images"] or check["error_pixels"]):
    notes.append("the gain on other pixels is less than twice its standard error: more images may say otherwise")
  return notes


def run(args: argparse.Namespace, clone: pathlib.Path | None = None) -> None:
  """Fits; exits with status 2 and one line where something is wrong."""
  with errors.one_line_errors():
    _check_arguments(args.method, args.loss, args.read_out, args.always)
    workdirs = args.workdir
    first = predictors.load_run(workdirs[0])
    package = data_sets.builders(clone)
    parallel.setup(Parallel())
    builder = data_sets.open_builder(package, first, data_dir=args.data_dir, manual_dir=args.manual_dir)
    path, content = fit_run(
      workdirs,
      PredictOptions(args.step, args.flips, args.dropout_samples),
      method=args.method,
      loss=args.loss,
      source=package.data_source(builder, args.split),
      split=args.split,
      data_info=package.info(builder),
      pixels_per_image=args.pixels_per_image,
      seed=args.seed,
      read_out=args.read_out,
      always=args.always,
    )
  print("\n".join(summary(content)))
  print(f"{path}: use it with --recalibration={args.method} of ordseg evaluate, predict and export")


def main(argv: Sequence[str] | None = None) -> None:
  """The program with its own flags."""
  run(flags.parse("recalibrate", sys.argv[1:] if argv is None else argv))
