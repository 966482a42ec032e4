"""Exported models: equal to the run, in a process that does not know this package."""

import json
import subprocess
import sys

import numpy as np
import pytest

from ordseg.cli import export as export_program
from ordseg.errors import InputError
from ordseg.input_pipeline import preprocess
from ordseg.prediction import export, predictor
from tests.helpers import training


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return training.small_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def loaded(workdir):
  return predictor.load([workdir], predictor.PredictOptions(step="last"))


def run_main(capsys, *args):
  try:
    export_program.main([str(arg) for arg in args])
    code = 0
  except SystemExit as stopped:
    code = stopped.code
  out = capsys.readouterr()
  return code, out.out, out.err


ALONE = """
import json, sys
import jax, numpy as np
about = json.load(open("metadata.json"))
model = jax.export.deserialize(open("model.jax", "rb").read())
stored = np.load("image.npy")
low, high = (about["input"]["preprocess"][k] for k in ("low", "high"))
image = np.clip((stored.astype(np.float32) - low) * 2 / (high - low) - 1, -1, 1)
level_probs = model.call(image[None])
np.save("mean_vote.npy", level_probs[0] @ np.asarray(about["output"]["read_outs"]["mean_vote"]))
assert not any(name.startswith(("ordseg", "flax")) for name in sys.modules)
"""


@pytest.mark.parametrize("size", [(16, 16), (34, 20)])
def test_jax_artefact_runs_alone_at_any_size(workdir, loaded, tmp_path, capsys, size):
  code, out, err = run_main(capsys, f"--workdir={workdir}", f"--out={tmp_path}", "--step=last")
  assert code == 0 and "model.jax" in out, err
  stored = np.random.default_rng(0).integers(0, 256, (*size, 1), np.uint8)
  np.save(tmp_path / "image.npy", stored)
  done = subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  prepared = preprocess.prepare_image(stored, loaded.run.config.preprocess)
  want = loaded.predict(prepared[None])[0] @ (np.arange(4) / 3)
  np.testing.assert_allclose(np.load(tmp_path / "mean_vote.npy"), want, atol=1e-4)
  about = json.loads((tmp_path / "metadata.json").read_text())
  assert about["input"]["multiples_of"] == {"height": 2, "width": 2} and about["data"]["licence"] == "none"
  assert about["output"]["read_outs"]["at_least_3"] == [0, 0, 0, 1]
  assert "Not for clinical use" in about["intended_use"]


def test_onnx_in_onnxruntime(workdir, loaded, tmp_path, capsys):
  pytest.importorskip("jax2onnx")
  onnxruntime = pytest.importorskip("onnxruntime")
  code, out, err = run_main(
    capsys, f"--workdir={workdir}", f"--out={tmp_path}", "--step=last", "--format=onnx", "--size=24,16"
  )
  assert code == 0 and "model.onnx" in out, err
  session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
  images = np.random.default_rng(0).normal(size=(3, 24, 16, 1)).astype(np.float32)
  found = session.run(None, {session.get_inputs()[0].name: images})[0]
  np.testing.assert_allclose(found, loaded.predict(images), atol=1e-4)
  inside = json.loads(session.get_modelmeta().custom_metadata_map["ordseg"])
  assert inside["output"]["read_outs"]["mean_vote"] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_an_export_that_differs_is_not_written(workdir, tmp_path, monkeypatch):
  monkeypatch.setattr(export, "TOLERANCE", -1.0)
  with pytest.raises(InputError, match=r"differs from the run by .*; nothing was written"):
    export.export_run(predictor.load_run(workdir), tmp_path / "out", file_format="jax", step="last", size=(16, 16))
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--size=15,16"], "--size=15,16 must be height,width: multiples of 2,2"),
    (["--size=16"], "must be height,width"),
    (["--step=99"], "99"),
    (["--workdir=nowhere"], "nowhere holds no run"),
  ],
)
def test_a_wrong_command_gets_one_line(workdir, tmp_path, capsys, args, message):
  code, _, err = run_main(capsys, f"--workdir={workdir}", f"--out={tmp_path / 'out'}", "--step=last", *args)
  assert code == 2 and message in err and len(err.strip().splitlines()) == 1
  assert not (tmp_path / "out").exists()
