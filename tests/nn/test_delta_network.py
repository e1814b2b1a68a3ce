"""Networks that compute with changes: equality bit for bit, counts, drift."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

import neurosim as ns
from neurosim.nn import DeltaActivation, DeltaNetwork, SpikingSequential, TimeFold, delta_inference
from neurosim.random import stream

PER_MAP = torch.tensor([0.05, 0.1, 0.2]).reshape(3, 1, 1)


def frames(*shape: int, step: float = 0.05) -> Tensor:
    """A slow random walk from frame to frame."""
    return torch.cumsum(step * stream(5, "frames").normal(shape, like=torch.empty(0)), 0)


@pytest.fixture(autouse=True)
def seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        yield


def mlp() -> SpikingSequential:
    return SpikingSequential(
        *(nn.Flatten(), DeltaActivation(0.1), nn.Linear(12, 9), nn.Tanh(), nn.Dropout(0.5)),
        *(DeltaActivation(torch.linspace(0.05, 0.3, 9)), nn.Linear(9, 4, bias=False)),
    )


def cnn() -> SpikingSequential:
    return SpikingSequential(
        *(DeltaActivation(0.1), nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), DeltaActivation(PER_MAP), nn.AvgPool2d(2)),
        *(nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3), nn.GELU(), nn.MaxPool2d(2), DeltaActivation(torch.full((6, 1, 1), 0.003))),
        *(nn.Flatten(), nn.Linear(6 * 4, 5)),
    )


def conv1d() -> SpikingSequential:
    return SpikingSequential(
        DeltaActivation(0.1),
        nn.Conv1d(2, 4, 3, padding="same", dilation=2),
        nn.ReLU(),
        DeltaActivation(0.2),
        nn.Flatten(),
        nn.Linear(28, 3),
    )


CASES = {"mlp": (mlp, (15, 2, 3, 4)), "cnn": (cnn, (15, 2, 2, 16, 16)), "conv1d": (conv1d, (15, 2, 2, 7))}
ALL = pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES)


def trained(model: SpikingSequential, x: Tensor) -> SpikingSequential:
    """With running statistics that are not those of the beginning."""
    model.train()(x)
    return model.eval()


@ALL
def test_the_sum_of_changes_is_the_dense_output_bit_for_bit(make: Any, shape: tuple[int, ...]) -> None:
    x = frames(*shape)
    network = delta_inference(trained(make(), x))
    seen = network.trace(x)
    assert torch.equal(seen.y, network.dense(x))
    assert bool((seen.events[1:].sum(0) > 0).all())  # there is something to add up in every layer


@ALL
def test_the_network_gives_what_the_model_gives_to_the_rounding_of_its_weights(make: Any, shape: tuple[int, ...]) -> None:
    """In float64, where the model's own rounding is negligible, with 32-bit weights: 2⁻³² of the largest, times levels and inputs."""
    x = frames(*shape).double()
    model = trained(make().double(), x)
    wanted = model(x)
    assert torch.allclose(delta_inference(model, bits=32)(x), wanted, rtol=0, atol=1e-7 * float(wanted.detach().abs().max()))


def test_one_layer_differs_from_the_model_by_no_more_than_the_bound() -> None:
    model = SpikingSequential(DeltaActivation(0.1), nn.Linear(30, 8)).double()
    x = frames(9, 3, 30).double()
    for bits in (4, 8, 16):
        levels = torch.round(x / 0.1).abs()
        worst = 2.0**-bits * float(model[1].weight.detach().abs().max()) * float(model[0].step.detach()) * float(levels.sum(-1).max())
        difference = float((delta_inference(model, bits=bits)(x) - model(x)).detach().abs().max())
        assert 0 < difference <= worst * (1 + 1e-6)


def test_weights_that_lie_on_the_grid_are_kept_exactly() -> None:
    model = SpikingSequential(DeltaActivation(torch.tensor(1.0)), nn.Linear(20, 6))
    with torch.no_grad():
        model[1].weight.copy_(torch.round(model[1].weight * 512) / 512)
    x = torch.round(40 * frames(30, 2, 20))
    dense = functional.linear(x.double(), model[1].weight.double(), model[1].bias.double())
    assert torch.equal(delta_inference(model, bits=8)(x), dense)


