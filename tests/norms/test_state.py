"""What norms keep between batches: in replicas that are trained at once, and in training that was interrupted."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.training.weights import load_weights, save_weights
from tests.norms.contracts import draw, same_as_loaded
from tests.norms.replicas import RANKS, STATEFUL, Behind, descend, gradients, loss_of, train_in_processes, train_in_turn

#: buffers that every replica has alike, whatever its data: they count
COUNTS = {"num_batches_tracked", "batches", "skips", "passes", "known", "after", "pending"}


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes got."""
    folder = tmp_path_factory.mktemp("replicas")
    spawn(train_in_processes, args=(str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


def test_all_norms_with_a_state_are_tried() -> None:
    assert {"batch", "bn_over_time", "tdbn", "bntt", "tebn", "mpbn", "l1_batch", "online", "power", "unified"} <= set(STATEFUL)
    assert all(next(make().buffers(), None) is not None for make in STATEFUL.values())


@pytest.mark.parametrize("name", STATEFUL)
def test_replicas_average_their_gradients_and_take_over_the_state_of_the_first(name: str, replicas: list[dict[str, Any]]) -> None:
    first, second = (found[name] for found in replicas)
    torch.testing.assert_close(first["gradients"], second["gradients"], rtol=0, atol=0)
    expected = train_in_turn(name)
    torch.testing.assert_close(first["gradients"], expected["gradients"], rtol=1e-5, atol=1e-6)
    for found, state in zip((first, second), expected["state"], strict=True):
        torch.testing.assert_close(dict(found["state"]), dict(state), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", STATEFUL)
def test_replicas_have_the_same_parameters_and_each_the_statistics_of_its_own_last_batch(name: str, replicas: list[dict[str, Any]]) -> None:
    first, second = (found[name]["state"] for found in replicas)
    kept = {key for key, _ in Behind(name).named_buffers()}
    for key in first:
        assert torch.equal(first[key], second[key]) or (key in kept and key.rpartition(".")[2] not in COUNTS), key
    alone = name in ("freezing", "weight norm")  # a frozen norm takes no statistics, nor do weights
    assert alone or any(not torch.equal(first[key], second[key]) for key in kept)


@pytest.mark.parametrize("name", STATEFUL)
def test_training_that_was_interrupted_goes_on_bit_by_bit(name: str) -> None:
    one, other = Behind(name), Behind(name, seed=1)
    for at in range(3):
        _step(one, at)
    same_as_loaded(one, other)
    for at in range(3, 8):
        torch.testing.assert_close(_step(other, at), _step(one, at), rtol=0, atol=0)
    torch.testing.assert_close(other.state_dict(), one.state_dict(), rtol=0, atol=0)
    with torch.no_grad():
        assert torch.equal(other.eval()(one.inputs(0, 9)), one.eval()(one.inputs(0, 9)))


def _step(model: Behind, at: int) -> list[Any]:
    """Output and gradients of one step of training."""
    y = model(model.inputs(0, at))
    loss_of(y).backward()
    found = [y.detach(), gradients(model)]
    descend(model)
    return found


@pytest.mark.parametrize("name", [name for name in ns.NORMS if ns.NORMS[name].kind == "parametrization"])
def test_a_model_is_saved_by_its_state_and_pickled_once_its_weights_are_plain(name: str, tmp_path: Path) -> None:
    """torch does not pickle parametrized layers, and says so; the weights of runs are states."""
    model: Any = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    parametrize.register_parametrization(model[0], "weight", ns.NORMS[name].example())
    x, other = draw(4, 6), copy.deepcopy(model)
    with torch.no_grad():
        for value in other.parameters():
            value.add_(1.0)
    save_weights(tmp_path / "weights.safetensors", model, {})
    load_weights(other, tmp_path / "weights.safetensors")
    assert torch.equal(other(x), model(x))
    with pytest.raises(RuntimeError, match=r"only supported through state_dict\(\)"):
        torch.save(model, tmp_path / "model.pt")
    folded: Any = ns.fold(model)
    assert torch.equal(pickle.loads(pickle.dumps(folded))(x), model(x))
