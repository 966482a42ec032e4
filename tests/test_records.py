"""Records that say when they are damaged, and evaluations that are one thing."""

import io
import json
import math
import re
import shutil

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordseg import files, records, run_record
from ordseg.errors import InputError
from ordseg.evaluation import scoring
from ordseg.reporting import card, report
from ordseg.reporting.compare import runs
from ordseg.reporting.report import figures, reading
from ordseg.types import Panel
from tests.helpers import evaluations, training

VALUE = st.recursive(
  st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(),
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
  max_leaves=8,
)


def test_nested_dicts_by_dotted_path():
  tree = {"a": {"b": 1, "c": [1, 2], "d": None, "e": "text"}, "f": np.float32(0.5), "g": True}
  assert records.numbers(tree) == {"a.b": 1.0, "f": 0.5}
  assert records.leaves(tree) == {"a.b": 1, "a.c": [1, 2], "a.d": None, "a.e": "text", "f": np.float32(0.5), "g": True}
  assert records.at(tree, "a.b") == 1 and records.at(tree, "a") is tree["a"]
  assert records.at(tree, "a.b.c") is None and records.at(tree, "h.i") is None


def test_numpy_numbers_and_arrays_become_pythons():
  value = {"a": np.float32(0.5), "b": np.asarray([1.0, np.nan]), "c": np.int64(2)}
  assert json.dumps(records.jsonable(value), allow_nan=False) == '{"a": 0.5, "b": [1.0, null], "c": 2}'


