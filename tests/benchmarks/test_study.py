"""The evidence study: what is counted, what a record keeps of it, who is judged where, and that the docs agree."""

import dataclasses
import json
import runpy
import sys

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.study import cells, folds, plan, record, sums, tables
from ordseg.config import Loss
from ordseg.errors import InputError
from ordseg.evaluation import evaluator
from ordseg.input_pipeline import EvalBatch
from ordseg.metrics.rank_rule import rank_rule
from tests.helpers import evaluations
from tests.reference import ordinal_np


def scene(seed, raters=4, shape=(6, 7)):
  draws = np.random.default_rng(seed)
  probs = draws.dirichlet(np.full(raters + 1, 0.3), shape).astype(np.float32)
  return probs, draws.integers(0, 2, (*shape, raters)), np.arange(raters) < raters


def counted(images, num_patients=1):
  """[(patient, probs, masks, valid)] -> Sums."""
  out = sums.Sums.zeros(num_patients, images[0][1].shape[-1] - 1)
  for i, *image in images:
    out.add_image(i, *image)
  return out


@pytest.mark.parametrize("valid", [[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0]])
def test_sums_against_the_formulas_pixel_by_pixel(valid):
  probs, masks, _ = scene(0)
  valid, n = np.asarray(valid), int(np.sum(valid))
  got = counted([(0, probs, masks, valid)])
  want = dict.fromkeys(sums.SCORES, 0.0)
  level_bins = np.zeros((4, sums.NUM_BINS, 3))
  for p, votes in zip(probs.reshape(-1, 5).astype(float), (masks * valid).reshape(-1, 4).sum(-1), strict=True):
    q, mean = ordinal_np.thin(p, n), np.clip(ordinal_np.mean_vote_prob(p), 2**-24, 1 - 2**-24)
    want["rps"] += ordinal_np.rps(p, votes, n)
    want["vote_nll"] += ordinal_np.bce(mean, votes / n)
    want["count_nll"] -= np.log(max(q[votes], 2**-24))
    want["brier_mean_vote"] += (mean - votes / n) ** 2
    want["brier_majority"] += (ordinal_np.majority_prob(p, n) - (2 * votes >= n)) ** 2
    for j in range(1, n + 1):
      tail = min(sum(q[j:]), 1.0)
      level_bins[j - 1, min(int(15 * tail), 14)] += [1, tail, votes >= j]
  np.testing.assert_allclose(got.scores[0], list(want.values()), rtol=1e-6)
  np.testing.assert_allclose(got.bins[0, len(sums.RELIABILITIES) :], level_bins, rtol=1e-6, atol=1e-9)
  np.testing.assert_allclose(got.bins[0, :3].sum(1)[:, 0], 42 * n)  # pairs
  np.testing.assert_allclose(got.bins[0, :3].sum(1)[:, 2], (masks * valid).sum())


def test_dice_by_both_ties_and_both_rules():
  probs, masks, valid = scene(1)
  got = counted([(0, probs, masks, valid)])
  votes, tails = masks.sum(-1), np.cumsum(probs[..., ::-1].astype(float), -1)[..., ::-1]

  def dice(mask, label):
    return 2 * (mask & label).sum() / (mask.sum() + label.sum())

  for tie, j in (("majority", 2), ("strict", 3)):
    prob, label = np.clip(tails[..., j], 0, 1), votes >= j
    for rule, mask in (("half", prob >= 0.5), ("rank", rank_rule(prob))):
      assert got.dices[0, sums.DICES.index(f"{rule}_{tie}")] == pytest.approx(dice(mask, label))
      assert got.areas[0, sums.AREAS.index(f"marked_{rule}_{tie}")] == mask.sum()
      assert got.areas[0, sums.AREAS.index(f"both_{rule}_{tie}")] == (mask & label).sum()
    assert got.panel[0, sums.PANEL.index(f"area_{tie}")] == label.sum()


def test_an_odd_panel_has_one_majority_and_an_image_without_raters_counts_nowhere():
  probs, masks, valid = scene(2, raters=3)
  got = counted([(0, probs, masks, valid), (0, probs, masks, 0 * valid)])
  np.testing.assert_array_equal(got.bins[0, 3], got.bins[0, 4])
  assert got.panel[0, 0] == 1 and got.panel[0, 1] == 42


def test_auc_is_that_of_sklearn_up_to_a_64th_of_a_logit():
  probs, masks, valid = scene(3, shape=(60, 60))
  got = sums.auc(counted([(0, probs, masks, valid)]).cells)[0]
  prob, mean = probs[..., 2:].sum(-1).ravel(), (probs @ np.arange(5) / 4).ravel()
  assert got[0] == pytest.approx(roc_auc_score(masks.sum(-1).ravel() >= 2, prob), abs=1e-3)
  pooled = roc_auc_score(masks.reshape(-1, 4).ravel(), np.repeat(mean, 4))
  assert got[1] == pytest.approx(pooled, abs=1e-3)


