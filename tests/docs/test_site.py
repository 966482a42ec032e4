"""The docs site builds without a warning: no dead link, no page outside the navigation, every public name on a page."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT

pytest.importorskip("mkdocs", reason="the site needs pip install '.[docs]'")
pytest.importorskip("mkdocstrings", reason="the site needs pip install '.[docs]'")


def build(out, cwd=ROOT):
  command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={out}"]
  env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
  return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  out = tmp_path_factory.mktemp("site")
  done = build(out)
  assert done.returncode == 0, done.stdout + done.stderr
  return out


def exported():
  """Yields (room, name) of every `__all__` of a room, read from the sources."""
  for path in sorted((ROOT / "ordseg").glob("*/__init__.py")):
    for node in ast.parse(path.read_text()).body:
      if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
        yield from ((path.parent.name, name) for name in ast.literal_eval(node.value))


def test_every_public_name_is_on_its_page(site):
  rooms = {path.stem for path in (ROOT / "ordseg").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
  assert {path.parent.name for path in site.glob("api/*/index.html")} == rooms - {"__init__", "__main__", "cli"}
  names, html = list(exported()), {path.parent.name: path.read_text() for path in site.glob("api/*/index.html")}
  assert len(names) > 100
  # A module among the names has a heading of its own, whose id has no dots.
  ids = {room: re.findall(r'id="([^"]+)"', page) for room, page in html.items()}
  absent = [f"{r}.{n}" for r, n in names if not {f"ordseg.{r}.{n}", f"ordseg{r}{n}"} & set(ids[r])]
  assert absent == []


def test_maths_are_drawn_without_a_script_from_elsewhere(site):
  pages = [path.read_text() for path in site.rglob("*.html")]
  assert sum('<math xmlns="http://www.w3.org/1998/Math/MathML"' in page for page in pages) >= 1
  assert not any(re.search(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', page) for page in pages)


def test_a_dead_link_and_a_forgotten_page_stop_the_build(tmp_path):
  for folder in ("docs", "data", "ordseg"):
    shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
  for path in (*ROOT.glob("*.md"), ROOT / "LICENSE", ROOT / "CITATION.cff"):
    shutil.copy(path, tmp_path)
  config = (ROOT / "mkdocs.yml").read_text()
  (tmp_path / "mkdocs.yml").write_text(
    config[: config.index("plugins:")] + "plugins: [search]\n"
  )  # API pages take long
  (tmp_path / "docs/forgotten.md").write_text("# Forgotten\n\n[a](nowhere.md) [b](design.md#no-such-heading)\n")
  done = build(tmp_path / "site", cwd=tmp_path)
  said = done.stdout + done.stderr
  assert done.returncode == 1, said
  assert "docs/forgotten.md" in said and "'docs/nowhere.md'" in said and "no-such-heading" in said
