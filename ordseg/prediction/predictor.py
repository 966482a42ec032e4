"""From the workdirs of one or several runs to one function that predicts images."""

import dataclasses
import functools
import hashlib
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ordseg
from ordseg import models, recalibration, rng, run_record
from ordseg.config import Config
from ordseg.errors import InputError, check_choice
from ordseg.evaluation import from_config
from ordseg.heads import LOG_ZERO
from ordseg.input_pipeline import preprocess
from ordseg.models import LevelModel, ensembles, sliding_window
from ordseg.models.ensembles import LevelPredictFn
from ordseg.recalibration import Recalibration
from ordseg.training import loop, parallel
from ordseg.types import Array, Panel, Params, PRNGKey


@dataclasses.dataclass(frozen=True)
class TrainedRun:
  """What a workdir's config.json says.

  Attributes:
    workdir: folder of the run.
    config: the resolved config it was trained with.
    panel: sizes of the examples.
    image_info: 'dtype' and 'spacing' in mm along (D,) H, W of a training image.
    data_info: name, version and fingerprint of the data set.
    versions: of the packages it was trained with.
  """

  workdir: pathlib.Path
  config: Config
  panel: Panel
  image_info: Mapping[str, Any]
  data_info: Mapping[str, Any]
  versions: Mapping[str, str]

  @property
  def class_names(self) -> list[str]:
    """One per class; [''] where there is one."""
    if self.panel.num_classes == 1:
      return [""]
    return list(self.data_info.get("classes") or [f"class_{k + 1}" for k in range(self.panel.num_classes)])

  def level_model(self) -> LevelModel:
    """Returns the run's network, without its parameters."""
    return models.build(self.config.model, self.panel)


def load_run(workdir: str | pathlib.Path) -> TrainedRun:
  """Reads config.json.

  Raises:
    InputError: the folder holds no run, or one of a newer version of ordseg.
  """
  info = run_record.read(workdir)
  made = info["versions"].get("ordseg", "0")
  if _numbers(made) > _numbers(ordseg.__version__):
    raise InputError(f"{workdir} was made by ordseg {made}; this is {ordseg.__version__}. Update it.")
  return TrainedRun(
    workdir=pathlib.Path(workdir),
    config=info["config"],
    panel=Panel(
      num_channels=info["num_channels"],
      num_raters=info["num_raters"],
      num_axes=models.num_axes(info["config"].model),
      num_classes=info.get("num_classes", 1),
    ),
    image_info=info.get("image", {}),
    data_info=info["data"],
    versions=info["versions"],
  )


def _numbers(version: str) -> list[int]:
  return [int(number) for number in re.findall(r"\d+", version)[:3]]


