"""Files and folders that are there whole or not at all."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
import tifffile

from ordseg import files

HOLD = """
import pathlib, sys, time
from ordseg import files
with files.{what}(pathlib.Path(sys.argv[1]), *{more}) as part:
  print(part.name, flush=True)
  (part / "half" if part.is_dir() else part).write_text("half")
  time.sleep(60)
"""


def hold(path, what, more="()"):
  """Starts a program that is in the midst of writing; returns it and the name of its part."""
  program = subprocess.Popen([sys.executable, "-c", HOLD.format(what=what, more=more), str(path)], stdout=-1, text=True)
  assert program.stdout is not None
  return program, program.stdout.readline().strip()


def names(folder):
  return sorted(p.name for p in folder.iterdir())


def test_a_file_is_replaced_or_stays(tmp_path):
  path = tmp_path / "a.txt"
  files.write_text(path, "old")
  with pytest.raises(ZeroDivisionError), files.replacing(path) as part:
    part.write_text("half")
    raise ZeroDivisionError
  assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]
  with files.replacing(path) as part:
    part.write_text("new")
    assert path.read_text() == "old"
  assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]
  assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
  mask = os.umask(0)
  os.umask(mask)
  return mask


@pytest.mark.parametrize(
  ("name", "write"),
  [
    ("a.npz", lambda p: np.savez(p, x=np.ones(3))),
    ("a.png", lambda p: PIL.Image.new("L", (3, 3)).save(p)),
    ("a.tif", lambda p: tifffile.imwrite(p, np.ones((3, 3), np.uint8))),
  ],
)
def test_writers_keep_the_file_that_is_locked(tmp_path, name, write):
  """They look at the suffix, and write into the file that is there; so no sweep takes it from them."""
  with files.replacing(tmp_path / name) as part:
    write(part)
    files.sweep(tmp_path)
    assert part.exists() and part.suffix == pathlib.Path(name).suffix
  assert names(tmp_path) == [name]


@pytest.mark.parametrize(
  ("what", "more"), [("replacing", "()"), ("scratch", "()"), ("replacing_folder", "(lambda name: True,)")]
)
def test_what_a_killed_program_left_goes_and_what_a_living_one_writes_stays(tmp_path, what, more):
  target = tmp_path if what == "scratch" else tmp_path / "name"
  program, part = hold(target, what, more)
  files.sweep(tmp_path)
  assert names(tmp_path) == [part]
  program.kill()
  program.wait()
  files.sweep(tmp_path)
  assert names(tmp_path) == []


def test_leftovers_of_earlier_versions(tmp_path):
  gone = subprocess.Popen([sys.executable, "-c", ""])
  gone.wait()
  dead = (f".metrics.json.{gone.pid}.tmp", f".sums.npz.{gone.pid}.tmp.npz", f".examples.{gone.pid}.tmp")
  old = (".part-a_mask.tif", ".examples.npz.tmp.npz", ".model.jax.part")
  young = (f".metrics.json.{os.getpid()}.tmp", ".part-b_mask.tif")
  theirs = ("notes.txt", ".hidden", "thesis.part", ".thesis.part", ".lock")
  for name in (*dead, *old, *young, *theirs):
    (tmp_path / name).write_text("")
  for name in (*old, *theirs):
    os.utime(tmp_path / name, (time.time() - 1e6,) * 2)
  files.sweep(tmp_path, tmp_path / "nowhere")
  assert names(tmp_path) == sorted((*young, *theirs))


def ours(name):
  return name.name.startswith("ours")


def test_a_folder_is_replaced_and_what_users_put_there_stays(tmp_path):
  path = tmp_path / "a/b"
  for text in ("1", "2"):
    with files.replacing_folder(path, ours) as part:
      (part / "ours.txt").write_text(text)
      if text == "1":
        (part / "ours-once.txt").write_text(text)
  assert names(path) == ["ours.txt"] and (path / "ours.txt").read_text() == "2" and names(tmp_path / "a") == ["b"]
  (path / "notes").mkdir()
  (path / "notes/mine.md").write_text("mine")
  (path / "link").symlink_to("ours.txt")
  with pytest.raises(ZeroDivisionError), files.replacing_folder(path, ours) as part:
    (part / "ours.txt").write_text("3")
    raise ZeroDivisionError
  assert (path / "ours.txt").read_text() == "2"
  with files.replacing_folder(path, ours) as part:
    (part / "ours.txt").write_text("4")
  assert names(path) == ["link", "notes", "ours.txt"] and names(tmp_path / "a") == ["b"]
  assert (path / "notes/mine.md").read_text() == "mine" and (path / "link").read_text() == "4"


def test_a_folder_elsewhere_that_a_link_names(tmp_path):
  (tmp_path / "disk").mkdir()
  (tmp_path / "link").symlink_to("disk")
  with files.replacing_folder(tmp_path / "link", ours) as part:
    (part / "ours").write_text("x")
  assert (tmp_path / "link").is_symlink() and names(tmp_path / "disk") == ["ours"]
  assert names(tmp_path) == ["disk", "link"]


KILLED = """
import os, pathlib, signal, sys
from ordseg import files
steps = []

def stop(event, _):
  if event in ("os.rename", "shutil.rmtree"):
    steps.append(event)
    if len(steps) > int(sys.argv[2]):
      os.kill(os.getpid(), signal.SIGKILL)

files._exchange = lambda *_: False
with files.replacing_folder(sys.argv[1], lambda name: True) as part:
  (part / "ours").write_text("new")
  sys.addaudithook(stop)
"""


@pytest.mark.parametrize(("steps", "found"), [(0, "old"), (1, "old"), (2, "old"), (3, "new")])
def test_without_an_exchange_the_former_folder_is_put_back(tmp_path, monkeypatch, steps, found):
  """On a file system that cannot exchange names; killed between making room, moving aside, moving in and clearing."""
  path = tmp_path / "a"
  with files.replacing_folder(path, ours) as part:
    (part / "ours").write_text("old")
  killed = subprocess.run([sys.executable, "-c", KILLED, str(path), str(steps)], check=False)
  assert killed.returncode == -signal.SIGKILL
  files.sweep(tmp_path)
  assert names(tmp_path) == ["a"] and (path / "ours").read_text() == found
  monkeypatch.setattr(files, "_exchange", lambda *_: False)
  with files.replacing_folder(path, ours) as part:
    (part / "ours").write_text("newer")
  assert (path / "ours").read_text() == "newer" and names(tmp_path) == ["a"]
