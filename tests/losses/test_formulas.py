"""What the losses come to: closed forms, finite differences, other forms of the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from neurosim import losses
from neurosim.errors import ConfigError
from tests.losses.cases import BATCH, CLASSES, STEPS, potentials, some_labels, spikes


def test_without_any_output_every_class_is_as_likely() -> None:
    silent = torch.zeros(STEPS, BATCH, CLASSES)
    for loss in (losses.step_cross_entropy, losses.mean_cross_entropy, losses.max_cross_entropy, losses.count_cross_entropy):
        assert loss(silent, some_labels()).item() == pytest.approx(math.log(CLASSES), rel=1e-6)
    assert losses.first_spike_cross_entropy(silent, some_labels()).item() == pytest.approx(math.log(CLASSES), rel=1e-6)


def test_cross_entropies_are_those_of_what_they_are_named_after() -> None:
    v, y = potentials(), some_labels()
    each = torch.stack([F.cross_entropy(now, y) for now in v.unbind(0)])
    torch.testing.assert_close(losses.step_cross_entropy(v, y), each.mean())
    torch.testing.assert_close(losses.mean_cross_entropy(v, y), F.cross_entropy(v.mean(0), y))
    torch.testing.assert_close(losses.max_cross_entropy(v, y), F.cross_entropy(v.amax(0), y))
    torch.testing.assert_close(losses.count_cross_entropy(v, y), F.cross_entropy(v.sum(0), y))


def test_the_cross_entropy_of_the_mean_is_never_above_the_mean_of_the_cross_entropies() -> None:
    v, y = potentials(), some_labels()
    assert (losses.mean_cross_entropy(v, y, reduction="none") <= losses.step_cross_entropy(v, y, reduction="none")).all()


@pytest.mark.parametrize(
    "loss", [losses.step_cross_entropy, losses.mean_cross_entropy, losses.max_cross_entropy, losses.count_cross_entropy]
)
def test_a_label_is_the_probability_one_of_its_class(loss: Any) -> None:
    v, y = potentials(), some_labels()
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    certain = F.one_hot(y, CLASSES).double()
    for reduction in ("none", "sum"):  # the weighted mean of torch divides by other sums for probabilities
        settings = {"class_weights": weights, "label_smoothing": 0.2, "reduction": reduction}
        torch.testing.assert_close(loss(v, certain, **settings), loss(v, y, **settings))


@pytest.mark.parametrize(
    "loss",
    [
        losses.step_cross_entropy,
        losses.mean_cross_entropy,
        losses.max_cross_entropy,
        losses.count_cross_entropy,
        losses.count_mse,
        losses.membrane_mse,
    ],
)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients_are_those_of_finite_differences(loss: Any, reduction: str) -> None:
    y = some_labels()
    assert torch.autograd.gradcheck(lambda v: loss(v, y, reduction=reduction), potentials().requires_grad_())


def test_gradients_of_groups_are_those_of_finite_differences() -> None:
    x, y = potentials().requires_grad_(), some_labels(2)
    assert torch.autograd.gradcheck(lambda s: losses.count_cross_entropy(s, y, classes=2), x)
    assert torch.autograd.gradcheck(lambda s: losses.count_mse(s, y, classes=2, on=0.4), x)


def test_groups_are_neighbouring_units() -> None:
    s = spikes(6)
    counts = losses.population_counts(s, 3)
    assert torch.equal(counts, torch.stack([s[:, :, 0:2].sum((0, 2)), s[:, :, 2:4].sum((0, 2)), s[:, :, 4:6].sum((0, 2))], 1))
    with pytest.raises(ConfigError, match="population_counts: classes must divide the 6 units, got 4"):
        losses.population_counts(s, 4)
    with pytest.raises(ConfigError, match="population_counts: classes: must be a whole number, 1 or more, got 0"):
        losses.population_counts(s, 0)


@pytest.mark.parametrize(("dtype", "lost_from"), [(torch.float16, 2048), (torch.bfloat16, 256)])
def test_spikes_in_16_bits_are_counted_exactly(dtype: torch.dtype, lost_from: int) -> None:
    steps = lost_from + 1
    always = torch.ones(steps, 1, 2, dtype=dtype)
    assert losses.population_counts(always, 1).item() == 2 * steps
    assert losses.count_mse(always, torch.tensor([0]), on=1.0, off=1.0).item() == 0


def test_wanted_rates_are_not_rounded() -> None:
    """29 spikes in 100 steps are wanted of the one unit that does not fire: 29² / 100."""
    assert losses.count_mse(torch.zeros(100, 1, 1), torch.tensor([0]), on=0.29).item() == pytest.approx(8.41, rel=1e-5)


def test_wanted_rates_count_for_every_unit_of_a_group() -> None:
    s = torch.zeros(10, 1, 6)
    s[:4, :, :3] = 1  # 12 spikes of the first class
    assert losses.count_mse(s, torch.tensor([0]), on=0.4, classes=2).item() == pytest.approx(0, abs=1e-9)
    assert losses.count_mse(s, torch.tensor([1]), on=0.4, classes=2).item() == pytest.approx((12**2 + 12**2) / 2 / 10)


def test_potentials_are_pulled_to_constant_or_moving_targets() -> None:
    v, y = potentials(), some_labels()
    moving = potentials().flip(0)
    torch.testing.assert_close(losses.membrane_mse(v, moving), F.mse_loss(v, moving))
    torch.testing.assert_close(losses.membrane_mse(v, moving[0]), F.mse_loss(v, moving[:1].expand_as(v)))
    signs = 2.0 * F.one_hot(y, CLASSES) - 1
    torch.testing.assert_close(losses.membrane_mse(v, y, on=1, off=-1), F.mse_loss(v, signs.expand_as(v).double()))
    with pytest.raises(ConfigError, match=r"potentials must have the shape \(6, 4\) or \(9, 6, 4\), got \(1, 6, 4\)"):
        losses.membrane_mse(v, moving[:1])


def test_class_weights_have_one_number_per_class() -> None:
    loss = losses.StepCrossEntropy(class_weights=[1.0, 2.0])
    with pytest.raises(ConfigError, match=r"step_cross_entropy: class_weights must have the shape \(4,\), got \(2,\)"):
        loss(potentials(), some_labels())


@pytest.mark.parametrize("reduction", ["avg", None])
def test_a_reduction_that_does_not_exist_is_refused(reduction: Any) -> None:
    for loss in (losses.step_cross_entropy, losses.membrane_mse):
        with pytest.raises(ConfigError, match="reduction: must be one of 'mean', 'sum', 'none', got"):
            loss(potentials(), some_labels(), reduction=reduction)
