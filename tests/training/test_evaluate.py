"""Evaluation: means over samples, and a model left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from neurosim.errors import ConfigError, DataError
from neurosim.training.evaluate import evaluate, evaluation_mode, measure

SCORES, LABELS = torch.eye(4), torch.tensor([0, 1, 0, 0])


def test_the_mean_is_over_samples_and_not_over_batches() -> None:
    uneven = [(SCORES[:3], LABELS[:3]), (SCORES[3:], LABELS[3:])]
    assert evaluate(nn.Identity(), uneven) == evaluate(nn.Identity(), [(SCORES, LABELS)]) == 0.5


def test_several_metrics_take_one_pass_over_the_data() -> None:
    passes = iter([(SCORES, LABELS)])
    values = measure(nn.Identity(), passes, ["accuracy", "loss"])
    assert values["accuracy"] == 0.5
    assert values["loss"] == pytest.approx(evaluate(nn.Identity(), [(SCORES, LABELS)], "loss"))


def test_any_function_of_outputs_and_targets_is_a_metric() -> None:
    def largest(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.amax(1) + targets

    assert evaluate(nn.Identity(), [(SCORES, LABELS)], largest) == 1.25


def test_evaluation_switches_dropout_off_and_leaves_every_mode_as_it_was() -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4))
    model.train()
    model[1].eval()  # frozen by the user
    mean = model[1].get_buffer("running_mean").clone()
    assert evaluate(model, [(SCORES, torch.arange(4))]) == 1.0
    assert model.training
    assert model[0].training
    assert not model[1].training
    assert torch.equal(model[1].get_buffer("running_mean"), mean)


def test_modes_come_back_after_an_error() -> None:
    model = nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        evaluate(model, [(SCORES, LABELS)])
    assert model.training


def test_nested_evaluation_modes_come_back() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    with evaluation_mode(model):
        assert not model[0].training
    assert model[0].training


def test_no_samples_are_an_error_and_not_a_division_by_zero() -> None:
    with pytest.raises(DataError, match="at least one sample"):
        evaluate(nn.Identity(), [])


def test_a_metric_that_gives_one_number_for_all_is_refused() -> None:
    with pytest.raises(DataError, match="one number per sample, 4"):
        evaluate(nn.Identity(), [(SCORES, LABELS)], nn.functional.cross_entropy)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="no metric is named 'f1'"):
        evaluate(nn.Identity(), [(SCORES, LABELS)], "f1")
