"""Encoder weights from files: what is accepted, how it is converted, and what is refused."""

import io
import pathlib
import pickle
import sys
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from ordseg import models
from ordseg.errors import InputError
from ordseg.models import pretrained, resnet
from ordseg.types import Panel
from tests.helpers import resnets

# Written out: the entries of torchvision's and timm's resnet18 and resnet50 that the rest follow.
KNOWN = {
  "resnet18": (
    "conv1.weight",
    "bn1.running_var",
    "layer1.0.conv1.weight",
    "layer1.1.bn2.bias",
    "layer2.0.downsample.0.weight",
    "layer2.0.downsample.1.running_mean",
    "layer4.1.conv2.weight",
  ),
  "resnet50": ("layer1.0.downsample.0.weight", "layer3.5.conv3.weight", "layer4.2.bn3.weight"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def whole(folder):
  """A file of torchvision's resnet18, classifier included."""
  return write(folder / "whole.safetensors", resnets.state_dict("resnet18"))


def write(path, weights):
  safetensors.numpy.save_file(dict(weights), path)
  return str(path)


def changed(**changes):
  """The entries of a resnet18 with some replaced, or left out where None; dots are written as two underscores."""
  weights = dict(resnets.state_dict("resnet18"))
  for name, value in changes.items():
    name = name.replace("__", ".")
    weights.pop(name, None)
    if value is not None:
      weights[name] = value
  return weights


def leaves(params):
  return {tuple(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


# Names and layout


@pytest.mark.parametrize("encoder", resnet.ENCODERS)
def test_names_and_shapes_are_torchvisions(encoder):
  shapes = resnet.parameter_shapes(encoder, resnet.FROZEN_BATCH, 3)
  ours = {pretrained.torch_name(path): shape for path, shape in shapes.items()}
  theirs = {name: shape for name, shape in resnets.names(encoder).items() if not name.endswith("tracked")}
  assert len(ours) == len(shapes) and set(KNOWN.get(encoder, ())) <= set(ours)
  layout = lambda shape: (*shape[2:], shape[1], shape[0]) if len(shape) == 4 else shape  # noqa: E731
  assert ours == {name: layout(shape) for name, shape in theirs.items()}


# Entries of torchvision's state dicts, the classifier and the counters included
@pytest.mark.parametrize(("encoder", "entries"), [("resnet18", 122), ("resnet34", 218), ("resnet50", 320)])
def test_number_of_entries(encoder, entries):
  assert len(resnets.names(encoder)) + 2 == entries
  torch = pytest.importorskip("torch")
  from tests.reference import resnet_torch

  with torch.device("meta"):
    names = resnet_torch.ResNet(encoder).state_dict()
  assert {name: tuple(value.shape) for name, value in names.items() if "fc." not in name} == resnets.names(encoder)


def test_values_arrive_where_they_belong(whole):
  found = leaves(pretrained.read_encoder(whole, "resnet18", num_channels=3))
  given = resnets.state_dict("resnet18")
  assert found.keys() == resnet.parameter_shapes("resnet18", resnet.FROZEN_BATCH, 3).keys()
  assert all(value.dtype == np.float32 for value in found.values())
  kernel = given["layer2.0.conv1.weight"]
  np.testing.assert_array_equal(found["layer2_0", "conv1", "kernel"], kernel.transpose(2, 3, 1, 0))
  for leaf, name in (("scale", "weight"), ("bias", "bias"), ("mean", "running_mean"), ("var", "running_var")):
    np.testing.assert_array_equal(found["norm1", leaf], given[f"bn1.{name}"])
    np.testing.assert_array_equal(found["layer3_0", "downsample_norm", leaf], given[f"layer3.0.downsample.1.{name}"])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_files_are_read(folder, dtype):
  weights = {k: v.astype(dtype) for k, v in resnets.state_dict("resnet18").items() if v.dtype == np.float32}
  path = write(folder / f"{np.dtype(dtype).name}.safetensors", weights)
  found = leaves(pretrained.read_encoder(path, "resnet18", num_channels=3))["norm1", "mean"]
  np.testing.assert_array_equal(found, weights["bn1.running_mean"].astype(np.float32))


# The first convolution


def first_kernel(path, channels):
  return pretrained.read_encoder(path, "resnet18", num_channels=channels)["conv1"]["kernel"]


def test_one_channel_sums_the_kernels_as_timm_does(whole):
  given = resnets.state_dict("resnet18")["conv1.weight"]
  np.testing.assert_allclose(first_kernel(whole, 1)[:, :, 0, 5], given[5].sum(axis=0), atol=1e-6)
  np.testing.assert_array_equal(first_kernel(whole, 3), given.transpose(2, 3, 1, 0))


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_a_grey_image_gives_the_same_in_any_number_of_channels(whole, channels):
  grey = np.random.default_rng(0).normal(size=49).astype(np.float32)
  respond = lambda kernel: np.einsum("p,pcd->d", grey, kernel.reshape(49, -1, 64))  # noqa: E731
  np.testing.assert_allclose(respond(first_kernel(whole, channels)), respond(first_kernel(whole, 3)), atol=1e-4)


def test_a_file_of_as_many_channels_as_the_images_is_taken_as_it_is(folder):
  kernel = resnets.draw("conv1.weight", (64, 5, 7, 7))
  path = write(folder / "five.safetensors", changed(conv1__weight=kernel))
  np.testing.assert_array_equal(first_kernel(path, 5), kernel.transpose(2, 3, 1, 0))
  with pytest.raises(InputError, match=r"conv1.weight in .*five.safetensors has shape \(7, 7, 5, 64\), expected"):
    first_kernel(path, 4)


# What is refused


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"layer1__0__bn1__running_var": None}, "1 missing, such as layer1.0.bn1.running_var"),
    ({"layer1__2__conv1__weight": np.zeros((64, 64, 3, 3), np.float32)}, "1 too many, such as layer1.2.conv1.weight"),
    ({"layer3__0__conv1__weight": np.zeros((256, 128, 1, 1), np.float32)}, r"has shape \(1, 1, 128, 256\), expected"),
    ({"bn1__weight": np.zeros((64, 1), np.float32)}, r"bn1.weight .* has shape \(64, 1\), expected \(64,\)"),
    ({"bn1__running_mean": np.full(64, np.nan, np.float32)}, "bn1.running_mean .* not finite"),
    ({"bn1__running_var": np.full(64, -1, np.float32)}, "bn1.running_var .* not possible"),
  ],
)
def test_files_of_another_network_are_refused(folder, changes, message):
  path = write(folder / "changed.safetensors", changed(**changes))
  refused(path, message)


