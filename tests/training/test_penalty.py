"""What is added to the loss of a run: magnitudes of activations, more and more."""

from __future__ import annotations

import copy
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.sparsity.penalty import Activations
from neurosim.training.penalty import ActivationPenalty

Make = Callable[..., dict[str, Any]]
STAGES = {"kind": "activation_l1", "ends": [2, 6], "strengths": [0.1, 0.5]}


def test_it_is_the_mean_magnitude_of_the_last_forward_in_training_times_the_stage() -> None:
    model: Any = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.Tanh())
    added = ActivationPenalty(model, [2, 6], [0.1, 0.5], ["*"])
    model(torch.randn(7, 3))
    x = torch.randn(6, 3)
    hidden = model[1](model[0](x))
    by_hand = hidden.abs().mean() + model[3](model[2](hidden)).abs().mean()
    for step, strength in ((0, 0.1), (4, 0.3), (6, 0.5)):  # half of the sine is half of the way
        model.train()(x)
        model.eval()(torch.randn(9, 3))
        torch.testing.assert_close(added(step), strength * by_hand)
    model.train()(x)
    (slope,) = torch.autograd.grad(added(6), [model[0].weight], retain_graph=True)
    torch.testing.assert_close(slope, torch.autograd.grad(0.5 * by_hand, [model[0].weight])[0])


def test_afterwards_nothing_looks_at_the_model() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    added = ActivationPenalty(model, [2], [0.1], ["1"])
    added.end()
    model(torch.ones(1, 3))
    with pytest.raises(ConfigError, match="nothing was seen yet"):
        added(0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_can_be_copied_while_it_learns_and_the_copy_is_not_looked_at(copied: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    added = ActivationPenalty(model, [2], [0.1], ["*"])
    outputs = model(torch.randn(5, 3))
    copied(model).train()(torch.randn(6, 3))
    torch.testing.assert_close(added(0), 0.1 * outputs.mean())


def test_between_steps_no_graph_is_kept() -> None:
    """Neither that of the forward, nor that of activations that are computed again for the gradient."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    kept: list[weakref.ref[Tensor]] = []
    model[1].register_forward_hook(lambda module, args, result: kept.append(weakref.ref(result)))
    added = ActivationPenalty(model, [2], [0.1], ["*"])
    added(model(torch.randn(5, 3)).numel() * 0).backward()
    model[1](torch.randn(5, 3))
    assert len(kept) == 2
    assert all(one() is None for one in kept)
    with pytest.raises(ConfigError, match="nothing was seen yet"):
        added(0)


def test_activations_that_take_the_places_of_others_are_seen() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    added = ActivationPenalty(model, [2], [0.1], ["*"])
    model(torch.randn(2, 3))
    old, model[1] = model[1], nn.GELU()
    x = torch.randn(6, 3)
    first = model[1](model[0](x))
    by_hand = first.abs().mean() + model[3](model[2](first)).abs().mean()
    model(x)
    torch.testing.assert_close(added(0), 0.1 * by_hand)
    assert not old._forward_hooks
    added.end()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("copying", ["revive", "distill"])
def test_a_run_that_copies_its_model_has_the_penalty_to_the_end(copying: str, make_digital: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"train": {"epochs": 2, "regularizer": STAGES}}
    if copying == "revive":
        changes["train"]["revive"] = {"every_steps": 2, "tau": 0.5}
    else:
        changes |= {"recipe": "distill"}
        changes["train"]["swap"] = {"start": "gelu", "epochs": 1}
    counts: list[int] = []
    found = Activations.l1

    def counted(self: Activations) -> Tensor:
        counts.append(len(self.found))
        return found(self)

    monkeypatch.setattr(Activations, "l1", counted)
    run = ns.train(make_digital(model={"activation": "relu"}, **changes))
    assert run.metrics["epochs"] == 2
    assert len(counts) >= 4
    assert set(counts) == {1}


def test_a_config_makes_activations_smaller_without_counting_it_as_loss(make_digital: Make) -> None:
    found = {}
    images = torch.as_tensor(ns.load_dataset("digits").test.images[:200]).float()
    for strengths in ([0.0, 0.0], [0.5, 2.0]):
        run = ns.train(make_digital(train={"epochs": 3, "regularizer": {**STAGES, "strengths": strengths}}))
        model: Any = ns.load(run.path)
        with ns.sparsity.watch_activations(model) as seen, torch.no_grad():
            model(images)
        found[sum(strengths)] = float(seen.l1())
        assert run.metrics["test_loss"] < 3
    assert found[2.5] < 0.7 * found[0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ends": [6, 2]}, "ends must rise, one a strength"),
        ({"strengths": [0.1]}, "ends must rise, one a strength"),
        ({"strengths": [0.1, -1.0]}, r"regularizer\S*strengths"),
        ({"layers": ["fc1"]}, "train.regularizer: activation_l1: layers: 'fc1' names no activation"),
    ],
)
def test_stages_that_cannot_be_are_refused_before_the_run(change: dict[str, Any], message: str, make_digital: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        ns.train(make_digital(train={"regularizer": {**STAGES, **change}}))
