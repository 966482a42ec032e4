"""Folders of a user's own, in the three layouts of folder_raters."""

import csv
import pathlib

import numpy as np
import PIL.Image

OVERRIDES: dict = {}
RATERS = ("anna", "ben", "carl")
# anna never saw the last image
RATED = {"p1_a": RATERS, "p1_b": RATERS, "p2_a": RATERS, "p3_a": RATERS, "p4_a": RATERS, "p5_a": ("ben", "carl")}


def cases(rated=RATED, *, size=(24, 20), channels=1, seed=0):
  """Returns key -> (image [H, W, C] uint8, {rater: mask [H, W] 0/1})."""
  rng = np.random.default_rng(seed)
  made = {}
  for key, raters in rated.items():
    image = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
    made[key] = (image, {rater: rng.integers(0, 2, size, dtype=np.uint8) for rater in raters})
  return made


def save(path: pathlib.Path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(values).save(path)


def write_by_rater(root, made, *, scale=255, suffix="", image_suffix=".png", mask_suffix=".png"):
  """images/<key>.png and raters/<rater>/<key><suffix>.png."""
  for key, (image, masks) in made.items():
    save(root / "images" / f"{key}{image_suffix}", image[..., 0] if image.shape[-1] == 1 else image)
    for rater, mask in masks.items():
      save(root / "raters" / rater / f"{key}{suffix}{mask_suffix}", mask * np.uint8(scale))


def write_by_case(root, made):
  """<key>/image.png and <key>/rater_<rater>.png."""
  for key, (image, masks) in made.items():
    save(root / key / "image.png", image[..., 0])
    for rater, mask in masks.items():
      save(root / key / f"rater_{rater}.png", mask)


def write_manifest(root, made, *, groups=None, splits=None):
  """manifest.csv beside files of names that say nothing."""
  rows = []
  for n, (key, (image, masks)) in enumerate(made.items()):
    row = {"id": key, "image": f"pixels/{n}.png", "group": (groups or {}).get(key, ""), "split": ""}
    row["split"] = (splits or {}).get(key, "")
    save(root / row["image"], image[..., 0])
    for rater, mask in masks.items():
      row[rater] = f"{rater}{n}.png"
      save(root / row[rater], mask * np.uint8(255))
    rows.append(row)
  with (root / "manifest.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, ["id", "image", "group", "split", *RATERS])
    writer.writeheader()
    writer.writerows(rows)


def write(root):
  """The layout that docs/own_data.md begins with."""
  write_by_rater(root, cases(size=(40, 36)))
