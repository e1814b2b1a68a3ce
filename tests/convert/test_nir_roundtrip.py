"""``to_nir`` and back: the same network, bit for bit, through a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import neurosim as ns
from neurosim.ops.neuron_arguments import RESETS
from neurosim.surrogate import surrogate

DT = 1e-3


def drive(*shape: int, time: int = 30) -> Tensor:
    return ns.random.stream(9, "drive").normal((time, 2, *shape), like=torch.empty(0)) * 1.5


def values(*shape: int, low: float = 0.2, high: float = 1.2, name: str = "values") -> Tensor:
    return low + (high - low) * ns.random.stream(4, name).uniform(shape, like=torch.empty(0))


def weighted(layer: Any) -> Any:
    for name, parameter in layer.named_parameters():
        parameter.data = values(*parameter.shape, low=-1, high=1, name=name)
    return layer


#: one of each that the format knows, with the shape of a sample
NEURONS: dict[str, Any] = {
    "LIF": lambda: ns.LIF(20e-3, DT),
    "LIF, everything": lambda: ns.LIF(
        values(6) * 1e-2,
        DT,
        v_threshold=values(6, name="v"),
        v_reset=values(6, low=-1, high=0),
        v_leak=0.1,
        r=values(1),
        reset="soft_next_decayed",
        reset_by=0.3,
        sign=torch.tensor([1.0, 1, 1, -1, 1, -1]),
        strict=True,
        detach_reset=False,
        surrogate=surrogate("gaussian", sigma=0.3),
    ),
    "LIF, learned": lambda: ns.LIF(5e-3, DT, learn=("tau_mem", "v_threshold", "r", "reset_by")),
    "LIF, noisy": lambda: ns.LIF(5e-3, DT, reset="hard", input_noise=0.1, membrane_noise=0.2),
    "LIF, infinite threshold": lambda: ns.LIF(5e-3, DT, v_threshold=torch.tensor([1.0, math.inf, -math.inf, 1, 1, 1]), reset="hard"),
    "IF": lambda: ns.LIF(math.inf, DT, v_threshold=values(6), v_leak=0.25, reset="hard"),
    "IF by name": lambda: ns.IF(DT, v_threshold=values(6), v_start=values(6, name="start"), learn=("v_threshold",)),
    "IF with a resistance": lambda: ns.IF(DT, r=400.0, reset="hard", strict=True),
    "CubaLIF": lambda: ns.CubaLIF(20e-3, 5e-3, DT, reset="hard", strict=True),
    "CubaLIF, everything": lambda: ns.CubaLIF(
        values(6) * 1e-2, values(6, name="s") * 1e-2, DT, w_in=values(6), r=1.5, v_leak=-0.1, learn=("tau_syn", "w_in")
    ),
    "LI": lambda: ns.LI(values(6) * 1e-2, DT, v_leak=0.3, r=2.0),
    "I": lambda: ns.LI(math.inf, DT),
}


def same(one: Any, other: Any) -> bool:
    """Whether two neurons are the same: settings, and tensors to the bit."""
    first, second = one.state_dict(), other.state_dict()
    equal = list(first) == list(second) and all(first[key].dtype == second[key].dtype for key in first)
    return equal and all(torch.equal(first[key], second[key]) for key in first) and repr(one) == repr(other)


def through_a_file(model: nn.Module, folder: Path, shape: tuple[int, ...]) -> Any:
    ns.to_nir(model, folder / "net.nir", input_shape=shape, lossy=True)
    return ns.from_nir(folder / "net.nir")


@pytest.mark.parametrize("name", NEURONS)
def test_a_neuron_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    model: Any = ns.nn.SpikingSequential(weighted(nn.Linear(4, 6)), NEURONS[name]())
    back = through_a_file(model, tmp_path, (4,))
    assert same(model[1], back[1])
    noise = ns.random.stream(1, "noise")
    assert torch.equal(model(drive(4), stream=noise), back(drive(4), stream=noise))


@pytest.mark.parametrize("reset", RESETS)
def test_every_reset_comes_back(reset: Any, tmp_path: Path) -> None:
    model = ns.nn.SpikingSequential(weighted(nn.Linear(4, 6)), ns.LIF(20e-3, DT, reset=reset))
    x = drive(4)
    spikes = model(x)
    assert 0 < spikes.sum() < spikes.numel()
    assert torch.equal(spikes, through_a_file(model, tmp_path, (4,))(x))


def test_time_constants_that_were_learned_come_back_to_the_bit() -> None:
    """Near a second, their logarithms, which are what is learned, are finer than they are themselves in single precision."""
    model: Any = ns.LIF(torch.ones(101), DT, reset="hard", learn=["tau_mem"])
    model.log_tau_mem.data = torch.linspace(-0.3, 0.3, 101)
    back: Any = ns.from_nir(ns.to_nir(model, input_shape=(101,)))
    assert not torch.equal(model.tau_mem.log(), model.log_tau_mem)
    assert torch.equal(back[0].log_tau_mem, model.log_tau_mem)


@settings(max_examples=60, deadline=None)
@given(log_tau=st.lists(st.floats(-9, 2, width=32), min_size=1, max_size=4), dt=st.floats(1e-6, 1.0))
def test_every_time_constant_comes_back_to_the_bit(log_tau: list[float], dt: float) -> None:
    model: Any = ns.LIF(torch.tensor(log_tau).exp(), dt, reset="hard")
    back: Any = ns.from_nir(ns.to_nir(model, input_shape=(len(log_tau),)))
    assert torch.equal(back[0].log_tau_mem, model.log_tau_mem)
    assert back[0].dt == dt


@settings(max_examples=60, deadline=None)
@given(tau=st.floats(1e-6, 1e3), dt=st.floats(1e-6, 1.0))
def test_every_number_comes_back_to_the_bit(tau: float, dt: float) -> None:
    back: Any = ns.from_nir(ns.to_nir(ns.LIF(tau, dt, reset="hard", v_threshold=tau), input_shape=(3,)))
    assert (back[0].tau_mem, back[0].dt, back[0].v_threshold) == (tau, dt, tau)


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "Linear": (lambda: nn.Linear(3, 4), (3,)),
    "Linear without bias": (lambda: nn.Linear(3, 4, bias=False), (3,)),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (4, 9)),
    "Conv1d, same": (lambda: nn.Conv1d(2, 3, 3, padding="same", bias=False), (2, 9)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), (4, 8, 7)),
    "Conv2d without bias": (lambda: nn.Conv2d(1, 2, 3, bias=False, padding="valid"), (1, 5, 5)),
    "AvgPool2d": (lambda: nn.AvgPool2d((2, 3), stride=(2, 1), padding=(1, 0)), (2, 6, 6)),
    "SumPool2d": (lambda: nn.AvgPool2d(2, divisor_override=1), (2, 6, 6)),
    "Flatten": (lambda: nn.Flatten(), (2, 3, 4)),
    "Flatten, in part": (lambda: nn.Flatten(1, 2), (2, 3, 4)),
    "Flatten, from behind": (lambda: nn.Flatten(-2, -1), (2, 3, 4)),
    "Scale": (lambda: ns.nn.Scale(values(2, 1)), (2, 3)),
    "Scale, learned number": (lambda: ns.nn.Scale(0.5, learn=True), (2,)),
    "Shift": (lambda: ns.nn.Shift(values(3), learn=True), (3,)),
}


@pytest.mark.parametrize("size", [1, (3, 2)])
def test_pooling_to_a_size_is_pooling_by_the_factor_that_it_is(size: Any) -> None:
    layer, x = nn.AdaptiveAvgPool2d(size), values(5, 2, 4, 6, 6)
    back = ns.from_nir(ns.to_nir(layer, input_shape=(4, 6, 6)))
    torch.testing.assert_close(back(x), ns.nn.TimeFold(layer)(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_comes_back_as_it_was(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    make, shape = LAYERS[name]
    layer = weighted(make()).to(dtype)
    back = through_a_file(layer, tmp_path, shape)
    x = drive(*shape, time=3).to(dtype)
    assert torch.equal(ns.nn.SpikingSequential(layer)(x), back(x))
    first, second = layer.state_dict(), back[0].state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert [one.requires_grad for one in layer.parameters()] == [one.requires_grad for one in back.parameters()]


def network() -> ns.nn.SpikingSequential:
    fire: Any = {"reset": "hard", "strict": True}
    return ns.nn.SpikingSequential(
        *(weighted(nn.Conv2d(1, 4, 3, padding=1)), ns.LIF(values(4, 1, 1) * 1e-2, DT, v_threshold=0.3, **fire)),
        *(nn.AvgPool2d(2), nn.Dropout(0.5), nn.Flatten(), weighted(nn.Linear(16, 8))),
        *(ns.CubaLIF(10e-3, values(8) * 5e-3, DT, v_threshold=0.4, **fire), weighted(nn.Linear(8, 3)), ns.LI(20e-3, DT)),
    )


def test_a_network_comes_back_with_its_names_and_without_its_dropout(tmp_path: Path) -> None:
    model = network().eval()
    back = through_a_file(model, tmp_path, (1, 4, 4))
    assert isinstance(back, ns.nn.SpikingSequential)
    assert [name for name, _ in back.named_children()] == ["0", "1", "2", "4", "5", "6", "7", "8"]
    x = drive(1, 4, 4)
    assert torch.equal(model(x), back(x))
    again = ns.from_nir(ns.to_nir(back, input_shape=(1, 4, 4)))
    assert torch.equal(model(x), again(x))


def test_branches_and_loops_come_back(tmp_path: Path) -> None:
    block = ns.nn.SpikingSequential(weighted(nn.Linear(6, 6)), ns.LIF(5e-3, DT, reset="hard"))
    loop = {"down": weighted(nn.Linear(4, 6)), "fire": ns.LIF(4e-3, DT), "back": weighted(nn.Linear(6, 6))}
    graph = ns.nn.SpikingGraph(loop, {"down": ["input"], "fire": ["down"], "back": ["fire"]}, "fire", delayed=[("back", "fire")])
    model = ns.nn.SpikingNetwork(ns.nn.SpikingSequential(graph, ns.nn.SpikingResidual(block), weighted(nn.Linear(6, 2))), time_steps=5)
    back = through_a_file(model, tmp_path, (4,))
    assert isinstance(back, ns.nn.SpikingGraph)
    assert back.delayed == (("body_0_back", "body_0_fire"),)
    x = drive(4)
    torch.testing.assert_close(model.run(x)[0], back(x), rtol=0, atol=1e-6)  # step by step, sums of the last layer may have another order


@pytest.mark.parametrize("self_connections", [True, False])
def test_a_recurrent_neuron_comes_back_as_a_loop(self_connections: bool, tmp_path: Path) -> None:
    fire = weighted(ns.neurons.RLIF(6, tau_mem=5e-3, dt=DT, self_connections=self_connections))
    model = ns.nn.SpikingSequential(weighted(nn.Linear(4, 6)), fire)
    back = through_a_file(model, tmp_path, (4,))
    spikes = model(drive(4))
    assert 0 < spikes.sum() < spikes.numel()
    assert torch.equal(back(drive(4)), spikes)


def test_a_bias_among_recurrent_units_acts_from_the_first_step_on(tmp_path: Path) -> None:
    model = ns.neurons.Recurrent(ns.IF(DT), weighted(nn.Linear(4, 4)))
    back = through_a_file(model, tmp_path, (4,))
    assert torch.equal(back(drive(4)), model(drive(4)))
    with pytest.raises(ns.ConversionError, match="only linear connections can be written, got Identity"):
        ns.to_nir(ns.neurons.Recurrent(ns.IF(DT), nn.Identity()), input_shape=(3,))


def test_the_file_says_in_plain_words_what_no_field_says(tmp_path: Path) -> None:
    ns.to_nir(ns.LIF(20e-3, DT), tmp_path / "net.nir", input_shape=(3,), lossy=True)
    graph = nir.read(tmp_path / "net.nir")  # with nir's own check of types
    (node,) = (node for node in graph.nodes.values() if isinstance(node, nir.LIF))
    said = {key: node.metadata[key] for key in ("dt", "step", "gain", "reset", "comparison", "surrogate")}
    assert said == {"dt": DT, "step": "exponential", "gain": "unit", "reset": "soft", "comparison": ">=", "surrogate": "arctan"}
    np.testing.assert_allclose(node.r, 1 / (1 - math.exp(-1 / 20)), rtol=1e-12)
    np.testing.assert_array_equal(node.tau, np.full(3, 20e-3))
    assert graph.metadata["dt"] == DT


def test_the_fields_alone_are_the_network_where_its_reset_is_hard() -> None:
    """Read by the equations, without the metadata, the spikes are the same."""
    model = ns.nn.SpikingSequential(weighted(nn.Linear(4, 6)), ns.CubaLIF(20e-3, 5e-3, DT, reset="hard", strict=True))
    graph = ns.to_nir(model)
    for node in graph.nodes.values():
        node.metadata = {}
    graph.metadata = {}
    assert torch.equal(ns.from_nir(graph, dt=DT, convention="nir")(drive(4)), model(drive(4)))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda: nn.BatchNorm1d(3), r"NIR has no BatchNorm1d; fold it into its neighbours first: ns.fold\(model\)"),
        (lambda: ns.norms.BatchNormOverTime(3), r"NIR has no BatchNormOverTime; fold it into its neighbours first: ns.fold\(model\)"),
        (lambda: ns.nn.MPBN(ns.LIF(5e-3, DT), 3), r"NIR has no MPBN; fold it into its neighbours first: ns.fold\(model\)"),
        (lambda: nn.LayerNorm(3), "NIR has no LayerNorm: it takes statistics of every sample, .* train with a batch norm"),
        (lambda: ns.nn.EILinear(3, 4), "NIR has no EILinear: nothing there divides by a current; .* is one product"),
        (lambda: ns.nn.SpikingMaxPool2d(nn.MaxPool2d(2)), r"NIR has no SpikingMaxPool2d.*ns.to_spiking\(model, max_pool='average'"),
        (lambda: nn.ReLU(), "NIR has no ReLU$"),
        (lambda: ns.neurons.ALIF(1e-2, 1e-1, DT), "NIR has no ALIF$"),
        (lambda: nn.Flatten(0), "must leave the batch alone"),
        (lambda: ns.LIF(torch.tensor([1.0, math.inf, 1.0]), DT), "must be finite, got tau_mem"),
        (lambda: ns.LIF(torch.rand(4) + 1, DT), "r must broadcast to the units"),
        (lambda: nn.Linear(4, 3), "must take samples of shape"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_the_reason(layer: Any, says: str) -> None:
    with pytest.raises(ns.ConversionError, match=says):
        ns.to_nir(layer(), input_shape=(3,), lossy=True)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda: nn.Linear(3, 3), "flatten it first"),
        (lambda: nn.Conv2d(2, 2, 3, padding_mode="circular"), "pads convolutions with zeros only"),
        (lambda: nn.AvgPool2d(2, ceil_mode=True), "neither ceil_mode"),
        (lambda: nn.MaxPool2d(2), "NIR has no MaxPool2d, only pooling by averages and sums: nn.AvgPool2d"),
        (lambda: nn.AdaptiveAvgPool2d(2), r"pools by whole factors, got maps of \(3, 3\) to be pooled to 2"),
        (lambda: ns.nn.Shift(torch.ones(2, 1, 1)), "no offset of maps"),
    ],
)
def test_settings_of_maps_that_nir_does_not_know_are_refused(layer: Any, says: str) -> None:
    with pytest.raises(ns.ConversionError, match=says):
        ns.to_nir(layer(), input_shape=(2, 3, 3))


def pooled(max_pool: Any) -> tuple[ns.nn.SpikingNetwork, torch.Tensor]:
    torch.manual_seed(0)
    digital = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    x = torch.rand(16, 1, 8, 8)
    return ns.to_spiking(digital, time_steps=4, calibration=x, max_pool=max_pool), x


@pytest.mark.parametrize("max_pool", ["gate", "before", "spikes"])
def test_maxima_of_spikes_are_refused_with_what_to_do_instead(max_pool: str, tmp_path: Path) -> None:
    network, _ = pooled(max_pool)
    says = r"to_nir: body\.\d: NIR has no (Spiking)?MaxPool2d, only .*max_pool='average', \.\.\.\) makes of it, to be trained on"
    with pytest.raises(ns.ConversionError, match=says):
        ns.to_nir(network, tmp_path / "network.nir", input_shape=(1, 8, 8), lossy=True)
    assert not any(tmp_path.iterdir())


def test_maxima_that_became_averages_are_written_and_read_back() -> None:
    network, x = pooled("average")
    again = ns.from_nir(ns.to_nir(network, input_shape=(1, 8, 8), lossy=True))
    sequence = x.expand(4, *x.shape)
    assert torch.equal(again(sequence), network.run(sequence)[0])


def test_a_subclass_of_a_layer_is_not_taken_for_it() -> None:
    analog = ns.to_analog(nn.Sequential(nn.Linear(3, 3)), "photonic_avnn", seed=1)
    with pytest.raises(ns.ConversionError, match=r"NIR has no AnalogLinear.*ns.to_digital"):
        ns.to_nir(analog, input_shape=(3,))


@pytest.mark.parametrize(
    ("neuron", "says"),
    [
        (lambda: ns.LIF(1e-2, DT), r"0 \(LIF\): reset='soft' \(others will reset to v_reset\)"),
        (lambda: ns.LIF(1e-2, DT, reset="hard").with_threshold(1.0, sign=-1), "sign=-1"),
        (lambda: ns.LIF(math.inf, DT, v_leak=1.0, reset="hard"), "v_leak without a leak"),
        (lambda: ns.CubaLIF(1e-2, 1e-2, DT, reset="hard", membrane_noise=0.1), "membrane_noise"),
    ],
)
def test_what_only_the_metadata_would_say_needs_permission(neuron: Any, says: str, tmp_path: Path) -> None:
    model = ns.nn.SpikingSequential(neuron())
    with pytest.raises(ns.ConversionError, match=says):
        ns.to_nir(model, tmp_path / "net.nir", input_shape=(3,))
    assert not list(tmp_path.iterdir())
    ns.to_nir(model, tmp_path / "net.nir", input_shape=(3,), lossy=True)
    assert [file.name for file in tmp_path.iterdir()] == ["net.nir"]


def test_neurons_with_different_steps_are_refused() -> None:
    with pytest.raises(ns.ConversionError, match=r"one dt, got 0.001 \(0\), 0.002 \(1\)"):
        ns.to_nir(ns.nn.SpikingSequential(ns.LI(1e-2, 1e-3), ns.LI(1e-2, 2e-3)), input_shape=(3,))


def test_a_residual_around_nothing_is_refused() -> None:
    with pytest.raises(ns.ConversionError, match="NIR has one edge between two nodes"):
        ns.to_nir(ns.nn.SpikingSequential(ns.LI(1e-2, DT), ns.nn.SpikingResidual(nn.Identity())), input_shape=(3,))


def test_a_network_that_was_converted_from_a_digital_one_comes_back(tmp_path: Path) -> None:
    digital = nn.Sequential(weighted(nn.Conv2d(1, 4, 3)), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), weighted(nn.Linear(16, 3)))
    model: Any = ns.to_spiking(digital.eval(), time_steps=8, calibration=drive(1, 6, 6)[0].abs())
    back = through_a_file(model, tmp_path, (1, 6, 6))
    x = drive(1, 6, 6).abs()
    assert model.body[1](model.body[0](x.flatten(0, 1)).unflatten(0, x.shape[:2])).sum() > 0
    assert torch.equal(model.run(x)[0], back(x))


@pytest.mark.parametrize(("shape", "says"), [(None, "given"), ((0,), "integers > 0"), ((2.0,), "integers > 0")])
def test_the_shape_of_a_sample_is_checked(shape: Any, says: str) -> None:
    with pytest.raises(ns.ConfigError, match=f"input_shape must be ?{says}"):
        ns.to_nir(nn.Conv2d(1, 1, 1), input_shape=shape)


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"must be a torch.nn.Module, got str"):
        ns.to_nir("net")  # type: ignore[arg-type]  # on purpose


def test_a_network_whose_norms_are_folded_first_can_be_written() -> None:
    """What the refusal of a norm tells to do works."""
    model = ns.nn.SpikingSequential(nn.Linear(3, 4), ns.norms.BatchNormOverTime(4), ns.nn.MPBN(ns.LIF(5e-3, DT), 4), nn.Linear(4, 2)).eval()
    with pytest.raises(ns.ConversionError, match="NIR has no BatchNormOverTime"):
        ns.to_nir(model, lossy=True)
    folded = ns.fold(model)
    x = drive(3)
    assert torch.equal(ns.from_nir(ns.to_nir(folded, lossy=True))(x), folded(x))


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_of_a_wrapped_network_what_is_inside_is_written(wrap: Any) -> None:
    model = ns.nn.SpikingSequential(nn.Linear(4, 6), ns.LIF(5e-3, DT, reset="hard"))
    assert ns.to_nir(wrap(model)).edges == ns.to_nir(model).edges


def test_negative_weights_of_excitation_and_inhibition_are_not_written() -> None:
    layer = ns.nn.EILinear(4, 4)
    layer.lateral.weight.data[0, 0] = -1.0
    with pytest.raises(ns.ConversionError, match=r"to_nir: .*must be 0 or more, got -1 in lateral\.weight"):
        ns.to_nir(layer)
