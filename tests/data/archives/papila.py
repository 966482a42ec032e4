"""PAPILA: a zip archive of photographs and contour files."""

import shutil

import numpy as np
import PIL.Image

from tests.data.archives import Expected, damage, save

CONFIGS = ("disc", "cup")
SIZE = (40, 48)
TOP = "PapilaDB-PAPILA-17f8fa7746adb20275b5b6a0d99dc9dfe3007e9f"


def corners(left, top, right, bottom):
  return [(left, top), (right, top), (right, bottom), (left, bottom)]  # not closed


def write_contour(path, points):
  path.parent.mkdir(parents=True, exist_ok=True)
  np.savetxt(path, points, fmt="%.6e")


def write(root):
  """The archive zipped, as it is downloaded."""
  folder = root / "unzipped" / TOP
  found = write_unzipped(folder, np.random.default_rng(0))
  save(root / "unzipped" / "__MACOSX" / "FundusImages" / "._RET002OD.jpg", np.zeros((4, 4, 3), np.uint8))
  pack(root)
  return found


def pack(root):
  shutil.make_archive(str(root / "PAPILA"), "zip", root / "unzipped")
  shutil.rmtree(root / "unzipped")


def write_unzipped(folder, rng):
  found = {name: {} for name in CONFIGS}
  for n in (2, 4, 5, 6, 101):
    for eye in ("OD", "OS"):
      name = f"RET{n:03d}{eye}"
      path = folder / "FundusImages" / f"{name}.jpg"
      save(path, rng.integers(0, 256, (*SIZE, 3), np.uint8))
      image = np.asarray(PIL.Image.open(path))
      for structure, size in (("disc", 15), ("cup", 6)):
        masks = []
        for r in range(2):
          left, top = int(rng.integers(2, 20)), int(rng.integers(2, 15))
          contour = folder / "ExpertsSegmentations/Contours" / f"{name}_{structure}_exp{r + 1}.txt"
          points = np.asarray(corners(left, top, left + size, top + size + r))
          write_contour(contour, points + rng.uniform(-0.45, 0.45, points.shape))  # the nearest pixels count
          mask = np.zeros(SIZE, np.uint8)
          mask[top : top + size + r + 1, left : left + size + 1] = 1  # the outline belongs to it
          masks.append(mask)
        found[structure][name] = Expected(f"RET{n:03d}", image, masks)
  return found


def unzip(root):
  """Leaves the content in place of the archive, for a fault inside it."""
  shutil.unpack_archive(root / "PAPILA.zip", root)
  (root / "PAPILA.zip").unlink()
  return root / TOP


def contour_of(root, name):
  return unzip(root) / "ExpertsSegmentations/Contours" / name


def truncated_zip(root):
  damage(root / "PAPILA.zip")
  return "disc", r"PAPILA.zip: is no whole zip archive"


def truncated_image(root):
  damage(unzip(root) / "FundusImages/RET004OD.jpg")
  return "disc", r"RET004OD.jpg: cannot be read as an image"


def no_contour(root):
  contour_of(root, "RET004OD_disc_exp2.txt").unlink()
  return "disc", r"RET004OD_disc_exp2.txt: cannot be read as lines of x and y"


def no_image(root):
  (unzip(root) / "FundusImages/RET004OD.jpg").unlink()
  return "disc", r"RET004OD_cup_exp1.txt: a contour without its image"


def swapped(root):
  write_contour(contour_of(root, "RET004OD_disc_exp2.txt"), corners(5, 20, 15, 46))
  return "disc", r"RET004OD_disc_exp2.txt: the contour leaves the image of 40 x 48 pixels; are x and y swapped"


def words(root):
  contour_of(root, "RET004OD_disc_exp2.txt").write_text("x y\n1 2\n")
  return "disc", r"RET004OD_disc_exp2.txt: cannot be read as lines of x and y"


def two_points(root):
  write_contour(contour_of(root, "RET004OD_disc_exp2.txt"), [(1, 2), (3, 4)])
  return "disc", r"RET004OD_disc_exp2.txt: expected three or more lines of x and y"


def odd_name(root):
  (unzip(root) / "FundusImages/RET004OD.jpg").rename(root / TOP / "FundusImages/RET004.jpg")
  return "disc", r"RET004.jpg: expected a name like RET002OD.jpg"


FAULTS = (truncated_zip, truncated_image, no_contour, no_image, swapped, words, two_points, odd_name)
