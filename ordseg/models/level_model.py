"""A network, the head that reads it, and the panel it was made for: from images to the distribution over 0..R votes."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, cast

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ordseg import heads
from ordseg.errors import InputError
from ordseg.heads import Head
from ordseg.models import network, pretrained
from ordseg.ordinal import folding
from ordseg.types import Array, ArrayLike, Panel, Params, PRNGKey


@dataclasses.dataclass(frozen=True)
class LevelModel:
  """What training, evaluation, prediction and export call; parameters are not part of it.

  Attributes:
    net: maps images to logits, as `network.Segmenter` does. ``params`` is its only collection.
    head: reads the logits.
    panel: sizes of the images and of what is predicted.

  >>> from ordseg import models
  >>> panel = Panel(num_channels=1, num_raters=3)
  >>> model = models.build({"name": "unet", "depth": 1, "width": 2, "head": "softmax"}, panel)
  >>> params = model.init(jax.random.key(0), (16, 16))
  >>> model.level_probs(params, jnp.zeros((2, 20, 24, 1))).shape
  (2, 20, 24, 4)
  """

  net: nn.Module
  head: Head
  panel: Panel

  def init(
    self,
    key: PRNGKey,
    size: tuple[int, ...],
    *,
    level_counts: ArrayLike | None = None,
    encoder: Params | None = None,
  ) -> Params:
    """Draws parameters.

    Args:
      key: Random key that parameters are drawn from.
      size: H and W, or D, H and W, of an image to trace the network with; parameters do not depend on it.
      level_counts: [L], or [K, L] of several classes: pixels of each level in the training set, which the untrained
        network is made to predict everywhere (`heads.Head.init_bias`); None leaves that bias at 0.
      encoder: Parameters from `read_encoder`, in place of those drawn.
    """
    image = jnp.zeros((1, *size, self.panel.num_channels), jnp.float32)
    params = jax.jit(functools.partial(self.net.init, is_training=False))(key, image)["params"]
    if encoder is not None:
      params = {**params, **jax.tree.map(jnp.asarray, encoder)}
    if level_counts is None:
      return params
    freqs = [heads.smoothed_level_freqs(counts) for counts in np.atleast_2d(level_counts)]
    return set_output_bias(params, np.concatenate([self.head.init_bias(f) for f in freqs]))

  def log_level_probs(
    self, params: Params, image: Float[Array, "B *s C"], dropout_key: PRNGKey | None = None
  ) -> Float[Array, "B *s L"]:
    """Predicts the logarithms of the level probabilities, which have no smallest number.

    Args:
      params: the network's.
      image: [B, H, W, C], or volumes [B, D, H, W, C], prepared (`input_pipeline.preprocess`).
      dropout_key: dropout is active and drawn from it, as in training; None is the usual pass without.

    Returns:
      [B, H, W, L] or [B, D, H, W, L] float32; with several classes [.., num_classes, L].
    """
    logits = self._logits(params, image, dropout_key)
    return self._read(folding.split_classes(logits, self.panel.num_classes))

  def level_probs(
    self, params: Params, image: Float[Array, "B *s C"], dropout_key: PRNGKey | None = None
  ) -> Float[Array, "B *s L"]:
    """Predicts the level probabilities, which sum to 1; arguments and shapes as of `log_level_probs`."""
    return jnp.exp(self.log_level_probs(params, image, dropout_key))

  def folded_log_level_probs(
    self, params: Params, image: Float[Array, "B *s C"], dropout_key: PRNGKey
  ) -> Float[Array, "N rows W L"]:
    """Predicts as `log_level_probs` what losses take: images of one structure each, [B K, rows, W, L] (`folding`).

    The head reads the folded logits, not the other way round: the order decides the last bits of a training.
    """
    return self._read(folding.fold_logits(self._logits(params, image, dropout_key), self.panel.num_classes))

  def _logits(self, params: Params, image: Array, dropout_key: PRNGKey | None) -> Array:
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    return cast(Array, self.net.apply({"params": params}, image, is_training=dropout_key is not None, rngs=rngs))

  def _read(self, logits: Array) -> Array:
    chex.assert_axis_dimension(logits, -1, self.head.num_outputs(self.panel.num_raters))
    return self.head.log_level_probs(logits.astype(jnp.float32), self.panel.num_raters)


def build(model_config: Mapping[str, Any], panel: Panel) -> LevelModel:
  """Builds what ``config.model`` describes for a panel.

  Args:
    model_config: name, head and the settings of the network; those left out have their defaults.
    panel: sizes of the images and of what is predicted.

  Raises:
    InputError: see `network.chosen`; or an unknown head.
  """
  head = heads.get_head(model_config["head"])
  net = network.get_model(
    model_config,
    num_outputs=head.num_outputs(panel.num_raters),
    num_constants=head.num_constants(panel.num_raters),
    num_classes=panel.num_classes,
  )
  return LevelModel(net, head, panel)


def read_encoder(model_config: Mapping[str, object], panel: Panel) -> Params | None:
  """Reads the encoder's parameters from ``config.model.encoder_weights``; see `pretrained.read_encoder`.

  Returns:
    The layer's name -> nested dicts of float32 arrays; None where the config names no file.

  Raises:
    InputError: the file is missing, unreadable, or of another network.
  """
  entry, settings = network.chosen(model_config)
  if not (entry.encoder and settings["encoder_weights"]):
    return None
  path, encoder = settings["encoder_weights"], settings["encoder"]
  return {entry.encoder: pretrained.read_encoder(path, encoder, num_channels=panel.num_channels)}


def set_output_bias(params: Params, bias: ArrayLike) -> Params:
  """Returns `params` with the bias of the output layer replaced.

  Args:
    params: Parameters of any network of `NETWORKS`; left unchanged.
    bias: [K], what the untrained network should output on average (`heads.Head.init_bias`), class after class.

  Raises:
    InputError: `bias` does not have one value per output.
  """
  layer = params[network.OUTPUT]
  assert isinstance(layer, Mapping)
  old = layer["bias"]
  assert not isinstance(old, Mapping)
  if np.shape(bias) != old.shape:
    raise InputError(f"output bias of shape {np.shape(bias)} does not fit a network with {old.shape[0]} outputs.")
  return {**params, network.OUTPUT: {**layer, "bias": jnp.asarray(bias, old.dtype)}}
