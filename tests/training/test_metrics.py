"""Metrics per sample."""

from __future__ import annotations

import math

import pytest
import torch

from neurosim.errors import ConfigError, DataError
from neurosim.training.metrics import METRICS, accuracy, loss, top5


def test_the_registry_holds_what_a_config_may_name() -> None:
    assert {"accuracy", "top5", "loss"} <= set(METRICS)
    assert METRICS["accuracy"].higher_is_better
    assert not METRICS["loss"].higher_is_better


def test_an_unknown_metric_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        METRICS["acuracy"]


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_gives_one_finite_float_per_sample(name: str) -> None:
    outputs, targets = torch.linspace(-1, 1, 42).reshape(6, 7), torch.arange(6)
    values = METRICS[name].fn(outputs, targets)
    assert values.shape == (6,)
    assert values.dtype == torch.float32
    assert bool(values.isfinite().all())


@pytest.mark.parametrize("name", list(METRICS))
def test_a_metric_does_not_depend_on_how_samples_are_batched(name: str) -> None:
    outputs = torch.sin(torch.arange(70.0)).reshape(10, 7)
    targets = torch.arange(10) % 7
    whole = METRICS[name].fn(outputs, targets)
    parts = torch.cat([METRICS[name].fn(outputs[:3], targets[:3]), METRICS[name].fn(outputs[3:], targets[3:])])
    assert torch.equal(whole, parts)


def test_the_first_of_equal_outputs_wins() -> None:
    outputs = torch.zeros(10, 10)
    targets = torch.arange(10)
    assert accuracy(outputs, targets).tolist() == [1.0] + [0.0] * 9
    assert top5(outputs, targets).tolist() == [1.0] * 5 + [0.0] * 5


def test_a_sample_with_nan_is_wrong_even_for_its_own_class() -> None:
    outputs = torch.tensor([[0.0, math.nan], [math.nan, math.nan], [0.0, 1.0]])
    targets = torch.tensor([1, 0, 1])
    assert accuracy(outputs, targets).tolist() == [0.0, 0.0, 1.0]
    assert top5(outputs, targets).tolist() == [0.0, 0.0, 1.0]


def test_top5_counts_the_classes_before_the_target() -> None:
    outputs = torch.arange(8.0).flip(0).expand(8, 8)  # class k has rank k
    assert top5(outputs, torch.arange(8)).tolist() == [1.0] * 5 + [0.0] * 3


def test_the_loss_of_equal_outputs_is_the_logarithm_of_the_number_of_classes() -> None:
    torch.testing.assert_close(loss(torch.full((4, 10), 3.0), torch.arange(4)), torch.full((4,), math.log(10)))


def test_the_loss_of_half_precision_outputs_is_computed_in_float32() -> None:
    outputs = torch.tensor([[3.0, 5.0]], dtype=torch.bfloat16)
    assert loss(outputs, torch.tensor([0])).item() == pytest.approx(math.log1p(math.exp(2.0)), rel=1e-6)


@pytest.mark.parametrize("name", list(METRICS))
def test_a_label_outside_the_classes_is_an_error(name: str) -> None:
    with pytest.raises(DataError, match="from 0 to 2, got 0 to 3"):
        METRICS[name].fn(torch.zeros(2, 3), torch.tensor([0, 3]))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (3, 3)])
def test_outputs_that_are_no_class_scores_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="outputs must be"):
        accuracy(torch.zeros(shape), torch.tensor([0, 1]))
