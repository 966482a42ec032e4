"""Gleason 2019."""

import numpy as np
import PIL.Image

from tests.data.archives import Expected, damage, save

CONFIGS = ("cancer", "high_grade")
OVERRIDES = {"tile_size": 32}
SIZE = (40, 36)
ENDING = "_classimg_nonconvex.png"
CORES = [("slide001", 1), ("slide001", 12), ("slide002", 3), ("slide003", 1), ("slide004", 2), ("slide005", 7)]


def write(root):
  rng = np.random.default_rng(0)
  found = {name: {} for name in CONFIGS}
  for n, (slide, core) in enumerate(CORES):
    name = f"{slide}_core{core:03d}"
    path = root / "Train Imgs" / f"{name}.jpg"
    save(path, rng.integers(0, 256, (*SIZE, 3), np.uint8))
    image = np.asarray(PIL.Image.open(path))
    maps = [rng.choice([0, 1, 3, 4, 5, 6], SIZE).astype(np.uint8) for _ in range(6)]
    for r in range(6):
      if (n + r) % 3 == 0:  # this pathologist did not see this core
        maps[r] = None
      else:
        save(root / f"Maps{r + 1}_T" / f"{name}{ENDING}", maps[r])
    for config, positive in (("cancer", (3, 4, 5)), ("high_grade", (4, 5))):
      for y in (slice(0, 20), slice(20, 40)):
        for x in (slice(0, 18), slice(18, 36)):
          cut = [None if m is None else np.isin(m[y, x], positive) for m in maps]
          key = f"{name}/y{y.start:05d}-x{x.start:05d}"
          found[config][key] = Expected(slide, image[y, x], cut)
  return found


def truncated(root):
  damage(root / "Train Imgs/slide002_core003.jpg")
  return "cancer", r"slide002_core003.jpg: cannot be read as an image"


def other_size(root):
  save(root / "Maps1_T" / f"slide002_core003{ENDING}", np.zeros((36, 40), np.uint8))
  return "cancer", r"Maps1_T/slide002_core003_classimg_nonconvex.png: the mask is 36 x 40 .* The axes look swapped"


def unknown_class(root):
  save(root / "Maps1_T" / f"slide002_core003{ENDING}", np.full(SIZE, 2, np.uint8))
  return "cancer", r"slide002_core003_classimg_nonconvex.png: expected the classes 0, 1, 3, 4, 5, 6, found also 2"


def no_core(root):
  save(root / "Maps1_T" / f"slide009_core001{ENDING}", np.zeros(SIZE, np.uint8))
  return "cancer", r"slide009_core001_classimg_nonconvex.png: expected .*slide009_core001.jpg"


def nobody(root):
  for path in root.glob(f"Maps*_T/slide002_core003{ENDING}"):
    path.unlink()
  return "cancer", r"slide002_core003.jpg: no pathologist has a map of it"


def no_folder(root):
  (root / "Maps4_T").rename(root / "Maps4")
  return "cancer", r"Maps4_T: there is no such folder"


def odd_name(root):
  (root / "Train Imgs/slide002_core003.jpg").rename(root / "Train Imgs/slide2-3.jpg")
  return "cancer", r"slide2-3.jpg: expected a name like slide001_core003.jpg"


FAULTS = (truncated, other_size, unknown_class, no_core, nobody, no_folder, odd_name)
