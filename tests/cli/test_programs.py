"""The entry points, run as a user runs them: as subprocesses, from another directory."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
SMALL = (
  "--config.data.config=tiny",
  "--config.data.crop_size=(32,32)",
  "--config.model.width=4",
  "--config.model.depth=2",
  "--config.train.batch_size=4",
  "--config.train.num_steps=6",
  "--config.train.eval_every_steps=3",
  "--config.train.checkpoint_every_steps=3",
  "--config.train.log_every_steps=2",
  "--config.optim.warmup_steps=1",
)


def run(script, *args, cwd, **env):
  command = [sys.executable, str(ROOT / script), *map(str, args)]
  return subprocess.run(
    command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False
  )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A working directory, with a decoy `data` folder in it, in which both programs have run."""
  cwd = tmp_path_factory.mktemp("elsewhere")
  (cwd / "data").mkdir()
  (cwd / "configs").mkdir()
  env = {"TFDS_DATA_DIR": str(cwd / "tfds")}
  train = run("run_train.py", f"--config={ROOT}/configs/quickstart.py", "--workdir=w", *SMALL, cwd=cwd, **env)
  assert train.returncode == 0, train.stderr
  evaluated = run("run_eval.py", "--workdir=w", "--split=test", cwd=cwd, **env)
  assert evaluated.returncode == 0, evaluated.stderr
  return cwd, env, train, evaluated


def test_training_leaves_what_it_promises(trained):
  cwd, _, train, _ = trained
  info = json.loads((cwd / "w/config.json").read_text())
  assert info["config"]["loss"]["alpha"] == 0.8 and info["config"]["seed"] == 0
  assert info["data"]["builder"] == "rater_phantom" and len(info["data"]["fingerprint"]) == 64
  assert {"jax", "flax", "python", "ordseg"} <= set(info["versions"])
  assert info["num_examples"]["train"] > info["num_examples"]["validation"] > 0
  assert info["data"]["splits"]["train"] == info["num_examples"]["train"] and "@" in info["data"]["citation"]
  compute = json.loads((cwd / "w/compute.json").read_text())
  assert [(s["first_step"], s["last_step"]) for s in compute["sessions"]] == [(0, 6)]
  assert compute["sessions"][0]["seconds"] > 0 and compute["num_parameters"] > 100
  rows = [json.loads(line) for line in (cwd / "w/train_metrics.jsonl").read_text().splitlines()]
  assert [r["step"] for r in rows][-1] == 6 and all(r.get("loss", 0) is not None for r in rows)
  assert sorted(int(p.name) for p in (cwd / "w/checkpoints").iterdir() if p.name.isdigit()) == [3, 6]
  assert list((cwd / "w").rglob("events.out.tfevents*"))
  assert "ETA" in train.stdout + train.stderr


