import jax
import numpy as np
import optax
import pytest

from ordseg.errors import InputError
from ordseg.training import checkpoint, parallel, state
from ordseg.training.checkpoint import Checkpoints

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(-0.1))


def state_at(step, *, with_ema=True, width=3):
  draws = np.random.default_rng(step)
  params = {"layer": {"kernel": draws.normal(size=(2, width)).astype(np.float32), "bias": np.ones(3, np.float32)}}
  created = state.create(params, TX, with_ema=with_ema)
  return parallel.to_host(created.replace(step=np.int32(step)))


def fill(store, metrics):
  """Saves a checkpoint per entry of {step: metric}."""
  for step, metric in metrics.items():
    store.save(state_at(step), iterator_state={"next_index": step}, metric=metric)
  store.wait()


@pytest.mark.parametrize("with_ema", [False, True])
def test_what_was_saved_comes_back_bit_by_bit(tmp_path, with_ema):
  want = state_at(7, with_ema=with_ema)
  with Checkpoints(tmp_path) as store:
    store.save(parallel.replicate(want), iterator_state={"next_index": 7})
  with Checkpoints(tmp_path) as store:
    got, position = store.restore(jax.eval_shape(lambda: want))
  assert jax.tree.structure(got) == jax.tree.structure(want)
  jax.tree.map(np.testing.assert_array_equal, got, want)
  assert {x.dtype for x in jax.tree.leaves(got)} == {np.dtype("float32"), np.dtype("int32")}
  assert position == {"next_index": 7}


def test_a_position_may_be_bytes(tmp_path):
  with Checkpoints(tmp_path) as store:
    store.save(state_at(1), iterator_state=b"\x00\xffposition")
    store.wait()
    assert store.restore(state_at(1))[1] == b"\x00\xffposition"


def test_a_state_may_be_donated_as_soon_as_save_returns(tmp_path):
  now = parallel.replicate(state_at(3))
  add = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  with Checkpoints(tmp_path) as store:
    store.save(now, iterator_state=0)
    add(now)
    assert now.step.is_deleted()
    store.wait()
    jax.tree.map(np.testing.assert_array_equal, store.restore(state_at(3))[0], state_at(3))


@pytest.mark.parametrize(
  ("mode", "metrics", "kept", "best"),
  [
    ("min", {1: 0.5, 2: 0.1, 3: 0.4, 4: 0.3, 5: None}, [2, 4, 5], 2),
    ("max", {1: 0.5, 2: 0.1, 3: 0.4, 4: 0.3, 5: None}, [1, 4, 5], 1),
    ("min", {1: 0.5, 2: float("nan"), 3: 0.6, 4: float("inf"), 5: 0.7}, [1, 4, 5], 1),
    ("max", {1: float("nan"), 2: 0.2, 3: float("inf"), 4: 0.1, 5: 0.0}, [2, 4, 5], 2),
    ("min", {1: 0.2, 2: 0.2, 3: 0.2, 4: 0.2}, [1, 3, 4], 1),
    ("min", {1: None, 2: None, 3: None}, [2, 3], None),
    ("max", {1: 0.1, 2: 0.2, 3: 0.3}, [2, 3], 3),
  ],
)
def test_the_last_and_the_best_survive(tmp_path, mode, metrics, kept, best):
  with Checkpoints(tmp_path, metric="dice", mode=mode, keep_last=2, keep_best=1) as store:
    fill(store, metrics)
    assert store.steps() == kept
    assert store.best_step == best
    assert store.latest_step == max(metrics)
  with Checkpoints(tmp_path, metric="dice", mode=mode) as store:  # and what was read from disk agrees
    assert store.steps() == kept and store.best_step == best


def test_the_ranking_goes_on_after_a_restart(tmp_path):
  options = {"metric": "dice", "mode": "max", "keep_last": 1, "keep_best": 2}
  with Checkpoints(tmp_path, **options) as store:
    fill(store, {1: 0.9, 2: 0.1, 3: 0.8})
  with Checkpoints(tmp_path, **options) as store:
    fill(store, {4: 0.2, 5: 0.85, 6: 0.3})
    assert store.steps() == [1, 5, 6]
    assert store.find("best") == 1 and store.find("last") == store.find(None) == 6


