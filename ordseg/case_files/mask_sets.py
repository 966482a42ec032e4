"""The raters' masks of a folder, by case, in every layout of docs/own_data.md and in nnU-Net's; images are optional."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator

from ordseg import image_io
from ordseg.case_files import layouts, nnunet
from ordseg.case_files.cases import Names, folders, listed, listing, named, not_read
from ordseg.case_files.nnunet import Labels
from ordseg.errors import InputError, check_choice, raise_all

NNUNET, MASKS = "nnunet", "masks"
LAYOUTS = (*layouts.LAYOUTS, NNUNET, MASKS)
_LABELS = re.compile(r"labels(Tr|Ts)(?:_(.+))?")
_FIRST = "_0000"  # of nnU-Net's images: the first modality


@dataclasses.dataclass(frozen=True)
class Rated:
  """The masks of a case.

  Attributes:
    key: its name.
    masks: rater -> file; a rater who is not there is missing.
    image: the image, where there is one.
    group: what a layout says of the patient; ''.
  """

  key: str
  masks: dict[str, pathlib.Path]
  image: pathlib.Path | None = None
  group: str = ""


@dataclasses.dataclass(frozen=True)
class MaskSet:
  """The masks of a folder.

  Attributes:
    cases: by key, at least one.
    layout: as which it was read.
    labels: of its dataset.json.
    left_out: files that are none.
  """

  cases: dict[str, Rated]
  layout: str
  labels: Labels | None
  left_out: tuple[pathlib.Path, ...]

  @property
  def raters(self) -> tuple[str, ...]:
    """The panel: all raters of all cases, sorted."""
    return tuple(sorted({rater for case in self.cases.values() for rater in case.masks}))


def find_masks(root: pathlib.Path, names: Names, images: pathlib.Path | None = None) -> MaskSet:
  """Lists the masks of a folder.

  Args:
    root: a folder laid out as docs/own_data.md says; nnU-Net's raw data set (dataset.json with labelsTr, labelsTs or
      labelsTs_<rater>, or raters/ beside them); folders of raters alone; or the masks of one rater.
    names: layout and names.
    images: a folder of images, where `root` has none.

  Raises:
    InputError: no such folder, no mask, masks that fit no case.
  """
  check_choice(names.layout, LAYOUTS, field=names.option("layout"))
  if not root.is_dir():
    raise InputError(f"{root}: there is no such folder of masks (--masks).")
  left_out: list[pathlib.Path] = []
  layout = _layout(root, names)
  if layout in layouts.LAYOUTS:
    found = [
      Rated(case.key, case.masks, case.image, case.group)
      for case in layouts.find_cases(root, dataclasses.replace(names, layout=layout), left_out)
    ]
  else:
    by_rater = _nnunet_folders(root, names) if layout == NNUNET else _rater_folders(root, names)
    found = _collected(by_rater, names, left_out)
    found = found if layout == NNUNET else _by_case(found, names)
  if images is not None or layout == NNUNET:
    found = _with_images(found, [images] if images is not None else _nnunet_images(root), names)
  if not any(case.masks for case in found):
    raise InputError(f"{root}: there is no mask in it; found {listing(root)}. See docs/own_data.md for the layouts.")
  cases = {case.key: case for case in sorted(found, key=lambda case: case.key)}
  labels = nnunet.read_labels(root)
  if labels is None and (_LABELS.fullmatch(root.name) or root.name == names.raters):
    labels = nnunet.read_labels(root.parent)
  return MaskSet(cases, layout, labels, tuple(left_out))


def _layout(root: pathlib.Path, names: Names) -> str:
  if names.layout != "auto":
    return names.layout
  if (root / nnunet.FILE).is_file() and any(_LABELS.fullmatch(folder.name) for folder in folders(root)):
    return NNUNET
  return layouts.recognised(root, names) or MASKS


def _nnunet_folders(root: pathlib.Path, names: Names) -> list[tuple[str, pathlib.Path]]:
  """Returns (rater, folder): raters/<rater> where it is there, else labelsTs_<rater>, else labelsTs."""
  raters = named(root, names.raters)
  if raters.is_dir():
    return _matching([(image_io.plain(folder.name), folder) for folder in folders(raters)], raters, names)
  found = [(match, folder) for folder in folders(root) if (match := _LABELS.fullmatch(image_io.plain(folder.name)))]
  several = [match[2] for match, _ in found if match[2]]
  if several and len(several) < len(found) and names.rater_pattern == "*":
    plain = next(folder for match, folder in found if not match[2])
    raise InputError(
      f"{plain}: lies beside {plain.name}_{several[0]}: is it a rater, or the raters' consensus? Say who the "
      f"raters are: {names.option('rater_pattern')}={several[0]} (a shell pattern; 'labels' is this folder)."
    )
  return _matching([(match[2] or "labels", folder) for match, folder in found], root, names)


def _rater_folders(root: pathlib.Path, names: Names) -> list[tuple[str, pathlib.Path]]:
  """Returns (rater, folder) of folders of masks, or of masks that lie in `root` itself."""
  root = named(root, names.raters) if named(root, names.raters).is_dir() else root
  inside = folders(root)
  if not inside:
    return [(image_io.plain(root.name), root)]
  raters = _matching([(image_io.plain(folder.name), folder) for folder in inside], root, names)
  images = image_io.find(root, one_by_one=True)[0]
  loose = [image.path for image in images if image.path.parent == root and image.path.is_file()]
  if loose:
    raise InputError(f"{loose[0]}: lies beside the folders of raters {listing(root)}; expected {root}/<rater>/.")
  return raters


def _matching(
  found: list[tuple[str, pathlib.Path]], root: pathlib.Path, names: Names
) -> list[tuple[str, pathlib.Path]]:
  kept = [(name, folder) for name, folder in found if pathlib.PurePath(name).match(names.rater_pattern)]
  if not kept:
    pattern = names.option("rater_pattern")
    raise InputError(f"{root}: no folder of a rater matches {pattern}={names.rater_pattern}; found {listing(root)}.")
  return kept


def _collected(by_rater: list[tuple[str, pathlib.Path]], names: Names, left_out: list[pathlib.Path]) -> list[Rated]:
  masks: dict[str, dict[str, pathlib.Path]] = {}
  problems: list[str] = []
  for rater, folder in by_rater:
    others: list[pathlib.Path] = []
    for mask in listed(folder, others, one_by_one=True):
      own = masks.setdefault(layouts.without(mask.key, names.mask_prefix, names.mask_suffix), {})
      if rater in own:
        problems.append(f"{mask.path}: {rater} has two masks of one case; the other is {own[rater]}.")
      own[rater] = mask.path
    unread = [path for path in others if image_io.suffix(path) in image_io.FOREIGN]
    problems += [f"{path}: is among the masks of {rater}, but {not_read(path)}" for path in unread]
    left_out += others
  raise_all(problems, "masks cannot be used")
  return [Rated(key, own) for key, own in masks.items()]


def _by_case(found: list[Rated], names: Names) -> list[Rated]:
  """Turns ``<case>/<rater>`` round, which was read as ``<rater>/<case>``: where every file is named like a rater."""
  if names.layout != "auto" or not all(layouts.is_rater_word(case.key) for case in found):
    return found
  if all(layouts.is_rater_word(folder) for case in found for folder in case.masks):
    return found
  masks: dict[str, dict[str, pathlib.Path]] = {}
  for rater in found:
    for case, path in rater.masks.items():
      masks.setdefault(case, {})[rater.key] = path
  return [Rated(case, own, group=case) for case, own in masks.items()]


def _nnunet_images(root: pathlib.Path) -> list[pathlib.Path]:
  return [folder for name in ("imagesTr", "imagesTs") if (folder := root / name).is_dir()]


def _with_images(cases: list[Rated], roots: list[pathlib.Path], names: Names) -> list[Rated]:
  images: dict[str, pathlib.Path] = {}
  for key, path in _images(roots):
    images.setdefault(key, path)
  suffixes = (image_io.plain(names.image_suffix),) if names.image_suffix else ("", _FIRST)
  out = []
  for case in cases:
    found = [images[case.key + suffix] for suffix in suffixes if case.key + suffix in images]
    out.append(dataclasses.replace(case, image=found[0] if found else case.image))
  return out


def _images(roots: list[pathlib.Path]) -> Iterator[tuple[str, pathlib.Path]]:
  for root in roots:
    if not root.is_dir():
      raise InputError(f"{root}: there is no such folder of images (--images).")
    yield from ((image.key, image.path) for image in listed(root, [], one_by_one=True))
