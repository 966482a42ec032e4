"""The pages of the docs, and the blocks of code in them."""

import dataclasses
import pathlib
import re
import textwrap

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGES = sorted(
  path
  for pattern in ("*.md", "docs/*.md", "examples/*.md", "data/README.md", "data/*/README.md")
  for path in ROOT.glob(pattern)
)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n|\n(?= {4}))+")


@dataclasses.dataclass(frozen=True)
class Block:
  """A block of code.

  Attributes:
    page: the file.
    language: the word after the fence; "" for indented blocks.
    text: without fence and indent.
  """

  page: pathlib.Path
  language: str
  text: str


def blocks() -> list[Block]:
  """Returns all blocks, fenced and indented."""
  found = []
  for page in PAGES:
    text = page.read_text(encoding="utf-8")
    found += [Block(page, language, code) for language, code in _FENCED.findall(text)]
    found += [Block(page, "", textwrap.dedent(code)) for code in _INDENTED.findall(_FENCED.sub("", text) + "\n")]
  return found


def prose(page: pathlib.Path) -> str:
  """Returns a page without its blocks."""
  return _INDENTED.sub("", _FENCED.sub("", page.read_text(encoding="utf-8")))


def name(page: pathlib.Path) -> str:
  """Returns a page's path for people."""
  return page.relative_to(ROOT).as_posix()