@dataclasses.dataclass(frozen=True)
class PredictOptions:
  """What is predicted with.

  Attributes:
    step: a checkpoint's step, 'best' or 'last'.
    flips: average over the mirror images.
    dropout_samples: passes with dropout active to average over; 0 is the usual pass without.
    recalibration: a method that was fitted for these runs, or the path of its file; '' leaves predictions as they are.
  """

  step: str | int = "best"
  flips: bool = False
  dropout_samples: int = 0
  recalibration: str = ""

  def label(self, num_runs: int = 1) -> str:
    """Returns what tells the results from the plain ones in the name of a folder: '', '-flips', '-temperature', .."""
    parts = [f"ensemble{num_runs}" * (num_runs > 1), "flips" * self.flips]
    parts.append(f"dropout{self.dropout_samples}" * (self.dropout_samples > 0))
    parts.append(pathlib.Path(self.recalibration).stem)
    return "".join(f"-{part}" for part in parts if part)

  def uncalibrated(self) -> "PredictOptions":
    """Returns the same without recalibration."""
    return dataclasses.replace(self, recalibration="")


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A trained run, or several as an ensemble, ready to predict: call it with an image as it is stored.

  Attributes:
    predict: (prepared images [B, H, W, C] float32) -> level_probs [B, H, W, L] float32; see `LevelModel.level_probs`.
    run: the first of the runs: its config's preprocess section prepares the images.
    steps: of the checkpoints.
    log_predict: images -> log_level_probs, before any recalibration.
    checkpoints: hexadecimal digests of the parameters, by which a recalibration knows what it was fitted on.
    recalibration: content of its file, with ``file``; None without.
  """

  predict: LevelPredictFn
  run: TrainedRun
  steps: tuple[int, ...]
  log_predict: LevelPredictFn
  checkpoints: tuple[str, ...]
  recalibration: Mapping[str, Any] | None = None

  def __call__(self, image: np.ndarray) -> np.ndarray:
    """Predicts one image as an evaluation would: prepared as in training, in the windows of ``config.eval``.

    Args:
      image: [H, W, C], or [D, H, W, C] where the run is of volumes, with the intensities of the training's files; the
        axis of one channel may be left out. Any integers or finite floats.

    Returns:
      Level probabilities [H, W, L] or [D, H, W, L] float32, which sum to 1; `ordinal.read_out` reads them. With several
      classes there is an axis for them before L, in the order of `TrainedRun.class_names`.

    Raises:
      InputError: another number of axes or channels than the run was trained on, an empty image, or values that are no
        finite numbers.
    """
    panel, image = self.run.panel, np.asarray(image)
    channels = image if image.ndim > panel.num_axes else image[..., None]
    if channels.ndim != panel.num_axes + 1 or channels.shape[-1] != panel.num_channels:
      axes = f"[{'D, ' * (panel.num_axes == 3)}H, W, {panel.num_channels}]"
      raise InputError(f"image of shape {image.shape}: the run in {self.run.workdir} takes {axes}.")
    prepared = preprocess.prepare_image(channels, self.run.config.preprocess)
    windows = from_config.windows(self.run.config)
    return sliding_window.windowed(self.predict, windows)(prepared[None])[0]


def load(
  workdirs: str | pathlib.Path | Sequence[str | pathlib.Path], options: PredictOptions | None = None
) -> Predictor:
  """Loads one run, or several as an ensemble.

    from ordseg import prediction, read_out

    predictor = prediction.load("runs/mine")
    level_probs = predictor(image)  # [H, W, L]: how likely 0, 1, .., R raters are to mark each pixel
    share = read_out(level_probs, "mean_vote")  # [H, W]

  Runs that were each trained on one rater, all of the panel, are combined into the distribution of that panel's votes;
  others into the mean of their distributions (`ensembles`).

  A recalibration is applied to what all of them say together.

  Args:
    workdirs: The folder of one run, or of several.
    options: The checkpoint and what is applied to it; by default the best checkpoint, as it is.

  Raises:
    InputError: no run, no such checkpoint, runs on different data or with different preprocessing, dropout samples of
      a network without dropout, or a recalibration that was fitted on something else.
  """
  options = options or PredictOptions()
  runs = [load_run(workdir) for workdir in ([workdirs] if isinstance(workdirs, str | pathlib.Path) else workdirs)]
  for run in runs[1:]:
    _check_same(runs[0], run)
  members = [_load_member(run, options) for run in runs]
  raters = [run.config.data.raters for run in runs]
  is_panel = ensembles.check_panel(raters, runs[0].panel.num_raters)
  fns = [member.predict for member in members]
  predict = ensembles.panel(fns) if is_panel else ensembles.average(fns) if len(fns) > 1 else fns[0]
  if options.flips:
    predict = ensembles.with_flips(predict)
  # One network says itself what log p is. Of an average only p is known, and log p of what float32 holds: below 1e-38 a
  # level counts as impossible, as it does for every read-out.
  exact = members[0].log_predict if len(runs) == 1 and not options.flips else None
  out = Predictor(
    predict=predict,
    run=runs[0],
    steps=tuple(member.step for member in members),
    log_predict=exact or (lambda images: safe_log(predict(images))),
    checkpoints=tuple(member.digest for member in members),
  )
  return recalibrated(out, runs, options) if options.recalibration else out


def recalibrated(predictor: Predictor, runs: Sequence[TrainedRun], options: PredictOptions) -> Predictor:
  """Returns a predictor whose `predict` goes through the map that `options` names."""
  found, content = find_recalibration(runs, options, steps=predictor.steps, checkpoints=predictor.checkpoints)
  apply = jax.jit(lambda log_probs: jnp.exp(found(log_probs)))
  return dataclasses.replace(
    predictor, predict=lambda images: np.asarray(apply(predictor.log_predict(images))), recalibration=content
  )


def safe_log(level_probs: np.ndarray) -> np.ndarray:
  """Returns log p, and `LOG_ZERO`, which stands for impossible, where p is 0; float32."""
  possible = level_probs > 0
  return np.where(possible, np.log(np.where(possible, level_probs, 1)), LOG_ZERO).astype(np.float32)


def recalibration_path(workdir: pathlib.Path, method: str, options: PredictOptions, num_runs: int) -> pathlib.Path:
  """Returns where the map of a method for these runs, predicted in this way, is kept."""
  return workdir / "recalibration" / f"{method}{options.uncalibrated().label(num_runs)}.json"


def find_recalibration(
  runs: Sequence[TrainedRun], options: PredictOptions, *, steps: Sequence[int], checkpoints: Sequence[str]
) -> tuple[Recalibration, dict[str, Any]]:
  """Reads the map that `options` names and holds it against what it is to be used with.

  Args:
    runs: The runs that predict.
    options: What they predict with.
    steps: The step of each run's checkpoint.
    checkpoints: The digest of each checkpoint's parameters.

  Returns:
    The map, and the content of its file with ``file``.

  Raises:
    InputError: there is no such map, or it was fitted on other checkpoints, raters or views.
  """
  path = pathlib.Path(options.recalibration)
  if path.suffix != ".json":
    check_choice(options.recalibration, (*recalibration.METHODS, recalibration.AUTO), field="--recalibration")
    path = recalibration_path(runs[0].workdir, options.recalibration, options, len(runs))
  found, content = recalibration.read(path)
  fitted = content.get("fitted")
  if not isinstance(fitted, Mapping):
    raise InputError(f"{path}: lacks 'fitted', which says what it was fitted on.")
  if found.num_raters != runs[0].panel.num_raters:
    raise InputError(f"{path}: is for {found.num_raters} raters, {runs[0].workdir} has {runs[0].panel.num_raters}.")
  views = fitted.get("flips"), fitted.get("dropout_samples")
  if sorted(fitted.get("checkpoints") or []) != sorted(checkpoints) or views != (
    options.flips,
    options.dropout_samples,
  ):
    here = _described([run.workdir for run in runs], steps, options.flips, options.dropout_samples)
    there = _described(fitted.get("workdirs") or ["?"], fitted.get("steps") or ["?"], *views)
    raise InputError(
      f"{path}: was fitted on {there}, not on {here}. Fit it anew: ordseg recalibrate "
      f"--workdir={','.join(str(run.workdir) for run in runs)} --method={found.method} --step={options.step}"
      + " --flips" * options.flips
      + f" --dropout_samples={options.dropout_samples}" * (options.dropout_samples > 0)
    )
  return found, {**content, "file": str(path)}


def _described(workdirs: Sequence[object], steps: Sequence[object], flips: object, dropout_samples: object) -> str:
  runs = ", ".join(f"step {step} of {workdir}" for workdir, step in zip(workdirs, steps, strict=False))
  return runs + " with flips" * bool(flips) + f" with {dropout_samples} dropout samples" * bool(dropout_samples)


def digest(params: Params) -> str:
  """Returns the SHA-256 of parameters: names, types, shapes and values."""
  out = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    array = np.asarray(leaf)
    out.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
    out.update(np.ascontiguousarray(array).tobytes())
  return out.hexdigest()


def _check_same(first: TrainedRun, other: TrainedRun) -> None:
  if first.data_info.get("fingerprint") != other.data_info.get("fingerprint"):
    raise InputError(f"{other.workdir} was trained on other data than {first.workdir}: no ensemble of the two.")
  if run_record.plain(first.config.preprocess) != run_record.plain(other.config.preprocess):
    raise InputError(f"{other.workdir} has another config.preprocess than {first.workdir}: no ensemble of the two.")


@dataclasses.dataclass(frozen=True)
class _Member:
  predict: LevelPredictFn
  log_predict: LevelPredictFn | None  # None where several passes are averaged
  step: int
  digest: str


def _load_member(run: TrainedRun, options: PredictOptions) -> _Member:
  model = run.level_model()
  with loop.open_checkpoints(run.config, run.workdir) as checkpoints:
    host_params, found_step = checkpoints.restore_eval_params(options.step)
  check_fits(host_params, run)
  params = parallel.replicate(host_params)
  if not options.dropout_samples:
    predict, log_predict = map(parallel.make_predict_step, (model.level_probs, model.log_level_probs))
    return _Member(
      functools.partial(predict, params), functools.partial(log_predict, params), found_step, digest(host_params)
    )
  if not run.config.model.dropout:
    raise InputError(f"{run.workdir} was trained with config.model.dropout=0: there is no dropout to sample.")
  key = rng.stream(jax.random.key(run.config.seed), "dropout_samples")

  def one_pass(params_and_key: tuple[Params, PRNGKey], images: Array) -> Array:
    params, key = params_and_key
    return model.level_probs(params, images, dropout_key=key)

  pass_with_dropout = parallel.make_predict_step(one_pass)

  def sample(images: np.ndarray, number: int) -> np.ndarray:
    return pass_with_dropout((params, jax.random.fold_in(key, number)), images)

  return _Member(ensembles.with_samples(sample, options.dropout_samples), None, found_step, digest(host_params))


def check_fits(params: Params, run: TrainedRun) -> None:
  """Raises InputError where a checkpoint's parameters are not those of the network that the config describes now."""
  init = functools.partial(run.level_model().init, size=tuple(run.config.data.crop_size))
  want = jax.eval_shape(init, jax.random.key(0))
  if jax.tree.map(np.shape, want) != jax.tree.map(np.shape, params):
    raise InputError(
      f"the checkpoint in {run.workdir} holds another network than its config.json describes to this version of ordseg"
      f" (trained with {run.versions.get('ordseg', 'an unknown version')})."
    )
