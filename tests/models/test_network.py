"""The registry of networks, by one that halves nothing: made up here, of stride 3, and known to no other file."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ordseg import models, prediction
from ordseg.config import resolve
from ordseg.errors import InputError
from ordseg.input_pipeline import preprocess
from ordseg.models import NETWORKS, Segmenter, layers, network
from ordseg.settings import field
from tests.helpers import training


@pytest.fixture(scope="module")
def thirds():
  """A network that sees blocks of `stride` x `stride` pixels and gives all pixels of a block the same logits."""

  @network.register("thirds", summary="blocks of pixels", size_multiples=lambda own: (own["stride"],) * 2)
  class Thirds(Segmenter):
    stride: int = field(3, help="thirds: pixels a side of a block", ge=1)

    @nn.compact
    def __call__(self, x, *, is_training):
      stride = self.stride
      padded = jnp.pad(x, ((0, 0), *((0, -size % stride) for size in x.shape[1:-1]), (0, 0)))
      y = nn.Conv(self.width, (stride, stride), strides=stride, padding="VALID", dtype=self.dtype)(padded)
      y = self.drop(nn.relu(y), "dropout", is_training=is_training).repeat(stride, 1).repeat(stride, 2)
      return self.output(layers.crop_like(y, x))

  yield Thirds
  NETWORKS.remove("thirds")


def thirds_config(**changes):
  return training.tiny_config(model__name="thirds", model__depth=4, model__blocks_per_level=2, **changes)


def test_its_settings_are_its_attributes_and_nobody_elses(thirds):
  assert set(NETWORKS.settings_of("thirds")) == {"width", "norm", "dropout", "dtype", "stride"}
  assert NETWORKS.settings()["stride"].readers == ("thirds",)
  assert models.get_model({"name": "thirds", "stride": 5, "width": 2}, num_outputs=3) == thirds(3, width=2, stride=5)
  assert models.size_multiples({"name": "thirds", "stride": 5}) == (5, 5)
  for wrong, message in (
    ({"stride": 0}, "config.model.stride=0 must be >= 1"),
    ({"strid": 3}, "config.model.strid is not a field. Did you mean 'stride'"),
    ({"depth": 5}, "config.model.depth=5 has no effect on config.model.name='thirds', only on unet, unet3d"),
  ):
    with pytest.raises(InputError, match=message):
      models.check({"name": "thirds", **wrong})


def test_it_is_checked_trained_and_predicts_in_windows_of_no_multiple(thirds, tmp_path):
  config = resolve(thirds_config(train__num_steps=1, eval__window=18))
  training.train_tiny(tmp_path, config)
  predictor = prediction.load(tmp_path, prediction.PredictOptions(step="last"))
  image = np.random.default_rng(0).integers(0, 256, (50, 47), dtype=np.uint8)
  found = predictor(image)
  assert found.shape == (50, 47, training.NUM_RATERS + 1)
  # A window that began between two blocks would see other blocks than the whole image has.
  prepared = preprocess.prepare_image(image[..., None], config.preprocess)
  np.testing.assert_allclose(found, predictor.predict(prepared[None])[0], atol=1e-6)
  assert np.ptp(found[:3, :3].reshape(9, -1), axis=0).max() < 1e-6 < np.ptp(found[:, :, 0])


def test_an_attribute_without_a_setting_is_refused():
  with pytest.raises(ValueError, match="radius needs a default and a Setting"):

    @network.register("undeclared", summary="", size_multiples=lambda _: (1, 1))
    class Undeclared(Segmenter):
      radius: int = 3

  assert "undeclared" not in NETWORKS


@pytest.mark.parametrize(
  ("settings", "multiples"),
  [
    ({"name": "unet", "depth": 1}, (1, 1)),
    ({"name": "unet"}, (8, 8)),
    ({"name": "unet3d", "flat_levels": 1}, (4, 8, 8)),
    ({"name": "unet3d", "flat_levels": 9}, (1, 8, 8)),
    ({"name": "resnet_fpn"}, (32, 32)),
    ({"name": "resnet_unet"}, (32, 32)),
  ],
)
def test_size_multiples(settings, multiples):
  assert models.size_multiples(settings) == multiples


# What checkpoints rely on; the numbers are those of the four classes before they shared code.
@pytest.mark.parametrize(
  ("name", "count", "layer"),
  [
    ("unet", 30_484, "up2_resize"),
    ("unet3d", 87_964, "down3_block1"),
    ("resnet_unet", 11_609_184, "encoder"),
    ("resnet_fpn", 11_333_892, "lateral3"),
  ],
)
def test_names_and_number_of_parameters(name, count, layer):
  net = models.get_model({"name": name, "width": 4}, num_outputs=4)
  image = jnp.zeros((1, *(8,) * models.num_axes({"name": name}), 1))
  params = jax.eval_shape(lambda: net.init(jax.random.key(0), image, is_training=False))["params"]
  assert {layer, "output"} <= set(params)
  assert sum(p.size for p in jax.tree.leaves(params)) == count
