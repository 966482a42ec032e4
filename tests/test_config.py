import dataclasses
import json
import math
import pathlib

import pytest

from ordseg import config, losses, settings
from ordseg.errors import InputError
from ordseg.settings import Setting
from tests.helpers import training

FIELDS = [(path, default, setting) for path, default, setting in config.describe()]


def changed(path, value):
  given = config.Config().to_config_dict()
  *sections, name = path.split(".")
  with given.ignore_type():
    section = given[sections[0]] if sections else given
    section[name] = value
  return given


def just_outside(default, setting):
  """Yields values beyond each bound, of the default's type."""
  step = 1 if isinstance(default, int) else 1e-6
  for bound, value in (("gt", 0), ("ge", -step), ("lt", 0), ("le", step)):
    if (limit := getattr(setting, bound)) is not None:
      yield type(default)(limit + value)
  if setting.words:
    yield setting.words[0] + "_"
  if isinstance(default, float):
    yield from (math.inf, math.nan)


@pytest.mark.parametrize(("path", "default", "setting"), FIELDS, ids=lambda x: x if isinstance(x, str) else "")
def test_every_field_has_help_and_refuses_what_it_may_not_be(path, default, setting):
  assert setting.help
  for value in (*just_outside(default, setting), object(), None):
    with pytest.raises(InputError, match=rf"^config\.{path}=.* (must be|is unknown)") as error:
      config.resolve(changed(path, value))
    assert "\n" not in str(error.value)


def test_the_default_config_resolves_to_itself():
  whole = config.Config()
  assert config.resolve(whole.to_config_dict()) == whole == config.resolve(whole.to_dict())
  assert whole.loss.alpha == whole.loss["alpha"] == 0.8 and whole.model.head == "softmax"
  with pytest.raises(dataclasses.FrozenInstanceError):
    whole.optim.learning_rate = 1.0  # type: ignore[misc]
  with pytest.raises(AttributeError, match=r"config.loss has no field 'alpah'. Did you mean 'alpha'"):
    _ = whole.loss.alpah


def test_every_bound_can_fail():
  """Of the numbers few are free: those whose limits another field sets, or no one."""
  free = {path for path, default, s in FIELDS if isinstance(default, int | float) and not isinstance(default, bool)
          and not s.allowed and s.check is None}  # fmt: skip
  assert free == {"preprocess.low", "preprocess.high"}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"preprocess__low": 3.0, "preprocess__high": 3.0}, "low=3 and high=3 must be finite, with low < high"),
    ({"preprocess__intensity": "percentile"}, r"high=255 are percentiles.*\[0, 100\]"),
    ({"augment__elastic_alpha": 9.0}, r"elastic_alpha=9.0 must be <= elastic_sigma=8.0"),
    ({"model__head": "sigmoid"}, "one probability per pixel"),
    ({"model__name": "resnet_fpn", "model__norm": "none"}, "norm='none' does not fit config.model.name='resnet_fpn'"),
    ({"loss__gamma": 2.0}, r"config.loss.gamma=2.0 has no effect on config.loss.name='rps_bce', only on focal"),
    (
      {"model__flat_levels": 1},
      r"config.model.flat_levels=1 has no effect on config.model.name='unet', only on unet3d",
    ),
    ({"data__builder_args": 3}, "config.data.builder_args=3 must be a section"),
  ],
)
def test_fields_that_do_not_fit_each_other(changes, message):
  given = config.Config().to_config_dict()
  with given.ignore_type():
    for path, value in changes.items():
      section, name = path.split("__")
      given[section][name] = value
  with pytest.raises(InputError, match=message):
    config.resolve(given)


def test_zscore_looks_at_neither_low_nor_high():
  assert config.Preprocess("zscore", low=5.0, high=-5.0).intensity == "zscore"


def test_what_is_registered_later_is_a_field_at_once():
  assert "cubes" not in config.Config().to_config_dict().loss
  losses.LOSSES.add(
    "cubed",
    losses.LOSSES["rps"],
    defaults={"cubes": 3, "alpha": 0.8},
    settings={"cubes": Setting("how many", ge=1)},
  )
  try:
    given = config.Config().to_config_dict()
    assert given.loss.cubes == 3
    assert "| loss.cubes | `3` | >= 1 | cubed: how many |" in config.table().splitlines()
    given.loss.name, given.loss.cubes = "rps", 2
    with pytest.raises(InputError, match=r"config.loss.cubes=2 has no effect on config.loss.name='rps', only on cubed"):
      config.resolve(given)
    given.loss.cubes = 0
    with pytest.raises(InputError, match=r"config.loss.cubes=0 must be >= 1"):
      config.resolve(given)
  finally:
    losses.LOSSES.remove("cubed")
  assert "cubes" not in config.Config().to_config_dict().loss


def test_a_record_of_another_version_keeps_its_fields_and_gets_the_new_defaults():
  record = json.loads(json.dumps(training.tiny().to_dict()))
  record["data"]["crop_size"] = tuple(record["data"]["crop_size"])
  assert config.resolve_record(record) == training.tiny()
  del record["eval"]["roi"], record["loss"]["margin"], record["parallel"], record["data"]["raters"]
  record["augment"]["gone_since"], record["gone"] = 1.0, {"a": 1}
  assert config.resolve_record(record) == training.tiny()
  record["model"]["gone_since"] = 2
  with pytest.raises(InputError, match=r"config.model.gone_since is not a field"):
    config.resolve_record(record)


def test_the_table_of_the_docs_is_what_the_fields_say():
  page = (pathlib.Path(__file__).parent.parent / "docs" / "configs.md").read_text()
  assert config.table() in page, "make docs-tables"
  assert all(settings.setting_of(f) or f.name == "builder_args" for f in dataclasses.fields(config.Data))
