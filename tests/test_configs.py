import importlib
import pathlib
import re

import pytest
from ml_collections import ConfigDict

import data
from configs import common, default
from ordseg.cli import config_files
from ordseg.config import resolve
from ordseg.errors import InputError

CONFIGS = sorted(
  p.stem for p in pathlib.Path(common.__file__).parent.glob("*.py") if p.stem not in ("__init__", "common")
)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_passes_the_check(name):
  module = importlib.import_module(f"configs.{name}")
  resolve(module.get_config())


@pytest.mark.parametrize("loss", ["rps_bce", "rps", "bce_soft", "bce_majority"])
def test_lidc_takes_each_loss(loss):
  config = importlib.import_module("configs.lidc_slices").get_config(f"loss={loss}")
  resolve(config)
  assert config.loss.name == loss


def test_parse_arg():
  assert common.parse_arg(None, a=1) == {"a": 1}
  assert common.parse_arg("a=2,flag,s=x", a=1, flag=False, s="y") == {"a": 2, "flag": True, "s": "x"}
  assert common.parse_arg("lr=1", lr=0.1) == {"lr": 1.0}
  with pytest.raises(ValueError, match=r"'wdith' is unknown\. Did you mean 'width'"):
    common.parse_arg("wdith=3", width=1)
  with pytest.raises(ValueError, match="must be a int"):
    common.parse_arg("width=wide", width=1)


def check_with(**changes):
  config = default.get_config()
  for path, value in changes.items():
    section, field = path.split("__")
    with config.ignore_type():
      config[section][field] = value
  resolve(config)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"train__batch_size": 0}, r"config.train.batch_size=0 must be in \[1, 1048576\]"),
    ({"train__num_steps": 10.5}, r"config.train.num_steps=10.5 must be an int"),
    ({"model__dropout": 1.0}, r"config.model.dropout=1.0 must be in \[0, 1\)"),
    ({"model__wdith": 32}, r"config.model.wdith is not a field.*Did you mean 'model.width'"),
    ({"model__norm": "batch"}, r"config.model.norm='batch' is unknown"),
    ({"model__name": "unett"}, r"Did you mean 'unet'"),
    ({"loss__name": "rsp"}, r"Did you mean 'rps'"),
    ({"model__head": "sigmoid"}, "one probability per pixel"),
    ({"data__crop_size": (64,)}, r"config.data.crop_size=\(64,\) must be two integers"),
    ({"train__best_mode": "low"}, "Choices: min, max"),
    ({"preprocess__intensity": "zscroe"}, "Did you mean 'zscore'"),
    ({"augment__scale": -0.1}, r"augment.scale"),
    ({"optim__name": "adam"}, "Did you mean 'adamw'"),
    ({"optim__schedule": "cos"}, "cosine"),
    ({"eval__roi": "union"}, "config.eval.roi='union' is unknown"),
    ({"eval__roi_margin": 0}, "config.eval.roi_margin=0 must be >= 1"),
    ({"eval__surface_tolerance": -1.0}, "config.eval.surface_tolerance=-1.0 must be >= 0"),
  ],
)
def test_a_wrong_field_is_named(changes, message):
  with pytest.raises(InputError, match=message) as error:
    check_with(**changes)
  assert "\n" not in str(error.value)


def test_a_missing_field_is_named():
  config = default.get_config()
  del config.loss.alpha
  with pytest.raises(InputError, match=r"config.loss.alpha is missing"):
    resolve(config)


BUILDER_ARGS = [
  ("rater_phantom", "default", {"num_raters": "3", "ambiguity": "1", "missing_share": "0.5"}, (3, 1.0, 0.5)),
  (
    "folder_raters",
    "",
    {"label": "1", "tile_size": "512", "allow_gaps": "true", "marked": "==2"},
    ("1", 512, True, "==2"),
  ),
  ("gleason2019", "cancer", {"positive": "4", "tile_size": "0"}, ("4", 0)),
]


@pytest.mark.parametrize(("builder", "dataset", "texts", "values"), BUILDER_ARGS)
def test_builder_settings_are_read_as_the_types_of_the_builder(builder, dataset, texts, values):
  flags = [f"--config.data.builder_args.{name}={text}" for name, text in texts.items()]
  rest, found = config_files.split_builder_args(["run.py", "--workdir=w", *flags, "--config.seed", "3"])
  assert rest == ["run.py", "--workdir=w", "--config.seed", "3"] and found == texts
  got = data.read_settings(builder, found, config_name=dataset)
  assert tuple(got.values()) == values and [type(v) for v in got.values()] == [type(v) for v in values]


def test_builder_settings_that_are_none():
  with pytest.raises(data.DataError, match=r"builder_args.num_rater is no setting.*Did you mean 'num_raters'"):
    data.read_settings("rater_phantom", {"num_rater": "3"})
  with pytest.raises(data.DataError, match=r"builder_args.num_raters='many' must be of type int"):
    data.read_settings("rater_phantom", {"num_raters": "many"})
  assert config_files.split_builder_args(["--config.data.builder_args.seed", "4"]) == ([], {"seed": "4"})
  with pytest.raises(InputError, match=r"builder_args.seed needs a value"):
    config_files.split_builder_args(["--config.data.builder_args.seed"])


def test_an_integer_may_stand_for_a_float():
  check_with(loss__alpha=1)


def test_overrides_are_looked_up_level_by_level():
  config = ConfigDict({"loss": {"alpha": 0.8, "name": "rps"}, "seed": 0})
  config_files.check_overrides(config, ["run.py", "--workdir=w", "--config.loss.alpha=1", "--config.seed", "3"])
  for arg, message in (
    ("--config.loss.alpah=1", "config.loss has no field 'alpah'. Did you mean 'alpha'"),
    ("--config.los.alpha=1", "config has no field 'los'. Did you mean 'loss'"),
    ("--config.seed.x=1", "config.seed is a single value and has no field 'x'"),
  ):
    with pytest.raises(InputError, match=re.escape(message)):
      config_files.check_overrides(config, ["run.py", arg])
