import jax
import jax.numpy as jnp
import numpy as np
import optax

from ordseg.training import state


def test_a_new_state_is_at_step_0_and_evaluates_its_own_params():
  params = {"w": jnp.arange(3.0)}
  created = state.create(params, optax.sgd(0.1, momentum=0.9), with_ema=False)
  assert created.step.dtype == jnp.int32 and int(created.step) == 0
  assert created.ema_params is None
  assert created.eval_params is created.params


def test_the_average_is_what_is_evaluated_and_shares_no_buffer():
  created = state.create({"w": jnp.arange(3.0)}, optax.sgd(0.1), with_ema=True)
  assert created.eval_params is created.ema_params
  np.testing.assert_array_equal(created.ema_params["w"], created.params["w"])
  pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves((created.params, created.ema_params))]
  assert len(set(pointers)) == len(pointers)
