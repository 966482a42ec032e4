import dataclasses
import math

import pytest

from ordseg.errors import InputError
from ordseg.settings import Registry, Setting, field, keyword_defaults, setting_of


@pytest.mark.parametrize(
  ("setting", "right", "wrong", "words"),
  [
    (Setting("x", gt=0), 1e-9, 0.0, "> 0"),
    (Setting("x", ge=0), 0.0, -1e-9, ">= 0"),
    (Setting("x", ge=0, lt=1), 0.0, 1.0, r"in \[0, 1\)"),
    (Setting("x", gt=0, le=1), 1.0, 0.0, r"in \(0, 1\]"),
    (Setting("x", le=3), 3.0, math.nan, "<= 3"),
    (Setting("x", check=lambda v: "" if v == 0 or v >= 16 else "0 or >= 16"), 16.0, 8.0, "0 or >= 16"),
  ],
)
def test_bounds_are_checked_and_said(setting, right, wrong, words):
  setting.validate(right, 0.5, path="config.a.b")
  with pytest.raises(InputError, match=rf"^config\.a\.b={wrong!r} must be {words}\.$"):
    setting.validate(wrong, 0.5, path="config.a.b")


@pytest.mark.parametrize(
  ("value", "default", "words"),
  [(1.5, 1, "an int"), (True, 1, "an int"), ("1", 1.0, "a float"), (1, False, "True or False"), (1, "x", "a text")],
)
def test_types_are_those_of_the_default(value, default, words):
  with pytest.raises(InputError, match=f"must be {words}"):
    Setting("x").validate(value, default, path="config.a.b")
  Setting("x").validate(1, 1.0, path="config.a.b")  # an int where a float is wanted


def test_words_come_with_the_nearest():
  with pytest.raises(
    InputError, match=r"config\.m='group1' is unknown\. Did you mean 'group'\? Choices: group, none\."
  ):
    Setting("x", choices=lambda: ["group", "none"]).validate("group1", "group", path="config.m")


def test_fields_carry_their_setting():
  @dataclasses.dataclass(frozen=True)
  class Section:
    rate: float = field(2e-3, gt=0, help="peak")

  assert Section().rate == 2e-3
  setting = setting_of(dataclasses.fields(Section)[0])
  assert setting is not None and setting.help == "peak" and setting.allowed == "> 0"


def make_registry():
  registry = Registry("config.loss.name")

  def one(x, *, alpha=0.8):
    return x * alpha

  registry.add("one", one, defaults=keyword_defaults(one), settings={"alpha": Setting("weight", ge=0)})
  registry.add("two", one, defaults={"alpha": 0.8, "beta": 1}, settings={"beta": Setting("power", ge=1)})
  return registry


def test_a_section_is_the_union_of_what_entries_read():
  settings = make_registry().settings()
  assert list(settings) == ["alpha", "beta"]
  assert settings["alpha"].readers == ("one", "two") and settings["beta"].readers == ("two",)
  assert make_registry().choose("two", {"alpha": 2}) == {"alpha": 2, "beta": 1}
  assert make_registry().choose("one", {"alpha": 2.0, "beta": 1}) == {"alpha": 2.0}


@pytest.mark.parametrize(
  ("name", "values", "message"),
  [
    ("onne", {}, r"config\.loss\.name='onne' is unknown\. Did you mean 'one'"),
    ("one", {"alpa": 1.0}, r"config\.loss\.alpa is not a field\. Did you mean 'alpha'"),
    ("one", {"alpha": -1.0}, r"config\.loss\.alpha=-1\.0 must be >= 0"),
    ("one", {"beta": 0}, r"config\.loss\.beta=0 must be >= 1"),  # also where the chosen one does not read it
    ("one", {"beta": 2}, r"config\.loss\.beta=2 has no effect on config\.loss\.name='one', only on two"),
  ],
)
def test_what_a_section_may_not_hold(name, values, message):
  with pytest.raises(InputError, match=message):
    make_registry().choose(name, values)


@pytest.mark.parametrize(
  ("name", "defaults", "settings"),
  [
    ("one", {}, {}),
    ("three", {"gamma": 1.0}, {}),
    ("three", {"alpha": 0.5}, {}),
    ("three", {"beta": 1.0}, {}),
    ("three", {"alpha": 0.8}, {"alpha": Setting("weight", ge=-1)}),
    ("three", {}, {"gamma": Setting("weight")}),
  ],
)
def test_what_cannot_be_registered(name, defaults, settings):
  with pytest.raises(ValueError, match=f"{name}"):
    make_registry().add(name, None, defaults=defaults, settings=settings)


def test_an_entry_leaves_with_its_settings():
  registry = make_registry()
  registry.remove("two")
  assert list(registry) == ["one"] and list(registry.settings()) == ["alpha"]