def test_steps_are_found_or_what_there_is_is_listed(tmp_path):
  with Checkpoints(tmp_path, metric="dice", keep_last=3) as store:
    with pytest.raises(InputError, match=r"no checkpoint in .*has the run been trained"):
      store.find("last")
    fill(store, {2: None, 4: None})
    assert store.find(2) == store.find("2") == 2
    with pytest.raises(InputError, match=r"no checkpoint of step 3 in .*; there are 2, 4"):
      store.find("3")
    with pytest.raises(InputError, match="has a finite dice; there are 2, 4"):
      store.find("best")
    with pytest.raises(InputError, match="step 'bset' must be a number, 'best' or 'last'"):
      store.find("bset")


def test_evaluation_reads_the_averaged_parameters(tmp_path):
  averaged = state_at(1).replace(ema_params=state_at(5).params)
  with Checkpoints(tmp_path, metric="dice") as store:
    store.save(averaged, iterator_state=0, metric=0.5)
    store.save(state_at(2, with_ema=False), iterator_state=0)
    params, step = store.restore_eval_params("best")
    assert step == 1
    jax.tree.map(np.testing.assert_array_equal, params, state_at(5).params)
    params, step = store.restore_eval_params()
    assert step == 2
    jax.tree.map(np.testing.assert_array_equal, params, state_at(2).params)


@pytest.mark.parametrize("template", [state_at(1, width=4), state_at(1, with_ema=False)])
def test_a_checkpoint_of_another_network_is_refused(tmp_path, template):
  with Checkpoints(tmp_path) as store:
    store.save(state_at(1), iterator_state=0)
    store.wait()
    with pytest.raises(InputError, match="of another network or optimiser"):
      store.restore(template)


def test_a_step_saved_before_is_left_as_it_is(tmp_path):
  with Checkpoints(tmp_path) as store:
    store.save(state_at(1), iterator_state="first")
    store.save(state_at(1).replace(params=state_at(2).params), iterator_state="second")
    store.wait()
    got, position = store.restore(state_at(1))
  assert position == "first"
  jax.tree.map(np.testing.assert_array_equal, got, state_at(1))


def test_orbax_not_saving_is_an_error(tmp_path, monkeypatch):
  with Checkpoints(tmp_path) as store:
    monkeypatch.setattr(store._manager, "save", lambda *_, **__: False)
    with pytest.raises(RuntimeError, match="did not save step 1"):
      store.save(state_at(1), iterator_state=0)


@pytest.mark.parametrize(("positions", "allowed"), [((5, 5), True), ((5, 6), False)])
def test_another_number_of_processes_goes_on_only_where_all_stood_at_one_place(
  tmp_path, monkeypatch, positions, allowed
):
  with Checkpoints(tmp_path) as store:
    with monkeypatch.context() as patch:
      patch.setattr(parallel, "gather_objects", lambda _: list(positions))
      store.save(state_at(1), iterator_state=5)
    store.wait()
    if allowed:
      assert store.restore(state_at(1))[1] == 5
    else:
      with pytest.raises(InputError, match="written by 2 processes at different places"):
        store.restore(state_at(1))


def test_what_a_killed_save_left_is_no_checkpoint_and_is_removed(tmp_path):
  with Checkpoints(tmp_path, keep_last=5) as store:
    fill(store, {1: None, 2: None})
  whole = tmp_path / checkpoint.FOLDER / "2"
  torn = whole.rename(whole.with_name("2.orbax-checkpoint-tmp-1700000000"))
  with Checkpoints(tmp_path, keep_last=5) as store:
    assert store.steps() == [1] and store.latest_step == 1
    fill(store, {2: None})
    assert store.steps() == [1, 2]
  assert not torn.exists()


def test_a_reader_disturbs_no_save_at_work(tmp_path):
  with Checkpoints(tmp_path, metric="dice") as store:
    fill(store, {1: 0.5})
  at_work = tmp_path / checkpoint.FOLDER / "2.orbax-checkpoint-tmp-1700000000"
  at_work.mkdir()
  with Checkpoints(tmp_path, metric="dice", read_only=True) as store:
    assert store.steps() == [1] and store.find("best") == 1
    jax.tree.map(np.testing.assert_array_equal, store.restore_eval_params()[0], state_at(1).ema_params)
  assert at_work.exists()
  with Checkpoints(tmp_path / "elsewhere", read_only=True) as store, pytest.raises(InputError, match="no checkpoint"):
    store.find()
  assert not (tmp_path / "elsewhere").exists()


def test_rank_puts_the_earlier_of_equals_first():
  assert checkpoint.rank({3: 0.1, 1: 0.2, 2: 0.1}, "min") == [2, 3, 1]
  assert checkpoint.rank({3: 0.1, 1: 0.2, 2: 0.2}, "max") == [1, 2, 3]
