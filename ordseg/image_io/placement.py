"""Where voxels lie in space, and whether a mask lies on its image's voxels.

One notion for every format: an affine [4, 4] from voxel (column, row, page) to mm in RAS (x to the patient's right, y
to the front, z up), as NIfTI has it. DICOM's x and y point the other way (LPS; PS3.3 C.7.6.2.1.1); `to_ras` turns them.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from ordseg.errors import InputError
from ordseg.image_io import orientation
from ordseg.image_io.image_file import ImageFile

STEP_TOLERANCE = 1e-3  # voxels: of one step along an axis
CORNER_TOLERANCE = 0.05  # voxels: of a whole image, to which rounded spacings add up


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
  """Returns mm along (page, row, column) of an affine.

  Rows and columns: the lengths of their steps. Pages: the distance between two pages along their normal, so that the
  product is the voxel's volume |det|, of slices that drift sideways (a tilted gantry) too.
  """
  column, row, _ = np.linalg.norm(affine[:3, :3], axis=0)
  page = abs(np.linalg.det(affine[:3, :3])) / (column * row)
  return float(f"{page:.10g}"), float(f"{row:.10g}"), float(f"{column:.10g}")  # 2.5, not 2.5000000000000004


def is_usable(affine: np.ndarray) -> bool:
  """Returns whether an affine places voxels: finite, and no axis without length or in the plane of the others."""
  steps = affine[:3, :3]
  if not np.isfinite(affine).all():
    return False
  lengths = np.linalg.norm(steps, axis=0)
  return bool(lengths.min() > 0 and abs(np.linalg.det(steps / lengths)) > 1e-4)


def to_ras(lps: np.ndarray) -> np.ndarray:
  """Returns an affine [..., 4, 4] whose x and y point the other way: from DICOM's LPS to RAS, or back."""
  out = np.array(lps, np.float64)
  out[..., :2, :] *= -1
  return out + 0.0  # no -0


def transposed(image: ImageFile, order: Sequence[int]) -> ImageFile:
  """Returns an image whose pages, rows and columns are axes ``order`` of (page, row, column); its place is the same.

  Raises:
    InputError: a segmentation object whose frames have places of their own, which have no other order.
  """
  if tuple(order) == (0, 1, 2):
    return image
  if image.page_affines is not None:
    raise InputError(f"{image.path}: the frames of a segmentation object cannot be taken along another axis.")
  columns = [2 - axis for axis in reversed(order)]  # the affine counts from the column on
  affine = None if image.affine is None else image.affine[:, [*columns, 3]]
  spacing = (image.spacing[order[0]], image.spacing[order[1]], image.spacing[order[2]])
  pages = image.pages.transpose(*order, 3)
  return dataclasses.replace(image, pages=pages, spacing=spacing, affine=affine)


@dataclasses.dataclass(frozen=True)
class Called:
  """What errors call the two files: ``the mask`` and ``its image``."""

  one: str = "mask"
  other: str = "its image"


MASK = Called()


def matched(mask: ImageFile, image: ImageFile, order: Sequence[int] = (0, 1, 2), *, called: Called = MASK) -> ImageFile:
  """Returns a mask with its axes in the order and direction of its image's.

  Args:
    mask: as it was read.
    image: its image, pages along whatever axis.
    order: of the mask's (page, row, column), where mask or image have no place in space: then only sizes are compared.
    called: what errors call the two.

  Returns:
    pages [D, H, W, C] with D, H, W of the image; pages that a segmentation object leaves out are 0.

  Raises:
    InputError: another grid than the image's; says by how many mm, or which size, spacing or angle differs.
  """
  if image.affine is None and mask.page_affines is not None and len(image.pages) > 1:
    raise InputError(
      f"{mask.path}: a segmentation object leaves empty pages out and cannot be matched to {image.path}, which does "
      "not say where its pages lie."
    )
  if image.affine is None or (mask.affine is None and mask.page_affines is None):
    mask = transposed(mask, order)
    if mask.pages.shape[:3] != image.pages.shape[:3]:
      raise InputError(_other_size(mask, image, called))
    return mask
  if mask.page_affines is not None:
    pages = _spread(mask, image, called)
  else:
    assert mask.affine is not None
    pages, start = _aligned(mask, mask.pages, mask.affine, image, called)
    if pages.shape[:3] != image.pages.shape[:3]:
      raise InputError(_other_size(mask, image, called))
    if any(start):
      raise InputError(_elsewhere(mask, image, mask.affine, called))
  return dataclasses.replace(mask, pages=pages, spacing=image.spacing, affine=image.affine, page_affines=None)


def _aligned(
  mask: ImageFile, pages: np.ndarray, affine: np.ndarray, image: ImageFile, called: Called
) -> tuple[np.ndarray, tuple[int, int, int]]:
  """Turns pages [D, H, W, C] into the image's axes; returns them and the image's voxel (page, row, column) they begin
  at."""
  assert image.affine is not None
  sizes = pages.shape[2::-1]
  steps = np.linalg.solve(image.affine, affine)  # from the mask's voxels to the image's
  axes = _image_axes(steps[:3, :3], sizes)
  if axes is None:
    raise InputError(_turned(mask, image, affine, called))
  signs = [1 if sizes[j] == 1 or steps[i, j] > 0 else -1 for j, i in enumerate(axes)]
  if any(n > 1 and not _is_step(steps[:3, j], axes[j], signs[j]) for j, n in enumerate(sizes)):
    raise InputError(_other_spacing(mask, image, affine, called))
  whole = np.zeros((3, 3))
  for j, i in enumerate(axes):
    whole[i, j] = signs[j]
  far = np.asarray(list(itertools.product(*((0, n - 1) for n in sizes))), np.float64)
  places = far @ steps[:3, :3].T + steps[:3, 3]
  corner = np.rint(steps[:3, 3])
  if np.abs(places - (far @ whole.T + corner)).max() > CORNER_TOLERANCE:
    raise InputError(_elsewhere(mask, image, affine, called))
  first = (far @ whole.T + corner).min(axis=0).astype(int)
  order = [axes.index(i) for i in range(3)]
  values = pages.transpose(2, 1, 0, 3).transpose(*order, 3)
  flips = tuple(slice(None, None, signs[j]) for j in order)
  return values[flips].transpose(2, 1, 0, 3), (int(first[2]), int(first[1]), int(first[0]))


