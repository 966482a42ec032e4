"""Trains a cell, judges it, and leaves its record. Several processes may work on one study: each cell has a lock."""

import contextlib
import dataclasses
import fcntl
import hashlib
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

import data
from benchmarks.study import folds, plan, record
from benchmarks.study.plan import METHODS, Cell, Study
from benchmarks.study.sums import SCORES, Sums
from ordseg import files, input_pipeline, losses, run_record
from ordseg.errors import InputError
from ordseg.input_pipeline import examples
from ordseg.training import parallel
from ordseg.training.learner import Learner, make_learner
from ordseg.training.loop import BIAS_EXAMPLES

ROOT = pathlib.Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_CHECK_EVERY = 50  # steps between looks at whether the loss is finite
_UNREAD = ("image", "rater_masks", "level_probs")

Predict = Callable[[Any], np.ndarray]  # a batch -> level probabilities


@dataclasses.dataclass(frozen=True)
class Places:
  """Where things lie.

  Attributes:
    data: folder with the files that were downloaded; '' for generated data.
    work: for built data sets, locks and trained parameters; can be thrown away.
    results: the records.
  """

  data: pathlib.Path | None
  work: pathlib.Path
  results: pathlib.Path = RESULTS

  def record(self, cell: Cell) -> pathlib.Path:
    """Returns the file of a cell's record."""
    return self.results / cell.study / f"{cell.name}.npz"

  def panel(self, cell: Cell) -> pathlib.Path:
    """Returns the file of what the raters of a fold's patients said."""
    return self.results / cell.study / f"panel.f{cell.fold}.tsv"


@dataclasses.dataclass(frozen=True)
class Opened:
  """A study's data.

  Attributes:
    info: see `data.info`.
    sources: one per split.
    places: patient -> (source, row) of the patient's examples.
    splits: split -> patients.
  """

  info: dict[str, Any]
  sources: list[Any]
  places: dict[str, list[tuple[int, int]]]
  splits: dict[str, list[str]]

  def part(self, patients: Sequence[str]) -> folds.Part:
    """Returns the examples of some patients."""
    return folds.Part(self.sources, [place for patient in patients for place in self.places[patient]])


def open_data(name: str, study: Study, places: Places) -> Opened:
  """Builds the data set of a study where it is not there, and lists its patients.

  Raises:
    InputError: --data is missing.
    DataError: the files are not what they should be.
  """
  config = plan.get_config(plan.cells(name)[0], study, METHODS[study.methods[0]])
  manual_dir = ""
  if config.data.builder != "rater_phantom":
    if places.data is None:
      raise InputError(f"{name} needs --data, the folder that holds {study.manual_dir or 'the raw files'}.")
    manual_dir = str(next((p for p in (places.data / study.manual_dir, places.data) if p.is_dir()), places.data))
  builder = data.get_builder(
    config.data.builder,
    config_name=config.data.config,
    data_dir=str(places.work / "data"),
    manual_dir=manual_dir,
    overrides=config.data.builder_args,
  )
  data.prepare(builder, manual_dir=manual_dir)
  info, found, splits = data.info(builder), {}, {}
  for k, split in enumerate(info["splits"]):
    groups: dict[str, None] = {}
    for row, example in enumerate(data.data_source(builder, split, skip=_UNREAD)):
      group = examples.as_text(example["group"])
      found.setdefault(group, []).append((k, row))
      groups[group] = None
    splits[split] = list(groups)
  return Opened(info, [data.data_source(builder, split) for split in info["splits"]], found, splits)


def manifest_path(study: Study) -> pathlib.Path:
  """Returns the manifest of a study's folds."""
  return folds.FOLDER / f"{study.config}.txt"


def get_roles(study: Study, opened: Opened, fold: int) -> tuple[folds.Roles, str]:
  """Returns the patients of a fold, and the digest of the division: of the manifest, or of the data set's own splits.

  Raises:
    InputError: the data do not hold just the patients of the manifest.
  """
  if study.folds == 1:
    splits = opened.splits
    roles = folds.Roles(*(tuple(sorted(splits[name])) for name in ("train", "validation", "test")))
    return roles, "the data set's own splits"
  path = manifest_path(study)
  division = folds.read(path)
  folds.check_patients(opened.places, division, path)
  return folds.roles(division, fold), folds.digest(division)


