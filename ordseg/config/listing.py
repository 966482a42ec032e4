"""The fields of the config for people: what `python -m configs.default` prints and docs/configs.md holds."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ordseg.config.sections import SECTIONS, Chosen, Config, declared_in
from ordseg.settings import Setting


def describe() -> Iterator[tuple[str, Any, Setting]]:
  """Yields (dotted path, default, setting) of every field; the help of a registered one starts with its readers."""
  yield from ((name, default, setting) for name, (default, setting) in declared_in(Config).items())
  for section in SECTIONS:
    prefix = section.path.removeprefix("config.")
    for name, (default, setting) in declared_in(section).items():
      yield f"{prefix}.{name}", default, setting
    if issubclass(section, Chosen):
      registry = section.registry()
      for name, declared in registry.settings().items():
        readers = "" if len(declared.readers) == len(registry) else f"{', '.join(declared.readers)}: "
        setting = dataclasses.replace(declared.setting, help=readers + declared.setting.help)
        yield f"{prefix}.{name}", declared.default, setting


def table() -> str:
  """Returns every field as rows of Markdown."""
  rows = ["| field | default | allowed | meaning |", "|---|---|---|---|"]
  for path, default, setting in describe():
    allowed = ", ".join(setting.words) or setting.allowed
    rows.append(f"| {path} | `{default!r}` | {allowed} | {setting.help} |")
  return "\n".join(rows)
