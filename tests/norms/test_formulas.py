"""Each norm against its formula, torch's batch norm, and SpikingJelly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.nn import SpikingSequential, TimeFold
from neurosim.norms import (
    BatchNormOverTime,
    BatchNormThroughTime,
    Elapsed,
    TemporalEffectiveBatchNorm,
    ThresholdDependentBatchNorm,
    TimeNorm,
)
from tests.norms.cases import C, T, recorded, sequence, varied


def same_weights(norm: TimeNorm, other: nn.Module) -> None:
    other.load_state_dict(norm.state_dict(), strict=True)  # the names are torch's


def test_merged_statistics_are_those_of_torch_on_time_and_batch_together() -> None:
    norm, x = varied(BatchNormOverTime(C, "merged")), sequence()
    torch_norm = nn.BatchNorm2d(C)
    same_weights(norm, torch_norm)
    assert torch.equal(norm(x), TimeFold(torch_norm)(x))
    torch.testing.assert_close(norm.state_dict(), torch_norm.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(norm.eval()(x), TimeFold(torch_norm.eval())(x))


def test_statistics_per_step_are_those_of_torch_called_step_by_step() -> None:
    norm, x = varied(BatchNormOverTime(C, "per_step")), sequence()
    torch_norm = nn.BatchNorm2d(C)
    same_weights(norm, torch_norm)
    assert torch.equal(norm(x), torch.stack([torch_norm(step) for step in x.unbind(0)]))
    torch.testing.assert_close(norm.state_dict(), torch_norm.state_dict(), rtol=0, atol=0)
    assert int(norm.num_batches_tracked) == T


def test_the_last_step_weighs_most_in_running_statistics_per_step() -> None:
    """After T updates with momentum m, the mean of step t weighs m (1 − m)^(T − t)."""
    norm, x = BatchNormOverTime(C, "per_step", momentum=0.3), sequence()
    norm(x)
    weights = torch.tensor([0.3 * 0.7 ** (T - t) for t in range(1, T + 1)])
    torch.testing.assert_close(norm.running_mean, (weights[:, None] * x.mean((1, 3, 4))).sum(0))


def test_statistics_of_elements_are_those_of_torch_with_every_element_a_channel() -> None:
    norm, x = varied(BatchNormOverTime((C, 3, 2), "merged")), sequence()
    flat = nn.BatchNorm1d(C * 6)
    flat.load_state_dict({name: value.flatten() if value.dim() else value for name, value in norm.state_dict().items()})
    assert torch.equal(norm(x), TimeFold(flat)(x.flatten(2)).reshape(x.shape))
    torch.testing.assert_close(norm.eval()(x), TimeFold(flat.eval())(x.flatten(2)).reshape(x.shape))


def test_tdbn_is_its_formula() -> None:
    norm, x = varied(ThresholdDependentBatchNorm(C, v_threshold=0.7, alpha=0.5)), sequence(dtype=torch.float64)
    norm.double()
    mean, var = x.mean((0, 1, 3, 4), keepdim=True), x.var((0, 1, 3, 4), correction=0, keepdim=True)
    weight, bias = (norm.get_parameter(name).reshape(C, 1, 1) for name in ("weight", "bias"))
    expected = weight * (0.5 * 0.7 * (x - mean) / (var + 1e-5).sqrt()) + bias
    torch.testing.assert_close(norm(x), expected)


def test_the_gradient_of_the_scale_of_tdbn_carries_the_factor_that_spikingjelly_puts_into_the_scale() -> None:
    """One function, two parametrisations: γ' = α V_th γ, so that ∂L/∂γ = α V_th ∂L/∂γ'."""
    x, factor = sequence(), 0.5 * 0.7
    ours, theirs = ThresholdDependentBatchNorm(C, v_threshold=0.7, alpha=0.5), nn.BatchNorm2d(C)
    nn.init.constant_(theirs.weight, factor)
    weights = sequence(name="cotangent")
    for norm in (ours, TimeFold(theirs)):
        (norm(x) * weights).sum().backward()
    assert ours.weight.grad is not None
    assert theirs.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, factor * theirs.weight.grad, rtol=1e-4, atol=1e-4)


def test_bntt_is_a_batch_norm_without_shift_for_every_step() -> None:
    norm, x = varied(BatchNormThroughTime(C, T)), sequence()
    alone = [nn.BatchNorm2d(C) for _ in range(T)]
    for t, one in enumerate(alone):
        with torch.no_grad():
            one.weight.copy_(norm.weight[t])
    assert torch.equal(norm(x), torch.stack([one(step) for one, step in zip(alone, x.unbind(0), strict=True)]))
    for name in ("running_mean", "running_var"):
        assert torch.equal(norm.get_buffer(name), torch.stack([one.get_buffer(name) for one in alone]))
    assert "bias" not in dict(norm.named_parameters())


def test_tebn_is_a_batch_norm_times_a_weight_for_every_step() -> None:
    norm, x = varied(TemporalEffectiveBatchNorm(C, T)), sequence()
    plain = nn.BatchNorm2d(C)
    plain.load_state_dict({name: value for name, value in norm.state_dict().items() if name != "p"})
    assert torch.equal(norm(x), TimeFold(plain)(x) * norm.get_parameter("p").reshape(T, 1, 1, 1, 1))


STEPPED = [pytest.param(kind, id=kind.__name__) for kind in (BatchNormThroughTime, TemporalEffectiveBatchNorm)]


@pytest.mark.parametrize("kind", STEPPED)
def test_a_norm_that_counts_steps_knows_none_beyond_those_it_was_made_for(kind: Any) -> None:
    norm = kind(C, T)
    with pytest.raises(ConfigError, match=r"made for 4 steps .* got steps 0 to 4"):
        norm(sequence(T + 1))
    _, state = norm.run(sequence(3))
    with pytest.raises(ConfigError, match=r"got steps 3 to 4"):
        norm.run(sequence(2), state)
    assert norm(sequence(2)).shape[0] == 2  # fewer are no problem
    with pytest.raises(ConfigError, match=r"state must be an Elapsed or None, got int"):
        norm.run(sequence(2), 3)
    with pytest.raises(ConfigError, match=r"steps: must be a whole number, 1 or more, got 0"):
        kind(C, 0)


@pytest.mark.parametrize("kind", STEPPED)
def test_a_sequence_that_is_cut_goes_on_with_the_step_it_ended_with(kind: Any) -> None:
    norm, x = varied(kind(C, T)), sequence()
    norm(x)
    norm.eval()
    net = SpikingSequential(norm, ns.LIF(2e-3, 1e-3))
    first, state = net.run(x[:3])
    second, after = net.run(x[3:], state)
    assert torch.equal(torch.cat([first, second]), net(x))
    assert after[0] == Elapsed(T)


def test_an_unknown_kind_of_statistics_is_refused_with_the_nearest() -> None:
    wrong: Any = "merge"
    with pytest.raises(ConfigError, match=r"statistics: must be 'per_step' or 'merged', got 'merge'; did you mean 'merged'\?"):
        BatchNormOverTime(C, wrong)


SPIKINGJELLY = {
    "tdbn": lambda: ThresholdDependentBatchNorm(C, v_threshold=0.5, alpha=0.5**0.5),
    "tebn": lambda: TemporalEffectiveBatchNorm(C, T),
    "bntt": lambda: BatchNormThroughTime(C, T),
}


@pytest.mark.parametrize("name", list(SPIKINGJELLY))
def test_outputs_gradients_and_running_statistics_are_spikingjellys(name: str) -> None:
    shared, theirs = recorded("norms/data/spikingjelly.h5"), recorded("norms/data/spikingjelly.h5", name)
    norm: Any = SPIKINGJELLY[name]()
    with torch.no_grad():
        norm.weight.copy_(theirs["gamma"])
        if norm.bias is not None:
            norm.bias.copy_(theirs["beta"])
        if name == "tebn":
            norm.p.copy_(theirs["p"])
    x = shared["x"].requires_grad_()
    y: Tensor = norm(x)
    (y * shared["cotangent"]).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y, theirs["y"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad, theirs["grad_x"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_mean, theirs["running_mean"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_var, theirs["running_var"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.eval()(shared["x_eval"]), theirs["y_eval"], rtol=1e-5, atol=1e-5)
    if name == "tebn":
        torch.testing.assert_close(norm.p.grad, theirs["grad_p"], rtol=1e-5, atol=1e-4)


def test_steps_that_are_equal_fold_to_one_scale_and_shift() -> None:
    x = sequence(name="evaluation")
    tebn = varied(TemporalEffectiveBatchNorm(C, T))
    tebn(sequence())
    nn.init.constant_(tebn.get_parameter("p"), -0.7)
    bntt = varied(BatchNormThroughTime(C, 1))
    bntt(sequence(1))
    for norm in (tebn, bntt):
        scale, shift = (value.reshape(C, 1, 1) for value in norm.fold())
        torch.testing.assert_close(norm.eval()(x[: norm.steps]), scale * x[: norm.steps] + shift)
