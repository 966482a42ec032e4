"""Programs that are killed, interrupted, or have no room: a part of faults.py."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
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
Trial = dict[str, Any]


@dataclasses.dataclass
class Done:
  """How a program ended: exit status (negative: the signal), output, errors, and the seconds it took."""

  status: int
  out: str
  errors: str
  seconds: float

  @property
  def is_one_line(self) -> bool:
    """Whether it told one thing, in a line, besides notes."""
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


def trials(bench: Bench, section: str, share: float, done: set[int]) -> Iterator[Trial]:
  """Yields the trials of a section that are not done, as {number, kind, outcome, ok, told}."""
  makers = {"kills": _kills, "interrupts": _interrupts, "space": _space, "trainers": _trainers}
  bench.evaluated()
  for number, (kind, trial) in enumerate(makers[section](bench, share)):
    if number not in done:
      outcome, ok, told = trial(random.Random(f"{bench.seed} {section} {number}"))
      yield {"number": number, "kind": kind, "outcome": outcome, "ok": ok, "told": told[-300:]}


Outcome = tuple[str, bool, str]
Maker = Iterator[tuple[str, Callable[[random.Random], Outcome]]]


def _repeat(share: float, count: int, kind: str, trial: Callable[[random.Random], Outcome]) -> Maker:
  for _ in range(max(1, round(count * share))):
    yield kind, trial


def _kills(bench: Bench, share: float) -> Maker:
  images = bench.images()

  def killed(kind: str, limit: float, make: Callable[[pathlib.Path], Any]) -> tuple[str, Callable[..., Outcome]]:
    def trial(draws: random.Random) -> Outcome:
      after = draws.uniform(0.2, limit)
      while True:
        command, state, want, environ = make(bench.scratch("kills"))
        if bench.stopped(command, signal.SIGKILL, after, environ=environ).status == -signal.SIGKILL:
          break
        after /= 2  # it had ended: the machine is faster now
      ended = bench.run(command, environ=environ)
      if ended.status:
        return "the same command failed", False, ended.errors
      right = state() == want
      return ("right end" if right else "OTHER END"), right, f"killed after {after:.2f} s"

    return kind, trial

  def training(folder: pathlib.Path) -> Any:
    return train(folder / "w"), lambda: state_of(folder / "w"), state_of(bench.trained()), {}

  def evaluating(folder: pathlib.Path) -> Any:
    shutil.copytree(bench.trained(), folder / "w")
    return evaluate(folder / "w"), lambda: evaluation_of(folder / "w"), evaluation_of(bench.evaluated()), {}

  def again(folder: pathlib.Path) -> Any:
    shutil.copytree(bench.evaluated(), folder / "w")
    return evaluate(folder / "w"), lambda: evaluation_of(folder / "w"), evaluation_of(bench.evaluated()), {}

  def predicting(folder: pathlib.Path) -> Any:
    maps = folder / "maps"
    want = maps_of(bench.evaluated() / "maps")
    return predict(bench.trained(), images, maps), lambda: maps_of(maps), want, {}

  def building(folder: pathlib.Path) -> Any:
    environ = {"TFDS_DATA_DIR": str(folder)}
    return train(folder / "w"), lambda: data_of(folder), data_of(bench.out / "tfds"), environ

  seconds = [bench.seconds("trained"), bench.seconds("evaluated"), bench.seconds("evaluated", 1)]
  for kind, limit, make in (
    ("Killed in training, then the same command", seconds[0], training),
    ("Killed in evaluation, then the same command", seconds[1], evaluating),
    ("Killed in a second evaluation, then the same command", seconds[1], again),
    ("Killed in prediction, then the same command", seconds[2], predicting),
    ("Killed while the data set is built, then the same command", seconds[0] / 2, building),
  ):
    yield from _repeat(share, 5, *killed(kind, limit, make))


def _interrupts(bench: Bench, share: float) -> Maker:
  images = bench.images()

  def pressed(kind: str, times: int, limit: float, make: Callable[[pathlib.Path], list[str]]) -> Any:
    def trial(draws: random.Random) -> Outcome:
      after = draws.uniform(0.15, limit)
      while True:
        done = bench.stopped(make(bench.scratch("interrupts")), signal.SIGINT, after, times=times)
        if done.status != 0 or after < 0.1:
          break
        after /= 2  # it had ended: the machine is faster now
      told = "stopped by SIGINT" in done.out and not done.errors.strip()
      right = done.status == 130 and "Traceback" not in done.errors and (told or done.is_one_line)
      return ("one line, exit status 130" if right else "OTHERWISE"), right, f"{done.status}: {done.errors}"

    return kind, trial

  def copied(folder: pathlib.Path) -> pathlib.Path:
    return shutil.copytree(bench.trained(), folder / "w")

  limits = [bench.seconds("trained"), bench.seconds("evaluated"), bench.seconds("evaluated", 1)]
  for kind, times, limit, make in (
    ("Ctrl-C in training", 1, limits[0], lambda folder: train(folder / "w")),
    ("Ctrl-C twice in training", 2, limits[0], lambda folder: train(folder / "w")),
    ("Ctrl-C in evaluation", 1, limits[1], lambda folder: evaluate(copied(folder))),
    ("Ctrl-C in prediction", 1, limits[2], lambda folder: predict(bench.trained(), images, folder / "maps")),
  ):
    yield from _repeat(share, 5, *pressed(kind, times, limit, make))


def programs(bench: Bench, output: pathlib.Path) -> dict[str, list[str]]:
  """Returns every program that writes, told to write below `output`."""
  run = bench.evaluated()
  inside = output / "w"
  return {
    "run_train": train(output / "new"),
    "run_eval": evaluate(inside),
    "recalibrate": ["ordseg.recalibrate", f"--workdir={inside}", "--method=temperature"],
    "report": ["ordseg.report", str(inside / "eval" / "test")],
    "predict": predict(run, bench.images(), output / "maps"),
    "compare": ["ordseg.compare", f"a={run}", f"b={run}", f"--out={output / 'compare'}", "--resamples=100"],
    "card": ["ordseg.card", f"--workdir={run}", f"--out={output / 'card'}"],
    "export": ["ordseg.export", f"--workdir={run}", f"--out={output / 'export'}"],
    "doctor": ["ordseg.doctor", "--builder=rater_phantom", "--config=tiny", f"--out={output / 'doctor'}"],
    "folder example": ["data.folder_raters.example", f"--out={output / 'example'}"],
  }


def _space(bench: Bench, share: float) -> Maker:
  del share

  # JAX would keep what it could only write in part, and other programs would meet it.
  no_cache = {"JAX_ENABLE_COMPILATION_CACHE": "false"}

  def one_line(
    name: str, place: Callable[[], Any], *, may_end_well: bool = False, **options: Any
  ) -> Callable[[random.Random], Outcome]:
    def trial(draws: random.Random) -> Outcome:
      del draws
      with place() as output:
        done = bench.run(programs(bench, output)[name], environ=no_cache, **options)
      if done.status == 0 and may_end_well:
        return "ended well", True, name
      right = done.status == 2 and done.is_one_line
      return (
        ("one line, exit status 2" if right else "OTHERWISE"),
        right,
        f"{name}: {done.status}: {done.errors[-240:]}",
      )

    return trial

  def fill_up(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError), (folder / "rest").open("wb", buffering=0) as file:
      while True:
        file.write(bytes(4096))

  def fills(draws: random.Random) -> Outcome:
    del draws
    with mounted("", fill=False) as folder:
      command, start = train(folder / "new"), time.monotonic()
      process = bench.start(command, environ=no_cache)
      while not list((folder / "new" / "checkpoints").glob("[0-9]*")) and process.poll() is None:
        time.sleep(0.01)
      fill_up(folder)
      stopped = bench.finish(process, start)
      (folder / "rest").unlink()
      ended = bench.run(command)
      right = stopped.status == 2 and stopped.is_one_line and ended.status == 0
      right = right and state_of(folder / "new") == state_of(bench.trained())
    told = f"{stopped.status}: {stopped.errors[-240:]}"
    return ("one line, then the right end" if right else "OTHERWISE"), right, told

  @contextlib.contextmanager
  def mounted(options: str, *, fill: bool) -> Iterator[pathlib.Path]:
    folder = bench.out / "mounted"
    folder.mkdir(exist_ok=True)
    if folder.is_mount():  # of a benchmark that was killed
      subprocess.run(["umount", str(folder)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(folder)], check=True)
    try:
      shutil.copytree(bench.evaluated(), folder / "w")
      if fill:
        fill_up(folder)
      if options:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
      yield folder
    finally:
      subprocess.run(["umount", str(folder)], check=True)

  @contextlib.contextmanager
  def small_files() -> Iterator[pathlib.Path]:
    folder = bench.scratch("small_files")
    shutil.copytree(bench.evaluated(), folder / "w")
    yield folder

  def limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

  def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))

  names = list(programs(bench, bench.out))
  for name in names:
    yield "No file may pass 64 bytes, 10 programs", one_line(name, small_files, preexec_fn=limit)
  if os.geteuid() == 0 and _can_mount(bench):
    yield "The disk fills up in training; once there is room, the same command", fills
    for name in names:
      full = functools.partial(mounted, "", fill=True)
      yield "The disk is full, 10 programs", one_line(name, full)
      read_only = functools.partial(mounted, "ro", fill=False)
      yield "The disk is read-only, 10 programs", one_line(name, read_only)
  for name in ("run_train", "run_eval", "predict"):
    yield (
      "Too many open files (ulimit -n 14), 3 programs",
      one_line(name, small_files, may_end_well=True, preexec_fn=few_files),
    )


def _can_mount(bench: Bench) -> bool:
  folder = bench.scratch("mount")
  done = subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False
  )
  return done.returncode == 0 and subprocess.run(["umount", str(folder)], check=False).returncode == 0


def _trainers(bench: Bench, share: float) -> Maker:
  def trial(draws: random.Random) -> Outcome:
    folder = bench.scratch("trainers") / "w"
    long = [f"--config.train.{name}_steps={count}" for name, count in (("num", 200), ("eval_every", 200))]
    long.append("--config.train.checkpoint_every_steps=20")
    start = time.monotonic()
    first = bench.start(train(folder, *long))
    while not (folder / "checkpoints").exists() and first.poll() is None:
      time.sleep(0.02)
    time.sleep(draws.uniform(0, 0.3))
    held = first.poll() is None
    second = bench.run(train(folder, *long))
    ended = bench.finish(first, start)
    named = second.status == 2 and f"process {first.pid} on " in second.errors and second.is_one_line
    rows = [json.loads(line)["step"] for line in (folder / "train_metrics.jsonl").read_text().splitlines()]
    whole = ended.status == 0 and rows == list(range(2, 201, 2))
    if not held:
      return "first had ended", whole, ""
    right = named and whole
    return ("second refused, no row lost" if right else "OTHERWISE"), right, f"{second.errors} {ended.errors}"

  yield from _repeat(share, 3, "A second trainer in the same workdir", trial)
