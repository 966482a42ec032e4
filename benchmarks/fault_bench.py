"""Starts, stops and compares programs for faults.py: the runs that its trials begin from, and digests of their ends."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image

HERE = pathlib.Path(__file__).parent.absolute()
ROOT = HERE.parent
SMALL = (
  "--config.data.config=tiny",
  "--config.data.crop_size=(32,32)",
  "--config.model.width=4",
  "--config.model.depth=2",
  "--config.train.batch_size=4",
  "--config.train.num_steps=40",
  "--config.train.eval_every_steps=10",
  "--config.train.checkpoint_every_steps=2",
  "--config.train.log_every_steps=2",
  "--config.optim.warmup_steps=1",
)
TIMINGS = ("images_per_second", "data_wait_share", "seconds_left")


@dataclasses.dataclass
class Done:
  """How a program ended: exit status (negative: the signal), output, errors, and the seconds it took."""

  status: int
  out: str
  errors: str
  seconds: float

  @property
  def is_one_line(self) -> bool:
    """Whether it said one thing, in a line, besides notes."""
    lines = [line for line in self.errors.splitlines() if line.strip() and not line.startswith(("note:", "waiting"))]
    return len(lines) == 1 and "Traceback" not in self.errors


class Bench:
  """The folder, the seed, and the runs that trials start from. Everything is made when it is first asked for."""

  def __init__(self, out: pathlib.Path, seed: int):
    self.out, self.seed = out, seed
    self.environ = {
      **os.environ,
      "TFDS_DATA_DIR": str(out / "tfds"),
      "JAX_PLATFORMS": "cpu",
      "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(out / "jax_cache")),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "PYTHONPATH": str(ROOT),
    }

  def scratch(self, name: str) -> pathlib.Path:
    """Returns an empty folder."""
    folder = self.out / "scratch" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder

  def start(self, command: list[str], **options: Any) -> subprocess.Popen:
    """Starts a program of the project."""
    program = [str(ROOT / command[0])] if command[0].endswith(".py") else ["-m", command[0]]
    environ = {**self.environ, **options.pop("environ", {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
      [sys.executable, *program, *command[1:]], cwd=self.out, env=environ, text=True, **pipes, **options
    )

  def finish(self, process: subprocess.Popen, start: float) -> Done:
    """Waits for a program."""
    out, errors = process.communicate(timeout=600)
    return Done(process.returncode, out, errors, time.monotonic() - start)

  def run(self, command: list[str], **options: Any) -> Done:
    """Runs a program to its end."""
    start = time.monotonic()
    return self.finish(self.start(command, **options), start)

  def stopped(self, command: list[str], number: int, after: float, *, times: int = 1, **options: Any) -> Done:
    """Runs a program, and sends it a signal after some seconds, perhaps again."""
    start = time.monotonic()
    process = self.start(command, **options)
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(timeout=after)
    for _ in range(times):
      process.send_signal(number)
      time.sleep(0.05)
    return self.finish(process, start)

  def trained(self) -> pathlib.Path:
    """Returns the workdir of a run that nothing stopped; never written to."""
    return self._once("trained", lambda folder: [train(folder)])

  def evaluated(self) -> pathlib.Path:
    """Returns a copy of it with an evaluation and a prediction."""
    source, images = self.trained(), self.images()
    return self._once(
      "evaluated", lambda folder: [evaluate(folder), predict(folder, images, folder / "maps")], source=source
    )

  def images(self) -> pathlib.Path:
    """Returns a folder with pictures to predict."""
    folder = self.out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(6):
      pixels = np.random.default_rng(k).integers(0, 255, (32, 32)).astype(np.uint8)
      PIL.Image.fromarray(pixels).save(folder / f"picture{k}.png")
    return folder

  def _once(
    self, name: str, commands: Callable[[pathlib.Path], list[list[str]]], source: pathlib.Path | None = None
  ) -> pathlib.Path:
    folder, seconds = self.out / name, self.out / f"{name}.json"
    if not seconds.exists():
      shutil.rmtree(folder, ignore_errors=True)
      if source is not None:
        shutil.copytree(source, folder)
      done = [self.run(command) for command in commands(folder)]
      assert all(d.status == 0 for d in done), done
      done = [self.run(command) for command in commands(self._again(name, source))]  # now that all is compiled
      seconds.write_text(json.dumps([d.seconds for d in done]))
    return folder

  def _again(self, name: str, source: pathlib.Path | None) -> pathlib.Path:
    folder = self.scratch(name) / "run"
    if source is not None:
      shutil.copytree(source, folder)
    return folder

  def seconds(self, name: str, k: int = 0) -> float:
    """Returns how long a program of `trained` or `evaluated` took."""
    return json.loads((self.out / f"{name}.json").read_text())[k]


def train(workdir: pathlib.Path, *more: str) -> list[str]:
  return ["run_train.py", f"--config={ROOT}/configs/quickstart.py", f"--workdir={workdir}", *SMALL, *more]


def evaluate(workdir: pathlib.Path) -> list[str]:
  return ["run_eval.py", f"--workdir={workdir}", "--split=test"]


def predict(workdir: pathlib.Path, images: pathlib.Path, output: pathlib.Path) -> list[str]:
  return ["ordseg.predict", f"--workdir={workdir}", f"--input={images}", f"--output={output}"]


def state_of(workdir: pathlib.Path) -> str:
  """Returns a digest of what a training must end at: the last checkpoint's arrays, and the rows of its log."""
  steps = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
  seal = json.loads((workdir / "checkpoints" / str(steps[-1]) / "seal" / "metadata").read_text())
  rows = [json.loads(line) for line in (workdir / "train_metrics.jsonl").read_text().splitlines()]
  kept = [{key: value for key, value in row.items() if key not in TIMINGS} for row in rows]
  return _digest(json.dumps([steps[-1], seal["arrays"], kept], sort_keys=True).encode())


def evaluation_of(workdir: pathlib.Path) -> str:
  """Returns a digest of the numbers of an evaluation."""
  folder = workdir / "eval" / "test"
  metrics = json.loads((folder / "metrics.json").read_text())
  numbers = {key: metrics[key] for key in ("read_outs", "levels", "num_images", "num_pixels") if key in metrics}
  return _digest(json.dumps(numbers, sort_keys=True).encode() + (folder / "per_image.csv").read_bytes())


def maps_of(folder: pathlib.Path) -> str:
  """Returns a digest of the maps of a prediction."""
  files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in (".tif", ".tiff", ".png", ".nii"))
  return _digest(b"".join(p.relative_to(folder).as_posix().encode() + p.read_bytes() for p in files))


def data_of(root: pathlib.Path) -> str:
  """Returns the fingerprint of the built data set."""
  (record,) = root.rglob("fingerprint.json")
  return json.loads(record.read_text())["fingerprint"]


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()


Outcome = tuple[str, bool, str]  # in words, whether it is as promised, what the program said
Maker = Iterator[tuple[str, Callable[..., Outcome]]]  # of (kind, trial)
