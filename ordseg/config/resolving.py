"""From nested dictionaries, as config files, command lines and records hold them, to the typed config."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from ml_collections import ConfigDict  # pyright: ignore[reportMissingTypeStubs]

from ordseg.config.sections import SECTIONS, Chosen, Config, Section, declared_in
from ordseg.errors import InputError, did_you_mean
from ordseg.records import leaves

_OPEN = "data.builder_args"  # the builder's own


def resolve(given: ConfigDict | Mapping[str, object]) -> Config:
  """Returns the typed config of what a config file and the command line say.

  Raises:
    InputError: one line that names the field, its value and what was expected: a field unknown, missing, of another
      type or out of range, or fields that do not fit each other.
  """
  plain, known = _nested(given), leaves(Config().to_dict())
  here = leaves(plain)
  for path in here:
    if path not in known and not path.startswith(_OPEN):
      raise InputError(f"config.{path} is not a field of the config.{did_you_mean(path, known)} See docs/configs.md.")
  for path in known:
    if path not in here:
      raise InputError(f"config.{path} is missing. Start from configs/default.py's get_config().")
  return _build(plain)


def resolve_record(given: Mapping[str, Any]) -> Config:
  """Returns the typed config of a run that an earlier version may have recorded.

  A field that is new since has its default, which is what was before there was one; one that is gone is left out, but
  not of the sections that make the network and the loss, where it may have mattered.

  Raises:
    InputError: as `resolve`.
  """
  whole = {name: given[name] for name in Config().to_dict() if name in given}
  for section in SECTIONS:
    name = section.path.removeprefix("config.")
    if not issubclass(section, Chosen) and isinstance(whole.get(name), Mapping):
      known = {declared.name for declared in dataclasses.fields(section)}  # pyright: ignore[reportArgumentType]
      whole[name] = {key: value for key, value in whole[name].items() if key in known}
  return _build(whole)


def _nested(given: Any) -> dict[str, Any]:
  if isinstance(given, ConfigDict):
    return cast("dict[str, Any]", given.to_dict())  # pyright: ignore[reportUnknownMemberType]
  return dict(given)


def _build(plain: Mapping[str, Any]) -> Config:
  """Makes the sections of nested dicts; what is left out has its default."""
  sections: dict[str, Any] = {}
  for section in SECTIONS:
    name = section.path.removeprefix("config.")
    values = plain.get(name, {})
    if not isinstance(values, Mapping):
      raise InputError(f"{section.path}={values!r} must be a section with fields.")
    sections[name] = _make(section, dict(values))  # pyright: ignore[reportUnknownArgumentType]
  return Config(**{**plain, **sections})


def _make(section: type[Section], values: dict[str, Any]) -> Section:
  if issubclass(section, Chosen):
    own = {name: values.pop(name) for name in declared_in(section) if name in values}
    return section(**own, settings=values)
  return section(**values)
