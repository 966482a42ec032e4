"""The ResNet nets: equal to PyTorch's, of any size, in both dtypes; and the layers they brought."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ordseg import models
from ordseg.errors import InputError
from ordseg.models import layers, resnet
from tests.helpers import resnets

NETS = ("resnet_fpn", "resnet_unet")
CONFIG = {
  "name": "resnet_fpn",
  "encoder": "resnet18",
  "encoder_weights": "",
  "width": 2,
  "depth": 4,
  "blocks_per_level": 2,
  "norm": "group",
  "dropout": 0.0,
  "dtype": "float32",
}
# Unoptimised: compiling these well takes far longer than running them once.
QUICK = {"xla_backend_optimization_level": 0}


def draw(*shape, seed=0, dtype=jnp.float32):
  """Standard normal noise."""
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def quick(fn):
  return jax.jit(fn, compiler_options=QUICK)


@functools.cache
def build(name="resnet_fpn", channels=3, **changes):
  """A network of 3 outputs and its parameters; with weights from a file the encoder's are those of `resnets`."""
  model = models.get_model({**CONFIG, "name": name, **changes}, num_outputs=3)
  image = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)
  shapes = jax.eval_shape(functools.partial(model.init, is_training=False), jax.random.key(0), image)
  chex.assert_equal(set(shapes), {"params"})
  return model, fill(shapes["params"])


def fill(shapes):
  """Parameters of He's scale in numpy: compiling flax's own initialisation takes longer than all else here."""

  def one(path, leaf):
    kind, noise = path[-1].key, np.asarray(draw(*leaf.shape, seed=len(jax.tree_util.keystr(path)) + leaf.size))
    if kind == "kernel":
      return noise * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
    return {"scale": 1 + 0.1 * noise, "var": 1 + 0.1 * noise**2}.get(kind, 0.1 * noise)

  return jax.tree_util.tree_map_with_path(one, shapes)


@functools.cache
def compiled(model):
  return quick(lambda params, x: model.apply({"params": params}, x, is_training=False))


def apply(model, params, x):
  return np.asarray(compiled(model)(params, x))


def assert_near(actual, expected, tolerance=1e-4):
  """Equal up to `tolerance` times the largest entry."""
  assert actual.shape == expected.shape
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# Equality with PyTorch


@functools.cache
def encoder_params(encoder):
  """The weights of `resnets.state_dict` in this project's layout, converted here and not by `pretrained`."""
  params = {}
  for name, value in resnets.state_dict(encoder).items():
    if name.startswith("fc.") or name.endswith("tracked"):
      continue
    *modules, leaf = (
      name.replace("downsample.0", "downsample_conv").replace("downsample.1", "downsample_norm").split(".")
    )
    if modules[0].startswith("layer"):
      modules[:2] = [f"{modules[0]}_{modules[1]}"]
    modules[-1] = modules[-1].replace("bn", "norm")
    weight = "kernel" if value.ndim == 4 else "scale"
    leaf = {"weight": weight, "bias": "bias", "running_mean": "mean", "running_var": "var"}[leaf]
    here = params
    for module in modules:
      here = here.setdefault(module, {})
    here[leaf] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
  return params


@functools.cache
def features_of(encoder):
  module = resnet.ResNetEncoder(encoder, resnet.FROZEN_BATCH)
  out = quick(lambda p, x: module.apply({"params": p}, x))(encoder_params(encoder), image())
  return [np.asarray(f) for f in out]


def image():
  """Sides that no stride divides."""
  return np.random.default_rng(0).normal(size=(2, 45, 70, 3)).astype(np.float32)


@pytest.mark.parametrize("encoder", resnet.ENCODERS)
def test_features_are_those_of_pytorch(encoder):
  torch = pytest.importorskip("torch")
  from tests.reference import resnet_torch

  with torch.no_grad():
    theirs = resnet_torch.load(encoder, resnets.state_dict(encoder))(resnet_torch.to_torch(image()))
  for ours, expected in zip(features_of(encoder), theirs, strict=True):
    assert_near(ours, resnet_torch.to_numpy(expected))