@given(st.recursive(st.floats() | st.none() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
def test_jsonable_is_strict_json(value):
  text = json.dumps(records.jsonable(value), allow_nan=False)
  assert json.loads(text) == records.jsonable(value)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
  path = tmp_path / "config.json"
  records.write_json(path, {"a": math.nan, "b": (1, 2)})
  assert json.loads(path.read_text()) == {"a": None, "b": [1, 2], "sha256": records.digest({"a": None, "b": [1, 2]})}

  def crash(*args):
    raise OSError("the disk is gone")

  monkeypatch.setattr(files.os, "fsync", crash)
  with pytest.raises(OSError, match="disk"):
    records.write_json(path, {"a": 2})
  assert records.read_json(path) == {"a": None, "b": [1, 2]} and list(tmp_path.iterdir()) == [path]


@given(st.dictionaries(st.text(), VALUE, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_records_come_back(tmp_path, value):
  value.pop(records.DIGEST, None)
  records.write_json(tmp_path / "a.json", value)
  assert records.read_json(tmp_path / "a.json") == records.jsonable(value)


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_told_or_changes_nothing(tmp_path, seed):
  value = {"step": 40, "loss": 0.125, "name": "rps", "list": [1, 2.5, None], "nested": {"a": {"b": "c"}}}
  path = tmp_path / "a.json"
  records.write_json(path, value)
  content, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
  content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
  path.write_bytes(content)
  try:
    found = records.read_json(path, "The way out.")
  except InputError as error:
    assert re.match(r".*a\.json is damaged: .*The way out\.$", str(error)) and "\n" not in str(error)
  else:  # a space
    assert found == value


def test_a_record_of_an_earlier_version_has_no_digest(tmp_path):
  (tmp_path / "a.json").write_text('{"a": 1}')
  assert records.read_json(tmp_path / "a.json") == {"a": 1}
  for text in ("", "{", "[1]", "3", '{"a": 1, "sha256": 5}', "\ufeff{}", "[" * 100_000):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json is damaged"):
      records.read_json(tmp_path / "a.json")
  with pytest.raises(InputError, match="cannot be read: Is a"):
    records.read_json(tmp_path)


@pytest.mark.parametrize("seed", range(30))
def test_damaged_archives_are_told(tmp_path, seed):
  path, arrays = tmp_path / "a.npz", {"x": np.arange(50), "y": np.asarray("text")}
  content, rng = bytearray(records.npz_bytes(arrays)), np.random.default_rng(seed)
  if seed % 3:
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
  else:
    content = content[: rng.integers(len(content))]
  path.write_bytes(content)
  try:
    found = records.read_npz(path)
  except InputError as error:
    assert re.match(r".*a\.npz is damaged: ", str(error)) and "\n" not in str(error)
  else:  # a time stamp, or an attribute of a file
    assert found.keys() == arrays.keys() and (found["x"] == arrays["x"]).all() and found["y"] == "text"


# ---- an evaluation is one thing


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A run with two evaluations of the same images."""
  root = tmp_path_factory.mktemp("runs") / "mine"
  data_info = {**evaluations.INFO["data"], "raters": ["ann", "bob", "cy"]}
  described = run_record.describe(training.tiny(), data_info=data_info, panel=Panel(1, 3))
  run_record.open_run(root, described)
  evaluations.write(root / "eval/test", sharpen=2.0, info={"data": data_info})
  evaluations.write(root / "eval/validation", sharpen=1.5, info={"data": data_info})
  return root


@pytest.fixture
def run(made, tmp_path):
  return shutil.copytree(made, tmp_path / "mine")


@pytest.fixture
def undrawn(monkeypatch):
  """Leaves the drawing out, which takes longer than all the rest."""
  png = io.BytesIO()
  PIL.Image.new("L", (2000, 1000)).save(png, "PNG")
  monkeypatch.setattr(figures, "save", lambda *_: png.getvalue())


READERS = {
  "per_image.csv": reading.load_per_image,
  "curves.json": reading.load,
  "examples.npz": reading.load_examples,
  "sums.npz": scoring.read,
}
PROGRAMS = {
  "report": lambda run: report.write_report(run / "eval/test"),
  "card": lambda run: card.write_card(run),
  "compare": lambda run: runs.load([str(run), str(run / "eval/validation")]),
}


@pytest.mark.parametrize("name", READERS)
def test_a_mix_of_two_evaluations_is_refused(run, name):
  shutil.copy(run / "eval/validation" / name, run / "eval/test" / name)
  ids = [
    json.loads((run / f"eval/{split}/metrics.json").read_text())["evaluation"]["id"] for split in ("test", "validation")
  ]
  assert ids[0] != ids[1]
  with pytest.raises(InputError) as error:
    READERS[name](run / "eval/test")
  message = str(error.value)
  assert f"eval/test/{name} is " in message and ids[0] in message and (ids[1] in message or name == "per_image.csv")
  assert message.endswith(f"Evaluate again: python run_eval.py --workdir={run} --split=test") and "\n" not in message


@pytest.mark.parametrize("name", ["metrics.json", *READERS])
@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_refuse_a_mix(run, undrawn, program, name):
  readers = {
    "report": ("sums.npz",),
    "card": ("sums.npz", "examples.npz"),
    "compare": ("per_image.csv", "examples.npz"),
  }
  shutil.copy(run / "eval/validation" / name, run / "eval/test" / name)
  if name in readers[program]:  # which it does not read
    PROGRAMS[program](run)
    return
  with pytest.raises(InputError, match=r"is of the evaluation|is of another evaluation"):
    PROGRAMS[program](run)


def forget(folder):
  """Makes an evaluation as versions without ids wrote it."""
  for name in ("metrics.json", "curves.json"):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({k: v for k, v in content.items() if k not in ("evaluation", "sha256")}))
  for name in ("sums.npz", "examples.npz"):
    with np.load(folder / name) as arrays:
      np.savez(folder / name, **{k: v for k, v in arrays.items() if k != "evaluation"})


def test_evaluations_without_an_id_are_read_where_their_files_agree(run, undrawn):
  forget(run / "eval/test")
  for program in PROGRAMS.values():
    program(run)
  forget(run / "eval/validation")
  former = (run / "eval/test/curves.json").read_bytes()
  shutil.copy(run / "eval/validation/curves.json", run / "eval/test/curves.json")
  with pytest.raises(InputError, match=r"curves\.json gives mr_ece_pooled of mean_vote as .* of two evaluations"):
    reading.load(run / "eval/test")
  (run / "eval/test/curves.json").write_bytes(former)
  table = run / "eval/test/per_image.csv"
  table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
  with pytest.raises(InputError, match=r"per_image\.csv has 11 images, metrics\.json 12"):
    reading.load(run / "eval/test")


@pytest.mark.parametrize("name", ["curves.json", "examples.npz", "sums.npz"])
def test_a_file_with_an_id_beside_an_evaluation_without_one(run, name):
  forget(run / "eval/test")
  shutil.copy(run / "eval/validation" / name, run / "eval/test" / name)
  with pytest.raises(
    InputError, match=rf"{name} is of the evaluation [0-9a-f]{{16}}, metrics\.json beside it of an earl"
  ):
    READERS[name](run / "eval/test")


def test_names_of_raters_stay(run, undrawn):
  folder = run / "eval/test"
  rows = reading.load_per_image(folder)
  assert {row["raters"] for row in rows} == {"ann;bob;cy"}
  metrics, curves = (json.loads((folder / name).read_text()) for name in ("metrics.json", "curves.json"))
  assert metrics["raters"]["names"] == curves["raters"] == metrics["data"]["raters"] == ["ann", "bob", "cy"]
  page = report.write_report(folder).read_text()
  for name in ("ann", "bob", "cy"):
    assert f'<th scope="row">{name}</th>' in page and f'class="number">{name}</th>' in page
    assert f"Reliability diagram, {name}." in page
  assert "rater 1" not in page and "rater 2" not in page
  assert "ann, bob, cy" in card.write_card(run).read_text()
  assert run_record.read(run)["data"]["raters"] == ["ann", "bob", "cy"]


def test_where_raters_are_missing_outlines_are_of_those_who_answered(tmp_path, undrawn):
  folder = evaluations.write(tmp_path / "eval/test", num_images=4, valid=np.array([1, 0, 1]), oracle=False)
  assert {row["raters"] for row in reading.load_per_image(folder)} == {"1;3"}
  page = report.write_report(folder).read_text()
  assert 'data-raters="2"' in page and 'data-raters="3"' not in page and 'max="3"' in page
  assert "At least 1 of 2 raters who answered" in page and "All 2 raters who answered" in page
  assert "the slider asks for the same share of those who answered" in page
