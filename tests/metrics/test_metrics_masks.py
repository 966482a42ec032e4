"""Scores of masks: nested masks as samples, outlines, and the region of interest."""

import dataclasses
import io
import json
import warnings

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ordseg import metrics, ordinal
from ordseg.config import Eval
from ordseg.errors import InputError
from ordseg.evaluation import evaluator, from_config
from ordseg.evaluation import result as results
from ordseg.input_pipeline import EvalBatch
from ordseg.metrics import Region, surface
from ordseg.reporting import report
from ordseg.reporting.report import figures, reading, terms
from tests.helpers import evaluations, panels
from tests.helpers.panels import NUM_BINS, R
from tests.reference import scores_np


@pytest.fixture(scope="module")
def data():
  return panels.images()


@pytest.fixture(scope="module")
def result(data):
  return panels.run(data)


def masks_of(data, k):
  """Nested masks and the masks of the raters who answered, [P] each, of the pixels that count."""
  probs, masks, valid, counts = data
  inside = counts[k] > 0
  raters = [masks[k][inside][:, r] > 0 for r in np.flatnonzero(valid[k])]
  return scores_np.nested_masks(probs[k][inside].astype(np.float64)), raters


def run_one(level_probs, masks, valid=None, **kwargs):
  """Evaluates one image [H, W, L], [H, W, R]."""
  masks = np.asarray(masks, np.uint8)[None]
  valid = np.ones((1, masks.shape[-1]), np.uint8) if valid is None else np.asarray(valid, np.uint8)[None]
  batch = {
    "rater_masks": masks, "rater_valid": valid, "mask": np.ones(masks.shape[:3], np.uint8), "image": masks[..., :1],
  }  # fmt: skip
  return evaluator.evaluate(
    lambda _: np.asarray(level_probs, np.float32)[None],
    [EvalBatch(["a"], [""], batch, 1)],
    num_raters=masks.shape[-1],
    **kwargs,
  )


# --- Nested masks -----------------------------------------------------------------------------------------------------


def test_nested_scores_against_the_oracle(data, result):
  rows = results.per_image_rows(result)
  rated = np.flatnonzero(data[2].any(1))
  ged = {k: scores_np.ged(*masks_of(data, k)) for k in rated}
  ncc = {k: scores_np.ncc(*masks_of(data, k)) for k in rated}
  for k in rated:
    assert rows[k]["ged_nested"] == pytest.approx(ged[k], abs=1e-9)
    assert rows[k]["ncc_nested"] == pytest.approx(ncc[k], abs=1e-6)
  assert np.isnan(rows[3]["ged_nested"]) and np.isnan(rows[3]["ncc_nested"])
  assert result.metrics["levels"]["ged_nested"] == pytest.approx(np.mean(list(ged.values())))
  assert result.metrics["levels"]["ncc_nested"] == pytest.approx(np.mean(list(ncc.values())))


def certain(levels, num_raters):
  """Level probabilities that name one level per pixel."""
  return np.eye(num_raters + 1)[np.asarray(levels)]


def test_golden_values_of_nested_masks():
  # Two raters, of whom one marks pixel 0 and the other 0 and 1; the nested masks are just these.
  found = run_one(certain([[2, 1, 0, 0]], 2), [[[1, 1], [1, 0], [0, 0], [0, 0]]])
  assert found.metrics["levels"]["ged_nested"] == pytest.approx(0.0, abs=1e-12)
  # All masks empty, both raters mark all: distance 1 to them, none among themselves.
  found = run_one(certain([[0, 0]], 2), np.ones((1, 2, 2)))
  assert found.metrics["levels"]["ged_nested"] == pytest.approx(2.0)
  assert np.isnan(found.metrics["levels"]["ncc_nested"])  # the error is 1 everywhere
  # Masks that are all the same and wrong in one pixel of two: nothing was predicted.
  assert run_one(certain([[2, 0]], 2), np.ones((1, 2, 2))).metrics["levels"]["ncc_nested"] == 0.0
  # The one disputed pixel is the one predicted.
  found = run_one(certain([[2, 1, 0, 0]], 2), [[[1, 1], [1, 0], [0, 0], [0, 0]]])
  assert found.metrics["levels"]["ncc_nested"] == pytest.approx(1.0)
  # Empty masks and empty raters agree.
  found = run_one(certain([[0, 0]], 2), np.zeros((1, 2, 2)))
  assert found.metrics["levels"]["ged_nested"] == 0.0