@pytest.mark.parametrize("form", ["map", "element", "layer"])
def test_steps_of_any_granularity_are_exact_and_right(form: str) -> None:
    steps = {"map": PER_MAP, "element": torch.linspace(0.1, 0.4, 12).reshape(3, 2, 2), "layer": torch.tensor(0.2)}
    model = SpikingSequential(DeltaActivation(steps[form]), nn.Flatten(), nn.Linear(12, 4)).double()
    x = frames(8, 2, 3, 2, 2, step=0.5).double()
    network = delta_inference(model, bits=32)
    assert torch.equal(network(x), network.dense(x))
    assert torch.allclose(network(x), model(x), rtol=0, atol=1e-8)


@ALL
def test_a_sequence_can_be_cut_in_time_without_change(make: Any, shape: tuple[int, ...]) -> None:
    x, source = frames(*shape), stream(1, "accumulators")
    network = delta_inference(trained(make(), x), noise=0.1, refresh_every=4)
    whole, _ = network.run(x, stream=source)
    first, state = network.run(x[:6], stream=source)
    second, state = network.run(x[6:], state, stream=source)
    assert torch.equal(torch.cat([first, second]), whole)
    assert state.frame == len(x)


def test_the_model_is_left_as_it_is_and_nothing_is_shared() -> None:
    x = frames(5, 2, 2, 16, 16)
    model = trained(cnn(), x)
    before, wanted = copy.deepcopy(model.state_dict()), model(x)
    network = delta_inference(model.train())
    network(x)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(model.eval()(x), wanted)


@pytest.mark.parametrize("change", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network)), lambda network: network.half()])
def test_a_network_survives_copying_and_casting(change: Any) -> None:
    x = frames(*CASES["cnn"][1])
    network = delta_inference(trained(cnn(), x))
    wanted = network(x)
    assert torch.equal(change(network)(x), wanted)


def test_a_state_dict_carries_the_weights_over() -> None:
    network, other = delta_inference(mlp(), bits=20), delta_inference(mlp(), bits=8)
    x = frames(*CASES["mlp"][1])
    assert not torch.equal(network(x), other(x))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(x), network(x))


# --- counts ----------------------------------------------------------------------------------------------------------------------------


def test_events_and_operations_of_a_linear_layer_are_those_counted_by_hand() -> None:
    network = delta_inference(SpikingSequential(DeltaActivation(1.0, learn=False), nn.Linear(3, 5)))
    x = torch.tensor([[[1.0, 0.0, 2.0]], [[1.2, 0.0, 3.0]], [[1.4, 0.4, 3.4]], [[0.0, 1.0, 0.0]]])
    seen = network.trace(x)
    assert seen.events[:, 0].tolist() == [2, 1, 0, 3]
    assert seen.operations[:, 0].tolist() == [10, 5, 0, 15]
    assert seen.dense_operations.tolist() == [15]
    assert torch.equal(seen.y, network(x))


def test_operations_of_a_convolution_leave_out_what_falls_over_the_edge() -> None:
    """A 3 × 3 kernel without padding: the corner meets 1 position, the centre of a 5 × 5 image all 9; 2 outputs each."""
    network = delta_inference(SpikingSequential(DeltaActivation(1.0), nn.Conv2d(1, 2, 3)))
    x = torch.zeros(3, 1, 1, 5, 5)
    x[1, 0, 0, 0, 0] = 1.0
    x[2, 0, 0, 0, 0] = 1.0
    x[2, 0, 0, 2, 2] = 1.0
    seen = network.trace(x)
    assert seen.events[:, 0].tolist() == [0, 1, 1]
    assert seen.operations[:, 0].tolist() == [0, 2, 18]
    assert seen.dense_operations.tolist() == [2 * 9 * 9]