# What the PyTorch network of tests/reference/resnet_torch.py says of the same weights and images: of each feature the
# mean, the standard deviation, and the largest channel in the middle of the first image.
GOLDEN = {
  "resnet18": [
    (0.383097, 0.60345, 1.97899),
    (1.52149, 1.44108, 7.58709),
    (1.21329, 1.52514, 7.05802),
    (1.21248, 1.46671, 8.23136),
    (0.881295, 1.13579, 6.43521),
  ],
  "resnet34": [
    (0.383097, 0.60345, 1.97899),
    (1.79389, 1.64858, 7.25646),
    (2.04012, 2.19637, 10.9905),
    (3.09724, 3.27091, 19.9372),
    (2.29531, 2.7291, 17.425),
  ],
  "resnet50": [
    (0.383097, 0.60345, 1.97899),
    (1.185, 1.3194, 6.89439),
    (1.25726, 1.45935, 9.02644),
    (1.66565, 1.71979, 11.6938),
    (1.31507, 1.54007, 14.0945),
  ],
}


@pytest.mark.parametrize("encoder", resnet.ENCODERS)
def test_features_are_those_that_pytorch_gave(encoder):
  seen = [(f.mean(), f.std(), f[0, f.shape[1] // 2, f.shape[2] // 2].max()) for f in features_of(encoder)]
  np.testing.assert_allclose(seen, GOLDEN[encoder], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_whole_nets_are_those_of_pytorch(name):
  torch = pytest.importorskip("torch")
  from tests.reference import resnet_torch

  model, params = build(name, encoder_weights="w.pth", width=8)
  params = {**params, "encoder": encoder_params("resnet18")}
  x = draw(2, 64, 32, 3)
  with torch.no_grad():
    features = resnet_torch.load("resnet18", resnets.state_dict("resnet18"))(resnet_torch.to_torch(x))
    decode = resnet_torch.fpn if name == "resnet_fpn" else resnet_torch.unet
    expected = resnet_torch.to_numpy(decode(params, features))
  assert_near(apply(model, params, x), expected)


# Shapes and dtypes


@pytest.mark.parametrize(
  ("name", "encoder"), [("resnet_fpn", "resnet18"), ("resnet_unet", "resnet18"), ("resnet_fpn", "resnet50")]
)
def test_any_size_and_channel_count_keeps_its_shape(name, encoder):
  model = models.get_model({**CONFIG, "name": name, "encoder": encoder}, num_outputs=3)
  for channels, *size in ((4, 1, 7), (3, 33, 31), (1, 100, 75)):
    image = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    logits, variables = jax.eval_shape(
      functools.partial(model.init_with_output, is_training=False), jax.random.key(0), image
    )
    chex.assert_shape(logits, (2, *size, 3))
    chex.assert_type([logits, *jax.tree.leaves(variables)], jnp.float32)


@pytest.mark.parametrize(("name", "norm"), [("resnet_fpn", "group"), ("resnet_unet", "instance")])
def test_a_single_pixel_has_finite_logits(name, norm):
  model, params = build(name, channels=1, norm=norm)
  logits = apply(model, params, draw(2, 1, 1, 1))
  assert logits.shape == (2, 1, 1, 3) and np.isfinite(logits).all()


def test_bfloat16_computes_in_bfloat16_and_is_near_float32():
  model, params = build("resnet_fpn", encoder_weights="w.pth", width=8)
  low, _ = build("resnet_fpn", encoder_weights="w.pth", width=8, dtype="bfloat16")
  x = draw(2, 64, 32, 3)
  wide, narrow = (apply(m, params, x) for m in (model, low))
  assert narrow.dtype == np.float32
  assert 0 < np.abs(wide - narrow).max() < 0.1 * np.abs(wide).max()


# torchvision's counts without the classifier
@pytest.mark.parametrize(
  ("encoder", "size"), [("resnet18", 11_176_512), ("resnet34", 21_284_672), ("resnet50", 23_508_032)]
)
def test_number_of_parameters(encoder, size):
  trained = resnet.parameter_shapes(encoder, "group", 3)
  frozen = resnet.parameter_shapes(encoder, resnet.FROZEN_BATCH, 3)
  assert sum(int(np.prod(shape)) for shape in trained.values()) == size
  more = {path: shape for path, shape in frozen.items() if path not in trained}
  assert {path[-1] for path in more} == {"mean", "var"}
  assert len(more) == 2 * sum(path[-1] == "scale" for path in trained)


def test_width_sixteen_gives_the_papers_decoders():
  def outputs(name, layer):
    return layer_params(name)[layer]["kernel"].shape[-1]

  @functools.cache
  def layer_params(name):
    model = models.get_model({**CONFIG, "name": name, "width": 16}, num_outputs=3)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(functools.partial(model.init, is_training=False), jax.random.key(0), image)["params"]

  assert [outputs("resnet_fpn", f"lateral{level}") for level in range(4)] == [256] * 4
  assert outputs("resnet_fpn", "branch3_block2") == 128
  assert [outputs("resnet_unet", f"up{level}_block1") for level in range(5)] == [16, 32, 64, 128, 256]


# Behaviour


@pytest.mark.parametrize(("name", "encoder_weights"), [("resnet_fpn", "w.safetensors"), ("resnet_unet", "")])
def test_every_parameter_gets_a_gradient_and_frozen_statistics_none(name, encoder_weights):
  model, params = build(name, encoder_weights=encoder_weights)
  loss = lambda p: jnp.square(model.apply({"params": p}, draw(1, 33, 20, 3), is_training=True) - 1).sum()  # noqa: E731
  grads = quick(jax.grad(loss))(params)
  chex.assert_tree_all_finite(grads)
  statistics = 0
  for path, grad in jax.tree_util.tree_leaves_with_path(grads):
    if path[-1].key in ("mean", "var"):
      statistics += 1
      np.testing.assert_array_equal(grad, 0)
    else:
      assert np.abs(grad).max() > 0, jax.tree_util.keystr(path)
  assert statistics == (40 if encoder_weights else 0)


def test_frozen_norm_has_the_gradients_of_its_formula():
  x, scale, bias = draw(2, 3, 4, 5), draw(5, seed=1), draw(5, seed=2)
  mean, var = draw(5, seed=3), 0.1 + draw(5, seed=4) ** 2
  norm = resnet.Norm(resnet.FROZEN_BATCH, has_relu=False)

  def ours(x, scale, bias):
    return norm.apply({"params": {"scale": scale, "bias": bias, "mean": mean, "var": var}}, x)

  def theirs(x, scale, bias):
    wide = lambda v: v.reshape(1, 1, 1, 5)  # noqa: E731
    return wide(scale) * (x - wide(mean)) / jnp.sqrt(wide(var) + 1e-5) + wide(bias)

  assert_same_with_gradients(ours, theirs, x, scale, bias)


@pytest.mark.parametrize("name", NETS)
def test_dropout_follows_its_key(name):
  model, params = build(name, dropout=0.5)
  x = draw(1, 32, 32, 3)

  @quick
  def run(params, seed):
    rngs = {"dropout": jax.random.key(seed)}
    return model.apply({"params": params}, x, is_training=True, rngs=rngs)

  assert np.abs(run(params, 0) - run(params, 1)).max() > 0
  np.testing.assert_array_equal(run(params, 0), run(params, 0))


@pytest.mark.parametrize("name", NETS)
def test_shared_cut_points_are_the_same_for_all_pixels(name):
  model = models.get_model({**CONFIG, "name": name}, num_outputs=4, num_constants=3)
  image = jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32)
  params = fill(jax.eval_shape(functools.partial(model.init, is_training=False), jax.random.key(0), image)["params"])
  bias = np.array([0.0, 1.0, 2.0, -3.0], np.float32)
  logits = apply(model, models.set_output_bias(params, bias), draw(1, 33, 20, 1))
  np.testing.assert_allclose(logits[..., 1:], np.broadcast_to(bias[1:], (1, 33, 20, 3)), rtol=1e-6)
  assert np.ptp(logits[..., 0]) > 0


# Fields


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"encoder": "resnet19"}, "config.model.encoder='resnet19'.*Did you mean 'resnet1"),
    ({"encoder_weights": "weights.h5"}, r"config.model.encoder_weights='weights.h5' must be a file that ends in"),
    ({"norm": "none"}, "config.model.norm='none' does not fit config.model.name='resnet_fpn'.*'group' or 'instance'"),
    ({"depth": 5}, "config.model.depth=5 has no effect on config.model.name='resnet_fpn', only on unet"),
    ({"blocks_per_level": 3}, "config.model.blocks_per_level=3 has no effect .* only on unet, unet3d, resnet_unet"),
    (
      {"name": "unet", "encoder": "resnet34"},
      "encoder='resnet34' has no effect on config.model.name='unet', only on res",
    ),
    ({"name": "unet", "encoder_weights": "a.pth"}, "config.model.encoder_weights='a.pth' has no effect .*'unet'"),
  ],
)
def test_wrong_fields_are_named(change, message):
  with pytest.raises(InputError, match=message) as error:
    models.get_model({**CONFIG, **change}, num_outputs=2)
  assert "\n" not in str(error.value)


