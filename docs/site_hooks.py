"""Puts the docs site together, for MkDocs: which files are pages, the API pages, and the maths.

The site has the layout of the repository, so a link between two files works on the site as it does in a clone. API
pages are read from the sources, without importing them: a page for each room of ``ordseg/``.
"""

import ast
import pathlib
import re
from typing import Any

import latex2mathml.converter
from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ("*.md", "docs/*.md", "examples/*.md", "data/README.md", "data/*/README.md")
LIBRARY = ("ordinal", "heads", "losses", "models", "metrics", "evaluation", "prediction", "recalibration", "image_io")
PROGRAMS = "cli"  # its pages are the programs' --help
_LINK = re.compile(r"\]\(([^)#:\s]+)")
_MATHS = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def rooms() -> list[str]:
  """Returns the rooms of ``ordseg/`` that have an API page: the library first, then the others by name."""
  package = ROOT / "ordseg"
  found = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
  others = sorted(room for room in found - set(LIBRARY) if not room.startswith("_") and room != PROGRAMS)
  return [*LIBRARY, *others]


def pages() -> list[pathlib.Path]:
  """Returns the Markdown files of the site."""
  return sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def on_config(config: Any) -> Any:
  """Fills the entries of the navigation that mkdocs.yml leaves empty: one page for each room, and for each data set."""
  filled = {
    "API": ["api/README.md", *(f"api/{room}.md" for room in rooms())],
    "Data sets": [
      "data/README.md",
      *(f"data/{path.parent.name}/README.md" for path in sorted(ROOT.glob("data/*/README.md"))),
    ],
  }
  for item in config.nav:
    item.update({title: paths for title, paths in filled.items() if title in item})
  return config


def on_files(files: Files, config: Any) -> Files:
  """Takes the repository's pages, with whatever they link to, in place of the folder of docs."""
  kept = Files([file for file in files if file.src_dir != config.docs_dir])
  paths = set(pages())
  for page in pages():
    linked = ((page.parent / target).resolve() for target in _LINK.findall(page.read_text(encoding="utf-8")))
    paths |= {path for path in linked if path.is_file() and path.is_relative_to(ROOT)}
  for path in sorted(paths):
    src = path.relative_to(ROOT).as_posix()
    kept.append(File(src, str(ROOT), config.site_dir, config.use_directory_urls))
  kept.append(File.generated(config, "api/README.md", content=_overview()))
  for room in rooms():
    kept.append(File.generated(config, f"api/{room}.md", content=_room_page(room)))
  return kept


def on_page_content(html: str, **_: Any) -> str:
  """Turns LaTeX into MathML, which browsers draw by themselves: the site needs no script from elsewhere."""
  return _MATHS.sub(lambda match: _mathml(match[2], is_block=match[1] == "div"), html)


def _mathml(text: str, *, is_block: bool) -> str:
  latex = re.sub(r"^\\[(\[]|\\[)\]]$", "", text.strip())
  for escaped, plain in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
    latex = latex.replace(escaped, plain)
  return latex2mathml.converter.convert(latex, display="block" if is_block else "inline")


def _overview() -> str:
  rows = [f"| [`ordseg.{room}`]({room}.md) | {_summary(room)} |" for room in rooms()]
  about = "What is in the package, the library first. The programs explain themselves: `ordseg --help`."
  return "\n".join(["# API", "", about, "", "| | |", "|---|---|", *rows, ""])


def _summary(room: str) -> str:
  text = ast.get_docstring(_parsed(room)) or ""
  return " ".join(text.partition("\n\n")[0].split())


def _parsed(room: str) -> ast.Module:
  path = ROOT / "ordseg" / f"{room}.py"
  source = path if path.exists() else path.with_suffix("") / "__init__.py"
  return ast.parse(source.read_text(encoding="utf-8"))


def exported(room: str) -> list[str]:
  """Returns the names in ``__all__`` of a room; none where it has no such list."""
  for node in _parsed(room).body:
    if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
      return ast.literal_eval(node.value)
  return []


def _room_page(room: str) -> str:
  """What the room exports, then of each module in it what only that module has."""
  lines, there = [f"# ordseg.{room}", "", f"::: ordseg.{room}", ""], set(exported(room))
  for path in sorted((ROOT / "ordseg" / room).rglob("*.py")):
    names = [name for name in _defined(path) if name not in there]
    if path.stem != "__init__" and names:
      module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
      lines += [f"## {module}", "", f"::: {module}", "    options:"]
      lines += ["      heading_level: 3", f"      members: {names}", ""]
  return "\n".join(lines)


def _defined(path: pathlib.Path) -> list[str]:
  nodes = ast.parse(path.read_text(encoding="utf-8")).body
  kinds = (ast.FunctionDef, ast.ClassDef)
  return [node.name for node in nodes if isinstance(node, kinds) and not node.name.startswith("_")]
