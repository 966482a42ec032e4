"""The two products every layer is made of, with kernel gradients that suit the platform.

Values and gradients are those of `jax.lax` up to rounding, and GPUs and TPUs get JAX's own code. On CPUs the gradients
of some kernels are formed otherwise, which saves about 15 % of a training step (benchmarks/train_step.py measures it).
Reverse mode only.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ordseg.types import Array

# Below this many outputs a CPU's matrix product leaves half of its vector registers idle (two of 16 float32).
_CPU_TILE = 32


def _dense(x: Array, kernel: Array) -> Array:
  return jnp.einsum("bhwc,cd->bhwd", x, kernel)


@jax.custom_vjp
def dense(x: Array, kernel: Array) -> Array:
  """Linear map per pixel: x [B, H, W, C], kernel [C, D] -> [B, H, W, D], all of one dtype.

  The kernel's gradient on CPUs is one product per example, which run side by side, and their sum: as one product over
  all pixels it would transpose the activations first and use one core.
  """
  return _dense(x, kernel)


def _dense_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return _dense(x, kernel), (x, kernel)


def _dense_backward(residuals: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
  x, kernel = residuals
  grad_kernel = jax.lax.platform_dependent(
    x,
    grad,
    cpu=lambda x, grad: jnp.einsum("bhwc,bhwd->bcd", x, grad).sum(axis=0),
    default=lambda x, grad: jnp.einsum("bhwc,bhwd->cd", x, grad),
  )
  return jnp.einsum("bhwd,cd->bhwc", grad, kernel), grad_kernel


dense.defvjp(_dense_forward, _dense_backward)


def _conv(x: Array, kernel: Array, dimension_numbers: Any = ("NHWC", "HWIO", "NHWC")) -> Array:
  padding = ((1, 1), (1, 1))
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=dimension_numbers)


@jax.custom_vjp
def conv3x3(x: Array, kernel: Array) -> Array:
  """3x3 convolution with zero padding: x [B, H, W, C], kernel [3, 3, C, D] -> [B, H, W, D], all of one dtype.

  On CPUs, where a kernel has few outputs and more inputs, its gradient is computed with the two roles exchanged: the
  matrix product's inner side is then the wider one, which is twice as fast.
  """
  return _conv(x, kernel)


def _kernel_grad(x: Array, kernel: Array, grad: Array) -> Array:
  return jax.linear_transpose(lambda k: _conv(x, k), kernel)(grad)[0]


def _kernel_grad_exchanged(x: Array, kernel: Array, grad: Array) -> Array:
  """Slides x over grad rather than grad over x, which yields the taps in reverse order."""
  del kernel
  # As letters: channels of grad are the batch, channels of x the outputs, examples are summed over.
  dimensions = jax.lax.ConvDimensionNumbers((3, 0, 1, 2), (3, 0, 1, 2), (3, 2, 0, 1))
  return _conv(grad, x, dimensions)[::-1, ::-1]


def _conv3x3_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return _conv(x, kernel), (x, kernel)


def _conv3x3_backward(residuals: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
  x, kernel = residuals
  grad_x = jax.linear_transpose(lambda x: _conv(x, kernel), x)(grad)[0]
  inputs, outputs = kernel.shape[2:]
  if not outputs < min(_CPU_TILE, inputs):
    return grad_x, _kernel_grad(x, kernel, grad)
  return grad_x, jax.lax.platform_dependent(x, kernel, grad, cpu=_kernel_grad_exchanged, default=_kernel_grad)


conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward)
