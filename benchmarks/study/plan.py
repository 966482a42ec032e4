"""What the study trains: data sets, methods, and the cells in their order. docs/study_protocol.md says why."""

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Mapping
from typing import Any

from ordseg import losses, run_record
from ordseg.config import Config, resolve
from ordseg.errors import check_choice

VERSION = 1  # of the records; another number, other cells


@dataclasses.dataclass(frozen=True)
class Method:
  """One way of training.

  Attributes:
    title: for tables.
    head: config.model.head.
    loss: config.loss.name; '' trains nothing: see `cells`.
    settings: further fields of the config, by dotted path.
    validated: whether the validation patients are scored, too: the rows among which one is chosen.
  """

  title: str
  head: str = "softmax"
  loss: str = "rps_bce"
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  validated: bool = False


def _hybrid(title: str, **loss: Any) -> Method:
  return Method(title, settings={f"loss.{name}": value for name, value in loss.items()}, validated=True)


METHODS: dict[str, Method] = {
  "hybrid": _hybrid("hybrid, divisor n + 1"),
  "hybrid_undivided": _hybrid("hybrid, divisor 1", divisor="none"),
  "hybrid_mean_vote": _hybrid("hybrid, mean-vote BCE", binary_term="mean_vote"),
  "bce_majority": Method("majority BCE", "sigmoid", "bce_majority"),
  "nll": Method("NLL of the count", "softmax", "nll"),
  "ranked_ignorance": Method("ranked ignorance", "softmax", "ranked_ignorance"),
  "ranked_ignorance_cumulative": Method("ranked ignorance, cumulative head", "cumulative", "ranked_ignorance"),
  "bce_soft": Method("soft BCE", "sigmoid", "bce_soft"),
  **{f"hybrid_alpha_{a}": _hybrid(f"hybrid, alpha {a}", alpha=a) for a in (0.2, 0.5, 2.0, 5.0)},
  **{
    f"hybrid_undivided_alpha_{a}": _hybrid(f"hybrid, divisor 1, alpha {a}", divisor="none", alpha=a)
    for a in (0.2, 0.5, 2.0, 5.0)
  },
  "rps": Method("RPS", "softmax", "rps"),
  "ranked_ignorance_beta_binomial": Method("ranked ignorance, beta-binomial head", "beta_binomial", "ranked_ignorance"),
  "bce_dice": Method("BCE + Dice", "sigmoid", "bce_dice"),
  "constant": Method("a constant map", loss=""),
  "truth": Method("the truth itself", loss=""),
}
MAIN = tuple(METHODS)[:8]
BASELINE = "hybrid"
_FREE = ("constant",)  # rows that need no training


@dataclasses.dataclass(frozen=True)
class Study:
  """A set of cells on one data set.

  Attributes:
    config: name of a file in configs/.
    dataset: config.data.config.
    methods: keys of `METHODS`, in the order of training.
    folds: how many parts the patients are dealt into; 1: the data set's own splits.
    seeds: numbers of seeds, 0..seeds - 1.
    steps: the length of the training; the state after the last one is judged.
    curve: earlier steps that are judged, too.
    width: config.model.width.
    settings: further fields of the config, by dotted path.
    manual_dir: where below --data the files lie.
    beside: the study with the same patients and steps that trains the baseline, where this one does not.
  """

  config: str
  methods: tuple[str, ...]
  dataset: str = ""
  folds: int = 5
  seeds: int = 1
  steps: int = 1500
  curve: tuple[int, ...] = (500, 1000)
  width: int = 8
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  manual_dir: str = ""
  beside: str = ""


def _phantom(dataset: str = "default", **panel: Any) -> Study:
  settings = {f"data.builder_args.{name}": value for name, value in panel.items()}
  return Study(
    "quickstart", (*MAIN, "constant", "truth"), dataset, folds=1, seeds=5, steps=1000, curve=(250, 500),
    settings={"train.batch_size": 8, **settings},
  )  # fmt: skip


_MORE = tuple(name for name in METHODS if name not in (*MAIN, "constant", "truth"))
_FOUR = ("hybrid", "bce_majority", "nll", "ranked_ignorance")