def test_nested_masks_are_of_the_full_panel():
  """One rater of two answered; the two masks, {pixel 0} and the empty one, are still those of the whole prediction."""
  found = run_one([[[0.1, 0.5, 0.4], [0.6, 0.2, 0.2]]], [[[1, 0], [0, 0]]], [1, 0])
  assert found.model.sums.nested_count.tolist() == [[1, 1, 0]]
  assert found.metrics["levels"]["ged_nested"] == pytest.approx(2 * 0.5 - 0.5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_nested_invariants(seed):
  sums = panels.run(panels.images(seed)).model.sums
  ged, ncc = metrics.image_ged_nested(sums), metrics.image_ncc_nested(sums)
  assert np.nanmin(ged) >= -1e-12 and np.nanmax(ged) <= 2 and np.nanmax(np.abs(ncc)) <= 1 + 1e-12
  assert sums.nested_count.sum(-1).tolist() == sums.num_pixels.tolist()
  areas = np.diagonal(sums.both_marked, axis1=1, axis2=2)
  np.testing.assert_array_equal(sums.nested_rater.sum(-1), areas)


# --- Outlines ---------------------------------------------------------------------------------------------------------


def blobs(seed, size=(40, 33)):
  """Two overlapping ellipses, one of which may touch the border."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[: size[0], : size[1]]
  centres, radii = rng.uniform(8, 25, (2, 2)), rng.uniform(4, 12, (2, 2))
  return [((y - c[0]) / r[0]) ** 2 + ((x - c[1]) / r[1]) ** 2 <= 1 for c, r in zip(centres, radii, strict=True)]


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.9)])
@pytest.mark.parametrize("seed", range(4))
def test_surface_scores_against_every_pair_of_pixels(seed, spacing):
  a, b = blobs(seed)
  there, back = (scores_np.outline_distances(*pair, np.asarray(spacing)) for pair in ((a, b), (b, a)))
  got = surface.mask_scores([a], [b], np.asarray(spacing), 2.0)[:, 0, 0]
  assert got[0] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
  assert got[1] == pytest.approx(np.mean(np.concatenate([there, back]) <= 2.0))
  np.testing.assert_allclose(surface.mask_scores([b], [a], np.asarray(spacing), 2.0)[:, 0, 0], got)


def test_surface_scores_against_monai():
  monai, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
  for seed in range(4):
    a, b = blobs(seed)
    tensors = [torch.tensor(m[None, None]) for m in (a, b)]
    spacing = (0.7, 1.9)
    got = surface.mask_scores([a], [b], np.asarray(spacing), 2.0)[:, 0, 0]
    distance = monai.compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=spacing)
    assert got[0] == pytest.approx(float(distance), rel=1e-5)
    got = surface.mask_scores([a], [b], np.ones(2), 2.0)[1, 0, 0]
    assert got == pytest.approx(float(monai.compute_surface_dice(*tensors, [2.0], include_background=True)), rel=1e-5)


def test_surface_scores_near_those_of_surface_distance():
  """Its outlines run between the pixels, so the numbers agree to about half a pixel."""
  library = pytest.importorskip("surface_distance")
  for seed in range(4):
    a, b = blobs(seed)
    distances = library.compute_surface_distances(a, b, (1.0, 1.0))
    got = surface.mask_scores([a], [b], np.ones(2), 2.0)[:, 0, 0]
    assert got[0] == pytest.approx(library.compute_robust_hausdorff(distances, 95), abs=1.0)
    assert got[1] == pytest.approx(library.compute_surface_dice_at_tolerance(distances, 2.0), abs=0.12)


def test_golden_surface_values_and_empty_masks():
  a, b, none = np.zeros((30, 41), bool), np.zeros((30, 41), bool), np.zeros((30, 41), bool)
  a[5:15, 5:15] = True
  b[5:15, 8:18] = True  # the same square, 3 pixels on
  assert surface.mask_scores([a], [b], np.ones(2), 3.0)[:, 0, 0].tolist() == [3.0, 1.0]
  assert surface.mask_scores([a], [a], np.ones(2), 0.0)[:, 0, 0].tolist() == [0.0, 1.0]
  assert surface.mask_scores([a], [b], np.asarray([1.0, 2.0]), 3.0)[0, 0, 0] == 6.0
  assert surface.mask_scores([none], [none], np.ones(2), 1.0)[:, 0, 0].tolist() == [0.0, 1.0]
  diagonal = np.hypot(2 * 29, 40)
  for pair in (([a], [none]), ([none], [a])):
    assert surface.mask_scores(*pair, np.asarray([2.0, 1.0]), 1.0)[:, 0, 0].tolist() == [diagonal, 0.0]


def with_spacing(batches, spacing):
  for item in batches:
    shape = (len(item.batch["mask"]), 2)
    yield dataclasses.replace(item, batch={**item.batch, "spacing": np.broadcast_to(np.float32(spacing), shape)})


def measured(data, spacing=(0.0, 0.0), **kwargs):
  batches = with_spacing(panels.batches_of(data, **kwargs), spacing)
  return evaluator.evaluate(panels.predict, batches, num_raters=R, num_bins=NUM_BINS, surface_tolerance=1.5)


def test_surface_scores_of_an_evaluation(data, result):
  found = measured(data, (0.5, 2.0))
  assert found.metrics["surface"] == {"tolerance": 1.5, "unit": "mm"} and "surface" not in result.metrics
  _, masks, valid, counts = data
  rows = results.per_image_rows(found)
  for name in ordinal.READ_OUTS:
    scores = []
    for k in np.flatnonzero(valid.any(1)):
      mask = (panels.read_out(data, name)[k] >= 0.5) & (counts[k] > 0)
      raters = [(masks[k, ..., r] > 0) & (counts[k] > 0) for r in np.flatnonzero(valid[k])]
      votes = np.sum(raters, axis=0)
      truths = [(2 * votes >= len(raters)) & (counts[k] > 0), *raters]
      hd95, dice = surface.mask_scores([mask], truths, np.asarray([0.5, 2.0]), 1.5)[:, 0]
      want = [hd95[0], hd95[1:].mean(), dice[0], dice[1:].mean()]
      got = [rows[k][f"{name}_{key}"] for key in KEYS]
      np.testing.assert_allclose(got, want)
      if truths[0].any():
        scores.append(want)
    assert 0 < len(scores) < 5
    means = [found.metrics["read_outs"][name][key] for key in KEYS]
    np.testing.assert_allclose(means, np.mean(scores, axis=0))
  assert np.isnan(rows[3]["majority_hd95"])
  others = result.metrics["read_outs"]["majority"]
  assert {key: found.metrics["read_outs"]["majority"][key] for key in others} == pytest.approx(others)


KEYS = ("hd95", "hd95_rater_mean", "surface_dice", "surface_dice_rater_mean")


def test_unit_without_spacing_and_with_some(data):
  assert measured(data).metrics["surface"]["unit"] == "pixels"
  scores = measured(data).model.surface
  mixed = dataclasses.replace(scores, in_mm=np.arange(6) > 2)
  assert surface.unit(mixed) == "mm and pixels mixed" and surface.unit(surface.empty(2)) == "pixels"


def test_processes_and_order_change_no_outline(data):
  want, states = measured(data), []
  for order in ([1, 3, 5], [0, 2, 4]):
    kwargs = {"num_raters": R, "num_bins": NUM_BINS, "surface_tolerance": 1.5}
    batches = with_spacing(panels.batches_of(data, order=order), (0, 0))
    evaluator.evaluate(panels.predict, batches, gather=lambda tree: states.append(tree) or tree, **kwargs)
  merged = jax.tree.map(lambda *parts: np.concatenate(parts), *states)
  got = evaluator.evaluate(panels.predict, [], gather=lambda _: merged, **kwargs)
  chex.assert_trees_all_equal(got.model.surface, want.model.surface)
  assert json.dumps(got.metrics) == json.dumps(want.metrics)
  chex.assert_trees_all_equal(measured(data, order=[5, 4, 3, 2, 1, 0]).model.surface, want.model.surface)


# --- Region of interest -----------------------------------------------------------------------------------------------


def disc_batch():
  masks = np.zeros((3, 30, 30, 2), np.uint8)
  masks[0, 10, 12, 0] = masks[0, 15, 12, 1] = masks[1, 0, 0, 0] = 1
  mask = np.ones((3, 30, 30), np.uint8)
  mask[:, :, 20:] = 0
  return {"rater_masks": masks, "rater_valid": np.asarray([[1, 1], [0, 1], [1, 1]], np.uint8), "mask": mask}


def test_a_region_is_the_dilated_union_of_those_who_answered():
  batch = disc_batch()
  got = Region("union_dilated", 4).restrict(batch)["mask"]
  y, x = np.mgrid[:30, :30]
  near = (np.hypot(y - 10, x - 12) <= 4) | (np.hypot(y - 15, x - 12) <= 4)
  np.testing.assert_array_equal(got[0], near & (batch["mask"][0] > 0))
  # The only mark of image 1 is of a rater who did not answer; of image 2 there is none: both count whole.
  np.testing.assert_array_equal(got[1:], batch["mask"][1:])
  assert batch["mask"][0].sum() == 600 and Region().restrict(batch) is batch


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("union",), r"config.eval.roi='union' is unknown.*union_dilated"),
    (("union_dilated", 0), r"config.eval.roi_margin=0 must be >= 1"),
  ],
)
def test_a_wrong_region_is_named(arguments, message):
  with pytest.raises(InputError, match=message):
    Region(*arguments)


def test_a_region_is_as_if_the_rest_were_masked(data):
  probs, masks, valid, counts = panels.images(size=16)
  masks = masks * (np.hypot(*np.mgrid[-8:8, -8:8]) < 4)[None, :, :, None].astype(np.uint8)
  inside = Region("union_dilated", 3).restrict({"rater_masks": masks, "rater_valid": valid, "mask": counts})["mask"]
  assert 0 < inside[0].mean() < 1
  want = panels.run((probs, masks, valid, inside))
  batches = panels.batches_of((probs, masks, valid, counts))
  kwargs = {"num_raters": R, "num_bins": NUM_BINS, "region": Region("union_dilated", 3)}
  got = evaluator.evaluate(panels.predict, batches, **kwargs)
  chex.assert_trees_all_equal(got.model.sums, want.model.sums)
  assert got.metrics["roi"] == {"kind": "union_dilated", "margin": 3} and want.metrics["roi"] == {"kind": "image"}
  assert got.metrics["num_pixels"] == inside[valid.any(1)].sum()


def test_a_region_never_looks_at_the_prediction_or_at_foreground_alone():
  """Background is left around every mark, so a map that says 1 everywhere cannot look calibrated."""
  masks = np.zeros((12, 12, 2), np.uint8)
  masks[4:8, 4:8] = 1
  found = run_one(certain(np.full((12, 12), 2), 2), masks, region=Region("union_dilated", 1))
  assert found.metrics["read_outs"]["mean_vote"]["mr_ece_pooled"] == pytest.approx(0.5)  # 16 pixels and 16 around them


# --- Settings and report ----------------------------------------------------------------------------------------------


def test_settings_of_the_config():
  assert from_config.options(Eval(num_bins=15)) == {
    "num_bins": 15, "region": Region("image", 16), "surface_tolerance": None,
  }  # fmt: skip
  new = Eval(num_bins=5, roi="union_dilated", roi_margin=2, surface=True, surface_tolerance=1.0)
  assert from_config.options(new) == {
    "num_bins": 5, "region": Region("union_dilated", 2), "surface_tolerance": 1.0,
  }  # fmt: skip


def test_the_report_shows_outlines_and_region_where_there_are_any(tmp_path, monkeypatch):
  blank = io.BytesIO()
  Image.new("1", (1, 1)).save(blank, "PNG")
  monkeypatch.setattr(figures, "_rendered", lambda *_: blank.getvalue())
  folder = evaluations.write(tmp_path / "eval/test", oracle=False)
  plain = reading.load(folder)
  assert terms.region(plain) == "" == terms.outlines(plain)
  evaluations.write(folder, oracle=False, region=Region("union_dilated", 3), surface_tolerance=2.0)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    page = report.write_report(folder).read_text()
  e = reading.load(folder)
  assert "Only pixels within 3 pixels of what any rater marked" in page
  assert "distances in pixels, tolerance of the surface Dice 2" in page
  for key, digits in (("hd95", 2), ("surface_dice_rater_mean", 3)):
    assert f">{e.metrics['read_outs']['majority'][key]:.{digits}f}<" in page
  assert f">{e.metrics['raters']['krippendorff_alpha']:.3f}<" in page
  assert "Hausdorff" not in report.write_report(evaluations.write(tmp_path / "b/eval/test", oracle=False)).read_text()