def test_a_record_keeps_what_the_tables_need(tmp_path):
  images = [(k % 3, *scene(k, shape=(40, 40))) for k in range(9)]
  last, early = counted(images, 3), counted(images[:5], 3)
  made = record.from_sums({"digest": "x"}, ["a", "b", "c"], last, [early])
  size = record.write(made, tmp_path / "r.npz")
  found = record.read(tmp_path / "r.npz")
  assert size == (tmp_path / "r.npz").stat().st_size < record.MAX_BYTES
  assert found.patients == ("a", "b", "c") and found.head == {**json.loads(json.dumps(made.head)), "unit": 0.25}
  for name in ("scores", "dices", "areas", "pooled", "auc", "curve"):
    np.testing.assert_array_equal(getattr(found, name), getattr(made, name), err_msg=name)
  np.testing.assert_allclose(found.scores[:, :2], last.scores[:, :2], rtol=1e-7)
  np.testing.assert_allclose(found.scores, last.scores, rtol=1e-4)
  np.testing.assert_allclose(found.dices, last.dices, rtol=1e-3)
  np.testing.assert_allclose(found.curve[0], early.scores[:, :2].T, rtol=1e-4)
  exact = np.moveaxis(last.bins[..., 1] - last.bins[..., 2], 0, -1)
  assert np.abs(found.gaps - exact)[:3].max() <= 0.5 and np.abs(found.gaps - exact)[3:].max() <= 0.125
  assert found.counts.shape == (2, sums.NUM_BINS, 3)
  np.testing.assert_allclose(found.counts.sum(1), 4 * np.tile([4800, 4800, 4800], (2, 1)), atol=8)


def test_a_record_of_many_patients_gets_a_coarser_unit_and_no_other_loss(tmp_path, monkeypatch):
  images = [(k, *scene(k, shape=(30, 30))) for k in range(60)]
  made = record.from_sums({}, [f"p{k}" for k in range(60)], counted(images, 60), [])
  fine = record.write(made, tmp_path / "fine.npz")
  monkeypatch.setattr(record, "MAX_BYTES", int(0.7 * fine))
  assert record.write(made, tmp_path / "coarse.npz") <= 0.7 * fine
  found = record.read(tmp_path / "coarse.npz")
  unit = found.head["unit"]
  assert unit > 0.25 and np.abs(found.gaps - made.gaps)[3:].max() <= unit / 2
  np.testing.assert_array_equal(found.scores, made.scores)
  np.testing.assert_array_equal(found.pooled, made.pooled)
  monkeypatch.setattr(record, "MAX_BYTES", 100)
  with pytest.raises(ValueError, match="more than 100 bytes"):
    record.write(made, tmp_path / "none.npz")
  assert not (tmp_path / "none.npz").exists()


