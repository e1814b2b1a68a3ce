"""New statistics on the devices that there are."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.nn import MPBN, SpikingNetwork, SpikingSequential
from neurosim.norms import BatchNormOverTime, BatchNormThroughTime

T = 4


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(6, name).normal(shape, like=torch.empty(0))


def lif(**changes: Any) -> ns.LIF:
    return ns.LIF(2e-3, 1e-3, reset="hard", **changes)


def test_one_pass_finds_the_statistics_of_all_data_however_it_is_cut() -> None:
    x = normal(50, 3) * 2 + 1
    model = nn.Sequential(nn.BatchNorm1d(3))
    for sizes in ([50], [7, 20, 23]):
        found = ns.recalibrate(model, list(x.split(sizes)), passes=1)
        torch.testing.assert_close(found.get_buffer("0.running_mean"), x.mean(0))
        torch.testing.assert_close(found.get_buffer("0.running_var"), x.var(0))


def test_the_norms_over_time_get_the_statistics_that_are_theirs() -> None:
    x = normal(T, 20, 3) + torch.arange(T).reshape(T, 1, 1)
    merged, steps = ns.recalibrate(SpikingSequential(BatchNormOverTime(3)), [x]), ns.recalibrate(BatchNormThroughTime(3, 6), [x])
    torch.testing.assert_close(merged.get_buffer("0.running_mean"), x.mean((0, 1)))
    torch.testing.assert_close(steps.get_buffer("running_mean")[:T], x.mean(1))
    assert steps.get_buffer("running_mean")[T:].tolist() == [[0.0] * 3] * 2  # of which nothing was seen
    torch.testing.assert_close(steps.get_buffer("running_var")[:T], x.var(1))


def test_a_norm_that_counts_steps_keeps_them_apart_when_sequences_are_cut() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = BatchNormThroughTime(3, T)

        def forward(self, x: Tensor) -> Tensor:
            first, state = self.norm.run(x[:1])
            return torch.cat([first, self.norm.run(x[1:], state)[0]])

    x = normal(T, 20, 3) + torch.arange(T).reshape(T, 1, 1)
    torch.testing.assert_close(ns.recalibrate(Halves(), [x]).get_buffer("norm.running_mean"), x.mean(1))


def test_one_pass_is_enough_for_layers_behind_layers_that_are_far_off() -> None:
    """Gains of 100 and of 1: without the statistics of the batch, each layer would wait for the one before."""
    torch.manual_seed(0)
    model = nn.Sequential(*(part for _ in range(4) for part in (nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Tanh())))
    for at, gain in zip((0, 3, 6, 9), (100, 1, 100, 1), strict=True):
        model.get_parameter(f"{at}.weight").detach().mul_(gain)
    data = list(normal(4000, 5).split(1000))
    found = ns.recalibrate(model, data, passes=1).eval()
    for last in (2, 5, 8, 11):
        y = found[:last](torch.cat(data))  # type: ignore[index]  # an nn.Sequential
        torch.testing.assert_close(y.std(0), torch.ones(5), rtol=0.05, atol=0)


def test_further_passes_find_the_statistics_that_evaluation_has() -> None:
    """The membranes that evaluation has with the statistics found have these statistics."""
    torch.manual_seed(0)
    data = [normal(T, 64, 6, name=str(at)) for at in range(3)]
    model = SpikingSequential(nn.Linear(6, 8), MPBN(lif(), 8), nn.Linear(8, 8), MPBN(lif(), 8))
    found: Any = ns.recalibrate(model, data, passes=6)
    again: Any = ns.recalibrate(found, data, passes=1)
    off = [(a.norm.running_mean - b.norm.running_mean).abs().max().item() for a, b in ((found[at], again[at]) for at in (1, 3))]
    seen: list[Tensor] = []
    found[3].norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    found.eval()(torch.cat(data, 1))
    torch.testing.assert_close(torch.cat(seen).mean((0, 1)), found[3].norm.running_mean, rtol=0.01, atol=0.01)
    assert max(off) > 0  # the first pass, by statistics of the batch and the step, finds others


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """A spiking network that reads digits, and data to train and test on."""
    torch.manual_seed(0)
    data = ns.load_dataset("digits")
    train, test = (list(ns.datasets.batches(split, batch_size=256)) for split in (data.train, data.test))
    body = [nn.Flatten(), nn.Linear(64, 60), MPBN(lif(), 60), nn.Linear(60, 60), MPBN(lif(), 60), nn.Linear(60, 10)]
    model = SpikingNetwork(SpikingSequential(*body), T)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(10):
        for images, labels in train:
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
    return model.eval(), train, test


def rates(model: nn.Module, images: Tensor) -> Tensor:
    """Mean spikes of every hidden neuron."""
    return torch.cat([layer.rates for layer in ns.activity(model, images).layers])


def on_chip(model: nn.Module, seed: int, gain: float, tau: float) -> nn.Module:
    """A mixed-signal chip whose neurons differ by more than it says, in gain and in time constant."""
    return ns.to_neuromorphic(
        model, "bss2_spiking", seed=seed, overrides={"body.*": {"neuron.gain.spread": gain, "neuron.tau_mem.spread": tau}}
    )


def test_accuracy_and_rates_that_the_mismatch_of_chips_has_taken_come_back_as_thresholds(digits: Any) -> None:
    model, train, test = digits
    images = torch.cat([batch[0] for batch in test])
    wanted = rates(model, images)
    accuracies = []
    for seed in range(5):
        chip = on_chip(model, seed, gain=1.0, tau=0.5)
        calibrated = ns.fold(ns.recalibrate(chip, train))
        assert not [module for module in calibrated.modules() if isinstance(module, MPBN | ns.norms.Norm)]
        off = [(rates(one, images) - wanted).abs().mean().item() for one in (chip, calibrated)]
        assert off[1] < off[0] / 3
        accuracies.append([ns.evaluate(one, test) for one in (ns.fold(chip), calibrated)])
    ideal, (lost, back) = ns.evaluate(model, test), torch.tensor(accuracies).mean(0).tolist()
    assert ideal > 0.93
    assert lost < ideal - 0.03
    assert back > ideal - 0.01


def test_recalibration_sees_the_gains_of_a_chip_and_leaves_its_noise_where_it_was() -> None:
    """Within one step, a gain is a factor of the potential: of its mean and of its deviation."""
    model = SpikingSequential(MPBN(lif(), 50))
    chip: Any = ns.to_neuromorphic(model, "bss2_spiking", seed=1, overrides={"*": {"neuron.gain.spread": 0.5, "neuron.membrane": None}})
    x = normal(1, 400, 50) + 2
    found: Any = ns.recalibrate(chip, [x])
    gain = chip[0].neuron.chain.vary("gain", 1.0, x, 0)
    assert 0.3 < gain.log().std() < 0.7
    torch.testing.assert_close(found[0].norm.running_mean, gain * x.mean((0, 1)))
    torch.testing.assert_close(found[0].norm.running_var, gain.square() * x.var((0, 1)))
    assert ns.get_draws(found) == ns.get_draws(chip)


def test_the_model_is_a_copy_unless_it_is_to_be_changed_in_place(digits: Any) -> None:
    model, train, _ = digits
    before = pickle.dumps(model)
    found = ns.recalibrate(model, train[:2], passes=1)
    assert pickle.dumps(model) == before
    assert [module.training for module in found.modules()] == [module.training for module in model.modules()]
    assert not [module for module in found.modules() if module._forward_pre_hooks]
    mine = copy.deepcopy(model)
    assert ns.recalibrate(mine, train[:2], passes=1, inplace=True) is mine
    torch.testing.assert_close(mine.state_dict(), found.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(dict(found.named_parameters()), dict(model.named_parameters()), rtol=0, atol=0)


def test_noise_comes_from_the_stream() -> None:
    model = SpikingSequential(MPBN(lif(membrane_noise=0.5), 3))
    data = [normal(T, 16, 3), normal(T, 16, 3)]
    one, same = (ns.recalibrate(model, data, stream=ns.random.stream(0, "noise")) for _ in range(2))
    torch.testing.assert_close(one.state_dict(), same.state_dict(), rtol=0, atol=0)
    other = ns.recalibrate(model, data, stream=ns.random.stream(1, "noise"))
    assert not torch.equal(one.get_buffer("0.norm.running_var"), other.get_buffer("0.norm.running_var"))


def test_a_tensor_is_one_batch() -> None:
    model, x = nn.BatchNorm1d(3), normal(16, 3)
    torch.testing.assert_close(ns.recalibrate(model, x).state_dict(), ns.recalibrate(model, [x]).state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("model", "loader", "passes", "message"),
    [
        (nn.Linear(3, 3), [torch.zeros(2, 3)], 2, "no norm with running statistics; if it was folded, recalibrate it first"),
        (nn.BatchNorm1d(3), [], 2, "the loader holds no batches"),
        (nn.BatchNorm1d(3), iter([torch.zeros(2, 3)]), 2, "gone through 2 times, so it must be a list or a loader"),
        (nn.BatchNorm1d(3), [torch.zeros(2, 3)], 0, "passes: must be a whole number, 1 or more, got 0"),
        (nn.Sequential(nn.BatchNorm1d(3)), [torch.full((2, 3), torch.nan)], 1, r"what reaches 0 \(BatchNorm1d\) must be finite"),
        (nn.BatchNorm1d(3), [torch.full((2, 3), torch.inf)], 2, r"what reaches the norm \(BatchNorm1d\) must be finite"),
        (nn.BatchNorm1d(3), ["x"], 1, "batches must be tensors, or begin with one, got str"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(model: nn.Module, loader: Any, passes: int, message: str) -> None:
    before = pickle.dumps(model)
    with pytest.raises(ConfigError, match=message):
        ns.recalibrate(model, loader, passes=passes, inplace=True)
    assert pickle.dumps(model) == before
