"""REFUGE-MultiRater, with what the archive holds beside the fourteen masks."""

import numpy as np
import PIL.Image

from tests.data.archives import Expected, damage, disc, save

CONFIGS = ("disc", "cup", "disc_crop", "cup_crop")
TOP = "REFUGE-Multirater"
# set, split, images, size
SETS = (
  ("Training-400", "train", 3, (52, 56)),
  ("Validation-400", "validation", 1, (40, 40)),
  ("Test-400", "test", 2, (40, 40)),
)


def write(root):
  rng = np.random.default_rng(0)
  found = {name: {} for name in CONFIGS}
  for part, split, count, size in SETS:
    for n in range(1, count + 1):
      name = f"{n:04d}"
      folder = root / TOP / part / name
      centre = (int(rng.integers(14, size[0] - 14)), int(rng.integers(14, size[1] - 14)))
      y, x = np.mgrid[: size[0], : size[1]]
      bright = 200 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 18)[..., None]
      save(folder / f"{name}.jpg", (bright + rng.integers(0, 5, (*size, 3))).astype(np.uint8), quality=98)
      image = np.asarray(PIL.Image.open(folder / f"{name}.jpg"))
      key = f"{part}/{name}"
      for structure, radius in (("disc", 5), ("cup", 2)):
        masks = [disc(size, (centre[0], centre[1] + r % 3), radius + r % 2) for r in range(7)]
        for r, mask in enumerate(masks):
          soft = (mask * np.uint8(200) + np.uint8(20)) if r == 5 else mask * np.uint8(255)  # grey: 20 and 220
          if r == 3:  # in colour; its red alone would stay below 128
            soft = mask[..., None] * np.asarray([100, 200, 100], np.uint8)
          save(folder / f"{name}_seg_{structure}_{r + 1}.png", soft)
        save(folder / f"{name}_{structure}.bmp", np.where(masks[0], 0, 255).astype(np.uint8))  # inverted
        found[structure][key] = Expected(key, image, masks, split)
        y, x = crop(centre, size)
        found[f"{structure}_crop"][key] = Expected(key, image[y, x], [mask[y, x] for mask in masks], split)
      save(folder / f"{name}_cropped.jpg", np.zeros((20, 20, 3), np.uint8))  # not aligned with the masks
      (folder / f"{name}.xlsx").write_bytes(b"")
    save(root / TOP / part / "__MACOSX" / "0001" / "._0001.jpg", np.zeros((4, 4, 3), np.uint8))
    (root / TOP / part / ".DS_Store").write_bytes(b"")
  (root / TOP / "REFUGETrain.csv").write_bytes("编号".encode("gbk"))
  return found


def crop(centre, size):
  """The square around the bright disc, in the image."""
  side = round(0.35 * min(size))
  starts = [min(max(c - side // 2, 0), n - side) for c, n in zip(centre, size, strict=True)]
  return tuple(slice(start, start + side) for start in starts)


def path_of(root, name):
  return root / TOP / "Training-400" / "0002" / name


def truncated(root):
  damage(path_of(root, "0002.jpg"))
  return "disc", r"0002.jpg: cannot be read as an image"


def a_rater_is_missing(root):
  path_of(root, "0002_seg_cup_7.png").unlink()
  return "cup", r"0002_seg_cup_7.png: there is no such file"


def other_size(root):
  save(path_of(root, "0002_seg_disc_3.png"), np.zeros((56, 52), np.uint8))
  return "disc", r"0002_seg_disc_3.png: the mask is 56 x 52 pixels, .* The axes look swapped"


def inverted(root):
  path_of(root, "0002_disc.bmp").replace(path_of(root, "0002_seg_disc_3.png"))
  return "disc", r"0002_seg_disc_3.png: more than half of the pixels are marked; the mask looks inverted"


def zero_and_one(root):
  path = path_of(root, "0002_seg_disc_3.png")
  save(path, (np.asarray(PIL.Image.open(path)) > 127).astype(np.uint8))
  return "disc", r"0002_seg_disc_3.png: expected a grey mask, marked where it is 128 or more; found 0 and 1 only"


def sixteen_bits(root):
  path = path_of(root, "0002_seg_disc_3.png")
  save(path, np.asarray(PIL.Image.open(path)).astype(np.uint16) * 257)
  return "disc", r"0002_seg_disc_3.png: expected an 8-bit mask, found"


def no_test(root):
  (root / TOP / "Test-400").rename(root / TOP / "Test")
  return "disc", r"Test-400: there is no such folder"


FAULTS = (truncated, a_rater_is_missing, other_size, inverted, zero_and_one, sixteen_bits, no_test)