@contextlib.contextmanager
def locked(cell: Cell, work: pathlib.Path) -> Iterator[bool]:
  """Holds the lock of a cell among the processes of this machine; yields False where another holds it."""
  folder = work / "locks"
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / f"{cell.study}.{cell.name}").open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      yield False
      return
    yield True


def run_study(
  name: str,
  places: Places,
  *,
  only: Sequence[str] = (),
  max_cells: int | None = None,
  say: Callable[[str], None] = print,
) -> int:
  """Makes the records that are missing, in the order of `plan.cells`; returns how many it made.

  Args:
    name: of the study.
    places: where things lie.
    only: methods; all where empty.
    max_cells: stops after as many.
    say: gets a line per cell.

  Raises:
    InputError: a record that is there was made from something else than this plan and these data.
  """
  study, made = plan.get_study(name), 0
  opened = open_data(name, study, places)
  for cell in plan.cells(name):
    if only and cell.method not in only:
      continue
    if max_cells is not None and made >= max_cells:
      break
    config = plan.get_config(cell, study, METHODS[cell.method])
    roles, division = get_roles(study, opened, cell.fold)
    digest = plan.digest(cell, curve=study.curve, division=division, fingerprint=opened.info["fingerprint"])
    with locked(cell, places.work) as mine:
      if not mine or _is_there(places.record(cell), digest, config):
        continue
      start = time.monotonic()
      size = run_cell(cell, config, study, opened, roles, places, digest)
      made += 1
      say(f"{name} {cell.name}: {time.monotonic() - start:.0f} s, {size} bytes")
  return made


def _is_there(path: pathlib.Path, digest: str, config: Any) -> bool:
  if not path.exists():
    return False
  wrong = plan.differences(record.read(path).head, digest, config)
  if wrong:
    raise InputError(
      f"{path} was made from another plan or other data ({'; '.join(wrong)}): restore those of docs/study_protocol.md, "
      "or remove the record to have it made again."
    )
  return True


# --- One cell ---------------------------------------------------------------------------------------------------------


def run_cell(
  cell: Cell, config: Any, study: Study, opened: Opened, roles: folds.Roles, places: Places, digest: str
) -> int:
  """Trains and judges a cell and writes its record; returns its size in bytes."""
  start, patients = time.monotonic(), list(roles.test)
  test = opened.part(patients)
  train, validation = opened.part(roles.train), opened.part(roles.validation)
  judged = [*study.curve, study.steps] if METHODS[cell.method].loss else [0]
  curve: list[Sums] = []
  seconds: dict[str, float] = {"train": 0.0, "judge": 0.0}
  head: dict[str, Any] = {
    "cell": dataclasses.asdict(cell),
    "digest": digest,
    "config": plan.essence(config),
    "curve": list(study.curve),
    "data": {key: opened.info[key] for key in ("builder", "version", "fingerprint")},
    "versions": run_record.versions(),
    "sources": sources_digest(),
    "device": f"{jax.devices()[0].device_kind} x {jax.device_count()}",
    "steps": judged[-1],
    "patients": {name: len(getattr(roles, name)) for name in ("train", "validation", "test")},
  }
  mark = time.monotonic()
  for step, predict in _predictors(cell, config, train, judged, places):
    seconds["train"] += time.monotonic() - mark
    mark = time.monotonic()
    sums = judge(predict, test, patients, config)
    if step == judged[-1]:
      if METHODS[cell.method].validated:
        head["validation"] = _totals(judge(predict, validation, list(roles.validation), config))
      record.write_panel(patients, sums, places.panel(cell))
      seconds["judge"] += time.monotonic() - mark
      head["seconds"] = {
        **{name: round(x, 1) for name, x in seconds.items()},
        "all": round(time.monotonic() - start, 1),
      }
      return record.write(record.from_sums(head, patients, sums, curve), places.record(cell))
    curve.append(sums)
    seconds["judge"] += time.monotonic() - mark
    mark = time.monotonic()
  raise AssertionError("a cell ends with its last step")


