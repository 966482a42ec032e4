"""Writes a folder to try folder_raters with: simulated pictures, three raters, some masks missing.

python -m data.folder_raters.example --out=mydata
"""

import argparse
import pathlib
import shlex

import numpy as np
import PIL.Image

from data.errors import DataError
from data.rater_phantom.rater_phantom_dataset_builder import PhantomConfig, draw_example
from ordseg.errors import one_line_errors

RATERS = ("anna", "ben", "carl")
GROUPS = r"(patient\d+)_"  # finds the patient in a picture's name


def write(out: pathlib.Path, *, num_images: int = 30, seed: int = 1) -> None:
  """Writes ``images/`` and ``raters/<name>/`` in the layout of docs/own_data.md.

  Args:
    out: a folder that is empty or not there.
    num_images: how many; two of each simulated patient.
    seed: another seed, other pictures.

  Raises:
    DataError: `out` holds something.
  """
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise DataError(f"--out={out}: is not empty; name a new folder.")
  config = PhantomConfig(
    name="example", num_raters=len(RATERS), height=128, width=128, missing_share=0.1, images_per_group=2, seed=seed
  )
  for index in range(num_images):
    record = draw_example(config, "train", index)
    name = f"patient{index // config.images_per_group:02d}_{index % config.images_per_group}.png"
    _save(out / "images" / name, record["image"][..., 0])
    for r, rater in enumerate(RATERS):
      if record["rater_valid"][r]:
        _save(out / "raters" / rater / name, record["rater_masks"][..., r] * 255)


def next_commands(out: pathlib.Path) -> str:
  """Returns the commands of docs/own_data.md for the folder that was written."""
  folder = shlex.quote(str(out))
  return f"""
ordseg check --builder=folder_raters --manual_dir={folder} --data_dir=built --set group_regex='{GROUPS}'
python run_train.py --config=configs/folder_raters.py --workdir=runs/mine \\
  --config.data.manual_dir={folder} --config.data.data_dir=built \\
  --config.data.builder_args.group_regex='{GROUPS}' --config.train.num_steps=300
python run_eval.py --workdir=runs/mine
ordseg predict --workdir=runs/mine --input={folder} --output=maps"""


def _save(path: pathlib.Path, values: np.ndarray) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(values).save(path)


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser(
    prog="python -m data.folder_raters.example", description=str(__doc__).splitlines()[0]
  )
  parser.add_argument("--out", type=pathlib.Path, required=True, help="a new folder")
  parser.add_argument("--num_images", type=int, default=30, help="pictures, two of each simulated patient")
  args = parser.parse_args()
  with one_line_errors():
    write(args.out, num_images=args.num_images)
    print(
      f"{args.num_images} pictures and the masks of {', '.join(RATERS)} are in {args.out}; two of each patient. Next:"
    )
    print(next_commands(args.out))


if __name__ == "__main__":
  main()