def _image_axes(steps: np.ndarray, sizes: Sequence[int]) -> list[int] | None:
  """Returns the image's axis of each of the mask's, or None where axes stand askew to each other.

  An axis of one voxel has no direction; it takes what is left.
  """
  for axes in itertools.permutations(range(3)):
    if all(n == 1 or _is_along(steps[:, j], axes[j]) for j, n in enumerate(sizes)):
      return list(axes)
  return None


def _is_along(step: np.ndarray, axis: int) -> bool:
  across = np.delete(step, axis)
  return bool(abs(step[axis]) > 0 and np.abs(across).max() <= STEP_TOLERANCE * max(1.0, abs(step[axis])))


def _is_step(step: np.ndarray, axis: int, sign: int) -> bool:
  want = np.zeros(3)
  want[axis] = sign
  return bool(np.abs(step - want).max() <= STEP_TOLERANCE)


def _spread(mask: ImageFile, image: ImageFile, called: Called) -> np.ndarray:
  """Puts pages that have places of their own into the image's grid; the rest is 0."""
  assert mask.page_affines is not None
  out = np.zeros((*image.pages.shape[:3], mask.pages.shape[-1]), mask.pages.dtype)
  for page, affine in zip(mask.pages, mask.page_affines, strict=True):
    values, start = _aligned(mask, page[None], affine, image, called)
    stop = [first + n for first, n in zip(start, values.shape[:3], strict=True)]
    if min(start) < 0 or any(end > n for end, n in zip(stop, out.shape[:3], strict=True)):
      raise InputError(f"{mask.path}: the {called.one} has pixels outside {called.other} {image.path}.")
    if sum(n == size for n, size in zip(values.shape[:3], out.shape[:3], strict=True)) < 2:
      raise InputError(_other_size(mask, image, called))
    out[tuple(slice(first, end) for first, end in zip(start, stop, strict=True))] = values
  return out


# --- What differs, in words


def _other_size(mask: ImageFile, image: ImageFile, called: Called) -> str:
  have, want = mask.pages.shape[:3], image.pages.shape[:3]
  swapped = " The axes look swapped." if sorted(have) == sorted(want) and have != want else ""
  if swapped and orientation.NOTE in image.notes and orientation.NOTE not in mask.notes:
    swapped = " The image was turned upright as its EXIF orientation says; was the mask drawn on the picture as stored?"
  return f"{mask.path}: the {called.one} is {_size(have)}, {called.other} {image.path} {_size(want)}.{swapped}"


def _size(shape: Sequence[int]) -> str:
  return " x ".join(str(n) for n in (shape if shape[0] > 1 else shape[1:])) + " pixels"


def _turned(mask: ImageFile, image: ImageFile, affine: np.ndarray, called: Called) -> str:
  assert image.affine is not None
  units = [steps / np.linalg.norm(steps, axis=0) for steps in (affine[:3, :3], image.affine[:3, :3])]
  cosines = np.abs(units[0].T @ units[1])
  degrees = max(float(np.degrees(np.arccos(min(1.0, cosine)))) for cosine in cosines.max(axis=1))
  return (
    f"{mask.path}: the {called.one}'s axes stand {degrees:.3g} degrees askew to those of {called.other} "
    f"{image.path}; resample it to the image's grid."
  )


def _other_spacing(mask: ImageFile, image: ImageFile, affine: np.ndarray, called: Called) -> str:
  assert image.affine is not None
  sizes = [" x ".join(f"{mm:.5g}" for mm in spacing_of(one)) for one in (affine, image.affine)]
  return (
    f"{mask.path}: the {called.one} has voxels of {sizes[0]} mm (page, row, column), {called.other} "
    f"{image.path} of {sizes[1]} mm; resample it to the image's grid."
  )


def _elsewhere(mask: ImageFile, image: ImageFile, affine: np.ndarray, called: Called) -> str:
  assert image.affine is not None
  if mask.page_affines is not None:
    voxel = np.linalg.solve(image.affine, affine)[:3, 3]
    offset, what = image.affine[:3, :3] @ (voxel - np.rint(voxel)), "a frame of it lies beside the image's voxels"
  else:
    ends = [(np.asarray(one.pages.shape[2::-1]) - 1) / 2 for one in (mask, image)]
    places = [one[:3, :3] @ end + one[:3, 3] for one, end in zip((affine, image.affine), ends, strict=True)]
    offset, what = places[0] - places[1], "its centre is off"
  shown = ", ".join(f"{mm:.4g}" for mm in offset + 0.0)
  return (
    f"{mask.path}: the {called.one} lies elsewhere in space (affine) than {called.other} {image.path}: "
    f"{what} by ({shown}) mm to the right, front and top."
  )