def refused(path, message, encoder="resnet18"):
  with pytest.raises(InputError, match=message) as error:
    pretrained.read_encoder(str(path), encoder, num_channels=3)
  assert "\n" not in str(error.value) and "config.model.encoder_weights" in str(error.value)


def test_another_depth_is_refused(whole, folder):
  refused(whole, "does not hold a resnet34 .*missing, such as layer1.2.bn1.bias", encoder="resnet34")
  refused(write(folder / "34.safetensors", resnets.state_dict("resnet34")), "does not hold a resnet18 .* too many")


def test_files_that_are_none_are_refused(folder):
  refused(folder / "absent.safetensors", "there is no such file")
  refused(folder, "must be a file that ends in")
  (folder / "text.safetensors").write_text("not tensors")
  refused(folder / "text.safetensors", "is no safetensors file that can be read")
  (folder / "empty.safetensors").write_bytes(b"")
  refused(folder / "empty.safetensors", "is no safetensors file that can be read")


def test_no_file_is_no_encoder():
  config = {"name": "resnet_fpn", "encoder": "resnet18", "encoder_weights": ""}
  assert models.read_encoder(config, Panel(3, 5)) is None
  assert models.read_encoder({"name": "unet"}, Panel(3, 5)) is None


# PyTorch's own files


class Bomb:
  """Unpickling it would make the file it names."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


def test_a_pth_file_needs_pytorch_or_a_conversion(folder, monkeypatch):
  path = folder / "any.pth"
  path.write_bytes(b"")
  monkeypatch.setitem(sys.modules, "torch", None)
  refused(path, r"can only be read where PyTorch is installed.*safetensors.torch.*weights_only=True")


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pth_file_is_the_same_as_a_safetensors_file(folder, whole, is_zip):
  torch = pytest.importorskip("torch")
  path = folder / f"whole{is_zip}.pth"
  weights = {k: torch.tensor(v) for k, v in resnets.state_dict("resnet18").items()}
  torch.save(weights, path, _use_new_zipfile_serialization=is_zip)
  pair = [pretrained.read_encoder(str(p), "resnet18", num_channels=1) for p in (path, whole)]
  jax.tree.map(np.testing.assert_array_equal, *pair)


@pytest.mark.parametrize("how", ["pickle", "zip", "torch"])
def test_a_pickle_that_holds_code_is_refused_and_not_run(folder, how):
  torch = pytest.importorskip("torch")
  path, trace = folder / f"bomb_{how}.pth", folder / f"trace_{how}"
  hidden = {**{k: torch.tensor(v) for k, v in resnets.state_dict("resnet18").items()}, "bomb": Bomb(trace)}
  if how == "torch":
    torch.save(hidden, path)
  elif how == "pickle":
    path.write_bytes(pickle.dumps({"bomb": Bomb(trace)}))
  else:
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("archive/data.pkl", pickle.dumps(Bomb(trace)))
      archive.writestr("archive/version", "3")
  refused(path, r"bomb_.*.pth is no plain state dict; PyTorch refuses to read it without running code from it \(")
  assert not trace.exists()
  pickle.load(io.BytesIO(pickle.dumps(Bomb(trace))))
  assert trace.exists()  # it does go off where it is let


def test_a_whole_model_or_a_checkpoint_is_refused(folder):
  torch = pytest.importorskip("torch")
  torch.save(torch.nn.Linear(2, 2), folder / "model.pth")
  refused(folder / "model.pth", "is no plain state dict")
  torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "epoch": 3}, folder / "checkpoint.pth")
  refused(folder / "checkpoint.pth", "must hold a dict of name -> tensor.* with the entries state_dict, epoch")
  torch.save([torch.zeros(1)], folder / "list.pth")
  refused(folder / "list.pth", "must hold a dict of name -> tensor.*found a list")
