"""Every norm by running statistics can take them from data, all at once or mixed with those of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.nn import MPBN, SpikingSequential
from neurosim.norms import FreezingNorm, L1BatchNorm, OnlineNorm, PowerNorm, UnifiedNorm
from neurosim.norms.calibrated import calibrated_norms
from tests.norms.contracts import varied

C = 6
NUMBER: Any = 3
NOTHING: Any = None


def images(count: int, name: str = "x") -> Tensor:
    return 3 * ns.random.stream(3, name).normal((count, C, 4, 3), like=torch.empty(0, dtype=torch.float64)) + torch.arange(C).reshape(
        -1, 1, 1
    )


def variance(x: Tensor, correction: int = 1) -> Tensor:
    return x.var((0, 2, 3), correction=correction)


def mean(x: Tensor) -> Tensor:
    return x.mean((0, 2, 3))


def scaled(x: Tensor) -> Tensor:
    """Every place of every sample by the root mean square of its channels."""
    return x / (x.square().mean(1, keepdim=True) + 1e-5).sqrt()


#: by class, how each statistic follows from all data
FORMULAS: dict[str, dict[str, Callable[[Tensor], Tensor]]] = {
    "batch": {"running_mean": mean, "running_var": variance},
    "l1_batch": {"running_mean": mean, "running_deviation": lambda x: mean((x - mean(x).reshape(-1, 1, 1)).abs())},
    "online": {"running_mean": mean, "running_var": lambda x: variance(x, 0)},
    "power": {"running_square": lambda x: mean(scaled(x).square())},
    "unified": {"running_square": lambda x: mean(x.square())},
    "evonorm_b0": {"running_var": variance},
    "evonorm_b1": {"running_var": variance},
    "evonorm_b2": {"running_var": variance},
    "of torch, by samples": {"running_mean": mean, "running_var": lambda x: x.var((2, 3)).mean(0)},
}


def norm_of(name: str) -> Any:
    made: nn.Module = nn.InstanceNorm2d(C, affine=True, track_running_stats=True)
    return (ns.NORMS[name].make(C) if name in ns.NORMS else made).double()


def test_every_norm_by_running_statistics_is_known() -> None:
    running = [name for name in ns.NORMS if ns.NORMS[name].kind == "module" and "of training" in ns.NORMS[name].formula]
    assert set(FORMULAS) - {"of torch, by samples"} <= set(running)
    assert [name for name in running if not calibrated_norms(ns.NORMS[name].example())] == []


@pytest.mark.parametrize("name", FORMULAS)
def test_recalibration_finds_what_the_norm_evaluates_by_over_all_data(name: str) -> None:
    x = images(21)
    model = norm_of(name)
    before = copy.deepcopy(model.state_dict())
    for sizes in ([21], [5, 15, 1], [1, 20]):
        found = ns.recalibrate(model, list(x.split(sizes)))
        for buffer, formula in FORMULAS[name].items():
            torch.testing.assert_close(found.get_buffer(buffer), formula(x), rtol=1e-10, atol=1e-10)
        others = {key: value for key, value in found.state_dict().items() if key not in FORMULAS[name]}
        torch.testing.assert_close(others, {key: before[key] for key in others}, rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_second_pass_sees_what_evaluation_gives_to_a_norm_behind_a_norm(name: str) -> None:
    torch.manual_seed(0)
    x = images(16)
    model = nn.Sequential(norm_of(name), nn.Conv2d(C, C, 1), norm_of(name)).double()
    found = ns.recalibrate(model, list(x.split(7)))
    alone = ns.recalibrate(model[0], list(x.split(7)))
    torch.testing.assert_close(found.get_submodule("0").state_dict(), alone.state_dict())
    between = found.eval()[1](found[0](x)).detach()
    for buffer, formula in FORMULAS[name].items():
        if buffer != "running_deviation":  # whose distances are from the mean of the first pass
            torch.testing.assert_close(found.get_buffer(f"2.{buffer}"), formula(between), rtol=1e-9, atol=1e-9)


def test_other_norms_beside_a_batch_norm_are_not_left_as_they_were() -> None:
    x = images(16)
    model = nn.Sequential(nn.BatchNorm2d(C), UnifiedNorm(C)).double()
    found = ns.recalibrate(model, x)
    torch.testing.assert_close(found.get_buffer("1.running_square"), mean(found.eval()[0](x).square()).detach())


def test_a_frozen_norm_keeps_its_averages_and_what_is_in_it() -> None:
    model = nn.Sequential(FreezingNorm(PowerNorm(C), 3), nn.BatchNorm2d(C)).double()
    found = ns.recalibrate(model, images(8))
    torch.testing.assert_close(found.get_submodule("0").state_dict(), model.get_submodule("0").state_dict(), rtol=0, atol=0)
    with pytest.raises(ConfigError, match="no norm with running statistics"):
        ns.recalibrate(model[0], images(8))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "batch"])
def test_statistics_of_the_batch_are_mixed_with_those_of_training(name: str, alpha: float) -> None:
    x = images(9)
    norm = varied(norm_of(name)).eval()
    by_hand = copy.deepcopy(norm)
    for buffer, formula in FORMULAS[name].items():
        known = norm.get_buffer(buffer)
        known.uniform_(0.5, 2)
        by_hand.get_buffer(buffer).copy_(alpha * known + (1 - alpha) * formula(x))
    before = copy.deepcopy(norm.state_dict())
    y = x.clone().requires_grad_()
    with ns.batch_statistics(norm, alpha):
        found = norm(y)
        torch.testing.assert_close(found, by_hand(x), rtol=1e-10, atol=1e-10)
        if name != "of torch, by samples":  # which does not take it
            torch.testing.assert_close(norm(x[:0]), x[:0])
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(found.sum(), y)
    assert bool(gradient.isfinite().all())


def test_in_training_statistics_are_not_mixed() -> None:
    x, norm = images(9), norm_of("l1_batch")
    alone = copy.deepcopy(norm)
    with ns.batch_statistics(norm, 0.3):
        torch.testing.assert_close(norm(x), alone(x), rtol=0, atol=0)
    torch.testing.assert_close(norm.state_dict(), alone.state_dict(), rtol=0, atol=0)


# --- batches of one sample --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [nn.BatchNorm1d, ns.norms.BatchNorm, L1BatchNorm, OnlineNorm], ids=lambda make: make.__name__)
@pytest.mark.parametrize("passes", [1, 2])
def test_a_sample_that_is_left_alone_counts_like_the_others(make: Any, passes: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(25, 4, dtype=torch.float64) * 3 + 1
    model = nn.Sequential(nn.Linear(4, 3), make(3)).double()
    for sizes in ([8, 8, 8, 1], [1, 24]):
        found = ns.recalibrate(model, list(x.split(sizes)), passes=passes)
        torch.testing.assert_close(found.get_buffer("1.running_mean"), model[0](x).mean(0).detach())
        if make is not L1BatchNorm:
            torch.testing.assert_close(
                found.get_buffer("1.running_var"), model[0](x).var(0, correction=int(make is not OnlineNorm)).detach()
            )


def test_a_sample_that_is_left_alone_passes_what_the_others_gave_to_the_layers_behind() -> None:
    """In the first pass it is normalised as in evaluation by the batches before it."""
    torch.manual_seed(0)
    x = torch.randn(9, 4, dtype=torch.float64) * 3 + 1
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    first = ns.recalibrate(model[0], x[:8], passes=1).eval()
    by_batch = copy.deepcopy(model[0]).train()
    seen = model[1](torch.cat([by_batch(x[:8]), first(x[8:])]))
    found = ns.recalibrate(model, [x[:8], x[8:]], passes=1)
    torch.testing.assert_close(found.get_buffer("2.running_mean"), seen.mean(0).detach())
    torch.testing.assert_close(found.get_buffer("2.running_var"), seen.var(0).detach())


@pytest.mark.parametrize("statistics", ["per_step", "merged"])
@pytest.mark.parametrize("on_chip", [False, True])
def test_a_sample_that_is_left_alone_reaches_the_potentials_of_neurons(statistics: Any, on_chip: bool) -> None:
    model: nn.Module = SpikingSequential(MPBN(ns.LIF(2e-3, 1e-3, reset="hard"), 5, statistics=statistics))
    if on_chip:
        model = ns.to_neuromorphic(model, "bss2_spiking", seed=1, overrides={"*": {"neuron.membrane": None}})
    x = torch.randn(1, 17, 5, generator=torch.Generator().manual_seed(0)) + 1
    found = ns.recalibrate(model, list(x.split([8, 8, 1], 1)))
    torch.testing.assert_close(found.state_dict(), ns.recalibrate(model, x).state_dict())


def test_arguments_of_another_kind_are_refused() -> None:
    model, x = nn.BatchNorm1d(3), torch.rand(4, 3)
    kind = r"must be a torch\.nn\.Module, got int"
    for call, message in (
        (lambda: ns.recalibrate(NUMBER, x), f"recalibrate: model {kind}"),
        (lambda: ns.recalibrate(model, NUMBER), "recalibrate: loader: must be a tensor, or batches, got int"),
        (lambda: ns.recalibrate(model, NOTHING), "recalibrate: loader: must be a tensor, or batches, got NoneType"),
        (lambda: ns.recalibrate(model, [()]), "recalibrate: batches must be tensors, or begin with one, got NoneType"),
        (lambda: ns.recalibrate(model, x, stream=NUMBER), "recalibrate: stream must be a neurosim.random.Stream, got int"),
        (lambda: ns.recalibrate(model, x[:1]), r"the norm \(BatchNorm1d\) must be more than one value for each statistic, got one"),
        (lambda: ns.batch_statistics(NUMBER).__enter__(), f"batch_statistics: model {kind}"),
        (lambda: ns.batch_statistics(nn.LayerNorm(3)).__enter__(), "no norm with running statistics; those in MPBN and FreezingNorm"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_instance_norms_take_one_image_after_the_other_as_all_at_once() -> None:
    torch.manual_seed(0)
    parts = [(nn.Conv2d(4, 4, 3, padding=1), nn.InstanceNorm2d(4, track_running_stats=True), nn.ReLU()) for _ in range(3)]
    model, x = nn.Sequential(*(one for part in parts for one in part)), torch.randn(6, 4, 8, 8)
    alone, whole = ns.recalibrate(model, list(x.split(1))), ns.recalibrate(model, x)
    torch.testing.assert_close(alone.state_dict(), whole.state_dict(), rtol=0.05, atol=0.01)  # equal after as many passes as norms
    many = [ns.recalibrate(model, data, passes=4).state_dict() for data in (list(x.split(1)), x)]
    torch.testing.assert_close(*many, rtol=1e-4, atol=1e-5)
    ns.recalibrate(nn.InstanceNorm2d(4, track_running_stats=True), x[:1])


def test_a_stack_of_chips_has_no_statistics_of_its_own() -> None:
    torch.manual_seed(0)
    stack = ns.chips(ns.to_analog(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), "ideal", seed=0), 2)
    with pytest.raises(ConfigError, match=r"recalibrate: the model must be one chip, .* recalibrate each of stack\.chips"):
        ns.recalibrate(stack, torch.rand(4, 3))
