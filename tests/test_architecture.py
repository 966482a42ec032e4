"""The house rules that a reader relies on, read from the imports; the plan they are held to is docs/design.md."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MODULES = sorted((ROOT / "ordseg").rglob("*.py"))
FRONT_DOORS = (ROOT / "ordseg" / "__init__.py", ROOT / "ordseg" / "__main__.py")
# Packages looked up by name at run time, because they are extras or not ours to import.
LOOKED_UP = {"highdicom", "highdicom.sc", "highdicom.seg", "torch", "data", "configs.default"}
# Of what a table names: exported formats, sub-commands, rooms behind the front door.
FROM_A_TABLE = ("prediction/export.py", "cli/main.py", "__init__.py")


def plan():
  """Returns room -> floor, from the table of docs/design.md; the lowest floor is 0."""
  text = (ROOT / "docs" / "design.md").read_text()
  rows = re.findall(r"^\| (\d+) \| (.+?) \|", text, flags=re.M)
  return {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}


def room_of(path):
  return path.relative_to(ROOT / "ordseg").parts[0].removesuffix(".py")


def imported(path):
  """Yields the dotted names that a module imports; `from a import b` as a.b."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module:
      assert not node.level, f"{path}: relative import"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)


def looked_up(path):
  """Yields the names given to importlib.import_module and __import__, as text; '' where it is no plain text."""
  for node in ast.walk(ast.parse(path.read_text())):
    if not isinstance(node, ast.Call):
      continue
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in ("import_module", "__import__", "find_spec"):
      first = node.args[0] if node.args else None
      yield first.value if isinstance(first, ast.Constant) else ""


def test_every_room_is_on_the_plan():
  rooms = {room_of(path) for path in MODULES if path not in FRONT_DOORS}
  assert rooms == set(plan()), "docs/design.md and `ls ordseg` differ"
  assert len(rooms) <= 26


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
  floors, here = plan(), room_of(path)
  for name in imported(path):
    top, _, rest = name.partition(".")
    assert top not in ("configs", "data", "tests"), f"{path.name} imports {name}"
    if top == "ordseg" and rest and path not in FRONT_DOORS:
      other = rest.split(".")[0]
      if other != here and other != "__version__":
        assert floors[other] < floors[here], f"{path.name} imports {name}, which is not below it"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_imported_by_a_name_that_no_reader_sees(path):
  for name in looked_up(path):
    from_table = not name and path.relative_to(ROOT / "ordseg").as_posix() in FROM_A_TABLE
    assert name in LOOKED_UP or from_table, f"{path.name} looks up {name or 'a variable'}"
    assert name not in ("data", "configs.default") or path.name == "data_sets.py", "one place looks for builders"


# Builders share the readers of image files and layouts, settings, records, locks and the error; nothing that needs JAX.
@pytest.mark.parametrize(
  ("package", "allowed"),
  [
    ("configs", ("config", "losses")),
    ("data", ("errors", "settings", "files", "records", "locks", "image_io", "case_files")),
  ],
)
def test_what_configs_and_data_import_of_ordseg(package, allowed):
  for path in (ROOT / package).rglob("*.py"):
    names = [name.split(".") for name in imported(path) if name.split(".")[0] == "ordseg"]
    assert all(len(name) > 1 and name[1] in allowed for name in names), path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_belongs_in_one_room(path):
  text, names = path.read_text(), set(imported(path))
  if path.name != "parallel.py":
    for word in ("jax.pmap", "lax.psum", "lax.pmean", "lax.all_gather", "jax.distributed"):
      assert word not in text, f"{word} belongs in parallel.py, not {path.name}"
  if room_of(path) != "reporting":
    assert not any(n.startswith("matplotlib") for n in names), path
  if room_of(path) != "cli" and path.name != "export.py":
    assert not any(n.startswith("argparse") for n in names), path
  if room_of(path) != "cli":
    assert not any(n.startswith(("absl.flags", "ml_collections.config_flags")) for n in names), path
  assert not any(n.startswith(("absl.app", "tensorflow")) for n in names), path


@pytest.mark.parametrize("name", ["run_train.py", "run_eval.py"])
def test_entry_scripts_are_short(name):
  assert len((ROOT / name).read_text().splitlines()) <= 80


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.name)
def test_overlay_configs_are_short(path):
  if path.name not in ("default.py", "common.py"):
    assert len(path.read_text().splitlines()) <= 40
