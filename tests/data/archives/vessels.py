"""DRIVE, STARE and CHASE_DB1."""

import gzip

import numpy as np
import PIL.Image

from tests.data.archives import Expected, damage, save

CONFIGS = ("drive", "stare", "chase_db1")
SIZE = (24, 20)


def masks_of(rng):
  return [(rng.random(SIZE) < 0.2).astype(np.uint8) for _ in range(2)]


def write_gif(path, mask, palette):
  path.parent.mkdir(parents=True, exist_ok=True)
  if palette:  # values 0 and 1 of a palette black, white
    image = PIL.Image.fromarray(mask, "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
  else:
    image = PIL.Image.fromarray(mask * np.uint8(255))
  image.save(path)


def write(root):
  rng = np.random.default_rng(0)
  found = {name: {} for name in CONFIGS}
  for n in range(1, 7):
    image, masks = rng.integers(0, 256, (*SIZE, 3), np.uint8), masks_of(rng)
    folder = root / "DRIVE" / "test"
    save(folder / "images" / f"{n:02d}_test.tif", image)
    write_gif(folder / "1st_manual" / f"{n:02d}_manual1.gif", masks[0], palette=False)
    write_gif(folder / "2nd_manual" / f"{n:02d}_manual2.gif", masks[1], palette=True)
    write_gif(folder / "mask" / f"{n:02d}_test_mask.gif", np.ones(SIZE, np.uint8), palette=False)
    found["drive"][f"drive-{n:02d}"] = Expected(f"drive-{n:02d}", image, masks)
  for n in (1, 2, 3, 77, 5):
    image, masks, name = rng.integers(0, 256, (*SIZE, 3), np.uint8), masks_of(rng), f"im{n:04d}"
    for folder, values, ending in (
      ("stare-images", image, ""),
      ("labels-ah", masks[0], ".ah"),
      ("labels-vk", masks[1], ".vk"),
    ):
      path = root / "STARE" / folder / f"{name}{ending}.ppm"
      save(path, values if ending == "" else np.repeat(values[..., None] * np.uint8(255), 3, axis=-1))
      if n != 5:  # distributed packed; some people unpack them
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    if n != 3:
      found["stare"][f"stare-{name}"] = Expected(f"stare-{name}", image, masks)
    else:  # one of the 380 images without labels
      for who in ("ah", "vk"):
        (root / "STARE" / f"labels-{who}" / f"{name}.{who}.ppm.gz").unlink()
  for n in range(1, 5):
    for side in "LR":
      masks, name = masks_of(rng), f"Image_{n:02d}{side}"
      path = root / "CHASE_DB1" / f"{name}.jpg"
      save(path, rng.integers(0, 256, (*SIZE, 3), np.uint8))
      for mask, who in zip(masks, ("1st", "2nd"), strict=True):
        path.with_name(f"{name}_{who}HO.png").parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(mask.astype(bool)).save(path.with_name(f"{name}_{who}HO.png"))
      image = np.asarray(PIL.Image.open(path))
      found["chase_db1"][f"chase-{n:02d}{side}"] = Expected(f"chase-{n:02d}", image, masks)
  return found


def truncated(root):
  damage(root / "DRIVE/test/images/02_test.tif")
  return "drive", r"02_test.tif: cannot be read as an image"


def a_mask_is_missing(root):
  (root / "DRIVE/test/2nd_manual/02_manual2.gif").unlink()
  return "drive", r"02_manual2.gif: there is no such file"


def a_mask_too_many(root):
  write_gif(root / "DRIVE/test/1st_manual/99_manual1.gif", np.zeros(SIZE, np.uint8), palette=False)
  return "drive", r"99_manual1.gif: a mask without its image"


def inverted(root):
  write_gif(root / "DRIVE/test/1st_manual/03_manual1.gif", 1 - masks_of(np.random.default_rng(1))[0], palette=False)
  return "drive", r"03_manual1.gif: more than half of the pixels are marked; the mask looks inverted"


def one_observer(root):
  (root / "STARE/labels-vk/im0002.vk.ppm.gz").unlink()
  return "stare", r"labels-vk: the labels of im0002 are not there"


def no_image(root):
  (root / "STARE/stare-images/im0002.ppm.gz").unlink()
  return "stare", r"the labelled image im0002.ppm is not there"


def other_size(root):
  PIL.Image.fromarray(np.zeros((20, 24), bool)).save(root / "CHASE_DB1/Image_01L_2ndHO.png")
  return "chase_db1", r"Image_01L_2ndHO.png: the mask is 20 x 24 pixels, its image .* 24 x 20. The axes look swapped"


def stray(root):
  (root / "CHASE_DB1/Image_01L.jpg").unlink()
  return "chase_db1", r"Image_01L_1stHO.png: a mask without its image"


FAULTS = (truncated, a_mask_is_missing, a_mask_too_many, inverted, one_observer, no_image, other_size, stray)
