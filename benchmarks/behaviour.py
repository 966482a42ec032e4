"""What a refactoring must leave equal, bit for bit on one device: parameters, metrics, maps of short runs.

python benchmarks/behaviour.py --out=runs/before                  # on the old code; --lidc=FOLDER adds LIDC slices
python benchmarks/behaviour.py --out=runs/after                   # on the new code
python benchmarks/behaviour.py --compare runs/before runs/after   # every difference; exit status 1 if there is one

Every run is the real programs, 50 steps each: the phantom, volumes, two structures side by side, and LIDC slices where
their archive's folder is given, with two losses each; then an evaluation, and a prediction of one picture. Finished
runs are not run again. Digests depend on the machine and on the version of jax: compare on one machine.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

ROOT = pathlib.Path(__file__).parent.parent
STEPS = 50
SMALL = ("--config.model.width=4", f"--config.train.num_steps={STEPS}", "--config.train.eval_every_steps=25")
FEW = tuple(f"--config.data.builder_args.num_{split}=16" for split in ("train", "validation", "test"))
RUNS = {
  "phantom_rps_bce": ("configs/quickstart.py", *FEW),
  "phantom_majority": ("configs/quickstart.py:baseline", *FEW, "--config.data.builder_args.missing_share=0.3"),
  "volumes_rps_bce": ("configs/volumes.py", *FEW, "--config.train.batch_size=2"),
  "volumes_nll": ("configs/volumes.py:loss=nll", *FEW, "--config.train.batch_size=2"),
  "organs_rps": ("configs/volumes.py:two_organs,loss=rps", *FEW, "--config.train.batch_size=2"),
  "organs_majority": ("configs/volumes.py:two_organs,loss=bce_majority", *FEW, "--config.train.batch_size=2"),
}
LIDC_RUNS = {
  "lidc_rps_bce": ("configs/lidc_slices.py", "--config.train.batch_size=4"),
  "lidc_nll": ("configs/lidc_slices.py:loss=nll", "--config.train.batch_size=4"),
}
# Facts of the moment, not of the result.
_VOLATILE = ("seconds", "time", "date", "versions", "evaluation_id", "workdir", "host", "path")


def run_all(out: pathlib.Path, lidc: str) -> None:
  """Trains, evaluates and predicts all that is missing below `out`, and writes digests.json there."""
  out.mkdir(parents=True, exist_ok=True)
  picture = out / "picture.png"
  _draw(picture)
  digests = {}
  runs = {**RUNS, **(LIDC_RUNS if lidc else {})}
  for name, (config, *fields) in runs.items():
    workdir = out / name
    data = [f"--config.data.data_dir={out / 'data'}", *([f"--config.data.manual_dir={lidc}"] if "lidc" in name else [])]
    if not (workdir / "done").exists():
      _call("run_train.py", f"--config={config}", f"--workdir={workdir}", *SMALL, *fields, *data)
      split = "test[:64]" if "lidc" in name else "test"
      _call("run_eval.py", f"--workdir={workdir}", f"--split={split}", "--step=last")
      if name.startswith("phantom"):
        _call("-m", "ordseg.predict", f"--workdir={workdir}", f"--input={picture}", f"--output={workdir / 'maps'}")
      (workdir / "done").touch()
    digests[name] = describe(workdir)
    print(f"{name}: parameters {digests[name]['parameters'][:12]}", flush=True)
  (out / "digests.json").write_text(json.dumps(digests, indent=1, sort_keys=True))


def describe(workdir: pathlib.Path) -> dict[str, Any]:
  """Returns digests of the last checkpoint's parameters and of the maps, and the numbers of metrics.json."""
  folder = workdir / "checkpoints" / str(STEPS) / "state"
  params = ocp.StandardCheckpointer().restore(folder.absolute())["params"]
  metrics = {}
  for path in sorted((workdir / "eval").rglob("metrics.json")):
    metrics |= {f"{path.parent.name}.{k}": v for k, v in _numbers(json.loads(path.read_text()))}
  maps = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((workdir / "maps").glob("picture*"))}
  return {"parameters": digest(params), "metrics": metrics, "maps": maps}


def digest(tree: Any) -> str:
  """Returns a SHA-256 of nested dicts of arrays: names, types, shapes, bytes."""
  out = hashlib.sha256()
  for name, value in _leaves(tree):
    array = np.ascontiguousarray(value)
    out.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
  return out.hexdigest()


def compare(before: pathlib.Path, after: pathlib.Path) -> int:
  """Prints what differs; returns 1 if anything does. A number that is only in one of the two counts as new or gone."""
  old, new = (json.loads((folder / "digests.json").read_text()) for folder in (before, after))
  status = 0
  for name in sorted(old.keys() | new.keys()):
    if name not in old or name not in new:
      print(f"{name}: only in {before if name in old else after}")
      continue
    a, b = old[name], new[name]
    both = a["metrics"].keys() & b["metrics"].keys()
    changed = [
      f"{k}: {a['metrics'][k]} -> {b['metrics'][k]}" for k in sorted(both) if a["metrics"][k] != b["metrics"][k]
    ]
    gone, added = sorted(a["metrics"].keys() - both), sorted(b["metrics"].keys() - both)
    same = a["parameters"] == b["parameters"] and a["maps"] == b["maps"] and not changed and not gone
    status |= not same
    print(
      f"{name}: {'equal' if same else 'DIFFERS'}; parameters {a['parameters'] == b['parameters']}, maps "
      f"{a['maps'] == b['maps']}, numbers changed {len(changed)}, gone {len(gone)}, new {len(added)}"
    )
    for line in [*changed[:5], *(f"gone: {k}" for k in gone[:5])]:
      print(f"  {line}")
  return status


def _leaves(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
  if isinstance(tree, dict):
    return [leaf for name in sorted(tree) for leaf in _leaves(tree[name], f"{prefix}{name}/")]
  return [(prefix, tree)]


def _numbers(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
  if isinstance(tree, dict):
    kept = [(name, value) for name, value in tree.items() if name not in _VOLATILE]
    return [leaf for name, value in kept for leaf in _numbers(value, f"{prefix}{name}.")]
  if isinstance(tree, list):
    return [leaf for k, value in enumerate(tree) for leaf in _numbers(value, f"{prefix}{k}.")]
  return [(prefix[:-1], repr(tree))] if isinstance(tree, (int, float)) else []


def _draw(path: pathlib.Path) -> None:
  import PIL.Image

  values = np.add.outer(np.arange(96), np.arange(128)) % 251
  PIL.Image.fromarray(values.astype(np.uint8)).save(path)


def _call(*command: str) -> None:
  subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, help="folder for the runs")
  parser.add_argument("--lidc", default="", help="folder that holds LIDC-IDRI-slices")
  parser.add_argument("--compare", nargs=2, type=pathlib.Path, metavar=("BEFORE", "AFTER"), help="two such folders")
  args = parser.parse_args()
  if args.compare:
    raise SystemExit(compare(*args.compare))
  if args.out is None:
    parser.error("--out is missing")
  run_all(args.out.absolute(), args.lidc)


if __name__ == "__main__":
  main()
