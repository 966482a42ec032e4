"""Programs that are killed, interrupted, or started twice in one workdir: a part of faults.py."""

import json
import pathlib
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import fault_space
from fault_bench import Bench, Maker, Outcome, data_of, evaluate, evaluation_of, maps_of, predict, state_of, train

Trial = dict[str, Any]


def trials(bench: Bench, section: str, share: float, done: set[int]) -> Iterator[Trial]:
  """Yields the trials of a section that are not done, as {number, kind, outcome, ok, message}."""
  makers = {"kills": _kills, "interrupts": _interrupts, "space": fault_space.trials, "trainers": _trainers}
  bench.evaluated()
  for number, (kind, trial) in enumerate(makers[section](bench, share)):
    if number not in done:
      outcome, ok, message = trial(random.Random(f"{bench.seed} {section} {number}"))
      yield {"number": number, "kind": kind, "outcome": outcome, "ok": ok, "message": message[-300:]}


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
      says_so = "stopped by SIGINT" in done.out and not done.errors.strip()
      right = done.status == 130 and "Traceback" not in done.errors and (says_so or done.is_one_line)
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
