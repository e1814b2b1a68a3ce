"""Optimisers, schedules, clipping and mixed precision."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from neurosim.errors import ConfigError, RunError
from neurosim.training.optim import OPTIMIZERS, SCHEDULES, make_optimizer, make_schedule, set_learning_rate, take_step
from neurosim.training.precision import DTYPES, autocast, grad_scaler, pick_device

CPU = torch.device("cpu")
OFF = grad_scaler(CPU, "fp32")


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def test_a_constant_schedule_changes_nothing() -> None:
    schedule = make_schedule("constant", total_steps=10, steps_per_epoch=5)
    assert [schedule.factor(step) for step in range(10)] == [1.0] * 10


@pytest.mark.parametrize("kind", SCHEDULES)
def test_warm_up_is_a_straight_line_to_the_full_rate(kind: str) -> None:
    schedule = make_schedule(kind, total_steps=100, steps_per_epoch=50, warmup_steps=8)
    assert [schedule.factor(step) for step in range(8)] == [float(Fraction(step + 1, 8)) for step in range(8)]


def test_the_cosine_is_torchs_own() -> None:
    optimizer = torch.optim.SGD([parameter(1.0)], lr=1.0)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.1)
    schedule = make_schedule("cosine", total_steps=20, steps_per_epoch=5, final_fraction=0.1)
    for step in range(21):
        assert schedule.factor(step) == pytest.approx(peer.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        peer.step()


def test_the_cosine_starts_after_the_warm_up_and_is_half_way_in_the_middle() -> None:
    schedule = make_schedule("cosine", total_steps=110, steps_per_epoch=11, warmup_steps=10, final_fraction=0.5)
    assert schedule.factor(10) == 1.0
    assert schedule.factor(60) == pytest.approx(0.75)
    assert schedule.factor(110) == pytest.approx(0.5)


def test_steps_multiply_by_gamma_every_few_epochs() -> None:
    schedule = make_schedule("step", total_steps=60, steps_per_epoch=10, every_epochs=2, gamma=0.5)
    assert [schedule.factor(10 * epoch) for epoch in range(6)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert schedule.factor(19) == 1.0
    assert schedule.factor(20) == 0.5


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be below the 10 steps of the run, got 10"):
        make_schedule("cosine", total_steps=10, steps_per_epoch=5, warmup_steps=10)


@pytest.mark.parametrize(
    ("kind", "settings", "message"), [("cosin", {}, "did you mean 'cosine'"), ("step", {"gama": 0.5}, "did you mean 'gamma'")]
)
def test_an_unknown_schedule_or_setting_is_refused(kind: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_schedule(kind, total_steps=10, steps_per_epoch=5, **settings)


def test_sgd_takes_the_step_of_its_equation() -> None:
    weight = parameter(1.0, -2.0)
    optimizer = make_optimizer([weight], "sgd", lr=0.5, weight_decay=0.1, momentum=0.9)
    take_step((3 * weight).sum(), optimizer, OFF, None)  # gradient 3, plus 0.1 w; the first momentum buffer is the gradient itself
    torch.testing.assert_close(weight.detach(), torch.tensor([1 - 0.5 * 3.1, -2 - 0.5 * 2.8]))


def test_adamw_decays_weights_apart_from_the_gradient_and_adam_does_not() -> None:
    steps = {}
    for kind in ("adam", "adamw"):
        weight = parameter(10.0)
        take_step((1e-3 * weight).sum(), make_optimizer([weight], kind, lr=0.1, weight_decay=0.5), OFF, None)
        steps[kind] = 10 - weight.item()
    assert steps["adam"] == pytest.approx(0.1, rel=1e-4)  # lr · sign of (gradient + decay)
    assert steps["adamw"] == pytest.approx(0.1 * 0.5 * 10 + 0.1, rel=1e-4)  # lr · decay · w, and lr · sign of the gradient


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_finds_the_minimum_of_a_parabola(kind: str) -> None:
    weight = parameter(3.0)
    optimizer = make_optimizer([weight], kind, lr=0.1)
    for _ in range(200):
        take_step((weight - 1).square().sum(), optimizer, OFF, None)
    assert weight.item() == pytest.approx(1.0, abs=1e-2)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("adm", {}, "did you mean 'adam'"),
        ("adam", {"momentum": 0.9}, "adam has no such setting"),
        ("sgd", {"betas": (0.9, 0.99)}, "sgd has no such setting"),
        ("sgd", {"nesterov": True}, "[Nn]esterov"),
    ],
)
def test_an_optimizer_that_cannot_be_is_refused(kind: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_optimizer([parameter(1.0)], kind, lr=0.1, **settings)


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="must have parameters that require a gradient"):
        make_optimizer(nn.ReLU().parameters(), "sgd", lr=0.1)


def test_frozen_parameters_stay() -> None:
    frozen, free = nn.Parameter(torch.ones(1), requires_grad=False), parameter(1.0)
    optimizer = make_optimizer([frozen, free], "adamw", lr=0.1, weight_decay=0.5)
    take_step((frozen * free).sum(), optimizer, OFF, None)
    assert frozen.item() == 1.0
    assert free.item() < 1.0


def test_clipping_shortens_the_gradient_to_the_norm_and_keeps_its_direction() -> None:
    a, b = parameter(0.0), parameter(0.0)
    take_step((30 * a + 40 * b).sum(), make_optimizer([a, b], "sgd", lr=1.0), OFF, 5.0)
    torch.testing.assert_close((a.item(), b.item()), (-3.0, -4.0), rtol=1e-5, atol=0)  # torch adds 1e-6 to the norm


def test_a_gradient_below_the_norm_is_left_alone() -> None:
    a = parameter(0.0)
    take_step((3 * a).sum(), make_optimizer([a], "sgd", lr=1.0), OFF, 5.0)
    assert a.item() == -3.0


def test_the_learning_rate_is_set_in_every_group() -> None:
    groups: list[dict[str, Any]] = [{"params": [parameter(1.0)]}, {"params": [parameter(2.0)], "lr": 7.0}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched() -> None:
    weight = parameter(0.0)
    with pytest.raises(RunError, match="a gradient is not finite"):
        take_step(weight.sqrt().sum(), make_optimizer([weight], "sgd", lr=1.0), OFF, 1.0)  # d sqrt(w) at 0
    assert weight.item() == 0.0


def test_the_scaler_skips_such_a_step_and_halves_its_scale() -> None:
    weight, scaler = parameter(0.0), grad_scaler(CPU, "fp16")
    before = scaler.get_scale()
    take_step(weight.sqrt().sum(), make_optimizer([weight], "sgd", lr=1.0), scaler, 1.0)
    assert weight.item() == 0.0
    assert scaler.get_scale() == before / 2


def test_a_scaler_that_can_only_skip_stops_the_run() -> None:
    weight, scaler = parameter(0.0), grad_scaler(CPU, "fp16")
    optimizer = make_optimizer([weight], "sgd", lr=1.0)
    skips = round(math.log2(scaler.get_scale()))

    def skip_forever() -> None:
        for _ in range(skips + 20):
            take_step(weight.sqrt().sum(), optimizer, scaler, None)

    with pytest.raises(RunError, match="even with the loss scaled by"):
        skip_forever()


@pytest.mark.parametrize("precision", DTYPES)
def test_every_precision_trains_on_the_cpu_with_float32_weights(precision: str) -> None:
    layer = nn.Linear(4, 1)
    nn.init.constant_(layer.weight, 0.5)
    scaler, optimizer = grad_scaler(CPU, precision), make_optimizer(layer.parameters(), "sgd", lr=0.01)
    losses = []
    for _ in range(20):
        with autocast(CPU, precision):
            output = layer(torch.ones(2, 4))
        assert output.dtype == DTYPES[precision]
        value = (output.float() - 1).square().mean()
        losses.append(value.item())
        take_step(value, optimizer, scaler, None)
    assert losses[-1] < 0.5 * losses[0]
    assert layer.weight.dtype == torch.float32


def test_an_unknown_precision_or_device_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.precision: no precision is named 'bf15'; did you mean 'bf16'"):
        autocast(CPU, "bf15")
    with pytest.raises(ConfigError, match=r"train\.device: no device is named 'gpu'"):
        pick_device("gpu")


def test_mixed_precision_on_a_device_without_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="use fp32"):
        autocast(torch.device("meta"), "bf16")


def test_cuda_without_a_gpu_is_refused_and_auto_takes_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(ConfigError, match="torch sees none here"):
        pick_device("cuda")
