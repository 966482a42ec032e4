"""Shows doctests as blocks of code on the API pages: Markdown would read ``>>>`` as quotes, ``[[0.5]]`` as links."""

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"^>>> .*(?:\n(?!\n).+)*", re.MULTILINE)


class Doctests(griffe.Extension):
  """Puts a fence around each doctest."""

  def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
    """Rewrites the docstring of one object."""
    if obj.docstring is not None:
      obj.docstring.value = _DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
