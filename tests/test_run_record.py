import json
import re

import jax
import pytest

from ordseg import run_record
from ordseg.errors import InputError
from ordseg.types import Panel
from tests.helpers import training


def info_of(config, *, fingerprint="0" * 64, num_raters=3, data_dir="/a"):
  data_info = {"builder": "tiny", "fingerprint": fingerprint, "data_dir": data_dir}
  return run_record.describe(config, data_info=data_info, panel=Panel(1, num_raters))


def test_a_run_is_read_back_as_it_was_described(tmp_path):
  config = training.tiny(optim__learning_rate=0.25)
  run_record.open_run(tmp_path / "new" / "run", info_of(config))
  got = run_record.read(tmp_path / "new" / "run")
  assert got["config"] == config
  assert isinstance(got["config"].data.crop_size, tuple)
  assert got["versions"]["jax"] == jax.__version__
  assert (got["num_raters"], got["num_channels"], got["data"]["builder"]) == (3, 1, "tiny")


def test_changes_that_change_no_result_are_taken_over(tmp_path):
  run_record.open_run(tmp_path, info_of(training.tiny()))
  config = training.tiny(
    train__num_steps=100,
    train__log_every_steps=7,
    train__eval_every_steps=9,
    train__checkpoint_every_steps=11,
    train__keep_last=5,
    data__num_threads=0,
    data__data_dir="elsewhere",
    eval__batch_size=1,
  )
  assert run_record.open_run(tmp_path, info_of(config, data_dir="/b")) == {}
  assert run_record.read(tmp_path)["config"] == config


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"optim__learning_rate": 0.5}, "config.optim.learning_rate was 0.01 and is 0.5"),
    ({"train__num_steps": 5}, "config.train.num_steps was 6 and is 5"),
    ({"train__batch_size": 4}, "config.train.batch_size was 8 and is 4"),
    ({"train__best_metric": "x"}, "config.train.best_metric was 'read_outs.mean_vote.brier' and is 'x'"),
    ({"data__crop_size": (16, 8)}, "config.data.crop_size was [16, 16] and is [16, 8]"),
    ({"data__builder_args": {"num_raters": 5}}, "config.data.builder_args.num_raters was None and is 5"),
  ],
)
def test_a_workdir_of_another_config_is_refused_by_field(tmp_path, changes, message):
  run_record.open_run(tmp_path, info_of(training.tiny()))
  before = (tmp_path / "config.json").read_text()
  with pytest.raises(InputError, match=re.escape(message) + ".*another workdir"):
    run_record.open_run(tmp_path, info_of(training.tiny(**changes)))
  assert (tmp_path / "config.json").read_text() == before


def test_several_differences_are_all_told(tmp_path):
  run_record.open_run(tmp_path, info_of(training.tiny()))
  with pytest.raises(InputError) as error:
    run_record.open_run(tmp_path, info_of(training.tiny(loss__alpha=0.1), fingerprint="1" * 64, num_raters=4))
  for part in ("config.loss.alpha was 0.8 and is 0.1", "num_raters was 3 and is 4", "fingerprint was 000", "is 111"):
    assert part in str(error.value)
  assert "\n" not in str(error.value)


def test_a_check_alone_writes_nothing(tmp_path):
  run_record.open_run(tmp_path / "run", info_of(training.tiny()), write=False)
  assert not (tmp_path / "run").exists()
  run_record.open_run(tmp_path, info_of(training.tiny()))
  before = (tmp_path / "config.json").read_text()
  run_record.open_run(tmp_path, info_of(training.tiny(train__num_steps=50)), write=False)
  assert (tmp_path / "config.json").read_text() == before


def test_other_versions_are_told_but_allowed(tmp_path):
  info = info_of(training.tiny())
  old = {**info, "versions": {**info["versions"], "jax": "0.0.1"}}
  run_record.open_run(tmp_path, old)
  assert run_record.open_run(tmp_path, info) == {"jax": f"0.0.1 -> {jax.__version__}"}


def test_a_folder_without_a_run_or_with_a_damaged_one_is_refused(tmp_path):
  with pytest.raises(InputError, match=r"holds no run: there is no config\.json"):
    run_record.read(tmp_path)
  for text in ("{", json.dumps({"data": {}}), "[]"):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json is damaged"):
      run_record.read(tmp_path)
