"""The house rules that a reader relies on, read from the imports themselves."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LAYERS = (
  (
    "types",
    "validate",
    "files",
    "records",
    "interrupts",
    "system_errors",
    "locks",
    "peers",
    "image_io",
    "rng",
    "ordinal",
    "staple",
    "folding",
    "xla_guard",
  ),
  ("losses", "heads", "calibration", "metrics", "agreement", "scoring", "statistics", "recalibration"),
  ("models",),
  ("preprocess", "augment", "input_pipeline"),
  ("optim", "state", "step", "parallel", "seals", "orbax_noise", "checkpoint"),
)
MODULES = sorted((ROOT / "ordseg").rglob("*.py"))


def level(module):
  for number, names in enumerate(LAYERS):
    if module in names:
      return number
  return len(LAYERS)


def imported(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module:
      names = [node.module] if node.module != "ordseg" else [f"ordseg.{a.name}" for a in node.names]
      yield from names
    elif isinstance(node, ast.Import):
      yield from (a.name for a in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
  here = path.relative_to(ROOT / "ordseg").parts[0].removesuffix(".py")
  for name in imported(path):
    top, _, rest = name.partition(".")
    assert top not in ("configs", "data", "tests"), f"{path.name} imports {name}"
    if top == "ordseg" and rest:
      other = rest.split(".")[0]
      assert other == here or level(other) <= level(here), f"{path.name} imports upward: {name}"


# Builders share the readers of image files, records, locks and the error with `ordseg`, and nothing that needs JAX.
@pytest.mark.parametrize(
  ("package", "allowed"), [("configs", ()), ("data", ("validate", "files", "records", "locks", "image_io"))]
)
def test_what_configs_and_data_import_of_ordseg(package, allowed):
  for path in (ROOT / package).rglob("*.py"):
    names = [name.split(".") for name in imported(path) if name.split(".")[0] == "ordseg"]
    assert all(len(name) > 1 and name[1] in allowed for name in names), path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms(path):
  text = path.read_text()
  names = set(imported(path))
  if path.name != "parallel.py":
    for word in ("jax.pmap", "lax.psum", "lax.pmean", "lax.all_gather", "jax.distributed"):
      assert word not in text, f"{word} belongs in parallel.py, not {path.name}"
  if "report" not in path.parts[-2:] and not path.name.startswith("report"):
    assert not any(n.startswith("matplotlib") for n in names), path
  assert not any(n.startswith("absl.flags") or n == "absl.app" for n in names), path
  if "tensorflow" in names:
    raise AssertionError(f"{path} imports TensorFlow")


@pytest.mark.parametrize("name", ["run_train.py", "run_eval.py"])
def test_entry_scripts_are_short(name):
  assert len((ROOT / name).read_text().splitlines()) <= 80


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.name)
def test_overlay_configs_are_short(path):
  if path.name not in ("default.py", "common.py"):
    assert len(path.read_text().splitlines()) <= 40