def test_evaluation_leaves_what_it_promises(trained):
  cwd, _, _, evaluated = trained
  folder = cwd / "w/eval/test"
  metrics = json.loads((folder / "metrics.json").read_text())
  assert metrics["split"] == "test" and metrics["num_images"] == 8 and metrics["num_raters"] == 7
  assert metrics["num_pixels"] == 8 * 32 * 32
  names = {"mr_ece_pooled", "mr_ece_rater_mean", "ece_majority", "ace", "mce", "brier", "nll", "dice", "soft_dice_5"}
  for read_out in ("majority", "mean_vote"):
    assert names <= set(metrics["read_outs"][read_out])
    assert names <= set(metrics["oracle"]["read_outs"][read_out])
  assert metrics["oracle"]["read_outs"]["mean_vote"]["brier"] <= metrics["read_outs"]["mean_vote"]["brier"]
  with (folder / "per_image.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert len({r["id"] for r in rows}) == 8
  page = (folder / "report.html").read_text()
  assert "<img" in page and 'src="http' not in page
  assert list((folder / "figures").iterdir())
  assert "report.html" in evaluated.stdout


def test_recalibrating_and_evaluating_with_the_map(trained):
  cwd, env, _, _ = trained
  command = [sys.executable, "-m", "ordseg.recalibrate", f"--workdir={cwd / 'w'}", "--method=temperature", "--loss=rps"]
  done = subprocess.run(
    command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False
  )
  assert done.returncode == 0, done.stderr
  assert "rps per pixel" in done.stdout and "its standard error" in done.stdout
  about = json.loads((cwd / "w/recalibration/temperature.json").read_text())["fitted"]
  assert about["split"] == "validation" and about["after"] <= about["before"]
  evaluated = run("run_eval.py", "--workdir=w", "--split=test", "--recalibration=temperature", cwd=cwd, **env)
  assert evaluated.returncode == 0, evaluated.stderr
  page = (cwd / "w/eval/test-temperature/report.html").read_text()
  assert (
    "Before and after recalibration" in page and (cwd / "w/eval/test-temperature/figures/recalibration.png").exists()
  )


def test_training_again_has_nothing_to_do_and_lengthening_continues(trained):
  cwd, env, _, _ = trained
  args = (f"--config={ROOT}/configs/quickstart.py", "--workdir=w", *SMALL)
  again = run("run_train.py", *args, cwd=cwd, **env)
  assert again.returncode == 0 and "nothing to do" in again.stdout + again.stderr
  other = run("run_train.py", *args, "--config.loss.alpha=0.5", cwd=cwd, **env)
  assert other.returncode == 2 and "config.loss.alpha was 0.8 and is 0.5" in other.stderr
  longer = run("run_train.py", *args, "--config.train.num_steps=8", cwd=cwd, **env)
  assert longer.returncode == 0 and "continuing from step 6" in longer.stdout + longer.stderr


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (("--config.loss.alpah=1",), "Did you mean 'alpha'"),
    (("--config.loss.alpha=much",), "could not convert string to float: 'much'"),
    (("--config.data.builder=rater_fantom",), "Did you mean 'rater_phantom'"),
    (("--config.data.builder_args.num_raters=0",), "num_raters"),
  ],
)
def test_a_slip_gets_one_line(args, message, tmp_path):
  config = f"--config={ROOT}/configs/quickstart.py"
  done = run("run_train.py", config, "--workdir=w", *args, cwd=tmp_path, TFDS_DATA_DIR=str(tmp_path))
  assert done.returncode == 2, done.stderr
  assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
  assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
  ("script", "args", "message"),
  [
    ("run_train.py", ("--config=configs/quickstrat.py", "--workdir=w"), "Did you mean 'quickstart.py'"),
    ("run_train.py", ("--config=configs/quickstart.py:basline", "--workdir=w"), "Did you mean 'baseline'"),
    ("run_train.py", ("--config=configs/lidc_slices.py", "--workdir=w"), "--config.data.manual_dir"),
    ("run_eval.py", ("--workdir=nowhere",), "nowhere holds no run"),
  ],
)
def test_a_wrong_start_gets_one_line(script, args, message, tmp_path):
  (tmp_path / "configs").symlink_to(ROOT / "configs")
  done = run(script, *args, cwd=tmp_path, TFDS_DATA_DIR=str(tmp_path / "tfds"))
  assert done.returncode == 2, done.stderr
  assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_batch_that_the_devices_do_not_divide(tmp_path):
  done = run(
    "run_train.py",
    f"--config={ROOT}/configs/quickstart.py",
    "--workdir=w",
    *SMALL,
    "--config.train.batch_size=6",
    cwd=tmp_path,
    TFDS_DATA_DIR=str(tmp_path),
    XLA_FLAGS="--xla_force_host_platform_device_count=4",
  )
  assert done.returncode == 2
  assert "config.train.batch_size=6 must be a multiple of the 4 devices: use 4 or 8" in done.stderr


def test_evaluating_an_unknown_step_or_split(trained):
  cwd, env, _, _ = trained
  done = run("run_eval.py", "--workdir=w", "--step=5", cwd=cwd, **env)
  assert done.returncode == 2 and "no checkpoint of step 5" in done.stderr
  done = run("run_eval.py", "--workdir=w", "--split=tset", cwd=cwd, **env)
  assert done.returncode == 2 and "test" in done.stderr


@pytest.mark.parametrize("script", ["run_train.py", "run_eval.py"])
def test_help_explains_itself(script, tmp_path):
  done = run(script, "--help", cwd=tmp_path)
  text = done.stdout + done.stderr
  assert "--workdir" in text and f"python {script}" in text and "Traceback" not in text
