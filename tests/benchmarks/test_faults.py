"""A part of benchmarks/faults.py, so that it works and its promises are looked at with every change."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.processes import ROOT


def run(out, *args):
  command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), f"--out={out}", *args]
  return subprocess.run(
    command, capture_output=True, text=True, env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"}, check=False
  )


def trials_of(out):
  return [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]


def test_damaged_images_are_refused_or_read_and_the_record_goes_on_where_it_stopped(tmp_path):
  first = run(tmp_path, "--only=images", "--share=0.02")
  assert first.returncode == 0 and "Traceback" not in first.stderr, first.stdout + first.stderr
  done = trials_of(tmp_path)
  assert [trial["number"] for trial in done] == list(range(24)) and len({trial["kind"] for trial in done}) == 20
  assert {trial["outcome"] for trial in done} <= {"refused", "equal", "other pixels"}
  assert all(trial["message"] and "\n" not in trial["message"] for trial in done if trial["outcome"] == "refused")

  text = (tmp_path / "trials.jsonl").read_text()
  (tmp_path / "trials.jsonl").write_text("".join(text.splitlines(keepends=True)[:5]) + '{"torn')
  again = run(tmp_path, "--only=images", "--share=0.08")
  assert again.returncode == 0 and "NOT AS PROMISED" not in again.stderr, again.stdout + again.stderr
  more = trials_of(tmp_path)
  assert [trial["number"] for trial in more] == list(range(96)) and more[:5] == done[:5]
  assert [trial["outcome"] for trial in more[:24]] == [trial["outcome"] for trial in done]  # drawn from the seed
  rows = [line for line in again.stdout.splitlines() if line.startswith("| ")]
  assert rows[1].startswith("| A damaged image of 20 kinds read | 96 | ") and rows[1].endswith("| yes |")


@pytest.mark.slow
def test_all_of_it_in_small(tmp_path):
  done = run(tmp_path, "--share=0.05")
  assert done.returncode == 0, done.stdout + done.stderr