STUDIES: dict[str, Study] = {
  "lidc_main": Study("lidc_slices", (*MAIN, *_FREE), "vote", seeds=3),
  "lidc_more": Study("lidc_slices", _MORE, "vote", beside="lidc_main"),
  "lidc_missing": Study("lidc_slices", (*_FOUR, "bce_soft", *_FREE), "missing"),
  "lidc_wide": Study("lidc_slices", _FOUR, "vote", steps=4000, curve=(1500,), width=16),
  "cfos": Study("cfos", (*MAIN, *_MORE, *_FREE), steps=3000, curve=(750, 1500), manual_dir="lab-wue1"),
  "phantom_r7_independent": _phantom(correlation=0.0),
  "phantom_r7_half": _phantom(correlation=0.5),
  "phantom_r7_close": _phantom(correlation=0.9),
  "phantom_r3": _phantom(num_raters=3),
  "phantom_missing": _phantom("missing"),
}


@dataclasses.dataclass(frozen=True)
class Cell:
  """One training and its evaluation.

  Attributes:
    study: key of `STUDIES`.
    method: key of `METHODS`.
    fold: whose patients are judged.
    seed: config.seed.
  """

  study: str
  method: str
  fold: int
  seed: int

  @property
  def name(self) -> str:
    """Of the record's file, without its ending."""
    return f"{self.method}.f{self.fold}.s{self.seed}"


def get_study(name: str) -> Study:
  """Looks a study up.

  Raises:
    InputError: there is none of that name.
  """
  check_choice(name, STUDIES, field="study")
  return STUDIES[name]


def cells(name: str) -> list[Cell]:
  """Returns the cells of a study in the order of training: seeds, then folds, then methods, so that whatever is done
  compares methods on the same patients. A row without training has seed 0 alone."""
  study = get_study(name)
  return [
    Cell(name, method, fold, seed)
    for seed in range(study.seeds)
    for fold in range(study.folds)
    for method in study.methods
    if METHODS[method].loss or seed == 0
  ]


def get_config(cell: Cell, study: Study, method: Method) -> Config:
  """Returns the whole config of a cell, resolved; paths are left at their defaults.

  Raises:
    InputError: the plan asks for something that the config does not take.
  """
  config: Any = importlib.import_module(f"configs.{study.config}").get_config()
  config.seed = cell.seed
  config.model.head, config.model.width = method.head, study.width
  config.loss.name = method.loss or "nll"
  config.train.num_steps = study.steps
  config.train.eval_every_steps = config.train.checkpoint_every_steps = study.steps
  if study.dataset:
    config.data.config = study.dataset
  for path, value in {**study.settings, **method.settings}.items():
    *sections, field = path.split(".")
    section = config
    for part in sections:
      section = section[part]
    section[field] = value
  return resolve(config)


_PLACES = ("data_dir", "manual_dir", "num_threads", "prefetch_batches")  # do not change what is trained
_SECTIONS = ("data", "preprocess", "augment", "model", "optim")


def essence(config: Config) -> dict[str, Any]:
  """Returns the fields that a cell's numbers depend on, by dotted path: of the loss, those that it reads."""
  plain = run_record.plain(config)
  found = {f"{section}.{field}": value for section in _SECTIONS for field, value in plain[section].items()}
  found |= {f"loss.{field}": plain["loss"][field] for field in losses.LOSSES.settings_of(config.loss.name)}
  found |= {f"train.{field}": plain["train"][field] for field in ("batch_size", "num_steps")}
  found |= {"loss.name": plain["loss"]["name"], "seed": plain["seed"]}
  return {path: value for path, value in sorted(found.items()) if path.removeprefix("data.") not in _PLACES}


def digest(cell: Cell, *, curve: tuple[int, ...], division: str, fingerprint: str) -> str:
  """Returns the SHA-256 of what makes a cell's numbers what they are, beside its config, the code and the machine.

  Args:
    cell: which.
    curve: the steps that are judged before the last.
    division: digest of the division into folds.
    fingerprint: of the data set.
  """
  content = [VERSION, dataclasses.asdict(cell), list(curve), division, fingerprint]
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def differences(head: Mapping[str, Any], digest: str, config: Config) -> list[str]:
  """Returns what of a record's head is not as the plan and the data at hand have it.

  Fields that the config has got or lost since do not count: a new one's default is what was before there was one.
  """
  out = [] if head["digest"] == digest else [f"digest {head['digest'][:12]}, expected {digest[:12]}"]
  now = essence(config)
  changed = {path: (value, now[path]) for path, value in head["config"].items() if path in now and now[path] != value}
  return out + [f"config.{path}={old!r}, expected {new!r}" for path, (old, new) in changed.items()]
