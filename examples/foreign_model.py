"""Trains somebody else's network with the losses of ordseg: plain arrays in, plain JAX around them.

python examples/foreign_model.py

Three raters mark blurred discs, each with a threshold of his own, and one is missing from every third image. A small
network of flax.nnx learns the distribution of the number of votes with RPS + BCE. Nothing of ordseg's training,
configs or data is used.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from ordseg import losses, ordinal

NUM_RATERS, SIZE, BATCH, STEPS = 3, 24, 16, 150


def draw(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws images [N, H, W, 1] float32, rater_masks [N, H, W, R] uint8 and rater_valid [N, R] uint8."""
  draws = np.random.default_rng(seed)
  y, x = np.mgrid[:SIZE, :SIZE]
  centre, radius = draws.uniform(8, SIZE - 8, (count, 2, 1, 1)), draws.uniform(3, 6, (count, 1, 1))
  depth = radius - np.hypot(y - centre[:, 0], x - centre[:, 1])  # pixels from the outline, inwards
  image = 1 / (1 + np.exp(-depth)) + draws.normal(0, 0.1, depth.shape)
  bias = draws.normal(0, 1.5, (count, 1, 1, NUM_RATERS))
  masks = (depth[..., None] + bias > 0).astype(np.uint8)
  valid = np.ones((count, NUM_RATERS), np.uint8)
  valid[::3, 0] = 0
  return image[..., None].astype(np.float32), masks, valid


class Net(nnx.Module):
  """Two convolutions and a logit for each level 0..R."""

  def __init__(self, rngs: nnx.Rngs) -> None:
    self.first = nnx.Conv(1, 8, (5, 5), rngs=rngs)
    self.second = nnx.Conv(8, 8, (5, 5), rngs=rngs)
    self.out = nnx.Linear(8, NUM_RATERS + 1, rngs=rngs)

  def __call__(self, image: jax.Array) -> jax.Array:
    """[N, H, W, 1] -> log-probabilities [N, H, W, L]."""
    return jax.nn.log_softmax(self.out(nnx.relu(self.second(nnx.relu(self.first(image))))))


def mean_loss(net: Net, image: jax.Array, target: ordinal.OrdinalTarget) -> jax.Array:
  """RPS + BCE of the batch, mean over its pixels; all raters of every image count, as far as there are any."""
  return jnp.mean(losses.rps_bce(net(image), target.votes, target.num_valid))


@nnx.jit
def train_step(net: Net, optimizer: nnx.Optimizer, image: jax.Array, target: ordinal.OrdinalTarget) -> jax.Array:
  loss, grads = nnx.value_and_grad(mean_loss)(net, image, target)
  optimizer.update(net, grads)
  return loss


def main() -> dict[str, float]:
  """Trains, prints, and returns scores of new images: of the network, and of one that says the same everywhere."""
  net = Net(nnx.Rngs(0))
  optimizer = nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param)
  for step in range(STEPS):
    image, masks, valid = draw(step, BATCH)
    loss = train_step(net, optimizer, jnp.asarray(image), ordinal.encode(masks, valid))
    if step % 50 == 0 or step == STEPS - 1:
      print(f"step {step:3d}: loss {float(loss):.4f}")

  image, masks, valid = draw(10_000, 64)
  votes = ordinal.encode(masks, valid)
  frequency = np.bincount(np.asarray(ordinal.encode(draw(0, 64)[1]).votes).ravel(), minlength=NUM_RATERS + 1)
  constant = jnp.broadcast_to(jnp.log(frequency / frequency.sum()), (*votes.votes.shape, NUM_RATERS + 1))
  scores = {
    name: float(jnp.mean(losses.rps(log_probs, votes.votes, votes.num_valid)))
    for name, log_probs in (("network", net(jnp.asarray(image))), ("frequencies of the levels", constant))
  }
  for name, score in scores.items():
    print(f"RPS of new images, {name}: {score:.4f}")
  return scores


if __name__ == "__main__":
  main()
