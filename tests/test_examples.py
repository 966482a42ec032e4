"""The examples run as their readers run them."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def test_a_foreign_model_learns_with_our_losses():
  done = subprocess.run([sys.executable, ROOT / "examples" / "foreign_model.py"], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  network, constant = map(float, re.findall(r"RPS of new images, .*: (\d\.\d+)", done.stdout))
  assert network < constant / 3, done.stdout
