"""The program that fits a map, and everything that uses one."""

import json
import sys
import types

import jax
import numpy as np
import pytest

from ordseg import ordinal, recalibration, records
from ordseg.cli import data_sets, recalibrate
from ordseg.cli import evaluate as eval_loop
from ordseg.cli import export as export_program
from ordseg.errors import InputError
from ordseg.heads import LOG_ZERO
from ordseg.input_pipeline import preprocess
from ordseg.prediction import predictor
from ordseg.prediction.predictor import PredictOptions
from ordseg.reporting import report
from tests.helpers import training

INFO = {"builder": "tiny", "version": "1", "fingerprint": "0" * 64, "settings": {}, "licence": "none"}
SOURCE = training.TinySource(9, seed=5, size=16)
TEST = training.TinySource(7, seed=6, size=16)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return training.small_run(tmp_path_factory.mktemp("run"))


def fit(workdirs, method="temperature", options=None, **kwargs):
  settings = {"loss": "nll", "source": SOURCE, "split": "validation", "data_info": INFO, "always": True} | kwargs
  workdirs = workdirs if isinstance(workdirs, list) else [workdirs]
  return recalibrate.fit_run(workdirs, options or PredictOptions("last"), method=method, **settings)


@pytest.fixture(scope="module")
def fitted(workdir):
  return {method: fit(workdir, method) for method in ("temperature", "isotonic")}


def evaluate(workdir, options, source=TEST):
  (folder,) = eval_loop.evaluate_run([workdir], options, source=source, split="test", data_info=INFO)
  return folder


def images(num=3):
  return np.random.default_rng(0).normal(0, 1, (num, 16, 16, 1)).astype(np.float32)


def test_the_file_says_how_it_was_fitted(workdir, fitted):
  path, content = fitted["temperature"]
  assert path == workdir / "recalibration/temperature.json" and records.read_json(path) == content
  about = content["fitted"]
  assert about["split"] == "validation" and about["steps"] == [6] and about["data"]["fingerprint"] == "0" * 64
  rated = sum(bool(example["rater_valid"].any()) for example in SOURCE.examples)
  assert about["num_images"] == rated < 9 and about["num_pixels"] == rated * 256
  assert about["pixels"] + about["check"]["pixels"] == about["num_pixels"]  # so few that all are taken
  assert about["after"] <= about["before"] and about["converged"]
  assert len(about["checkpoints"][0]) == 64 and "ordseg" in about["versions"]
  assert fit(workdir)[1] == content  # the same again


def test_the_fit_is_that_of_the_whole_pipeline(workdir, fitted):
  """The objective, computed anew from the predictions of all images."""
  fn = predictor.load([workdir], PredictOptions("last"))
  content = fit(workdir, pixels_per_image=10_000)[1]
  total, weight = 0.0, 0
  for example in SOURCE.examples:
    n = int(example["rater_valid"].sum())
    if not n:
      continue
    image = preprocess.prepare_image(example["image"], fn.run.config.preprocess)
    log_probs = fn.log_predict(image[None])[0].reshape(-1, 4)
    votes = (example["rater_masks"] * example["rater_valid"]).sum(-1).reshape(-1)
    counts = np.full(len(votes), n)
    total -= float(np.asarray(ordinal.thinned_log_prob_of(log_probs, votes, counts), np.float64).sum())
    weight += len(votes)
  about = content["fitted"]

  whole = (about["before"] * about["pixels"] + about["check"]["before"] * about["check"]["pixels"]) / about[
    "num_pixels"
  ]
  assert whole == pytest.approx(total / weight, rel=1e-3)  # strata are cut in two to the nearest pixel


def test_predictors_apply_the_map(workdir, fitted):
  plain = predictor.load([workdir], PredictOptions("last"))
  np.testing.assert_allclose(np.exp(plain.log_predict(images())), plain.predict(images()), atol=1e-6)
  for method in fitted:
    found, _ = recalibration.read(fitted[method][0])
    want = np.exp(found(plain.log_predict(images())))
    changed = predictor.load([workdir], PredictOptions("last", recalibration=method))
    # One program or two round differently, and isotonic regression is steep.
    np.testing.assert_allclose(changed.predict(images()), want, atol=1e-4)
    assert np.abs(want - plain.predict(images())).max() > 1e-3
    assert changed.recalibration["method"] == method
  by_path = predictor.load([workdir], PredictOptions("last", recalibration=str(fitted["isotonic"][0])))
  np.testing.assert_array_equal(by_path.predict(images()), changed.predict(images()))


def test_logarithms_of_averages_keep_the_impossible():
  probs = np.array([[1.0, 0.0, 1e-30, 1e-38]], np.float32)
  np.testing.assert_allclose(predictor.safe_log(probs), [[0, LOG_ZERO, np.log(1e-30), np.log(1e-38)]], rtol=1e-6)


