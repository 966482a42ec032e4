"""What wrong masks, regions, dataset.json and options answer: one line each; see docs/score.md."""

import json
import re

import numpy as np
import pytest

from ordseg.case_files import Names, Options
from ordseg.errors import InputError
from tests.case_files.making import Small, answer, good, save_png


def mask_png(small, name, values):
  save_png(small.masks_at / f"{name}.png", values.astype(np.uint8))


MASKS = {
  "another size": (lambda s: mask_png(s, "ben/p1_a", np.zeros((5, 8))), r"ben/p1_a.png: the mask is 5 x 8 pixels"),
  "grey": (lambda s: mask_png(s, "ben/p1_a", np.arange(48).reshape(6, 8)), r"ben/p1_a.png: .*--marked="),
  "unread format": (
    lambda s: (s.masks_at / "ben" / "p9.nrrd").write_bytes(b"x"),
    r"p9.nrrd: is among the masks of ben, but files of the kind",
  ),
  "loose": (lambda s: mask_png(s, "p1_a", np.zeros((6, 8))), r"raters/p1_a.png: lies beside the folders of raters"),
  "no region of a case": (lambda s: mask_png(s, "../fov/x", np.ones((6, 8))), r"fov: none of its regions"),
  "empty region": (lambda s: mask_png(s, "../fov/p1_a", np.zeros((6, 8))), r"fov/p1_a.png: the region leaves no pixel"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks(tmp_path, kind):
  make, wanted = MASKS[kind]
  small = Small(tmp_path)
  small.each(lambda n, p: good(small, n, p))
  make(small)
  fov = small.root / "fov"
  line = answer(small, regions=fov if fov.is_dir() else None)
  assert re.search(wanted, line), line


@pytest.mark.parametrize(
  ("content", "wanted"),
  [
    ({"labels": {"background": 0, "a": 1, "b": 2}}, r"names several classes, a, b: .*--classes=a"),
    ({"labels": {"0": "background", "1": "a"}}, r"label '0' must be a number .*version 1"),
    ({"labels": {"background": 0}}, r"names no label but the background"),
    ({"labels": {"background": 0, "a": [1, 2]}}, r"regions need regions_class_order"),
    ({}, r"expected the field labels"),
  ],
)
def test_dataset_json(tmp_path, content, wanted):
  small = Small(tmp_path)
  small.each(lambda n, p: good(small, n, p))
  (small.maps / "dataset.json").write_text(json.dumps(content))
  assert re.search(wanted, answer(small))


def test_an_unknown_layout(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: good(small, n, p))
  assert "--layout='nnunnet' is unknown. Did you mean 'nnunet'" in answer(
    small, names=Names("nnunnet", option_prefix="--")
  )


def test_two_regions_of_a_case(tmp_path):
  small = Small(tmp_path)
  small.each(lambda n, p: good(small, n, p))
  for name in ("p1_a", "p1_a_fov"):
    mask_png(small, f"../fov/{name}", np.ones((6, 8)))
  assert "case 'p1_a' has two regions" in answer(small, regions=tmp_path / "fov")


@pytest.mark.parametrize(
  ("options", "wanted"),
  [
    ({"missing": "skp"}, r"--missing='skp' is unknown. Did you mean 'skip'"),
    ({"scale": -1}, r"--scale=-1 must be in \[0, inf\)"),
    ({"map_axes": "zz"}, r"--map_axes='zz' must be some of c, z, y and x"),
    ({"channel": 1, "levels": True}, r"exclude each other"),
    ({"marked": ">>3"}, r"--marked='>>3' must be 'binary' .0 and one"),
    ({"group_regex": "p"}, r"--group_regex='p' must be a regular expression with a parenthesis"),
  ],
)
def test_options(options, wanted):
  with pytest.raises(InputError, match=wanted):
    Options(**options)
