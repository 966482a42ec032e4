"""RIGA: outlines drawn on copies of the photographs."""

import cv2
import numpy as np
import PIL.Image

from tests.data.archives import Expected, damage, save

CONFIGS = ("disc", "cup")
SIZE = (96, 88)
FOLDERS = {  # numbers of the photographs, suffix of photograph and copies; Image with a capital in one
  "BinRushedcorrected/BinRushed/BinRushed1-Corrected": ("image", (1, 2), ".jpg", ".jpg"),
  "BinRushedcorrected/BinRushed/BinRushed2": ("image", (3,), ".jpg", ".tif"),
  "MESSIDOR": ("image", (1, 2, 5, 10), ".tif", ".tif"),
  "Magrabia/MagrabiaMale": ("Image", (1, 2), ".tif", ".tif"),
  "Magrabia/MagrabiFemale": ("image", (1,), ".tif", ".tif"),
}


def octagon(centre, radius):
  """[H, W] uint8: equal to its own hull, pixel by pixel."""
  y, x = np.abs(np.mgrid[: SIZE[0], : SIZE[1]] - np.reshape(centre, (2, 1, 1)))
  return ((y <= radius) & (x <= radius) & (x + y <= radius * 3 // 2)).astype(np.uint8)


def outline(mask):
  """[H, W] bool, two pixels wide, inside the mask."""
  return (mask - cv2.erode(mask, np.ones((5, 5), np.uint8))) > 0


def photo_of(rng):
  y, x = np.mgrid[: SIZE[0], : SIZE[1]]
  red = 80 + 40 * np.sin(x / 9 + rng.random()) * np.cos(y / 11)
  return np.stack([red, red / 2, red / 4], axis=-1).astype(np.uint8)


def draw(photo, *masks, half=False):
  drawn = photo.copy()
  for mask in masks:
    line = outline(mask)
    if half:
      line[:, : SIZE[1] // 2] = False
    drawn[line] = (250, 250, 250)
  return drawn


def shapes(n, r):
  """Disc and cup of rater r on photograph n; None: what cannot be found in the copy."""
  disc = octagon((46, 43 - r % 3), 24 - 2 * (r % 2))
  cup = octagon((46, 42), 8 + 2 * ((n + r) % 2))
  return disc, cup


def write_copy(base, photo, n, r, ending):
  """Writes what rater r drew; returns the disc and the cup that can be found, and whether there is a file."""
  disc, cup = shapes(n, r)
  kind = (n, r) if "MESSIDOR" in base.parts else (0, 0)
  if kind == (2, 5):  # a rater without a file
    return None, None
  if kind == (2, 4):  # nothing drawn
    drawn, disc, cup = photo, None, None
  elif kind == (2, 3):  # half an outline
    drawn, disc, cup = draw(photo, disc, cup, half=True), None, None
  elif kind == (2, 2):  # no cup
    drawn, cup = draw(photo, disc), None
  elif kind[0] == 10:  # the photograph that nobody drew on
    drawn, disc, cup = photo, None, None
  else:
    drawn = draw(photo, disc, cup)
    drawn[2, 3] = 255  # a speck
  save_lossless(base.with_name(f"{base.name}{n}-{r + 1}{ending}"), drawn)
  return disc, cup


def save_lossless(path, values):
  save(path, values, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}))


def write(root):
  rng = np.random.default_rng(0)
  found = {name: {} for name in CONFIGS}
  for folder, (word, numbers, photo_ending, copy_ending) in FOLDERS.items():
    for n in numbers:
      base = root / "RIGA" / folder / word
      path = base.with_name(f"{word}{n}prime{photo_ending}")
      save_lossless(path, photo_of(rng))
      photo = np.asarray(PIL.Image.open(path))
      masks = zip(*(write_copy(base, photo, n, r, copy_ending) for r in range(6)), strict=True)
      key = f"{folder.removeprefix('BinRushedcorrected/')}/image{n}"
      for name, drawn in zip(CONFIGS, masks, strict=True):
        if any(mask is not None for mask in drawn):
          found[name][key] = Expected(key, photo, list(drawn), "test" if "Magrabi" in folder else "")
  plain = (
    root / "RIGA" / "BinRushedcorrected" / "BinRushed" / "BinRushed1"
  )  # the uncorrected twin: copies without photographs
  save(plain / "image1-1.jpg", photo_of(rng))
  for name in ("image48-1.tif", "Image48-1.tif"):  # two files of the first rater, and no photograph
    save(root / "RIGA" / "Magrabia" / "MagrabiFemale" / name, photo_of(rng))
  save(root / "RIGA" / "__MACOSX" / "MESSIDOR" / "image1prime.tif", photo_of(rng))
  save(root / "RIGA" / "MESSIDOR" / "._image1prime.tif", photo_of(rng))
  (root / "RIGA" / "MESSIDOR" / "Thumbs.db").write_bytes(b"\0")
  return found


def path_of(root, name):
  return root / "RIGA" / "MESSIDOR" / name


def truncated(root):
  damage(path_of(root, "image1prime.tif"))
  return "disc", r"MESSIDOR/image1prime.tif: cannot be read as an image"


def truncated_copy(root):
  damage(path_of(root, "image5-3.tif"))
  return "cup", r"MESSIDOR/image5-3.tif: cannot be read as an image"


def other_size(root):
  save(path_of(root, "image5-3.tif"), np.zeros((*SIZE[::-1], 3), np.uint8))
  return "disc", r"image5-3.tif: the mask is 88 x 96 pixels, its image .*image5prime.tif 96 x 88. The axes look swapped"


def two_of_one_name(root):
  save(path_of(root, "image5-3.jpg"), np.zeros((*SIZE, 3), np.uint8))
  return "disc", r"image5-3.tif: expected one file of this image and rater; the other is .*image5-3.jpg"


def a_seventh_rater(root):
  save(path_of(root, "image5-7.tif"), np.zeros((*SIZE, 3), np.uint8))
  return "disc", r"image5-7.tif: expected raters 1 to 6"


def odd_name(root):
  save(path_of(root, "image5-3 copy.tif"), np.zeros((*SIZE, 3), np.uint8))
  return "disc", r"image5-3 copy.tif: expected a name like image1prime.tif or image1-1.tif"


def no_copies(root):
  save(path_of(root, "image7prime.tif"), np.zeros((*SIZE, 3), np.uint8))
  return "disc", r"image7prime.tif: expected image7-1.\* to image7-6.\* beside it, found none"


def no_source(root):
  (root / "RIGA" / "Magrabia").rename(root / "RIGA" / "other")
  return "disc", r"riga: expected the folders BinRushed, Magrabia, MESSIDOR in .*raw"


FAULTS = (truncated, truncated_copy, other_size, two_of_one_name, a_seventh_rater, odd_name, no_copies, no_source)