def test_a_still_video_costs_its_first_frame_only_and_every_refresh_costs_a_frame_again() -> None:
    x = frames(1, 2, 3, 4, step=1.0).expand(9, 2, 3, 4)
    model = mlp()
    seen = delta_inference(model).trace(x)
    assert bool((seen.operations[0] > 0).all())
    assert not seen.operations[1:].any()
    renewed = delta_inference(model, refresh_every=4).trace(x)
    assert torch.equal(renewed.operations, seen.operations[0].where((torch.arange(9) % 4 == 0)[:, None], torch.zeros(2, dtype=torch.int64)))
    assert torch.equal(renewed.y, seen.y)


def test_paths_name_the_linear_layers_of_nested_models() -> None:
    model = SpikingSequential(
        DeltaActivation(), TimeFold(nn.Sequential(nn.Linear(4, 3), nn.ReLU())), SpikingSequential(DeltaActivation(), nn.Linear(3, 2))
    )
    assert delta_inference(model).paths == ("1.module.0", "2.1")


# --- drift -----------------------------------------------------------------------------------------------------------------------------

NOISE = 0.02


def drifting(refresh_every: int | None, time: int) -> Tensor:
    """The error of each of 4,000 accumulators after every frame, ``(time, 4000)``."""
    model = SpikingSequential(DeltaActivation(0.1), nn.Linear(6, 40))
    network, x = delta_inference(model, noise=NOISE, refresh_every=refresh_every), frames(time, 100, 6)
    error: Tensor = network(x, stream=stream(8, "drift")) - network.dense(x)
    return error.flatten(1)


def within(variance: Tensor, wanted: float, n: int) -> bool:
    """n s²/σ² of n independent normal numbers of known mean 0 is χ² of n degrees; two-sided at 10⁻⁶."""
    low, high = (float(stats.chi2.ppf(at, n)) for at in (0.5e-6, 1 - 0.5e-6))
    return bool(low <= n * float(variance) / wanted <= high)


def test_drift_grows_with_the_square_root_of_time() -> None:
    error = drifting(None, 64)
    for t in (1, 4, 16, 64):
        assert within(error[t - 1].square().mean(), NOISE**2 * t, error.shape[1])
    steps = error[1:] - error[:-1]  # independent from frame to frame: their correlation over n pairs has variance 1/n
    n = steps[1:].numel()
    assert abs(float((steps[1:] * steps[:-1]).mean()) / NOISE**2) < 5 / math.sqrt(n)


def test_refreshing_bounds_the_drift_to_that_of_the_frames_since() -> None:
    every = 8
    error = drifting(every, 40)
    for t in range(40):
        assert within(error[t].square().mean(), NOISE**2 * (t % every + 1), error.shape[1])


def test_the_drift_of_the_state_is_the_error_of_the_output() -> None:
    network = delta_inference(SpikingSequential(DeltaActivation(0.1), nn.Linear(6, 4)), noise=NOISE)
    x = frames(10, 2, 6)
    y, state = network.run(x, stream=stream(8, "drift"))
    assert torch.allclose(y[-1] - network.dense(x)[-1], state.layers[0].drift, rtol=0, atol=1e-12)


def test_each_layer_draws_noise_of_its_own_and_the_same_stream_the_same() -> None:
    model = SpikingSequential(DeltaActivation(0.1), nn.Linear(6, 6), DeltaActivation(0.1), nn.Linear(6, 6))
    network, x = delta_inference(model, noise=NOISE), frames(10, 2, 6)
    _, state = network.run(x, stream=stream(8, "drift"))
    assert not torch.equal(state.layers[0].drift, state.layers[1].drift)
    assert torch.equal(network(x, stream=stream(8, "drift")), network(x, stream=stream(8, "drift")))
    assert not torch.equal(network(x, stream=stream(8, "drift")), network(x, stream=stream(9, "drift")))


