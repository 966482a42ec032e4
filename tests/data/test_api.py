import pathlib

import pytest

import data
from data import DataError
from tests.data.helpers import ROOT, run_python


def test_every_benchmark_is_listed_documented_and_usable():
  assert {"lidc_slices", "rater_phantom", "folder_raters"} < set(data.list_builders())
  table = (ROOT / "data" / "README.md").read_text()
  for name in data.list_builders():
    folder = ROOT / "data" / name
    for file in ("__init__.py", "README.md", "CITATIONS.bib", "TAGS.txt", f"{name}_dataset_builder.py"):
      assert (folder / file).read_text(), f"{folder / file} is empty"
    assert f"[{name}]({name}/README.md)" in table
    assert name in {path.stem for path in (ROOT / "configs").glob("*.py")} or name == "rater_phantom"
    for config in data.list_configs(name):
      if name == "folder_raters":  # its config follows from the files
        continue
      assert f"`{config}`" in table and f"`{config}`" in (folder / "README.md").read_text()
      builder = data.get_builder(name, config_name=config)
      assert (builder.name, builder.config.name) == (name, config)
      assert builder.info.citation and builder.info.description and builder.LICENSE


def test_the_first_config_is_the_default():
  assert data.get_builder("rater_phantom").config.name == data.list_configs("rater_phantom")[0] == "default"
  assert data.get_builder("lidc_slices").config.name == "vote"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"name": "rater_fantom"}, r"config.data.builder='rater_fantom' is unknown. Did you mean 'rater_phantom'\?"),
    ({"name": "common"}, "Benchmarks: chaksu, .*rater_phantom"),
    ({"name": "lidc_slices", "config_name": "votes"}, r"config.data.config='votes' .* Did you mean 'vote'\?"),
    (
      {"name": "rater_phantom", "overrides": {"num_rater": 3}},
      r"builder_args.num_rater .* Did you mean 'num_raters'\?",
    ),
    ({"name": "rater_phantom", "overrides": {"name": "x"}}, "builder_args.name is no setting"),
    ({"name": "rater_phantom", "overrides": {"num_raters": 3.0}}, "num_raters=3.0 must be of type int"),
    ({"name": "rater_phantom", "overrides": {"num_raters": True}}, "num_raters=True must be of type int"),
    ({"name": "rater_phantom", "overrides": {"num_raters": 0}}, "num_raters=0 must be >= 1"),
    ({"name": "rater_phantom", "overrides": {"correlation": 1.0}}, r"correlation=1.0 must be in \[0, 0.99\]"),
    ({"name": "rater_phantom", "overrides": {"missing_share": 1.0}}, r"missing_share=1.0 must be in \[0, 1\)"),
    ({"name": "rater_phantom", "overrides": {"width": 8}}, "width=8 must be in \\[16, 65536\\] \\(pixels\\)"),
    ({"name": "rater_phantom", "overrides": {"seed": -1}}, "seed=-1 must be >= 0"),
    ({"name": "lidc_slices", "overrides": {"empty_slot": "no"}}, "empty_slot='no' is unknown. Choices: vote, missing"),
  ],
)
def test_mistakes_are_named_in_one_line(arguments, message):
  with pytest.raises(DataError, match=message) as error:
    data.get_builder(**arguments)
  assert "\n" not in str(error.value)


def test_two_settings_never_share_a_folder(tmp_path):
  def folder(**overrides):
    return data.get_builder("rater_phantom", config_name="tiny", data_dir=str(tmp_path), overrides=overrides).data_dir

  folders = [folder(), folder(seed=2), folder(seed=3), folder(num_raters=3), folder(num_raters=3, seed=2)]
  assert len(set(folders)) == 5
  assert folder(seed=2, num_raters=3) == folder(num_raters=3, seed=2)
  assert folder(correlation=0.5, num_raters=7) == folder()  # the values it has anyway
  assert folder(ambiguity=2) == folder(ambiguity=2.0)
  assert folder(seed=None, num_raters=3) == folder(num_raters=3)  # None: as the config has it
  assert all(pathlib.Path(f).is_relative_to(tmp_path / "rater_phantom") for f in folders)


def test_overrides_leave_the_named_config_alone():
  data.get_builder("rater_phantom", overrides={"num_raters": 2})
  assert data.get_builder("rater_phantom").num_raters == 7


def test_import_is_light_and_a_data_folder_elsewhere_does_not_shadow_the_package(tmp_path):
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "__init__.py").write_text("raise RuntimeError('the wrong package')")
  code = """
import sys, data
heavy = {"tensorflow_datasets", "numpy", "jax", "ordseg.image_io"} & set(sys.modules)
assert not heavy, heavy
builder = data.get_builder("rater_phantom", config_name="tiny")
assert "jax" not in sys.modules and "tensorflow" not in sys.modules
print(builder.data_dir)
"""
  # Also: without data_dir, TFDS's own place.
  result = run_python(code, cwd=tmp_path, TFDS_DATA_DIR=str(tmp_path / "built"))
  assert result.stdout.strip() == str(tmp_path / "built" / "rater_phantom" / "tiny" / "1.0.0")


def test_a_home_directory_may_be_written_as_a_tilde(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  builder = data.get_builder("rater_phantom", data_dir="~/sets")
  assert builder.data_dir.startswith(str(tmp_path / "sets"))
