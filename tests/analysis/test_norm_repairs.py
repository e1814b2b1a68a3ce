"""Norms that take back what a chip does: statistics of the chip, of the batch, and scales and shifts that are trained."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis import mixed_batch_norm, statistics_distance
from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile

GAIN = 0.4


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(9, name).normal(shape, like=torch.empty(0))


class WrongScale(nn.Module):
    """Products of a chip whose gain has drifted by a factor, and that has an offset."""

    def __init__(self, gain: float = GAIN, offset: float = 0.3) -> None:
        super().__init__()
        self.gain, self.offset = gain, offset

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x + self.offset


def drifted(model: nn.Sequential) -> nn.Sequential:
    """The network with the gain of every product behind which a norm comes changed."""
    parts = list(copy.deepcopy(model))
    for at in [at for at, part in enumerate(parts) if isinstance(part, nn.BatchNorm1d)]:
        parts[at] = nn.Sequential(WrongScale(), parts[at])
    return nn.Sequential(*parts)


def test_recalibration_on_the_chip_undoes_a_gain_and_an_offset_in_front_of_a_norm(trained: Any) -> None:
    model, train, test = trained
    chip = drifted(model)
    x = torch.cat([images for images, _ in train])
    found = ns.recalibrate(chip, [x], passes=2)
    wanted = ns.recalibrate(model, [x], passes=2)  # the same data through the digital network
    torch.testing.assert_close(found(x), wanted(x), rtol=1e-3, atol=1e-3)  # ε of the norms aside
    assert ns.evaluate(chip, test) < ns.evaluate(model, test) - 0.1
    assert ns.evaluate(found, test) > ns.evaluate(model, test) - 0.03


def noisy_chip(model: nn.Module, seed: int = 3, scale: float = 0.15) -> Any:
    noise = {"kind": "noise", "distribution": "gaussian", "scale": scale, "scope": "device"}
    spec = ChainSpec.model_validate({"weight": {"noise": noise}, "output": {"noise": noise | {"scope": "read"}}})
    return ns.to_analog(model, Profile("mine", "for a test", "electronic", spec), seed=seed)


def test_each_repair_brings_back_accuracy_that_programming_errors_have_taken(trained: Any) -> None:
    model, train, test = trained
    chip = noisy_chip(model)
    digital, lost = ns.evaluate(model, test), ns.evaluate(chip, test)
    assert lost < digital - 0.05
    draws = ns.get_draws(chip)
    found = {"recalibrated": ns.recalibrate(chip, train), "tweaked": ns.tweak_norms(chip, train, epochs=12)}
    assert all(ns.get_draws(one) == draws for one in found.values())
    back = {name: ns.evaluate(one, test) for name, one in found.items()}
    ns.set_draws(chip, draws)
    with ns.batch_statistics(chip, alpha=0.3):
        back["batch statistics"] = ns.evaluate(chip, test)
    assert [name for name, value in back.items() if value < lost + 0.25 * (digital - lost)] == []


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_statistics_are_mixed_as_the_formula_says(alpha: float) -> None:
    x, mean, var = normal(7, 3, 4), normal(3, name="mean"), normal(3, name="var").square() + 0.1
    weight, bias = normal(3, name="weight"), normal(3, name="bias")
    found = mixed_batch_norm(x, mean, var, weight, bias, alpha=alpha, eps=1e-3)
    for c in range(3):
        channel = x[:, c]
        mu = alpha * mean[c] + (1 - alpha) * channel.mean()
        sigma = (alpha * var[c] + (1 - alpha) * (channel - channel.mean()).square().mean() + 1e-3).sqrt()
        torch.testing.assert_close(found[:, c], weight[c] * (channel - mu) / sigma + bias[c], rtol=1e-4, atol=1e-5)


def test_gradients_go_through_the_statistics_of_the_batch() -> None:
    known = [normal(3, name=name).double() for name in ("mean", "weight", "bias")]
    var = known[0].square() + 0.1
    x = normal(5, 3).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: mixed_batch_norm(v, known[0], var, known[1], known[2], alpha=0.4), (x,))


def test_the_ends_of_the_mixture_are_the_norms_of_evaluation_and_of_training() -> None:
    norm = nn.BatchNorm2d(3).eval().requires_grad_(False)
    norm.running_mean, norm.running_var = normal(3, name="mean"), normal(3, name="var").square() + 0.5
    x = normal(6, 3, 4, 4)
    expected = norm(x)
    with ns.batch_statistics(norm, 1.0):
        torch.testing.assert_close(norm(x), expected)
    trained = copy.deepcopy(norm).train()
    with ns.batch_statistics(norm, 0.0):
        torch.testing.assert_close(norm(x), trained(x))
        norm.train()
        moved = copy.deepcopy(norm)
        torch.testing.assert_close(norm(x), moved.train()(x))  # in training it is the norm that it was
    assert "forward" not in vars(norm)


def test_statistics_of_the_batch_undo_any_gain_whatever_it_is() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).eval().requires_grad_(False)
    x = normal(64, 5)
    with ns.batch_statistics(model, 0.0):
        wanted = model(x)
    chip = nn.Sequential(model[0], WrongScale(7.0), model[1])
    with ns.batch_statistics(chip, 0.0):
        torch.testing.assert_close(chip(x), wanted, rtol=1e-3, atol=1e-3)
    assert float((chip(x) - wanted).abs().max()) > 1


def test_a_norm_is_left_as_it_was_when_the_block_fails() -> None:
    norm = nn.BatchNorm1d(3).eval()
    before = pickle.dumps(norm)
    with pytest.raises(ValueError, match="expected 2D or 3D input"), ns.batch_statistics(norm, 0.5):
        norm(torch.zeros(1, 3, 2, 2))
    assert pickle.dumps(norm) == before


def test_tweaked_scales_are_those_of_the_closed_form() -> None:
    """One norm behind a gain g: γ' = γ / g (where the norm's statistics stay), and β moves by what the offset was worth."""
    torch.manual_seed(0)
    digital = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).eval()
    chip = nn.Sequential(digital[0], WrongScale(0.5, 0.2), copy.deepcopy(digital[1]))
    x = normal(512, 5)
    reference = nn.Sequential(digital[0], nn.Identity(), digital[1])
    found: Any = ns.tweak_norms(chip, [x], reference=reference, epochs=150, lr=0.1)
    norm, tuned = digital[1], found[2]
    torch.testing.assert_close(tuned.weight, norm.weight / 0.5, rtol=1e-2, atol=1e-2)  # type: ignore[operator]  # a norm's
    torch.testing.assert_close(tuned.bias, norm.bias - tuned.weight * 0.2, rtol=1e-2, atol=2e-2)  # type: ignore[operator]  # a norm's
    torch.testing.assert_close(found(x), digital(x), rtol=0.05, atol=0.05)
    assert torch.equal(found[0].weight, chip[0].weight)  # type: ignore[arg-type]  # a linear layer's


def test_norms_without_running_statistics_are_tweaked_as_well() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))
    chip, x = noisy_chip(model, scale=0.1), normal(512, 6)

    def distance(one: nn.Module) -> float:
        with torch.no_grad():
            return float(statistics_distance(one.eval()(x), model(x), -1))

    before = pickle.dumps(chip)
    found = ns.tweak_norms(chip, list(x.split(256)), epochs=20, lr=0.05)
    assert pickle.dumps(chip) == before
    assert distance(found) < 0.5 * distance(chip)
    changed = {name for name, value in found.named_parameters() if not torch.equal(value, chip.get_parameter(name))}
    assert changed == {"1.weight", "1.bias"}
    assert ns.tweak_norms(chip, [x], epochs=1, inplace=True) is chip


def test_the_distance_of_statistics_is_that_of_the_formula() -> None:
    y, target = normal(6, 3, 4), normal(6, 3, 4, name="target")
    by_hand = [
        abs(y[:, c].mean() - target[:, c].mean()) + abs(y[:, c].var(correction=0) - target[:, c].var(correction=0)) for c in range(3)
    ]
    assert float(statistics_distance(y, target, 1)) == pytest.approx(float(sum(by_hand)) / 3, rel=1e-5)
    y64 = y.double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: statistics_distance(v, target.double(), 1), (y64,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ns.tweak_norms(nn.Linear(2, 2), torch.zeros(2, 2)), "no norm with a scale or a shift"),
        (lambda: ns.tweak_norms(nn.BatchNorm1d(2), torch.zeros(2, 2)), "no layer on hardware: give the reference"),
        (lambda: ns.tweak_norms(nn.BatchNorm1d(2), torch.zeros(2, 2), reference=nn.Linear(2, 2), epochs=0), "epochs"),
        (
            lambda: ns.tweak_norms(nn.Sequential(nn.BatchNorm1d(2)), torch.zeros(2, 2), reference=nn.Linear(2, 2)),
            "the reference has no '0'",
        ),
        (lambda: ns.batch_statistics(nn.Linear(2, 2)).__enter__(), "no norm with running statistics"),
        (lambda: ns.batch_statistics(nn.BatchNorm1d(2), 1.5).__enter__(), r"alpha must be in \[0, 1\], got 1.5"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
