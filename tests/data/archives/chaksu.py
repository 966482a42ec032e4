"""Chaksu."""

import numpy as np
import PIL.Image

from tests.data.archives import Expected, damage, disc, save

CONFIGS = ("disc", "cup")
SIZE = (32, 30)
DEVICES = {"Train": ("Bosch", "Forus", "Remidio"), "Test": ("Bosch", "Forus", "Remedio")}
IMAGES, MAPS = "1.0_Original_Fundus_Images", "4.0_OD_CO_Fusion_Images"


def write(root):
  rng = np.random.default_rng(0)
  found = {name: {} for name in CONFIGS}
  for part, devices in DEVICES.items():
    for device in devices:
      for n in range(9 if part == "Train" else 2):
        # patients in the names of one camera; Expert 4's 22glsusp is the map of 22
        name = f"P{n // 2}_Image{n}" if device == "Remidio" else f"{device[0]}{n:03d}"
        ending = ".JPG" if n % 2 else ".png"
        path = root / "Chaksu" / part / IMAGES / device / f"{name}{ending}"
        save(path, rng.integers(0, 256, (*SIZE, 3), np.uint8), format="PNG" if ending == ".png" else "JPEG")
        discs, cups = [], []
        for r in range(5):
          if (r, n) == (2, 3):  # an expert without a map
            discs.append(None)
            cups.append(None)
            continue
          rim, cup = disc(SIZE, (15, 14 + r % 2), 9), disc(SIZE, (15, 14), 3 + r % 3)
          values = np.where(cup, 255, np.where(rim, 127, 0)).astype(np.uint8)
          other = device if r != 1 else DEVICES["Train"][devices.index(device)]
          who = f"{name}glsusp" if (r, n) == (3, 1) else name
          kind = ".jpg" if (r, n) == (1, 0) else ".tif"
          save(root / "Chaksu" / part / MAPS / f"Expert {r + 1}" / other / (who + kind), values)
          discs.append(rim)
          cups.append(cup)
        image = np.asarray(PIL.Image.open(path))
        split = "test" if part == "Test" else ""
        key = f"{part}/{device}/{name}"
        group = f"{part}/{device}/P{n // 2}" if device == "Remidio" else key
        found["disc"][key] = Expected(group, image, discs, split)
        found["cup"][key] = Expected(group, image, cups, split)
  return found


def path_of(root, name, part="Train"):
  return root / "Chaksu" / part / name


def truncated(root):
  damage(path_of(root, f"{IMAGES}/Bosch/B000.png"))
  return "disc", r"B000.png: cannot be read as an image"


def other_size(root):
  save(path_of(root, f"{MAPS}/Expert 2/Forus/F002.tif"), np.zeros((30, 32), np.uint8))
  return "disc", r"F002.tif: the mask is 30 x 32 pixels, its image .* 32 x 30. The axes look swapped"


def no_image(root):
  save(path_of(root, f"{MAPS}/Expert 2/Forus/F999.tif"), np.zeros(SIZE, np.uint8))
  return "disc", r"F999.tif: a map without its image"


def two_of_one_name(root):
  save(path_of(root, f"{IMAGES}/Bosch/B000.bmp"), np.zeros((*SIZE, 3), np.uint8))
  return "disc", r"B000.png: two files are named 'B000'; the other is .*B000.bmp"


def two_maps(root):
  save(path_of(root, f"{MAPS}/Expert 4/Bosch/B002glsusp.tif"), np.zeros(SIZE, np.uint8))
  return "disc", r"B002glsusp.tif: is a second map of one expert and image; the other is .*B002.tif"


def no_expert(root):
  (root / "Chaksu/Test" / MAPS / "Expert 5").rename(root / "gone")
  return "cup", r"Expert 5: there is no such folder"


def nobody(root):
  for path in path_of(root, MAPS).glob("*/Bosch/B004*"):
    path.unlink()
  return "cup", r"B004.png: no expert has a map of it"


def inverted(root):
  save(path_of(root, f"{MAPS}/Expert 2/Forus/F002.tif"), 255 - np.zeros(SIZE, np.uint8))
  return "disc", r"F002.tif: more than half of the pixels are marked"


FAULTS = (truncated, other_size, no_image, two_of_one_name, two_maps, no_expert, nobody, inverted)
