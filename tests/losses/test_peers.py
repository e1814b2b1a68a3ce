"""Losses that snnTorch has too give its values and gradients, and differ where the documentation says that they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import snntorch.functional as SF
import torch
from torch import Tensor
from torch.nn import functional as F

from neurosim import losses

STEPS, BATCH, CLASSES = 25, 16, 10


def spikes(rate: float = 0.2, units: int = CLASSES) -> Tensor:
    return (torch.rand(STEPS, BATCH, units, generator=torch.Generator().manual_seed(3)) < rate).float()


def labels(classes: int = CLASSES) -> Tensor:
    return torch.arange(BATCH) % classes


def value_and_gradient(loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = loss(x, targets).sum()  # two of snnTorch's have the shape (1,)
    value.backward()
    assert x.grad is not None
    return value.detach(), x.grad


PAIRS: dict[str, tuple[Any, Any]] = {
    "step_cross_entropy": (losses.StepCrossEntropy(), SF.ce_rate_loss()),
    "count_cross_entropy": (losses.CountCrossEntropy(), SF.ce_count_loss()),
    "count_cross_entropy, groups": (losses.CountCrossEntropy(classes=5), SF.ce_count_loss(population_code=True, num_classes=5)),
    "max_cross_entropy": (losses.MaxCrossEntropy(), SF.ce_max_membrane_loss()),
    "count_mse": (losses.CountMSE(on=0.8, off=0.2), SF.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)),
    "count_mse, groups": (
        losses.CountMSE(on=0.8, off=0.2, classes=5),
        SF.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2, population_code=True, num_classes=5),
    ),
    "membrane_mse": (losses.MembraneMSE(on=1.5, off=0.25), SF.mse_membrane_loss(on_target=1.5, off_target=0.25)),
    "first_spike_cross_entropy": (losses.FirstSpikeCrossEntropy(gradient="sign", silent="last"), SF.ce_temporal_loss()),
    "first_spike_mse": (
        losses.FirstSpikeMSE(on=2.0, off=20.0, gradient="sign", silent="last"),
        SF.mse_temporal_loss(on_target=2, off_target=20),
    ),
    "first_spike_mse, tolerant": (
        losses.FirstSpikeMSE(on=2.0, off=20.0, tolerance=4.0, gradient="sign", silent="last"),
        SF.mse_temporal_loss(on_target=2, off_target=20, tolerance=4),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.4])
def test_values_and_gradients_are_those_of_snntorch(pair: str, rate: float) -> None:
    ours, theirs = PAIRS[pair]
    x, y = spikes(rate), labels(5 if "groups" in pair else CLASSES)
    (value, grad), (expected, expected_grad) = value_and_gradient(ours, x, y), value_and_gradient(theirs, x, y)
    torch.testing.assert_close(value, expected, rtol=2e-6, atol=1e-7)
    torch.testing.assert_close(grad, expected_grad, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("pair", ["step_cross_entropy", "max_cross_entropy", "membrane_mse", "count_cross_entropy"])
def test_potentials_give_what_they_give_in_snntorch(pair: str) -> None:
    ours, theirs = PAIRS[pair]
    v = torch.randn(STEPS, BATCH, CLASSES, generator=torch.Generator().manual_seed(4))
    (value, grad), (expected, expected_grad) = value_and_gradient(ours, v, labels()), value_and_gradient(theirs, v, labels())
    torch.testing.assert_close(value, expected, rtol=2e-6, atol=1e-7)
    torch.testing.assert_close(grad, expected_grad, rtol=2e-6, atol=1e-8)


def test_times_as_targets_are_those_of_snntorch() -> None:
    wanted = torch.randint(0, STEPS, (BATCH, CLASSES), generator=torch.Generator().manual_seed(5)).float()
    ours = losses.FirstSpikeMSE(gradient="sign", silent="last")
    (value, grad), (expected, expected_grad) = (
        value_and_gradient(loss, spikes(), wanted) for loss in (ours, SF.mse_temporal_loss(target_is_time=True))
    )
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, expected_grad)


def test_class_weights_are_averaged_as_torch_does() -> None:
    """snnTorch averages the weighted losses over the batch instead."""
    weights = torch.linspace(0.2, 2, CLASSES)
    counts, y = spikes().sum(0), labels()
    ours = losses.count_cross_entropy(spikes(), y, class_weights=weights)
    torch.testing.assert_close(ours, F.cross_entropy(counts, y, weight=weights))
    torch.testing.assert_close(SF.ce_count_loss(weight=weights)(spikes(), y), ours * weights[y].mean())


def test_the_default_targets_of_snntorchs_temporal_mse_are_step_0_for_every_unit() -> None:
    """Its docstring says the last step for the others; so does ours, and does it."""
    s, y = spikes(), labels()
    both_at_0 = losses.first_spike_mse(s, y, on=0.0, off=0.0, gradient="sign", silent="last")
    torch.testing.assert_close(SF.mse_temporal_loss()(s, y), both_at_0)
    assert losses.first_spike_mse(s, y, gradient="sign", silent="last") > 2 * both_at_0


def test_times_given_as_targets_are_left_as_they_are() -> None:
    """snnTorch replaces negative ones in the user's tensor."""
    wanted = torch.tensor([[0.0, -1.0]])
    s = torch.eye(4)[:, None, :2]
    losses.first_spike_mse(s, wanted)
    assert wanted.tolist() == [[0.0, -1.0]]
    SF.mse_temporal_loss(target_is_time=True)(s, wanted)
    assert wanted.tolist() == [[0.0, 3.0]]
