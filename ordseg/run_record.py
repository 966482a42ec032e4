"""config.json: what a run was started with, so that it can be continued, evaluated and repeated."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ordseg import files, records
from ordseg.config import Config, Section, resolve_record
from ordseg.errors import InputError
from ordseg.records import versions as versions
from ordseg.types import Panel

FILE = "config.json"
_KINDS = {"config": dict, "data": dict, "versions": dict, "num_raters": int, "num_channels": int}

# Fields that change neither the parameters after a step nor the metrics of a checkpoint.
FREE_FIELDS = (
  "data.data_dir",
  "data.manual_dir",
  "data.num_threads",
  "data.prefetch_batches",
  "train.log_every_steps",
  "train.eval_every_steps",
  "train.checkpoint_every_steps",
  "train.keep_last",
  "train.keep_best",
  "eval.batch_size",
  "parallel.distributed",
  "parallel.connect_seconds",
  "parallel.heartbeat_seconds",
)


def describe(
  config: Config,
  *,
  data_info: Mapping[str, object],
  panel: Panel,
  image_info: Mapping[str, object] | None = None,
  num_examples: Mapping[str, int] | None = None,
) -> dict[str, Any]:
  """Returns the content of config.json.

  Args:
    config: the resolved config.
    data_info: name, version and fingerprint of the data set.
    panel: sizes of the examples.
    image_info: dtype and spacing of a training image, by which prediction knows other images.
    num_examples: of the training and the validation split, for the model card.
  """
  return {
    "config": plain(config),
    "data": dict(data_info),
    "num_raters": panel.num_raters,
    "num_channels": panel.num_channels,
    "num_classes": panel.num_classes,
    "image": dict(image_info or {}),
    "num_examples": dict(num_examples or {}),
    "versions": versions(),
  }


def plain(config: Section) -> dict[str, Any]:
  """Returns a config, or a section of one, as nested dicts, with lists for tuples, as it comes back from JSON."""
  return json.loads(json.dumps(config.to_dict()))


def read(workdir: str | pathlib.Path) -> dict[str, Any]:
  """Reads a run's config.json.

  Returns:
    What `describe` returned, with ``config`` resolved (`config.resolve_record`).

  Raises:
    InputError: the folder holds no run, or the file is damaged.
  """
  path = pathlib.Path(workdir) / FILE
  if not path.is_file():
    raise InputError(f"{workdir} holds no run: there is no {FILE}. Train one with run_train.py --workdir={workdir}.")
  info = records.read_json(path)
  for name, kinds in _KINDS.items():
    if not isinstance(info.get(name), kinds) or isinstance(info[name], bool):
      raise InputError(f"{path} is damaged: {name!r} is {info.get(name)!r}.")
  if "fingerprint" not in info["data"]:
    raise InputError(f"{path} is damaged: 'data' lacks 'fingerprint'.")
  try:
    config = resolve_record(_tuples(info["config"]))
  except InputError as error:
    raise InputError(f"{path} is damaged, or of another version of ordseg: {error}") from error
  return {**info, "config": config}


def open_run(workdir: str | pathlib.Path, info: Mapping[str, Any], *, write: bool = True) -> dict[str, str]:
  """Starts or continues a run: writes config.json, after a check against the one that is there.

  Args:
    workdir: folder of the run; made if missing.
    info: from `describe`.
    write: whether to write; False checks only, for all processes but the first.

  Returns:
    Packages whose version has changed since -> "old -> new".

  Raises:
    InputError: the folder holds a run with another config or other data; names the fields.
  """
  folder = pathlib.Path(workdir)
  path = folder / FILE
  changed: dict[str, str] = {}
  if path.exists():
    old = read(folder)
    _check_same(old, info, folder)
    pairs = {name: (old["versions"].get(name), version) for name, version in info["versions"].items()}
    changed = {name: f"{before} -> {now}" for name, (before, now) in pairs.items() if before != now}
  if write:
    folder.mkdir(parents=True, exist_ok=True)
    files.sweep(folder)
    records.write_json(path, info)
  return changed


def _check_same(old: Mapping[str, Any], new: Mapping[str, Any], folder: pathlib.Path) -> None:
  before, now = records.leaves(plain(old["config"])), records.leaves(new["config"])
  differing = [p for p in sorted(before.keys() | now.keys()) if p not in FREE_FIELDS and before.get(p) != now.get(p)]
  if "train.num_steps" in differing and now["train.num_steps"] > before["train.num_steps"]:
    differing.remove("train.num_steps")
  differences = [f"config.{p} was {before.get(p)!r} and is {now.get(p)!r}" for p in differing]
  sizes = {name: (old.get(name, 1), new[name]) for name in ("num_raters", "num_channels", "num_classes")}
  differences += [f"{name} was {before} and is {now}" for name, (before, now) in sizes.items() if before != now]
  fingerprints = [info["data"].get("fingerprint") for info in (old, new)]
  if fingerprints[0] != fingerprints[1]:
    differences.append("the data set's fingerprint was {} and is {}".format(*fingerprints))
  if differences:
    raise InputError(
      f"{folder} holds a run of another setting: {'; '.join(differences)}. Choose another workdir, or delete this one."
    )


def _tuples(value: object) -> Any:
  if isinstance(value, dict):
    return {k: _tuples(v) for k, v in value.items()}
  return tuple(value) if isinstance(value, list) else value
