"""A program that replaces one evaluation by another and is killed at every step; evaluation/test_folder.py starts it.

Prints a line per kill: the id found afterwards, and what `sweep` left beside and in the folder.
"""

import json
import os
import pathlib
import signal
import sys

from ordseg import records
from ordseg.evaluation import folder as evaluation_folder
from ordseg.evaluation import scoring
from ordseg.reporting.report import reading
from tests.helpers import evaluations

STEPS = ("open", "os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "ctypes.dlopen")


def captured(folder, sharpen):
  """Returns what an evaluation writes."""
  found = []
  write, evaluation_folder.write = evaluation_folder.write, lambda _, *content: found.append(content)
  evaluations.write(folder, sharpen=sharpen, oracle=False)
  evaluation_folder.write = write
  return found[0]


def replace(out_dir, content):
  with evaluation_folder.replacing(out_dir) as folder:
    evaluation_folder.write(folder, *content)


def replace_until_killed(out_dir, content, number):
  """In a child: SIGKILL before the step of that number."""
  steps = 0

  def stop(event, _):
    nonlocal steps
    steps += event in STEPS
    if steps > number:
      os.kill(os.getpid(), signal.SIGKILL)

  sys.addaudithook(stop)
  replace(out_dir, content)
  os._exit(0)


def whole(folder):
  """Reads every file of the evaluation, which holds each against the digests of metrics.json; returns the id."""
  reading.load(folder), reading.load_per_image(folder), reading.load_examples(folder), scoring.read(folder)
  return json.loads((folder / records.METRICS).read_text())[records.EVALUATION]["id"]


def main(out_dir, every):
  contents = [captured(out_dir, sharpen) for sharpen in (2.0, 1.5)]
  replace(out_dir, contents[0])
  (out_dir / "mine.txt").write_text("mine")
  print(whole(out_dir), flush=True)
  number = new = 0
  while True:
    child = os.fork()
    if child == 0:
      replace_until_killed(out_dir, contents[1 - new], number)
    _, status = os.waitpid(child, 0)
    evaluation_folder.sweep(out_dir)
    left = [p.name for p in (*out_dir.parent.iterdir(), *out_dir.iterdir()) if p.name.startswith(".")]
    print(whole(out_dir), (out_dir / "mine.txt").read_text(), *left, flush=True)
    if status == 0:
      return
    number += every


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