def _totals(sums: Sums) -> dict[str, float]:
  pixels = sums.panel[:, 1].sum()
  return {name: float(x) for name, x in zip(SCORES, sums.scores.sum(0) / pixels, strict=True)}


def _predictors(
  cell: Cell, config: Any, train: Sequence[Any], judged: Sequence[int], places: Places
) -> Iterator[tuple[int, Predict]]:
  if cell.method == "truth":
    yield 0, lambda batch: np.asarray(batch["level_probs"])
    return
  counts = input_pipeline.level_counts(train, limit=BIAS_EXAMPLES if METHODS[cell.method].loss else len(train))
  if cell.method == "constant":
    freqs = (counts / counts.sum()).astype(np.float32)
    yield 0, lambda batch: np.broadcast_to(freqs, (*np.shape(batch["mask"]), len(freqs)))
    return
  learner = make_learner(config, examples.read_panel(train))
  for step, params in _training(learner, config, train, counts, judged):
    if step == judged[-1]:
      _keep(parallel.to_host(params), places.work / "params" / cell.study / f"{cell.name}.npz")
    yield step, lambda batch, params=params: learner.predict(params, np.asarray(batch["image"]))


def _training(
  learner: Learner, config: Any, train: Sequence[Any], counts: np.ndarray, judged: Sequence[int]
) -> Iterator[tuple[int, Any]]:
  """Yields (step, parameters) at each step that is judged.

  Raises:
    InputError: the loss is no longer finite.
  """
  state = parallel.replicate(parallel.to_host(learner.create(counts)))
  iterator = input_pipeline.train_iterator(
    train,
    data_config=config.data,
    preprocess_config=config.preprocess,
    augment_config=config.augment,
    per_process_batch_size=config.train.batch_size,
    seed=config.seed,
    label_weights=losses.LOSSES[config.loss.name].label_weights,
  )
  with input_pipeline.prefetch(iterator, parallel.shard_batch, config.data.prefetch_batches) as batches:
    finite = []
    for step in range(1, judged[-1] + 1):
      state, metrics = learner.train_step(state, next(batches))
      finite.append(metrics["finite"])
      if step % _CHECK_EVERY == 0 or step in judged:
        if not all(float(x) for x in jax.device_get(finite)):
          raise InputError(f"config.loss.name={config.loss.name!r}: a step up to {step} was not finite.")
        finite = []
      if step in judged:
        yield step, state.eval_params


def _keep(params: Any, path: pathlib.Path) -> None:
  """Keeps the parameters for ensembles and recalibration on this machine."""
  path.parent.mkdir(parents=True, exist_ok=True)
  leaves = {jax.tree_util.keystr(where): leaf for where, leaf in jax.tree_util.tree_leaves_with_path(params)}
  with files.replacing(path) as part:
    np.savez(part, **leaves)


def judge(predict: Predict, source: Sequence[Any], patients: list[str], config: Any) -> Sums:
  """Counts every image of a source once, batch by batch: memory does not grow with their number."""
  index = {patient: i for i, patient in enumerate(patients)}
  sums = Sums.zeros(len(patients), examples.read_panel(source).num_raters)
  for item in input_pipeline.eval_batches(
    source, preprocess_config=config.preprocess, batch_size=config.eval.batch_size
  ):
    level_probs = predict(item.batch)
    for k, group in enumerate(item.groups):
      masks, valid = (np.asarray(item.batch[name])[k] for name in ("rater_masks", "rater_valid"))
      sums.add_image(index[group], level_probs[k], masks, valid)
  return sums


def sources_digest() -> str:
  """Returns 12 digits of the SHA-256 of the Python files of ordseg and of this package: which code made a record."""
  out = hashlib.sha256()
  for path in sorted([*(ROOT / "ordseg").rglob("*.py"), *(ROOT / "benchmarks" / "study").glob("*.py")]):
    out.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
  return out.hexdigest()[:12]