# Layers


def assert_same_with_gradients(ours, theirs, *args, tolerance=1e-5):
  seen = draw(*jax.eval_shape(ours, *args).shape, seed=9, dtype=args[0].dtype)

  def both(fn, args):
    value, pullback = jax.vjp(fn, *args)
    return value, *pullback(seen)

  pairs = [[np.asarray(a, np.float32) for a in quick(functools.partial(both, fn))(args)] for fn in (ours, theirs)]
  for actual, expected in zip(*pairs, strict=True):
    assert_near(actual, expected, tolerance)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 8)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_max_pool_3x3_is_flax_max_pool(size, dtype):
  shape = (1, *size, 3)
  x = jnp.asarray(np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) - 20, dtype)  # no ties
  theirs = lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # noqa: E731
  # A pixel lies in up to four windows, whose gradients are added in another order.
  assert_same_with_gradients(layers.max_pool_3x3, theirs, x, tolerance=1e-6 if dtype == jnp.float32 else 2e-2)


@pytest.mark.parametrize("size", [(1, 1), (2, 5)])
def test_double_linear_is_jax_resize(size):
  theirs = lambda x: jax.image.resize(x, (2, 2 * size[0], 2 * size[1], 3), "linear")  # noqa: E731
  assert_same_with_gradients(layers.double_linear, theirs, draw(2, *size, 3))


def test_double_nearest_is_jax_resize():
  theirs = lambda x: jax.image.resize(x, (2, 4, 10, 3), "nearest")  # noqa: E731
  assert_same_with_gradients(layers.double_nearest, theirs, draw(2, 2, 5, 3))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_group_norm_is_flax_group_norm(dtype, tolerance):
  x, scale, bias = (2 * draw(2, 5, 7, 12) + 1).astype(dtype), 1 + 0.3 * draw(12, seed=1), draw(12, seed=2)
  rival = nn.GroupNorm(4, epsilon=1e-5, use_fast_variance=False, dtype=dtype)
  theirs = lambda x, scale, bias: rival.apply({"params": {"scale": scale, "bias": bias}}, x)  # noqa: E731
  ours = lambda x, scale, bias: layers.group_norm(x, scale, bias, 4, 1e-5)  # noqa: E731
  assert_same_with_gradients(ours, theirs, x, scale, bias, tolerance=tolerance)
