import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import DataError, fingerprints
from ordseg import records
from tests.data.helpers import example

DIGESTS = st.dictionaries(
  st.sampled_from(["train", "validation", "test"]),
  st.lists(st.binary(min_size=32, max_size=32), min_size=1),
  min_size=1,
)


@given(DIGESTS, st.randoms())
def test_depends_on_the_examples_of_each_split_but_not_on_their_order(digests, random):
  shuffled = {}
  for split in random.sample(sorted(digests), len(digests)):
    shuffled[split] = random.sample(digests[split], len(digests[split]))
  expected = fingerprints.combine(digests)
  assert fingerprints.combine(shuffled) == expected
  assert {k: v["num_examples"] for k, v in expected["splits"].items()} == {k: len(v) for k, v in digests.items()}
  split = sorted(digests)[0]
  twice = {**digests, split: [*digests[split], digests[split][0]]}
  assert fingerprints.combine(twice)["fingerprint"] != expected["fingerprint"]


def test_an_example_in_another_split_changes_it():
  a, b = b"a" * 32, b"b" * 32
  one = fingerprints.combine({"train": [a], "test": [b]})
  assert one["fingerprint"] != fingerprints.combine({"train": [b], "test": [a]})["fingerprint"]
  assert one["fingerprint"] != fingerprints.combine({"train": [a, b]})["fingerprint"]


def test_digest_by_hand():
  record = {"b": np.array([[1, 2]], np.int16), "a": "xy"}
  text = b"a text 2\nxy" + b"b <i2 (1, 2) 4\n\x01\x00\x02\x00"
  assert fingerprints.example_digest(record) == hashlib.sha256(text).digest()


def test_digest_ignores_layout_in_memory_byte_order_and_order_of_features():
  record = example("a")
  digest = fingerprints.example_digest(record)
  turned = {k: record[k] for k in reversed(record)}
  turned["id"] = turned["id"].encode()
  turned["image"] = np.asfortranarray(turned["image"])
  turned["spacing"] = turned["spacing"].astype(">f4")
  assert fingerprints.example_digest(turned) == digest


@pytest.mark.parametrize(
  "change",
  [
    {"id": "b"},
    {"group": "other"},
    {"image": example("a")["image"] ^ 1},
    {"image": example("a")["image"].astype(np.uint16)},
    {"image": example("a")["image"].reshape(4, 3, 1)},
    {"rater_valid": np.array([True, False])},
    {"spacing": np.zeros(2, np.float32)},
    {"level_probs": np.zeros((3, 4, 3), np.float32)},
  ],
  ids=lambda change: next(iter(change)),
)
def test_digest_sees_every_change(change):
  assert fingerprints.example_digest(example("a", **change)) != fingerprints.example_digest(example("a"))


@pytest.mark.parametrize("text", [None, "", '{"fingerprint": "ab', "[]", '{"fingerprint": "ab"}'])
def test_a_missing_or_half_written_record_is_an_error(tmp_path, text):
  if text is not None:
    (tmp_path / fingerprints.FILENAME).write_text(text)
  with pytest.raises(DataError, match="not a whole data set") as error:
    fingerprints.read(tmp_path)
  assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_written_record_is_read_back(tmp_path):
  record = fingerprints.combine({"train": [b"a"]}) | {"settings": {"x": 1}, "source": ""}
  fingerprints.write(tmp_path, record)
  assert fingerprints.read(tmp_path) == record
  stored = json.loads((tmp_path / "fingerprint.json").read_text())
  assert stored == {**record, "sha256": records.digest(record)}
