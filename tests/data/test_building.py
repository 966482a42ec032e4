import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tensorflow_datasets.core import shuffle

import data
from data import DataError, building, common, fingerprints
from tests.data.helpers import ROOT, FakeBench, example, make, run_python


def records(builder, split="train"):
  source = data.data_source(builder, split)
  return {source[i]["id"].decode(): source[i] for i in range(len(source))}


def test_records_are_read_back_as_written(tmp_path):
  written = [
    example("a"),
    example("b", size=(5, 2), rater_valid=np.array([True, False]), rater_masks=np.zeros((5, 2, 2), np.uint8)),
    example("ü", group="ß"),
  ]
  builder = make(tmp_path, {"train": lambda: written})
  data.prepare(builder)
  read = records(builder)
  assert set(read) == {"a", "b", "ü"}
  for record in written:
    got = read[record["id"]]
    assert got["group"].decode() == record["group"] and set(got) == set(record)
    for name in ("image", "rater_masks", "rater_valid", "spacing"):
      np.testing.assert_array_equal(got[name], record[name])
      assert got[name].dtype == record[name].dtype


def test_a_second_prepare_reuses_what_is_there(tmp_path):
  data.prepare(make(tmp_path))

  def fail():
    raise AssertionError("built twice")

  again = make(tmp_path, {"train": fail})
  data.prepare(again)
  assert len(data.data_source(again, "train")) == 3
  data.verify(again)


def test_fingerprint_depends_on_content_only(tmp_path):
  def build(folder, splits):
    builder = make(tmp_path / folder, splits)
    data.prepare(builder)
    return data.fingerprint(builder)

  parts = [example(name) for name in "abcd"]
  one = build("1", {"train": lambda: parts[:3], "test": lambda: parts[3:]})
  assert one == build("2", {"test": lambda: parts[3:], "train": lambda: reversed(parts[:3])})
  assert one != build("3", {"train": lambda: parts[:2], "test": lambda: parts[2:]})
  assert one != build("4", {"train": lambda: parts[:2], "test": lambda: parts[3:]})
  assert one != build("5", {"train": lambda: [*parts[:2], example("c", spacing=np.ones(2, np.float32))],
                            "test": lambda: parts[3:]})  # fmt: skip
  assert len(one) == 64 and int(one, 16)


def test_fingerprint_does_not_depend_on_the_shards(tmp_path, monkeypatch):
  from tensorflow_datasets.core.utils import shard_utils

  parts = [example(str(n)) for n in range(8)]
  whole = make(tmp_path / "1", {"train": lambda: parts})
  data.prepare(whole)
  monkeypatch.setattr(shard_utils.ShardConfig, "get_number_shards", lambda *_, **__: 4)
  cut = make(tmp_path / "2", {"train": lambda: parts})
  data.prepare(cut)
  assert len(list(pathlib.Path(cut.data_dir).glob("*array_record*"))) == 4
  assert data.fingerprint(cut) == data.fingerprint(whole)
  assert set(records(cut)) == {str(n) for n in range(8)}
  data.verify(cut)


def interrupted():
  yield example("a")
  raise KeyboardInterrupt


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_interrupted_build_leaves_nothing_and_runs_again(tmp_path, split):
  whole = {"train": lambda: [example("a")], "test": lambda: [example("b")]}
  builder = make(tmp_path, whole | {split: interrupted})
  with pytest.raises(KeyboardInterrupt):
    data.prepare(builder)
  assert not pathlib.Path(builder.data_dir).exists()
  with pytest.raises(DataError, match="nothing is built"):
    data.data_source(builder, "train")
  with pytest.raises(DataError, match="nothing is built"):
    data.fingerprint(builder)
  builder = make(tmp_path, whole)
  data.prepare(builder)
  assert list(records(builder)) == ["a"]
  fresh = make(tmp_path / "fresh", whole)
  data.prepare(fresh)
  assert data.fingerprint(builder) == data.fingerprint(fresh)


def test_a_killed_build_is_not_taken_for_whole_and_its_rest_is_removed(tmp_path):
  code = f"""
import os, signal, data
from tests.data.helpers import make, example
def killed():
  yield example("a")
  os.kill(os.getpid(), signal.SIGKILL)
data.prepare(make({str(tmp_path)!r}, {{"train": lambda: [example("a")], "test": killed}}))
"""
  assert run_python(code, check=False).returncode == -9
  builder = make(tmp_path)
  parent = pathlib.Path(builder.data_dir).parent
  assert list(parent.glob("incomplete.*")) and not pathlib.Path(builder.data_dir).exists()
  data.prepare(builder)
  assert not list(parent.glob("incomplete.*"))
  data.verify(builder)


