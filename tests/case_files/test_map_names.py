"""Which map is whose, by names alone."""

import pytest

from ordseg.case_files import Options, map_names
from ordseg.errors import InputError


def match(tmp_path, maps, cases, **options):
  for name in maps:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
  found = map_names.match(tmp_path, cases, Options(**options))
  return {
    case: [one.path.relative_to(tmp_path).as_posix() for one in own] for case, own in found.of_case.items()
  }, found


@pytest.mark.parametrize(
  ("maps", "cases", "wanted", "unknown"),
  [
    (["p1.npz", "p1_2.npz"], ["p1", "p1_2"], {"p1": "p1.npz", "p1_2": "p1_2.npz"}, []),
    (["p1_prob.png", "p1_2_prob.png"], ["p1", "p1_2"], {"p1": "p1_prob.png", "p1_2": "p1_2_prob.png"}, []),
    (["p1.npz", "p1_3.npz"], ["p1"], {"p1": "p1.npz"}, ["p1_3"]),  # another case, not a second map of p1
    (["p1_0000_trans.nii.gz"], ["p1"], {"p1": "p1_0000_trans.nii.gz"}, []),
    (["a/x.npz", "b/x.npz"], ["a/x", "b/x"], {"a/x": "a/x.npz", "b/x": "b/x.npz"}, []),
    (["a/x/x_p.npz", "b/x/x_p.npz"], ["a/x", "b/x"], {"a/x": "a/x/x_p.npz", "b/x": "b/x/x_p.npz"}, []),
    (["x.npz"], ["a/x"], {"a/x": "x.npz"}, []),
    (["c.v2.npz", "c.v2.b.npz"], ["c.v2", "c.v2.b"], {"c.v2": "c.v2.npz", "c.v2.b": "c.v2.b.npz"}, []),
    (["p1/prob.npz", "p2/prob.npz", "p3/prob.npz"], ["p1", "p2"], {"p1": "p1/prob.npz", "p2": "p2/prob.npz"}, ["p3"]),
  ],
)
def test_names(tmp_path, maps, cases, wanted, unknown):
  found, matched = match(tmp_path, maps, cases)
  assert found == {case: [name] for case, name in wanted.items()}
  assert list(matched.unknown) == unknown


def test_names_in_another_unicode_form(tmp_path):
  found, _ = match(tmp_path, ["u\u03081_prob.npz"], ["ü1"])
  assert list(found) == ["ü1"]


def test_a_prefix_and_a_suffix_that_are_no_words(tmp_path):
  maps = ["pred-p1__2.npz", "pred-p2__2.npz", "p1.npz"]
  found, matched = match(tmp_path, maps, ["p1", "p2"], map_prefix="pred-", map_suffix="__2")
  assert found == {"p1": ["pred-p1__2.npz"], "p2": ["pred-p2__2.npz"]}
  assert matched.unknown == ("p1",)


def test_no_suffix_is_a_choice_too(tmp_path):
  maps = ["p1.png", "p1_prob.npz"]
  with pytest.raises(InputError, match=r"'', '_prob'"):
    match(tmp_path, maps, ["p1"])
  assert match(tmp_path, maps, ["p1"], map_suffix="_prob")[0] == {"p1": ["p1_prob.npz"]}
  assert match(tmp_path, maps, ["p1"], map_suffix="")[0] == {"p1": ["p1.png"]}


def test_members_by_number(tmp_path):
  maps = [f"p1_{k}.npz" for k in range(3)] + ["p2_0.npz", "p2_1.npz"]
  found, _ = match(tmp_path, maps, ["p1", "p2"], members="_[0-9]")
  assert found == {"p1": ["p1_0.npz", "p1_1.npz", "p1_2.npz"], "p2": ["p2_0.npz", "p2_1.npz"]}