def test_tables_agree_with_an_evaluation_by_ordseg(tmp_path, monkeypatch):
  """The study counts by itself; on whole panels its numbers are those of ordseg's own evaluation."""
  _, masks, truth = evaluations.blobs(12, 3, seed=1)
  probs = truth**1.7
  probs /= probs.sum(-1, keepdims=True)
  groups = [f"p{k // 3}" for k in range(12)]
  batch = {
    "image": masks[..., :1],
    "rater_masks": masks,
    "rater_valid": np.ones((12, 3)),
    "mask": np.ones(masks.shape[:3]),
  }
  item = EvalBatch([f"i{k:02d}" for k in range(12)], groups, batch, 12)
  metrics = evaluator.evaluate(lambda _: probs, [item], num_raters=3).metrics
  own = counted([(k // 3, probs[k], masks[k], np.ones(3)) for k in range(12)], 4)
  monkeypatch.setattr(record, "_UNITS", [8.0])  # a coarse unit must not move an estimate
  record.write(record.from_sums({}, sorted(set(groups)), own, []), tmp_path / "r.npz")
  record.write_panel(sorted(set(groups)), own, tmp_path / "p.tsv")
  loaded = tables.Loaded(
    "x", {"hybrid": {(0, 0): record.read(tmp_path / "r.npz")}}, {0: record.read_panel(tmp_path / "p.tsv")[1]}
  )
  found = {name: float(x[0]) for name, x in tables.values(loaded, "hybrid", [(0, 0)]).items()}
  mean, majority, levels = metrics["read_outs"]["mean_vote"], metrics["read_outs"]["majority"], metrics["levels"]
  want = {
    "RPS": 1e4 * levels["rps"],
    "vote NLL": 1e4 * mean["nll"],
    "Brier - floor": 1e4 * (mean["brier"] - metrics["floors"]["brier"]),
    "MR-ECE": 1e4 * mean["mr_ece_pooled"],
    "MR-ECE, majority": 1e4 * majority["mr_ece_pooled"],
    "level ECE": 1e4 * levels["level_ece"],
    "ACE": mean["ace"],
    "Dice .5": majority["dice"],
  }
  assert {name: found[name] for name in want} == pytest.approx(want, rel=2e-4)
  assert found["lowest bin"] + found["middle"] + found["highest"] == pytest.approx(
    1e4 * (probs @ np.arange(4) / 3 - masks.mean(-1)).mean(), rel=1e-4
  )


def test_damaged_records_and_other_panels_are_refused(tmp_path):
  last = counted([(0, *scene(0))])
  record.write(record.from_sums({}, ["a"], last, []), tmp_path / "r.npz")
  content = (tmp_path / "r.npz").read_bytes()
  (tmp_path / "r.npz").write_bytes(content[: len(content) // 2])
  with pytest.raises(InputError, match="is no whole record of a cell"):
    record.read(tmp_path / "r.npz")
  record.write_panel(["a"], last, tmp_path / "p.tsv")
  record.write_panel(["a"], last, tmp_path / "p.tsv")
  with pytest.raises(InputError, match="are not those of the earlier cells"):
    record.write_panel(["a"], counted([(0, *scene(1))]), tmp_path / "p.tsv")
  patients, panel = record.read_panel(tmp_path / "p.tsv")
  assert patients == ["a"] and panel["pixels"] == 42 and list(panel)[: len(sums.PANEL)] == list(sums.PANEL)


# --- Who is judged where ----------------------------------------------------------------------------------------------

FROZEN = {"lidc_slices": ("9ef9a0d119217c7f", 745), "cfos": ("b4281f045ba7d052", 36)}


@pytest.mark.parametrize("name", FROZEN)
def test_the_manifests_are_frozen_and_follow_their_rule(name):
  division = folds.read(folds.FOLDER / f"{name}.txt")
  assert (folds.digest(division)[:16], len(division)) == FROZEN[name]
  assert division == folds.deal(list(division)[::-1], 5)
  assert max(np.bincount(list(division.values()))) - min(np.bincount(list(division.values()))) <= 1


def test_roles_share_no_patient_and_leave_none_out():
  division = folds.read(folds.FOLDER / "lidc_slices.txt")
  tested = []
  for fold in range(5):
    roles = folds.roles(division, fold)
    everybody = [*roles.train, *roles.validation, *roles.test]
    assert sorted(everybody) == sorted(division) and len(roles.validation) == 60
    tested += roles.test
  assert sorted(tested) == sorted(division)


def test_a_manifest_that_does_not_fit_is_refused(tmp_path):
  (tmp_path / "m.txt").write_text("0 a\n1 b\n1 a\n")
  with pytest.raises(InputError, match=r"m.txt, line 3: '1 a'"):
    folds.read(tmp_path / "m.txt")
  with pytest.raises(InputError, match="1 patients of it are not in the data"):
    folds.check_patients(["a"], {"a": 0, "b": 1}, tmp_path / "m.txt")


def test_the_plan_can_be_trained_and_starts_with_all_main_methods_on_one_fold():
  for name in plan.STUDIES:
    for method in plan.STUDIES[name].methods:
      plan.get_config(plan.Cell(name, method, 0, 0), plan.STUDIES[name], plan.METHODS[method])
  first = plan.cells("lidc_main")[:8]
  assert [cell.method for cell in first] == list(plan.MAIN) and {(c.fold, c.seed) for c in first} == {(0, 0)}
  assert len([cell for cell in plan.cells("lidc_main") if cell.method != "constant"]) == 8 * 5 * 3


def test_a_new_field_of_the_config_does_not_disown_records():
  cell = plan.Cell("lidc_main", "hybrid", 0, 0)
  config = plan.get_config(cell, plan.STUDIES["lidc_main"], plan.METHODS["hybrid"])
  head = {"digest": "d", "config": plan.essence(config)}
  head["config"] |= {"optim.gone_since": 1.0, "loss.of_another_loss": 2.0}
  del head["config"]["optim.ema_decay"]  # as if it were new
  config = dataclasses.replace(config, data=dataclasses.replace(config.data, num_threads=7))
  assert plan.differences(head, "d", config) == []
  config = dataclasses.replace(config, loss=Loss("rps_bce", {"alpha": 0.5}))
  assert plan.differences(head, "d", config) == ["config.loss.alpha=0.8, expected 0.5"]


# --- A study, whole ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch, tmp_path):
  settings = {"model.depth": 2, "model.blocks_per_level": 1, "train.batch_size": 8, "data.crop_size": (32, 32)}
  study = plan.Study(
    "quickstart", ("hybrid", "constant", "truth"), "tiny", folds=1, steps=8, curve=(4,), width=4,
    settings=settings,
  )  # fmt: skip
  monkeypatch.setitem(plan.STUDIES, "tiny", study)
  return cells.Places(None, tmp_path / "work", tmp_path / "results")


def _scores_in(content, places):
  copy = places.work / "copy.npz"
  copy.write_bytes(content)
  return record.read(copy).scores


def test_a_study_runs_resumes_and_refuses_to_mix(tiny, monkeypatch):
  def run(**kwargs):
    return cells.run_study("tiny", tiny, say=lambda _: None, **kwargs)

  trained, constant, _ = plan.cells("tiny")
  assert run(max_cells=1) == 1
  found = record.read(tiny.record(trained))
  assert found.curve.shape == (1, 2, 4) and found.head["steps"] == 8
  assert set(found.head["validation"]) == set(sums.SCORES)
  with cells.locked(constant, tiny.work) as mine:  # as if another process were at it
    assert mine and run() == 1
  assert run() == 1
  before = tiny.record(constant).read_bytes()
  tiny.record(constant).unlink()
  assert run() == 1 and run() == 0
  np.testing.assert_array_equal(record.read(tiny.record(constant)).scores, _scores_in(before, tiny))

  loaded = tables.load(tiny.results, "tiny")
  found = {method: tables.values(loaded, method, [(0, 0)]) for method in loaded.records}
  assert found["truth"]["RPS"] < found["hybrid"]["RPS"] and found["truth"]["vote NLL"] < found["constant"]["vote NLL"]
  difference = tables.difference(loaded, "constant", [(0, 0)], "RPS")
  assert difference.estimate == pytest.approx(found["constant"]["RPS"][0] - found["hybrid"]["RPS"][0], rel=1e-6)
  assert difference.low <= difference.estimate <= difference.high
  text = tables.section(tiny.results)
  assert "| tiny | 3 | 3 | 4 |" in text and "| a constant map | 1 |" in text

  study = plan.STUDIES["tiny"]
  for change, message in (({"steps": 9}, r"train.num_steps=8, expected 9"), ({"curve": (3,)}, "digest")):
    monkeypatch.setitem(plan.STUDIES, "tiny", dataclasses.replace(study, **change))
    with pytest.raises(InputError, match=f"was made from another plan or other data.*{message}"):
      run()
  (tiny.results / "tiny" / "nobody.f0.s0.npz").write_bytes(b"")
  with pytest.raises(InputError, match="record of no cell of the plan"):
    tables.load(tiny.results, "tiny")


def test_resamples_have_the_spread_that_theory_gives():
  """One seed: sd / sqrt(I) of a ratio with equal denominators. Three seeds that differ: theirs comes on top."""
  draws = np.random.default_rng(0)
  gaps = draws.normal(1.0, 2.0, (1, 400))
  samples = tables.resampled(gaps, np.ones(400))
  assert samples.mean() == pytest.approx(gaps.mean(), abs=0.01)
  assert samples.std() == pytest.approx(gaps.std() / 20, rel=0.03)
  seeds = np.asarray([-1.0, 0.0, 1.0])[:, None] + np.zeros((3, 400))
  assert tables.resampled(seeds, np.ones(400)).std() == pytest.approx(np.sqrt(2 / 3) / np.sqrt(3), rel=0.03)


def test_seeds_that_are_not_done_stay_out():
  assert tables.whole_seeds([(0, 0), (1, 0), (0, 1)]) == [(0, 0), (1, 0)]
  assert tables.whole_seeds([(0, 0), (0, 1)]) == [(0, 0), (0, 1)]


def test_the_tables_in_the_docs_are_those_of_the_records():
  text = tables.DOCS.read_text()
  assert tables.replaced(text, tables.section(cells.RESULTS)) == text, "run: make results"


def test_all_records_are_small():
  sizes = [path.stat().st_size for path in cells.RESULTS.glob("*/*")]
  assert max(sizes, default=0) <= record.MAX_BYTES and sum(sizes) <= 5_000_000


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["lidc_mian"], "Did you mean 'lidc_main'"),
    (["lidc_main"], "lidc_main needs --data"),
    ([], "name a study"),
    (["phantom_r3", "--only=hibrid"], "Did you mean 'hybrid'"),
  ],
)
def test_slips_on_the_command_line_get_one_line(monkeypatch, capsys, arguments, message):
  monkeypatch.setattr(sys, "argv", ["study", *arguments])
  with pytest.raises(SystemExit) as caught:
    runpy.run_module("benchmarks.study", run_name="__main__")
  error = capsys.readouterr().err
  assert caught.value.code == 2 and message in error and error.count("\n") == 1
