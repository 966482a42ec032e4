"""From the workdirs of one or several runs to one function that predicts images."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import ordseg
from ordseg import ensembles, learner, models, parallel, rng, run_info, train_loop
from ordseg.ensembles import LevelPredictFn
from ordseg.types import Config, Params
from ordseg.validate import InputError


@dataclasses.dataclass(frozen=True)
class Run:
  """What a workdir's config.json says.

  Attributes:
    workdir: folder of the run.
    config: the resolved config it was trained with.
    num_raters: R.
    num_channels: C of the images.
    num_classes: structures that are segmented side by side.
    image_info: 'dtype' and 'spacing' in mm along (D,) H, W of a training image.
    data_info: name, version and fingerprint of the data set.
    versions: of the packages it was trained with.
  """

  workdir: pathlib.Path
  config: Config
  num_raters: int
  num_channels: int
  num_classes: int
  image_info: Mapping[str, Any]
  data_info: Mapping[str, Any]
  versions: Mapping[str, str]

  @property
  def num_axes(self) -> int:
    """2 for images, 3 for volumes."""
    return models.num_axes(self.config.model)

  @property
  def class_names(self) -> list[str]:
    """One per class; [''] where there is one."""
    if self.num_classes == 1:
      return [""]
    return list(self.data_info.get("classes") or [f"class_{k + 1}" for k in range(self.num_classes)])

  def make_learner(self) -> learner.Learner:
    """Returns the functions of the run's network."""
    sizes = {"num_raters": self.num_raters, "num_channels": self.num_channels, "num_classes": self.num_classes}
    return learner.make_learner(self.config, **sizes)


def load_run(workdir: str | pathlib.Path) -> Run:
  """Reads config.json.

  Raises:
    InputError: the folder holds no run, or one of a newer version of ordseg.
  """
  info = run_info.read(workdir)
  made = info["versions"].get("ordseg", "0")
  if _numbers(made) > _numbers(ordseg.__version__):
    raise InputError(f"{workdir} was made by ordseg {made}; this is {ordseg.__version__}. Update it.")
  return Run(
    workdir=pathlib.Path(workdir),
    config=info["config"],
    num_raters=info["num_raters"],
    num_channels=info["num_channels"],
    num_classes=info.get("num_classes", 1),
    image_info=info.get("image", {}),
    data_info=info["data"],
    versions=info["versions"],
  )


def _numbers(version: str) -> list[int]:
  return [int(number) for number in re.findall(r"\d+", version)[:3]]


@dataclasses.dataclass(frozen=True)
class How:
  """What is predicted with.

  Attributes:
    step: a checkpoint's step, 'best' or 'last'.
    flips: average over the mirror images.
    dropout_samples: passes with dropout active to average over; 0 is the usual pass without.
  """

  step: str | int = "best"
  flips: bool = False
  dropout_samples: int = 0

  def label(self, num_runs: int = 1) -> str:
    """Returns what tells the results from the plain ones in the name of a folder: '', '-flips', '-ensemble3', .."""
    parts = [f"ensemble{num_runs}" * (num_runs > 1), "flips" * self.flips]
    parts.append(f"dropout{self.dropout_samples}" * (self.dropout_samples > 0))
    return "".join(f"-{part}" for part in parts if part)


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A function and what it needs to be used.

  Attributes:
    predict: (prepared images [B, H, W, C] float32) -> level_probs [B, H, W, L] float32; see `step.predict_levels`.
    run: the first of the runs: its config's preprocess section prepares the images.
    steps: of the checkpoints.
  """

  predict: LevelPredictFn
  run: Run
  steps: tuple[int, ...]


def load(workdirs: Sequence[str | pathlib.Path], how: How) -> Predictor:
  """Loads one run, or several as an ensemble.

  Runs that were each trained on one rater, all of the panel, are combined into the distribution of that panel's votes;
  others into the mean of their distributions (`ensembles`).

  Raises:
    InputError: no run, no such checkpoint, runs on different data or with different preprocessing, or dropout samples
      of a network without dropout.
  """
  runs = [load_run(workdir) for workdir in workdirs]
  for run in runs[1:]:
    _check_same(runs[0], run)
  members = [_load_member(run, how) for run in runs]
  raters = [str(run.config.data.get("raters", "all")) for run in runs]
  is_panel = ensembles.check_panel(raters, runs[0].num_raters)
  fns = [fn for fn, _ in members]
  predict = ensembles.panel(fns) if is_panel else ensembles.average(fns) if len(fns) > 1 else fns[0]
  if how.flips:
    predict = ensembles.with_flips(predict)
  return Predictor(predict=predict, run=runs[0], steps=tuple(step for _, step in members))


def _check_same(first: Run, other: Run) -> None:
  if first.data_info.get("fingerprint") != other.data_info.get("fingerprint"):
    raise InputError(f"{other.workdir} was trained on other data than {first.workdir}: no ensemble of the two.")
  if run_info.plain(first.config.preprocess) != run_info.plain(other.config.preprocess):
    raise InputError(f"{other.workdir} has another config.preprocess than {first.workdir}: no ensemble of the two.")


def _load_member(run: Run, how: How) -> tuple[LevelPredictFn, int]:
  net = run.make_learner()
  with train_loop.open_checkpoints(run.config, run.workdir) as checkpoints:
    host_params, found_step = checkpoints.restore_eval_params(how.step)
  check_fits(host_params, run)
  params = parallel.replicate(host_params)
  if not how.dropout_samples:
    return lambda images: net.predict(params, images), found_step
  if not run.config.model.dropout:
    raise InputError(f"{run.workdir} was trained with config.model.dropout=0: there is no dropout to sample.")
  key = rng.stream(jax.random.key(run.config.seed), "dropout_samples")

  def sample(images: np.ndarray, number: int) -> np.ndarray:
    return net.sample((params, jax.random.fold_in(key, number)), images)

  return ensembles.with_samples(sample, how.dropout_samples), found_step


def check_fits(params: Params, run: Run) -> None:
  """Raises InputError where a checkpoint's parameters are not those of the network that the config describes now."""
  want = run.make_learner().template().params
  if jax.tree.map(np.shape, want) != jax.tree.map(np.shape, params):
    raise InputError(
      f"the checkpoint in {run.workdir} holds another network than its config.json describes to this version of ordseg"
      f" (trained with {run.versions.get('ordseg', 'an unknown version')})."
    )
