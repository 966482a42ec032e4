"""Declared settings: default, allowed values and help stand once, where the thing they set is defined.

A config section is a frozen dataclass of `field`s. What a config chooses by name (a loss, a network) is an entry of a
`Registry`, and declares the settings it reads when it registers; the config section, its checks, ``--help`` and the
tables of the docs are read from there.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from ordseg.errors import InputError, did_you_mean

_KEY = "setting"


@dataclasses.dataclass(frozen=True)
class Setting:
  """What a value may be besides its type, which is that of its default.

  Attributes:
    help: one line for people, with the unit.
    gt: the value must be greater. A float must be finite in any case.
    ge: the value must be at least this.
    lt: the value must be less.
    le: the value must be at most this.
    choices: the allowed words, or a function that returns them (then they may be registered later).
    check: returns what was expected, as words after "must be", or '' where the value is right; for what bounds cannot
      say. It may raise InputError itself.
  """

  help: str
  gt: float | None = None
  ge: float | None = None
  lt: float | None = None
  le: float | None = None
  choices: Iterable[str] | Callable[[], Iterable[str]] | None = None
  check: Callable[[Any], str] | None = None

  @property
  def allowed(self) -> str:
    """The bounds in words: ``> 0``, ``in [0, 1)``; '' without any."""
    low = self.ge if self.ge is not None else self.gt
    high = self.le if self.le is not None else self.lt
    if low is not None and high is not None:
      return f"in {'[' if self.ge is not None else '('}{low}, {high}{']' if self.le is not None else ')'}"
    if low is not None:
      return f"{'>=' if self.ge is not None else '>'} {low}"
    return f"{'<=' if self.le is not None else '<'} {high}" if high is not None else ""

  @property
  def words(self) -> tuple[str, ...]:
    """The allowed words; empty where any value of the type will do."""
    choices = self.choices() if callable(self.choices) else self.choices
    return tuple(choices or ())

  def validate(self, value: Any, default: Any, *, path: str) -> None:
    """Checks one value.

    Args:
      value: as given.
      default: whose type it must have; an int serves where a float is wanted.
      path: the field as the user writes it, ``config.loss.alpha``.

    Raises:
      InputError: one line with the field, its value and what was expected.
    """
    want = cast("type[Any]", type(default))
    if type(value) is not want and not (want is float and type(value) is int):
      raise InputError(f"{path}={value!r} must be {_a(want)}.")
    if self.words and value not in self.words:
      choices = ", ".join(self.words)
      raise InputError(f"{path}={value!r} is unknown.{did_you_mean(str(value), self.words)} Choices: {choices}.")
    # Written so that NaN, which compares as False, is refused.
    is_right = (
      (self.gt is None or value > self.gt)
      and (self.ge is None or value >= self.ge)
      and (self.lt is None or value < self.lt)
      and (self.le is None or value <= self.le)
    )
    expected = "" if is_right else self.allowed
    if not expected and isinstance(value, float) and not math.isfinite(value):
      expected = f"finite and {self.allowed}".removesuffix(" and ")
    if not expected and self.check is not None:
      expected = self.check(value)
    if expected:
      raise InputError(f"{path}={value!r} must be {expected}.")


def field(default: object, **setting: Any) -> Any:
  """Declares a field of a config section, a frozen dataclass: `dataclasses.field` with a `Setting`.

  Args:
    default: gives the type as well.
    **setting: see `Setting`; `help` is required.
  """
  return dataclasses.field(default=default, metadata={_KEY: Setting(**setting)})


def setting_of(declared: dataclasses.Field[object]) -> Setting | None:
  """Returns the `Setting` of a dataclass's field; None for fields that hold sections."""
  return declared.metadata.get(_KEY)


def keyword_defaults(fn: Callable[..., Any]) -> dict[str, Any]:
  """Returns names and defaults of the keyword-only arguments, which are a registered function's settings."""
  parameters = inspect.signature(fn).parameters.values()
  return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