def test_ensembles_and_views_have_maps_of_their_own(workdir, tmp_path):
  other = training.small_run(tmp_path / "other")
  both = [workdir, other]
  with pytest.raises(InputError, match="no such recalibration map"):
    predictor.load(both, PredictOptions("last", recalibration="temperature"))
  with pytest.raises(InputError, match=r"was fitted on step 6 of .*, not on step 6 of .*, step 6 of "):
    fit(workdir)
    predictor.load(both, PredictOptions("last", recalibration=str(workdir / "recalibration/temperature.json")))
  path, _ = fit(both)
  assert path.name == "temperature-ensemble2.json"
  flipped, _ = fit(workdir, options=PredictOptions("last", flips=True))
  assert flipped.name == "temperature-flips.json"
  average = predictor.load(both, PredictOptions("last")).predict(images())
  found, _ = recalibration.read(path)
  want = np.exp(found(predictor.safe_log(average)))
  got = predictor.load(both, PredictOptions("last", recalibration="temperature")).predict(images())
  np.testing.assert_allclose(got, want, atol=2e-6)
  predictor.load([workdir], PredictOptions("last", flips=True, recalibration="temperature"))
  with pytest.raises(InputError, match="with flips, not on step 6"):
    predictor.load([workdir], PredictOptions("last", recalibration=str(flipped)))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (
      PredictOptions(4, recalibration="temperature"),
      r"step 6 of .*, not on step 4 of .*Fit it anew: ordseg recalibrate",
    ),
    (
      PredictOptions("last", recalibration="temprature"),
      "--recalibration='temprature' is unknown. Did you mean 'temperature'",
    ),
    (PredictOptions("last", recalibration="beta"), "no such recalibration map"),
    (PredictOptions("last", recalibration="nowhere/map.json"), "nowhere/map.json: there is no such"),
  ],
)
def test_maps_that_do_not_fit_are_refused_in_one_line(workdir, fitted, options, message):
  with pytest.raises(InputError, match=message) as caught:
    predictor.load([workdir], options)
  assert "\n" not in str(caught.value)


def test_a_map_of_another_panel_or_without_a_history_is_refused(workdir, fitted, tmp_path):
  content = json.loads(fitted["temperature"][0].read_text())
  for change, message in (({"num_raters": 5}, "is for 5 raters, .* has 3"), ({"fitted": None}, "lacks 'fitted'")):
    (tmp_path / "map.json").write_text(records.json_text({**content, **change}))
    with pytest.raises(InputError, match=message):
      predictor.load([workdir], PredictOptions("last", recalibration=str(tmp_path / "map.json")))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"method": "platt"}, "--method='platt'"),
    ({"loss": "brier"}, "--loss='brier'"),
    ({"pixels_per_image": -1}, "--pixels_per_image=-1"),
    ({"data_info": {**INFO, "fingerprint": "1" * 64}}, "was trained on tiny"),
    ({"source": [{**e, "rater_valid": 0 * e["rater_valid"]} for e in SOURCE.examples]}, "no pixel has a vote"),
  ],
)
def test_what_cannot_be_fitted_writes_nothing(workdir, tmp_path, change, message):
  before = sorted((workdir / "recalibration").glob("*")) if (workdir / "recalibration").exists() else []
  with pytest.raises(InputError, match=message):
    fit(workdir, **change)
  assert sorted((workdir / "recalibration").glob("*")) == before


def test_the_report_shows_before_and_after(workdir, fitted, capsys):
  lone = evaluate(workdir, PredictOptions("last", recalibration="temperature"))
  assert lone == workdir / "eval/test-temperature"
  page = (lone / "report.html").read_text()
  assert "no evaluation without the map" in page and "--step=6" in page
  before = evaluate(workdir, PredictOptions("last"))
  report.write_report(lone)
  page = (lone / "report.html").read_text()
  assert "Before and after recalibration" in page and "no evaluation without the map" not in page
  assert "--recalibration=temperature" in page and (lone / "figures/recalibration.png").exists()
  metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (before, lone)]
  assert metrics[1]["recalibration"]["fitted"]["split"] == "validation" and "recalibration" not in metrics[0]
  shown = [f"{m['levels']['rps']:.4f}" for m in metrics]
  assert shown[0] != shown[1] and all(text in page for text in shown)
  assert "Before and after" not in (before / "report.html").read_text()
  records.write_json(before / "metrics.json", {**metrics[0], "step": 4})
  report.write_report(lone)
  assert "another checkpoint or other images" in (lone / "report.html").read_text()