def test_processes_that_meet_build_once(tmp_path):
  code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import os, data, time
from tests.data.helpers import make, example
log = {str(tmp_path / "log")!r}
def slow():
  with open(log, "a") as f:
    f.write("built\\n")
  for name in "abc":
    time.sleep(0.3)
    yield example(name)
builder = make({str(tmp_path)!r}, {{"train": slow}})
open({str(tmp_path)!r} + f"/ready{{os.getpid()}}", "w").close()
while len([f for f in os.listdir({str(tmp_path)!r}) if f.startswith("ready")]) < 2:
  time.sleep(0.01)
data.prepare(builder)
print(data.fingerprint(builder), len(data.data_source(builder, "train")))
"""
  both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
  lines = [process.communicate(timeout=120)[0].strip().splitlines()[-1] for process in both]
  assert [process.returncode for process in both] == [0, 0]
  assert lines[0] == lines[1] and lines[0].endswith(" 3")
  assert (tmp_path / "log").read_text() == "built\n"


def test_progress_is_reported(tmp_path, capfd):
  builder = make(tmp_path)
  data.prepare(builder)
  out = capfd.readouterr().out
  assert f"Building fake_bench/small 1.0.0 in {builder.data_dir}" in out
  assert "train 3, test 1 examples" in out


def damage_fingerprint(folder):
  (folder / fingerprints.FILENAME).unlink()


def damage_half(folder):
  path = folder / fingerprints.FILENAME
  path.write_text(path.read_text()[:100])


def damage_shard(folder):
  next(folder.glob("*test*array_record*")).unlink()


def damage_info(folder):
  (folder / "dataset_info.json").unlink()


def damage_half_of_the_info(folder):
  path = folder / "dataset_info.json"
  path.write_text(path.read_text()[:100])


def damage_count(folder):
  path = folder / fingerprints.FILENAME
  record = json.loads(path.read_text())
  record["splits"]["train"]["num_examples"] += 1
  path.write_text(json.dumps(record))


@pytest.mark.parametrize(
  "damage",
  [damage_fingerprint, damage_half, damage_shard, damage_info, damage_half_of_the_info, damage_count, shutil.rmtree],
)
def test_a_data_set_that_is_not_whole_is_refused(tmp_path, damage):
  data.prepare(make(tmp_path))
  folder = pathlib.Path(make(tmp_path).data_dir)
  damage(folder)
  if damage is shutil.rmtree:
    folder.mkdir()
  for use in (data.prepare, data.fingerprint, lambda b: data.data_source(b, "train")):
    with pytest.raises(DataError, match="not a whole data set") as error:
      use(make(tmp_path))
    assert str(folder) in str(error.value) and "Delete that folder" in str(error.value)
    assert "\n" not in str(error.value)


def test_info_says_what_the_data_are(tmp_path):
  builder = make(tmp_path, share=0.25)
  with pytest.raises(DataError, match="nothing is built"):
    data.info(builder)
  data.prepare(builder)
  info = json.loads(json.dumps(data.info(builder)))
  assert info["settings"] == {"num_raters": 2, "share": 0.25, "mode": "a", "on": False}
  assert info["fingerprint"] == data.fingerprint(builder)
  assert (info["builder"], info["version"]) == ("fake_bench", "1.0.0") and info["config"].startswith("small-")
  assert info["splits"] == {name: split.num_examples for name, split in builder.info.splits.items()}
  assert sum(info["splits"].values()) > 0 and isinstance(info["citation"], str) and info["homepage"] == builder.HOMEPAGE


def test_verify_sees_records_that_are_not_those_written(tmp_path):
  one, two = make(tmp_path / "1"), make(tmp_path / "2", {**FakeBench.splits, "test": lambda: [example("d", seed=5)]})
  for builder in (one, two):
    data.prepare(builder)
    data.verify(builder)
  name = "fake_bench-test.array_record-00000-of-00001"
  shutil.copy(pathlib.Path(two.data_dir) / name, pathlib.Path(one.data_dir) / name)
  with pytest.raises(DataError, match="records of split 'test' are not those written"):
    data.verify(one)


def test_data_built_with_other_settings_are_refused(tmp_path):
  data.prepare(make(tmp_path))
  folder = pathlib.Path(make(tmp_path).data_dir)
  record = fingerprints.read(folder)
  record["settings"]["share"] = 0.25  # as if the meaning of the named config had changed since
  fingerprints.write(folder, record)
  with pytest.raises(DataError, match="built with the settings"):
    data.prepare(make(tmp_path))


def test_built_data_are_read_without_writing_anything(tmp_path, monkeypatch):
  data.prepare(make(tmp_path))
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

  def fail(path, **_):
    raise PermissionError(path)

  monkeypatch.setattr(building.locks, "hold", fail)
  builder = make(tmp_path)
  data.prepare(builder)
  data.verify(builder)
  assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_place_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(DataError, match="cannot be built in") as error:
    data.prepare(make(tmp_path / "file"))
  assert str(tmp_path / "file") in str(error.value)


def test_splits_and_features_that_are_not_there(tmp_path):
  builder = make(tmp_path)
  data.prepare(builder)
  with pytest.raises(DataError, match=r"no split 'tran'. Did you mean 'train'\? Splits: test, train"):
    data.data_source(builder, "tran")
  with pytest.raises(DataError, match=r"no feature 'images'. Did you mean 'image'"):
    data.data_source(builder, "train", skip=["images"])
  with pytest.raises(DataError, match="cannot open split"):
    data.data_source(builder, "train[:x]")
  assert len(data.data_source(builder, "train[:2]")) == 2


def test_skipped_features_are_left_out(tmp_path):
  builder = make(tmp_path)
  data.prepare(builder)
  all_of_it, part = data.data_source(builder, "train"), data.data_source(builder, "train", skip=("image", "group"))
  assert len(part) == 3
  for full, less in zip(all_of_it, part, strict=True):
    assert set(full) - set(less) == {"image", "group"}
    np.testing.assert_array_equal(full["rater_masks"], less["rater_masks"])
  without_truth = data.data_source(builder, "train", skip=["level_probs"])  # this benchmark has none: nothing to skip
  assert set(without_truth[0]) == set(all_of_it[0])


def test_a_split_larger_than_memory_is_sorted_on_disk(tmp_path, monkeypatch):
  parts = [example(f"{n:03d}", size=(20, 20)) for n in range(40)]
  small = make(tmp_path / "1", {"train": lambda: parts})
  data.prepare(small)
  monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 2000)
  spilled = make(tmp_path / "2", {"train": lambda: parts})
  data.prepare(spilled)
  order = [[record["id"] for record in data.data_source(b, "train")] for b in (small, spilled)]
  assert order[0] == order[1] and len(order[0]) == 40
  data.verify(spilled)
  assert not list(pathlib.Path(spilled.data_dir).glob("bucket*"))


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
  (tmp_path / "tmp").mkdir()
  builder = make(tmp_path)
  data.prepare(builder)
  assert not list((tmp_path / "tmp").iterdir())


BAD = {
  "'group' must name the patient": {"group": ""},
  r"'image' must be \[H, W, 1\], found \(3, 4\)": {"image": np.zeros((3, 4), np.uint8)},
  r"'image' must be \[H, W, 1\], found \(0, 4, 1\)": {"image": np.zeros((0, 4, 1), np.uint8)},
  "'image' must be uint8, found float32": {"image": np.zeros((3, 4, 1), np.float32)},
  r"'rater_masks' must be \(3, 4, 2\), found \(3, 5, 2\)": {"rater_masks": np.zeros((3, 5, 2), np.uint8)},
  "'rater_masks' must be uint8 0 or 1": {"rater_masks": np.full((3, 4, 2), 255, np.uint8)},
  r"'rater_valid' must be \[2\] bool": {"rater_valid": np.ones(2, np.uint8)},
  "no rater answered": {"rater_valid": np.zeros(2, np.bool_), "rater_masks": np.zeros((3, 4, 2), np.uint8)},
  "must be 0 where 'rater_valid' is False": {
    "rater_valid": np.array([True, False]),
    "rater_masks": np.ones((3, 4, 2), np.uint8),
  },
  r"'level_probs' must be \(3, 4, 3\) float32": {"level_probs": np.zeros((3, 4, 2), np.float32)},
}


@pytest.mark.parametrize("message", BAD)
def test_records_outside_the_schema_are_refused(tmp_path, message):
  bad = example("a7", **BAD[message])
  with pytest.raises(DataError, match=f"example 'a7': .*{message}"):
    common.check_example(bad, num_raters=2, num_channels=1, dtype=np.uint8)
  builder = make(tmp_path, {"train": lambda: [example("a"), bad]})
  with pytest.raises(DataError, match="'a7'"):
    data.prepare(builder)
  assert not pathlib.Path(builder.data_dir).exists()


def test_a_builder_without_examples_is_refused(tmp_path):
  with pytest.raises(DataError, match="no example in any split"):
    data.prepare(make(tmp_path, {}))