@dataclasses.dataclass(frozen=True)
class Declared:
  """A setting of registered things, as a config section has it.

  Attributes:
    default: the same for all who read it.
    setting: the same for all who read it.
    readers: the names of the entries that read it.
  """

  default: Any
  setting: Setting
  readers: tuple[str, ...]


Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
  """What a config field can name, in the order of registration.

  Attributes:
    path: the config field that chooses, ``config.loss.name``.
  """

  def __init__(self, path: str) -> None:
    self.path = path
    self._entries: dict[str, Entry] = {}
    self._settings: dict[str, dict[str, tuple[Any, Setting]]] = {}

  def add(
    self,
    name: str,
    entry: Entry,
    *,
    defaults: Mapping[str, object] | None = None,
    settings: Mapping[str, Setting] | None = None,
  ) -> None:
    """Adds an entry.

    Args:
      name: as the user writes it.
      entry: what `find` returns.
      defaults: setting -> default, of all that the entry reads.
      settings: setting -> what it may be; the same keys, or fewer where another entry declared the rest.

    Raises:
      ValueError: the name is taken, a setting has no `Setting`, or another entry declares the same setting otherwise.
        A programmer's error, hence no InputError.
    """
    defaults, settings = dict(defaults or {}), dict(settings or {})
    if name in self._entries:
      raise ValueError(f"{self.path}: {name!r} is registered already.")
    if unread := settings.keys() - defaults.keys():
      raise ValueError(f"{name}: declares {', '.join(sorted(unread))}, which it does not read.")
    known, own = self.settings(), {}
    for key, default in defaults.items():
      there = known.get(key)
      setting = settings.get(key, there.setting if there else None)
      if setting is None or default is inspect.Parameter.empty:
        raise ValueError(f"{name}: {key} needs a default and a Setting.")
      if there and (type(there.default), there.default, there.setting) != (type(default), default, setting):
        raise ValueError(f"{name}: {key} is declared otherwise by {', '.join(there.readers)}.")
      own[key] = (default, setting)
    self._entries[name] = entry
    self._settings[name] = own

  def remove(self, name: str) -> None:
    """Takes an entry out again, with the settings that only it read."""
    del self._entries[name], self._settings[name]

  def find(self, name: str) -> Entry:
    """Returns the entry of that name.

    Raises:
      InputError: there is none; with the nearest name and all names.
    """
    if name not in self._entries:
      choices = ", ".join(self._entries)
      raise InputError(f"{self.path}={name!r} is unknown.{did_you_mean(str(name), self._entries)} Choices: {choices}.")
    return self._entries[name]

  def settings(self) -> dict[str, Declared]:
    """Returns setting -> what it is, over all entries."""
    union: dict[str, Declared] = {}
    for name, own in self._settings.items():
      for key, (default, setting) in own.items():
        readers = union[key].readers if key in union else ()
        union[key] = Declared(default, setting, (*readers, name))
    return union

  def settings_of(self, name: str) -> dict[str, Declared]:
    """Returns the settings that the entry `name` reads."""
    return {key: declared for key, declared in self.settings().items() if name in declared.readers}

  def choose(self, name: str, values: Mapping[str, object]) -> dict[str, Any]:
    """Checks a section and returns the settings that the chosen entry reads.

    Args:
      name: the chosen entry.
      values: setting -> value of the whole section; what is left out has its default.

    Raises:
      InputError: an unknown entry or setting, a value that may not be, or one changed that the entry does not read.
    """
    self.find(name)
    section = self.path.rpartition(".")[0]
    union = self.settings()
    for key, value in values.items():
      if key not in union:
        raise InputError(f"{section}.{key} is not a field.{did_you_mean(key, union)} Fields: {', '.join(union)}.")
      union[key].setting.validate(value, union[key].default, path=f"{section}.{key}")
    chosen: dict[str, Any] = {}
    for key, declared in union.items():
      value = values.get(key, declared.default)
      if name in declared.readers:
        chosen[key] = value
      elif value != declared.default:
        raise InputError(
          f"{section}.{key}={value!r} has no effect on {self.path}={name!r}, only on {', '.join(declared.readers)}: "
          f"leave it at {declared.default!r}."
        )
    return chosen

  def __getitem__(self, name: str) -> Entry:
    return self._entries[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._entries)

  def __len__(self) -> int:
    return len(self._entries)


def _a(kind: type[Any]) -> str:
  names: dict[type[Any], str] = {
    bool: "True or False",
    int: "an int",
    float: "a float",
    str: "a text",
    tuple: "a tuple, such as (64, 64)",
  }
  return names.get(kind, f"a {kind.__name__}")