@pytest.mark.parametrize("file_format", ["jax", "onnx"])
@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_exports_hold_the_map(workdir, fitted, tmp_path, capsys, file_format, method):
  if file_format == "jax":
    pytest.importorskip("flatbuffers")  # jax.export writes with it
  else:
    pytest.importorskip("jax2onnx")
    runtime = pytest.importorskip("onnxruntime")
  args = [f"--workdir={workdir}", f"--out={tmp_path}", "--step=last", "--size=16,16", f"--recalibration={method}"]
  export_program.main([*args, f"--format={file_format}"])
  about = json.loads((tmp_path / "metadata.json").read_text())["recalibration"]
  assert about["method"] == method and about["fitted"]["split"] == "validation" and str(workdir) not in str(about)
  want = predictor.load([workdir], PredictOptions("last", recalibration=method)).predict(images())
  if file_format == "jax":
    found = jax.export.deserialize(bytearray((tmp_path / "model.jax").read_bytes())).call(images())
  else:
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    found = session.run(None, {session.get_inputs()[0].name: images()})[0]
  np.testing.assert_allclose(found, want, atol=1e-4)


def test_what_does_not_help_on_images_left_out_is_not_kept(workdir, tmp_path, monkeypatch):
  """A judge that always prefers the predictions as they are: the file says so, and predicts as without a map."""
  real = recalibration.judging.Score.beats
  monkeypatch.setattr(recalibration.judging.Score, "beats", lambda *_: False)
  path, content = fit(workdir, "vector", always=False)
  assert (content["method"], content["asked"], content["parameters"]) == ("none", "vector", {})
  assert content["fitted"]["after"] == content["fitted"]["before"] and content["fitted"]["check"] is not None
  notes = "\n".join(recalibrate.summary(content))
  assert "no map is kept of vector" in notes and "nothing beat the predictions as they are" in notes
  plain = predictor.load([workdir], PredictOptions("last")).predict(images())
  np.testing.assert_allclose(
    predictor.load([workdir], PredictOptions("last", recalibration="vector")).predict(images()), plain, atol=1e-6
  )
  kept = fit(workdir, "vector")[1]
  assert kept["method"] == "vector" and kept["judged"]["kept"] == "none"
  assert "kept because of --always" in " ".join(recalibrate.warnings(kept))
  monkeypatch.setattr(recalibration.judging.Score, "beats", real)
  path.unlink()


def test_auto_names_a_method_or_none(workdir, monkeypatch):
  assert recalibrate._suitable(types.SimpleNamespace(log_probs=np.zeros((2, 4)))) == list(recalibration.METHODS)
  one_probability = types.SimpleNamespace(log_probs=np.asarray([[0.0, LOG_ZERO, LOG_ZERO, -1.0]]))
  assert recalibrate._suitable(one_probability) == ["temperature", "beta", "isotonic"]
  monkeypatch.setattr(recalibrate, "_suitable", lambda _: ["temperature", "isotonic"])
  path, content = fit(workdir, "auto", always=False)
  scores = content["judged"]["scores"]
  assert path.name == "auto.json" and set(scores) == {"temperature", "isotonic", "none"}
  assert content["method"] == content["judged"]["kept"]
  predictor.load([workdir], PredictOptions("last", recalibration="auto"))
  with pytest.raises(InputError, match="--always keeps the map of one method"):
    fit(workdir, "auto")


def test_warnings_say_what_to_beware_of(fitted):
  _, content = fitted["temperature"]

  def warned(**changes):
    kept = {"judged": {**content["judged"], "kept": "temperature"}}
    return " ".join(recalibrate.warnings({**content, **kept, "fitted": {**content["fitted"], **changes}}))

  assert "no longer say how the map does on new" in warned(split="test[:50%]")
  assert "at a bound: temperature" in warned(at_bounds=["temperature"])
  assert "before its slope was flat" in warned(converged=False)
  assert "nothing was gained" in warned(after=content["fitted"]["before"])
  assert "2.00% of the pixels" in warned(ruled_out=0.02)
  assert "all votes are the same" in warned(share_of_votes=0.0)
  check = {"before": 1.0, "after": 0.9, "error_pixels": 0.01, "error_images": 0.06, "pixels": 5}
  assert "less than twice its standard error" in warned(check=check)
  assert not warned(check={**check, "error_images": 0.04})


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--workdir=nowhere", "--method=betta"], "Did you mean 'beta'"),
    (["--workdir=nowhere", "--method=beta"], "nowhere holds no run"),
    (["--workdir=nowhere", "--method=beta", "--loss=ece"], "--loss='ece'"),
  ],
)
def test_a_slip_gets_one_line(args, message, capsys):
  with pytest.raises(SystemExit) as stopped:
    recalibrate.main(args)
  notes = capsys.readouterr().err
  assert stopped.value.code == 2 and message in notes and len(notes.strip().splitlines()) == 1


def test_builders_are_those_of_a_clone(monkeypatch, tmp_path):
  assert hasattr(data_sets.builders(), "data_source")
  with pytest.raises(InputError, match="come with a clone of ordseg"):
    data_sets.builders(tmp_path)
  other = types.ModuleType("data")
  other.__file__ = str(tmp_path / "data" / "__init__.py")
  for module, message in ((None, "cannot be imported"), (other, "is not that of ordseg's builders")):
    monkeypatch.setitem(sys.modules, "data", module)
    with pytest.raises(InputError, match=message):
      data_sets.builders()