# --- refusals --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2)), "0: Linear must have a DeltaActivation before it"),
        (nn.Sequential(DeltaActivation(), nn.ReLU(), nn.Linear(2, 2)), "1: ReLU must stand before the DeltaActivation"),
        (nn.Sequential(DeltaActivation(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 1)), "1: MaxPool2d must stand before the DeltaActivation"),
        (nn.Sequential(DeltaActivation(), DeltaActivation()), "1: a DeltaActivation must not follow another one"),
        (nn.Sequential(DeltaActivation(), nn.Linear(2, 2), DeltaActivation()), "none of its DeltaActivation after the last one"),
        (nn.Sequential(nn.ReLU()), "must have a linear layer"),
        (nn.Sequential(DeltaActivation(), nn.Linear(2, 2), nn.LSTM(2, 2)), "2: must be a linear layer, .* got LSTM"),
        (nn.Sequential(DeltaActivation(), nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")), "1: must pad with zeros"),
        (nn.Sequential(DeltaActivation(torch.rand(3) + 1), nn.Linear(2, 2)), r"1: Linear must meet one step, or one per input, got \(3,\)"),
        (nn.Sequential(DeltaActivation(PER_MAP), nn.Conv2d(2, 2, 1)), r"1: Conv2d must meet one step, or one per input"),
        (nn.Sequential(DeltaActivation(), nn.AvgPool2d(3, ceil_mode=True), nn.Conv2d(1, 1, 1)), "1: average pooling of levels must divide"),
        (nn.Sequential(DeltaActivation(), nn.Flatten(2), nn.Linear(2, 2)), "1: must flatten all axes but the batch"),
    ],
)
def test_models_that_cannot_compute_with_changes_are_refused_with_the_place_and_the_reason(model: nn.Module, message: str) -> None:
    with pytest.raises(ns.ConversionError, match=message):
        delta_inference(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 1}, "bits: must be a whole number, from 2 to 32, got 1"),
        ({"noise": -0.1}, "noise: must be 0 or more and finite, got -0.1"),
        ({"noise": torch.ones(2)}, "noise: must be a number, got a tensor"),
        ({"refresh_every": 0}, "refresh_every: must be a whole number, 1 or more, got 0"),
    ],
)
def test_arguments_out_of_their_domain_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ns.ConfigError, match=message):
        delta_inference(mlp(), **arguments)


def small(**arguments: Any) -> DeltaNetwork:
    return delta_inference(SpikingSequential(DeltaActivation(1.0), nn.Linear(3, 2)), **arguments)


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"x must be \(time, batch, \*units\) with at least one frame, got shape \(4, 3\)"):
        small()(torch.zeros(4, 3))
    with pytest.raises(ns.ConfigError, match="noise needs a stream at every call"):
        small(noise=0.1)(torch.zeros(2, 4, 3))
    with pytest.raises(ns.ConfigError, match="state must be what run returned, for 1 layers, got list"):
        small().run(torch.zeros(2, 4, 3), [])
    _, state = small().run(torch.zeros(2, 4, 3))
    with pytest.raises(ns.ConfigError, match=r"levels must have the shape they had, \(4, 3\), got \(5, 3\)"):
        small().run(torch.zeros(2, 5, 3), state)


@pytest.mark.parametrize("bad", [1e18, math.inf, math.nan])
def test_levels_whose_sums_would_not_be_exact_are_refused(bad: float) -> None:
    with pytest.raises(ns.ConfigError, match=r"1: levels must be finite and at most .* for sums to be exact"):
        small()(torch.full((2, 1, 3), bad))


def test_the_largest_levels_that_are_taken_are_still_exact() -> None:
    """Just below the bound, with weights and levels that make every sum as large as it can be; Python's integers tell what is right."""
    network = small()
    (layer,) = network._layers()
    with torch.no_grad():
        layer.weight.copy_(layer.weight.abs())
    most = math.floor(float(layer.most))
    x = torch.tensor([most, most - 1, most - 3], dtype=torch.float64).expand(1, 1, 3)
    sums = network.run(torch.cat([x, -x, x - 1]))[1].layers[0].sums[0]
    for row, found in zip(layer.weight.tolist(), sums.tolist(), strict=True):
        assert int(found) == sum(int(w) * (most - at - 1) for w, at in zip(row, (0, 1, 3), strict=True))
