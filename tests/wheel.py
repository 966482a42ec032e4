"""Tries a wheel outside the repository: what it gives alone, and what with its extras.

python tests/wheel.py dist/ordseg-*.whl
"""

import pathlib
import subprocess
import sys
import tempfile
import venv

LIBRARY = """
import numpy as np
import ordseg
target = ordseg.encode(np.array([[[[1, 1, 0]]]]), np.ones((1, 3)))
assert abs(float(target.mean_vote[0, 0, 0]) - 2 / 3) < 1e-6
for name in set(dir(ordseg)) - {"load"}:
  getattr(ordseg, name)
try:
  ordseg.load
except ModuleNotFoundError as error:
  assert "pip install 'ordseg[" in str(error), error
"""


def run(python: pathlib.Path, *args: str, status: int = 0, said: str = "") -> None:
  """Runs a program of the environment from a folder without a clone; it must end with `status` and say `said`."""
  with tempfile.TemporaryDirectory() as elsewhere:
    done = subprocess.run([python, *args], capture_output=True, text=True, check=False, cwd=elsewhere)
  text = done.stdout + done.stderr
  assert done.returncode == status and said in text, f"{args}: status {done.returncode}\n{text}"
  assert "Traceback" not in text, text


def main(wheel: str) -> None:
  """Makes an environment, tries the wheel alone, adds the extras, tries the programs."""
  with tempfile.TemporaryDirectory() as folder:
    venv.create(folder, with_pip=True)
    python = pathlib.Path(folder) / "bin" / "python"
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(python, *install, wheel)
    run(python, "-c", LIBRARY)
    run(python, "-m", "ordseg", "predict", "--help", said="--workdir")
    given = ("predict", "--workdir=a", "--input=b", "--output=c")
    run(python, "-m", "ordseg", *given, status=2, said="pip install 'ordseg[train,images]'")
    run(python, *install, f"{wheel}[train,images,report]")
    run(python, "-m", "ordseg", *given, status=2, said="error: ")
    run(python, "-m", "ordseg.predict", *given, status=2, said="error: ")
    run(python, "-m", "ordseg", "compare", "a", "b", "--out=c", status=2, said="error: ")
    run(python, "-m", "ordseg", "train", "--config=a", "--workdir=b", status=2, said="ordseg[train,images,data]")
  print(f"{pathlib.Path(wheel).name}: the library alone, and the programs with their extras")


if __name__ == "__main__":
  main(str(pathlib.Path(sys.argv[1]).resolve()))
