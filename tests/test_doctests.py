"""The examples in docstrings are run; public functions of the library part have one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import ordseg.heads
import ordseg.losses
import ordseg.ordinal
import ordseg.settings

# Every public function of these has an example; those of the others are run where there are any.
COMPLETE = (ordseg.ordinal, ordseg.heads, ordseg.losses)
OTHERS = (ordseg.settings,)


def modules(packages):
  """Returns the names of packages and of all modules in them."""
  inside = [pkgutil.walk_packages(getattr(package, "__path__", []), f"{package.__name__}.") for package in packages]
  return [package.__name__ for package in packages] + [found.name for each in inside for found in each]


@pytest.mark.parametrize("name", modules((*COMPLETE, *OTHERS)))
def test_examples_print_what_they_say(name):
  assert doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


@pytest.mark.parametrize("name", modules(COMPLETE))
def test_public_functions_have_an_example(name):
  module = importlib.import_module(name)
  own = [fn for fn in vars(module).values() if inspect.isfunction(fn) and fn.__module__ == name]
  missing = [fn.__name__ for fn in own if not fn.__name__.startswith("_") and ">>>" not in (fn.__doc__ or "")]
  assert not missing
