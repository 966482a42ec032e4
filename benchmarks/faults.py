"""What becomes of runs and files when something goes wrong: kills, damage, full disks, second trainers, Ctrl-C.

  python benchmarks/faults.py --out=/tmp/faults            # all of it, about 15 minutes on 2 cores; or make faults
  python benchmarks/faults.py --out=/tmp/faults --share=.1 # a tenth of the trials
  python benchmarks/faults.py --out=/tmp/faults --only=images,checkpoints

Every trial is drawn from (--seed, its number) and recorded in <out>/trials.jsonl; the same command goes on where it was
stopped. At the end the table of docs/reliability.md is printed as Markdown. Exit status 1 where a promise was broken.
"""

import argparse
import collections
import json
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import fault_bench
import fault_images
import fault_programs
from fault_bench import Bench

Trial = dict[str, Any]
SECTIONS = ("checkpoints", "images", "kills", "interrupts", "space", "trainers")
_BATCH = {"checkpoints": 40, "images": 200}  # trials of one child process


def worker_trials(bench: Bench, section: str, count: int, done: set[int]) -> Iterator[Trial]:
  """Runs the trials of a worker script in child processes; one that dies costs the trial it was at."""
  # Only the damage of checkpoints needs a run.
  script = ["fault_images.py"] if section == "images" else ["fault_checkpoints.py", str(bench.trained())]
  todo = [number for number in range(count) if number not in done]
  while todo:
    first = todo[0]
    last = min(first + _BATCH[section], count)
    arguments = [str(fault_bench.HERE / script[0]), *script[1:], str(bench.scratch(section)), str(bench.seed)]
    child = subprocess.run(
      [sys.executable, *arguments, str(first), str(last)],
      capture_output=True,
      text=True,
      check=False,
      env=bench.environ,
    )
    trials = [json.loads(line) for line in child.stdout.splitlines()]
    yield from trials
    reached = {trial["number"] for trial in trials}
    todo = [number for number in todo if number not in reached]
    if "Traceback" in child.stderr or (todo and todo[0] < last):
      number = todo.pop(0) if todo and todo[0] < last else first
      yield {"number": number, "kind": "process", "outcome": "traceback", "message": child.stderr[-300:]}


def rows_of(section: str, trials: list[Trial]) -> list[tuple[str, str, bool]]:
  """Returns (what was tried, outcomes, whether all is as promised) of a section."""
  count = collections.Counter(trial["outcome"] for trial in trials)
  if section == "images":
    return _image_rows(trials, count)
  if section == "checkpoints":
    good = not (count["other weights"] or count["traceback"])
    names = ("refused", "equal", "other weights", "traceback")
    return [("A file of a checkpoint damaged or taken away", _counts(count, names), good)]
  out = []
  for kind in dict.fromkeys(trial["kind"] for trial in trials):
    mine = collections.Counter(trial["outcome"] for trial in trials if trial["kind"] == kind)
    bad = [trial for trial in trials if trial["kind"] == kind and not trial["ok"]]
    out.append((kind, _counts(mine, tuple(mine)), not bad))
  return out


def _image_rows(trials: list[Trial], count: collections.Counter) -> list[tuple[str, str, bool]]:
  names = ("refused", "equal", "other pixels", "traceback")
  peak, slowest = (max(trial.get(key, 0) for trial in trials) for key in ("peak_mb", "seconds"))
  text = f"{_counts(count, names)}; at most {peak} MB and {slowest:.1f} s"
  out = [("A damaged image of 20 kinds read", text, not count["traceback"] and peak <= 1000)]
  other = collections.Counter(t["kind"] for t in trials if t["outcome"] == "other pixels")
  total = collections.Counter(t["kind"] for t in trials)
  for has_checksum, what in ((True, "with"), (False, "without")):
    kinds = [name for name, (_, _, checksum) in fault_images.KINDS.items() if checksum is has_checksum and other[name]]
    text = ", ".join(f"{name} {other[name]} of {total[name]}" for name in kinds) or "none"
    out.append((f"... other pixels, formats {what} a checksum", text, not (has_checksum and kinds)))
  return out


def _counts(count: collections.Counter, names: tuple[str, ...]) -> str:
  return ", ".join(f"{count[name]} {name}" for name in names)


class Record:
  """The trials on disk, one JSON line each."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    self.trials: list[Trial] = [json.loads(line) for line in lines if line.endswith("\n")]
    path.write_text("".join(line for line in lines if line.endswith("\n")))

  def done(self, section: str) -> set[int]:
    """Returns the numbers of a section's recorded trials."""
    return {trial["number"] for trial in self.trials if trial["section"] == section}

  def add(self, section: str, trial: Trial) -> None:
    """Records a trial and says what came of it."""
    trial = {"section": section, **trial}
    self.trials.append(trial)
    with self._path.open("a") as file:
      file.write(json.dumps(trial) + "\n")


def table(record: Record) -> tuple[str, bool]:
  """Returns the Markdown table, and whether all is as promised."""
  lines, all_good = ["| what | trials | outcomes | as promised |", "|---|---|---|---|"], True
  for section in SECTIONS:
    trials = [trial for trial in record.trials if trial["section"] == section]
    for what, outcomes, good in rows_of(section, trials) if trials else []:
      kinds = [trial for trial in trials if trial["kind"] == what] or trials
      lines.append(f"| {what} | {len(kinds)} | {outcomes} | {'yes' if good else '**no**'} |")
      all_good = all_good and good
  return "\n".join(lines), all_good


def run(bench: Bench, record: Record, sections: tuple[str, ...], share: float) -> None:
  """Does what is not done yet."""
  for section in sections:
    start, done = time.monotonic(), record.done(section)
    if section in _BATCH:
      count = max(1, round({"checkpoints": 200, "images": 1200}[section] * share))
      trials = worker_trials(bench, section, count, done)
    else:
      trials = fault_programs.trials(bench, section, share, done)
    for trial in trials:
      record.add(section, trial)
      if not trial.get("ok", trial["outcome"] not in ("traceback", "other weights")):
        print(f"NOT AS PROMISED: {section} {trial}"[:400], file=sys.stderr)
    print(f"{section}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the record and the runs")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--share", type=float, default=1.0, help="of the trials")
  parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas")
  args = parser.parse_args()
  signal.signal(signal.SIGINT, signal.default_int_handler)  # programs of a job in the background would ignore Ctrl-C
  record = Record(args.out / "trials.jsonl")
  bench = Bench(args.out.absolute(), args.seed)
  run(bench, record, tuple(args.only.split(",")), args.share)
  text, all_good = table(record)
  print(text)
  sys.exit(0 if all_good else 1)


if __name__ == "__main__":
  main()
