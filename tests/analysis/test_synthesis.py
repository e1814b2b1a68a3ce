"""Inputs that are made from a model, beside real ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis import statistics_loss
from neurosim.errors import ConfigError, DataError

Batches = list[tuple[Tensor, Tensor]]
synthesize: Any = ns.synthesize  #: that takes what it should not


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(2, name).normal(shape, like=torch.empty(0, dtype=torch.float64))


def largest(model: nn.Module, x: Tensor) -> dict[str, float]:
    """The largest magnitude that every layer gives."""
    with ns.record(model, nn.Linear) as recording, torch.no_grad():
        model(x)
    return {path: float(one.output.abs().max()) for path, one in recording.items()}


def test_the_statistics_loss_is_that_of_the_formula_and_its_gradient_that_of_differences() -> None:
    x, mean, variance = normal(9, 3, 4), normal(3, name="mean"), normal(3, name="variance").square()
    expected = 0.0
    for c in range(3):
        values = x[:, c].flatten()
        mu, var = float(values.mean()), float((values - values.mean()).square().mean())
        expected += ((mu - float(mean[c])) ** 2 / (float(variance[c]) + 1e-5)) / 3
        expected += (math.sqrt((var + 1e-5) / (float(variance[c]) + 1e-5)) - 1) ** 2 / 3
    assert float(statistics_loss(x, mean, variance)) == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda one: statistics_loss(one, mean, variance), x.requires_grad_())
    whole = normal(50, 3)
    assert float(statistics_loss(whole, whole.mean(0), whole.var(0, correction=0))) == pytest.approx(0, abs=1e-12)


def test_ranges_of_made_inputs_are_those_of_real_ones(trained: tuple[nn.Module, Batches, Batches]) -> None:
    model, train, _ = trained
    real = train[0][0][:128]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        sure = float(model(real).amax(1).mean())
    made = ns.synthesize(model, real.shape[1:], samples=128, logit=sure)
    assert made.shape == real.shape
    assert 0 <= float(made.min()) < float(made.max()) <= 1
    with torch.no_grad():
        z = model(made)
    asked = z.gather(1, (torch.arange(128) % 10)[:, None])
    assert float((z.argmax(1) == torch.arange(128) % 10).double().mean()) > 0.95
    assert float(asked.mean()) == pytest.approx(sure, rel=0.02)
    found, expected = largest(model, made), largest(model, real)
    for path, value in expected.items():
        assert 0.75 * value <= found[path] <= 1.33 * value
    mean, variance = model.get_buffer("2.running_mean"), model.get_buffer("2.running_var")
    first = model.get_submodule("1")
    apart = [float(statistics_loss(first(x.flatten(1)), mean, variance)) for x in (made, torch.rand_like(made))]
    assert apart[0] < 0.5 * apart[1]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_without_a_logit_it_becomes_as_large_as_the_bounds_allow(trained: tuple[nn.Module, Batches, Batches]) -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 1.0, 1.0]])
    model = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(weight)
    made = ns.synthesize(model, (3,), samples=4, bounds=(-2.0, 3.0), steps=400)
    best = torch.where(weight > 0, 3.0, -2.0)[torch.arange(4) % 2]
    torch.testing.assert_close(made, best, rtol=0, atol=0.05)
    free = ns.synthesize(model, (3,), samples=2, classes=[1], logit=40.0, bounds=None, steps=2000)
    torch.testing.assert_close(model(free)[:, 1], torch.full((2,), 40.0), rtol=0, atol=0.5)


def test_it_is_a_function_of_its_seed_and_takes_the_weights_of_a_chip(trained: tuple[nn.Module, Batches, Batches]) -> None:
    model, _, _ = trained
    options: dict[str, Any] = {"samples": 4, "steps": 5}
    first = ns.synthesize(model, (1, 8, 8), **options)
    chip = ns.to_analog(model, "photonic_avnn", seed=3)
    assert torch.equal(ns.synthesize(chip, (1, 8, 8), **options), first)
    assert torch.equal(ns.synthesize(nn.DataParallel(model), (1, 8, 8), **options), first)
    assert not torch.equal(ns.synthesize(model, (1, 8, 8), seed=1, **options), first)
    with torch.no_grad():
        assert torch.equal(ns.synthesize(model, (1, 8, 8), **options), first)
    ns.calibrate(chip, ns.synthesize(model, (1, 8, 8), samples=32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: synthesize(3, (2,)), "synthesize: model must be a torch.nn.Module"),
        (lambda model: synthesize(model, 64), "synthesize: shape must be the sizes of one input"),
        (lambda model: ns.synthesize(model, (64,), samples=0), "synthesize: samples"),
        (lambda model: ns.synthesize(model, (64,), bounds=(1.0, 0.0)), "synthesize: bounds must rise, got 1 and 0"),
        (lambda model: synthesize(model, (64,), bounds=3), "synthesize: bounds must be the lowest and the highest"),
        (lambda model: ns.synthesize(model, (64,), classes=[10]), "synthesize: classes"),
        (lambda model: ns.synthesize(model, (64,), classes=[]), "synthesize: classes must name at least one"),
        (lambda model: ns.synthesize(model, (64,), statistics=-1.0), "synthesize: statistics"),
        (
            lambda model: ns.synthesize(nn.Conv1d(2, 3, 1), (2, 5)),
            r"must give logits \(batch, classes\).*of shape \(64, 3, 5\)",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[Any], Any], message: str, trained: tuple[nn.Module, Batches, Batches]) -> None:
    with pytest.raises(ConfigError, match=message):
        call(trained[0])


def test_a_shape_that_does_not_fit_is_refused(trained: tuple[nn.Module, Batches, Batches]) -> None:
    with pytest.raises(DataError, match=r"synthesize: the model must take a batch of shape \(64, 5\)"):
        ns.synthesize(trained[0], (5,))


def test_channels_of_a_norm_are_where_it_says_and_no_mode_matters(trained: tuple[nn.Module, Batches, Batches]) -> None:
    torch.manual_seed(0)
    norm = ns.norms.BatchNorm(8, channel_dim=-1)
    model = nn.Sequential(nn.Linear(4, 8), norm, nn.Flatten(), nn.Linear(5 * 8, 3))
    model(torch.rand(32, 5, 4))
    made = ns.synthesize(model.eval(), (5, 4), samples=16, statistics=100.0, bounds=None, steps=400)
    plain = ns.synthesize(model, (5, 4), samples=16, statistics=0.0, bounds=None)
    found = [
        float(statistics_loss(model[0](x).detach().movedim(-1, 1), norm.running_mean, norm.running_var))
        for x in (made, plain)
        if norm.running_mean is not None and norm.running_var is not None
    ]
    assert found[0] < 0.5 * found[1]
    with torch.inference_mode():
        assert torch.equal(ns.synthesize(model, (5, 4), samples=16, statistics=0.0, bounds=None), plain)
    with pytest.raises(ConfigError, match="synthesize: classes must be the numbers of classes, got int"):
        synthesize(model, (5, 4), classes=1)
    with pytest.raises(ConfigError, match="synthesize: the model must be one chip"):
        synthesize(ns.chips(ns.to_analog(trained[0], "photonic_avnn", seed=3), 2), (1, 8, 8))
