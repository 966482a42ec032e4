"""The folder of an evaluation holds one evaluation, whatever kills the program that writes it."""

import pathlib
import subprocess
import sys

import pytest

from ordseg.errors import InputError
from ordseg.evaluation import folder

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_step_the_folder_holds_the_old_evaluation_or_the_new_one(tmp_path, every):
  done = subprocess.run(
    [sys.executable, "-m", "tests.helpers.killed_writer", str(tmp_path / "mine/eval/test"), str(every)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  first, *lines = done.stdout.splitlines()
  assert {line.split(" ", 1)[1] for line in lines} == {"mine"}  # what a user put there stays, and nothing else is left
  ids = [line.split()[0] for line in lines]
  assert len(ids) > 50 / every and set(ids) - {first} and ids[-1] != first
  change = next(k for k, name in enumerate(ids) if name != first)  # before: the old one, whole; after: the new one
  assert change > 30 / every and set(ids[change:]) == {ids[-1]}


def test_what_is_ours():
  ours = ("metrics.json", "report.html", "figures/examples.png", "figures/reliability_votes.pdf")
  theirs = ("notes.md", "figures/mine.png", "sub/metrics.json", "figures", "figures/examples.svg", "metrics.json.bak")
  assert all(folder.is_ours(pathlib.PurePath(name)) for name in ours)
  assert not any(folder.is_ours(pathlib.PurePath(name)) for name in theirs)


def test_names_of_folders():
  assert folder.names_of(["", "test", "Zysten (rechts)", "gtv/ctv"]) == ["", "test", "Zysten__rechts_", "gtv_ctv"]
  assert folder.names_of([".."]) == ["__"]  # not the folder above


@pytest.mark.parametrize("labels", [("tumour (wt)", "tumour [wt]"), ("GTV", "gtv")])
def test_two_structures_do_not_share_a_folder(labels):
  with pytest.raises(InputError, match="would both be written to"):
    folder.names_of(labels)
