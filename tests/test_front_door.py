"""`import ordseg`: light, and everything behind it where its list says."""

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import pytest

import ordseg
from ordseg.errors import InputError, extras

ROOT = pathlib.Path(__file__).parent.parent
HEAVY = (
  "grain",
  "orbax",
  "cv2",
  "matplotlib",
  "tensorboardX",
  "PIL",
  "jinja2",
  "ml_collections",
  "tensorflow_datasets",
)
# Without `load`: a trained run is opened with Orbax.
LIBRARY = [name for name in ordseg.__all__ if name != "load"]


def modules_after(text):
  code = f"import sys\n{text}\nimport json; print(json.dumps([m for m in sys.modules]))"
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
  return {name.split(".")[0] for name in json.loads(done.stdout)}


def test_import_ordseg_loads_nothing():
  assert not modules_after("import ordseg; dir(ordseg)") & {"jax", "numpy", "flax", *HEAVY}


def test_the_library_loads_no_trainer_reader_or_plotter():
  loaded = modules_after(f"import ordseg\nfor name in {LIBRARY}: getattr(ordseg, name)")
  assert "jax" in loaded and not loaded & {*HEAVY, "optax"}


def test_names():
  assert set(dir(ordseg)) == set(ordseg.__all__) and {"encode", "thin", "read_out", "losses"} <= set(dir(ordseg))
  for name in ordseg.__all__:
    assert getattr(ordseg, name) is not None
  with pytest.raises(AttributeError, match="no attribute 'encoed'"):
    ordseg.encoed  # noqa: B018


def test_the_names_that_editors_see_are_those_that_are_there():
  text = (ROOT / "ordseg/__init__.py").read_text()
  static = text.split("if TYPE_CHECKING:\n")[1].split("\n\n")[0]
  imported = re.findall(r"import (.+)", static)
  names = {part.split(" as ")[-1].strip() for line in imported for part in line.split(",")}
  assert names == set(ordseg.__all__) - {"__version__"}


def test_one_version():
  citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), flags=re.M)
  newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
  assert citation and newest and {citation[1], newest[1], importlib.metadata.version("ordseg")} == {ordseg.__version__}


REQUIRES = ["jax>=0.10", "orbax-checkpoint<1,>=0.12; extra == 'train'", 'Pillow>=10; extra == "images"']


def test_a_missing_extra_is_one_line(monkeypatch):
  monkeypatch.setattr(importlib.metadata, "requires", lambda _: REQUIRES)
  assert extras.table() == {"train": ["orbax-checkpoint"], "images": ["pillow"]}
  missing = ModuleNotFoundError("No module named 'PIL'", name="PIL.Image")
  assert extras.explain(missing, "x") == "x needs pillow: pip install 'ordseg[images]'"
  assert extras.explain(ModuleNotFoundError(name="somebodys"), "x") == ""
  monkeypatch.setattr(extras, "_is_installed", lambda package: package != "pillow")
  with pytest.raises(InputError, match=r"ordseg predict needs pillow: pip install 'ordseg\[train,images\]'"):
    extras.require("ordseg predict", ["train", "images"])
  extras.require("ordseg train", ["train"])


@pytest.mark.parametrize(
  ("module", "extra"),
  [
    ("grain", "train"),
    ("orbax.checkpoint", "train"),
    ("ml_collections", "train"),
    ("cv2", "train"),
    ("tensorboardX.summary", "train"),
    ("PIL.Image", "images"),
    ("matplotlib", "report"),
  ],
)
def test_what_a_module_comes_with(module, extra):
  assert extras.explain(ModuleNotFoundError(name=module), "x").endswith(f"'ordseg[{extra}]'")
