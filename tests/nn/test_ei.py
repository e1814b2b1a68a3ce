"""Excitatory-inhibitory layers: their equation, its gradients, its parts one by one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, RunError
from neurosim.nn import EIConv2d, EILayer, EILinear, ei_balance
from neurosim.nn.ei import scale_gradient, without_zeros

FILE = Path(__file__).parent / "data/ei.h5"
LINEAR = {
    "excitatory.weight": "weight_ee",
    "inhibitory.weight": "weight_ie",
    "lateral.weight": "weight_ei",
    "gain_i": "gain_i",
    "gain_e": "gain_e",
    "bias": "bias",
}
CONV = LINEAR | {"excitatory.weight": "conv_ee.weight", "inhibitory.weight": "conv_ie.weight"}


def recorded(name: str) -> dict[str, Tensor]:
    with h5py.File(FILE) as file:
        return {key: torch.from_numpy(value[()]) for key, value in file[name].items()}


def with_weights_of(layer: EILayer, values: dict[str, Tensor], names: dict[str, str]) -> None:
    with torch.no_grad():
        for ours, theirs in names.items():
            parameter = layer.get_parameter(ours)
            parameter.copy_(values[theirs].view_as(parameter))
    layer.initialized = True


def draw(*shape: int, seed: int = 0) -> Tensor:
    return ns.random.stream(seed, "test").uniform(shape, like=torch.empty(0))


def ready(layer: EILayer, *shape: int) -> tuple[Any, Tensor]:
    """The layer with its first weights, and a batch."""
    x = draw(*shape)
    return ns.ei.initialize(layer, x, seed=1), x


def linear(**settings: Any) -> tuple[EILinear, Tensor]:
    layer, x = ready(EILinear(12, 8, **settings), 20, 12)
    assert isinstance(layer, EILinear)
    return layer, x


def conv(**settings: Any) -> tuple[EIConv2d, Tensor]:
    layer, x = ready(EIConv2d(4, 8, 3, **settings), 6, 4, 7, 9)
    assert isinstance(layer, EIConv2d)
    return layer, x


@pytest.mark.parametrize(
    ("name", "make", "names"),
    [("ei_linear", lambda: EILinear(24, 16), LINEAR), ("ei_conv2d", lambda: EIConv2d(5, 8, 3, padding=1), CONV)],
)
def test_outputs_and_all_gradients_are_those_of_the_authors(name: str, make: Callable[[], EILayer], names: dict[str, str]) -> None:
    values, layer = recorded(name), make()
    with_weights_of(layer, values, names)
    x = values["x"].requires_grad_()
    out = layer(x)
    torch.testing.assert_close(out, values["out"], rtol=1e-5, atol=1e-5)
    (out * values["cotangent"]).sum().backward()
    torch.testing.assert_close(x.grad, values["grad_x"], rtol=1e-5, atol=1e-5)
    for ours, theirs in names.items():
        parameter, wanted = layer.get_parameter(ours), values[f"grad_{theirs}"]
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, wanted.view_as(parameter), rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def test_currents_of_zero_are_replaced_as_the_authors_do() -> None:
    values, layer = recorded("ei_linear_sparse"), EILinear(24, 16)
    with_weights_of(layer, recorded("ei_linear"), LINEAR)
    shunt = layer.currents(values["x"]).shunt
    assert shunt is not None
    assert bool((shunt == 0).all(1).any())
    torch.testing.assert_close(layer(values["x"]), values["out"], rtol=1e-5, atol=1e-5)


def test_the_smallest_current_of_the_same_sample_stands_in_for_none() -> None:
    shunt = torch.tensor([[[0.0, 5.0], [3.0, 4.0]], [[7.0, 0.0], [0.0, 9.0]]])
    assert without_zeros(shunt, feature_dims=2).tolist() == [[[3.0, 5.0], [3.0, 4.0]], [[7.0, 7.0], [7.0, 9.0]]]
    assert without_zeros(shunt, feature_dims=1).tolist() == [[[5.0, 5.0], [3.0, 4.0]], [[7.0, 7.0], [9.0, 9.0]]]


def test_a_current_below_zero_counts_as_none_and_nan_stays() -> None:
    assert without_zeros(torch.tensor([[-1.0, 2.0, 3.0]])).tolist() == [[2.0, 2.0, 3.0]]
    assert bool(without_zeros(torch.tensor([[torch.nan, 2.0]]))[0, 0].isnan())


def test_the_gradient_of_a_replaced_current_is_that_of_the_quotient_it_is_used_in() -> None:
    excitation, shunt = torch.tensor([[6.0, 8.0]], requires_grad=True), torch.tensor([[0.0, 2.0]], requires_grad=True)
    ei_balance(excitation, shunt=shunt).sum().backward()
    assert excitation.grad is not None
    assert shunt.grad is not None
    assert excitation.grad.tolist() == [[0.5, 0.5]]
    assert shunt.grad.tolist() == [[-6 / 4, -8 / 4]]  # −I/Ĩ² with Ĩ = 2 for both, and nothing more for the one that lent its value


@pytest.mark.parametrize("rows", [1, 3])
def test_a_sample_without_any_inhibition_gives_zero_and_passes_no_gradient(rows: int) -> None:
    excitation, shunt = torch.ones(rows, 4, requires_grad=True), torch.zeros(rows, 4, requires_grad=True)
    out = ei_balance(excitation, shunt=shunt)
    out.sum().backward()
    assert excitation.grad is not None
    assert shunt.grad is not None
    assert not out.any()
    assert not excitation.grad.any()
    assert not shunt.grad.any()


def test_gradients_are_those_of_finite_differences() -> None:
    numbers = [draw(3, 4, seed=seed).double().add(0.1).requires_grad_() for seed in range(3)]
    gain, bias = draw(4, seed=4).double().requires_grad_(), draw(4, seed=5).double().requires_grad_()
    assert torch.autograd.gradcheck(ei_balance, (*numbers, gain, bias))


@pytest.mark.parametrize("make", [linear, conv])
@pytest.mark.parametrize(
    ("switches", "formula"),
    [
        ({}, lambda e, i, s: (e - i) / s),
        ({"subtractive": False}, lambda e, i, s: e / s),
        ({"divisive": False}, lambda e, i, s: e - i),
        ({"output": True}, lambda e, i, s: e - i),
        ({"prop": False}, lambda e, i, s: (e - i) / s),
    ],
)
def test_each_half_of_the_mechanism_can_be_left_out(
    switches: dict[str, bool], formula: Callable[..., Tensor], make: Callable[..., tuple[EILayer, Tensor]]
) -> None:
    layer, x = make(**switches)
    full, _ = make()
    excitation, inhibition, shunt = full.currents(x)
    torch.testing.assert_close(layer(x), formula(excitation, inhibition, shunt))


@pytest.mark.parametrize("make", [linear, conv])
@pytest.mark.parametrize("switches", [{}, {"subtractive": False}, {"divisive": False}, {"output": True}, {"prop": False}])
def test_no_parameter_lies_around_unused(switches: dict[str, bool], make: Callable[..., tuple[EILayer, Tensor]]) -> None:
    layer, x = make(**switches)
    layer(x).square().sum().backward()
    assert [name for name, value in layer.named_parameters() if value.grad is None or not value.grad.any()] == []
    assert set(layer.non_negative()) == {name for name, _ in layer.named_parameters()} - {"bias"}


@pytest.mark.parametrize(("make", "fan_in"), [(linear, 12), (conv, 36), (lambda **more: conv(groups=2, **more), 18)])
def test_ei_prop_divides_the_gradient_of_lateral_weights_by_the_fan_in_and_no_other(
    make: Callable[..., tuple[EILayer, Tensor]], fan_in: int
) -> None:
    gradients = {}
    for prop in (True, False):
        layer, x = make(prop=prop)
        x = x.clone().requires_grad_()
        assert layer.fan_in == fan_in
        layer(x).square().sum().backward()
        gradients[prop] = {name: value.grad for name, value in (*layer.named_parameters(), ("x", x))}
    for name, plain in gradients[False].items():
        assert plain is not None
        torch.testing.assert_close(gradients[True][name], plain / fan_in if name == "lateral.weight" else plain, rtol=1e-4, atol=1e-5)


def test_ei_prop_holds_for_weights_that_are_arguments_and_sample_by_sample() -> None:
    layer, x = linear()
    weights = {name: value.detach() for name, value in layer.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(layer, weights, (x,))
        return out.square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    layer(x).square().sum().backward()
    for name, value in layer.named_parameters():
        assert value.grad is not None
        torch.testing.assert_close(each[name].sum(0), value.grad, rtol=1e-4, atol=1e-4)


def test_a_scaled_gradient_leaves_the_value_as_it_is() -> None:
    x = draw(5).requires_grad_()
    y = scale_gradient(x, 0.3)
    assert torch.equal(y, x)
    (grad,) = torch.autograd.grad(y, x, torch.full((5,), 2.0))
    torch.testing.assert_close(grad, torch.full((5,), 0.6))


def test_a_convolution_is_the_equation_with_torchs_own_convolutions() -> None:
    geometry: dict[str, Any] = {"stride": 2, "padding": (1, 2), "dilation": 2, "groups": 2}
    layer, x = conv(**geometry)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(draw(*parameter.shape, seed=parameter.numel()))
    inhibitors = F.conv2d(x, layer.inhibitory.weight, **geometry)
    excitation = F.conv2d(x, layer.excitatory.weight, **geometry)
    gain_i, gain_e, bias = (value for value in (layer.gain_i, layer.gain_e, layer.bias) if value is not None)
    lateral = layer.lateral.weight[:, :, 0, 0]
    inhibition = torch.einsum("ei,nihw->nehw", lateral, inhibitors)
    shunt = torch.einsum("ei,nihw->nehw", lateral, gain_i * inhibitors)
    torch.testing.assert_close(layer(x), gain_e * (excitation - inhibition) / shunt + bias)


def test_a_convolution_over_one_pixel_is_the_linear_layer() -> None:
    flat, x = linear()
    layer = EIConv2d(12, 8, 1)
    with_weights_of(layer, dict(flat.named_parameters()), {name: name for name in LINEAR})
    torch.testing.assert_close(layer(x[:, :, None, None])[:, :, 0, 0], flat(x))


def test_samples_do_not_see_each_other() -> None:
    layer, x = conv()
    x[2:4] = 0
    torch.testing.assert_close(layer(x), torch.cat([layer(one) for one in x.split(1)]))


def test_a_linear_layer_takes_time_and_batch_as_they_are() -> None:
    layer, x = linear()
    assert torch.equal(layer(x.unflatten(0, (4, 5))), layer(x).unflatten(0, (4, 5)))


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (conv, (3, 2, 4, 7, 9), r"x must be floating point of shape \(N, 4, height, width\), got .* time and batch must be one axis here"),
        (conv, (3, 2, 7), "got torch.float32 of shape"),
        (conv, (3, 5, 7, 9), r"got torch.float32 of shape \(3, 5, 7, 9\)"),
        (linear, (3, 2, 3, 4, 12), "flatten the features"),
        (linear, (3, 11), r"\(N, 12\) or \(time, batch, 12\), got torch.float32 of shape \(3, 11\)"),
        (linear, (), "got torch.float32 of shape"),
    ],
)
def test_another_shape_is_refused(make: Callable[..., tuple[EILayer, Tensor]], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()[0](torch.ones(shape))


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be floating point .* got torch\.int64"):
        linear()[0](torch.ones(2, 12, dtype=torch.int64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EILinear(4, 3), "at least ei_ratio = 4 excitatory units to have an inhibitory one, got 3"),
        (lambda: EILinear(4, 8, ei_ratio=0), "ei_ratio, excitatory units per inhibitory one: must be a whole number, 1 or more, got 0"),
        (lambda: EILinear(4, 8, subtractive=False, divisive=False), "subtractive or divisive inhibition, got neither"),
        (lambda: EILinear(4, 8, subtractive=False, output=True), "got output=True with subtractive=False"),
        (lambda: EILinear(0, 8), r"EILinear\.in_features: must be a whole number, 1 or more, got 0"),
        (lambda: EIConv2d(4, 8, 3, groups=4), "must divide the 2 inhibitory channels, got 4"),
        (lambda: EIConv2d(3, 8, 3, groups=2), "must divide the 3 in_channels, got 2"),
        (lambda: EIConv2d(3, 8, 3, padding="sme"), r"EIConv2d: Invalid padding string 'sme'"),
    ],
)
def test_sizes_and_switches_that_do_not_fit_are_refused(make: Callable[[], EILayer], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_there_is_one_inhibitory_unit_per_so_many_excitatory_ones() -> None:
    assert [EILinear(3, 10, ei_ratio=ratio).inhibitory_units for ratio in (1, 3, 4, 10)] == [10, 3, 2, 1]


def test_making_a_layer_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    layers = EILinear(4, 8), EIConv2d(4, 8, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(weight.any() for layer in layers for name, weight in layer.named_parameters() if name.endswith("weight"))


@pytest.mark.parametrize("make", [lambda: EILinear(4, 8), lambda: EIConv2d(4, 8, 1)])
def test_a_layer_without_weights_says_how_to_get_them(make: Callable[[], EILayer]) -> None:
    layer = make()
    with pytest.raises(RunError, match=r"neurosim\.ei\.initialize\(model, batch, seed=0\), or load a checkpoint"):
        layer(torch.ones(2, 4, 1, 1) if isinstance(layer, EIConv2d) else torch.ones(2, 4))


@pytest.mark.parametrize("make", [linear, conv])
def test_copies_and_checkpoints_remember_that_there_are_weights(make: Callable[..., tuple[EILayer, Tensor]], tmp_path: Path) -> None:
    layer, x = make()
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    loaded = EILinear(12, 8) if isinstance(layer, EILinear) else EIConv2d(4, 8, 3)
    loaded.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    for other in (loaded, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), layer(x))


def test_a_checkpoint_of_a_layer_without_weights_does_not_pretend() -> None:
    layer, _ = linear()
    layer.load_state_dict(EILinear(12, 8).state_dict())
    assert not layer.initialized


def test_a_checkpoint_that_does_not_say_whether_there_are_weights_is_refused_and_can_be_vouched_for() -> None:
    layer, x = linear()
    foreign = {name: value for name, value in layer.state_dict().items() if name != "_extra_state"}
    model = nn.Sequential(EILinear(12, 8))
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"0._extra_state\""):
        model.load_state_dict({f"0.{name}": value for name, value in foreign.items()})
    loaded = EILinear(12, 8)
    loaded.load_state_dict(foreign, strict=False)
    loaded.initialized = True
    assert torch.equal(loaded(x), layer(x))


def test_names_in_a_checkpoint_are_those_of_the_parts() -> None:
    assert set(linear()[0].state_dict()) == {*LINEAR, "_extra_state"}
    assert set(linear(output=True)[0].state_dict()) == {"excitatory.weight", "inhibitory.weight", "lateral.weight", "_extra_state"}


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
@pytest.mark.parametrize("make", [linear, conv])
def test_a_compiled_layer_is_one_graph_with_the_same_gradients(make: Callable[..., tuple[EILayer, Tensor]]) -> None:
    layer, x = make()
    x[0] = 0
    results = []
    for call in (layer, torch.compile(layer, fullgraph=True, backend="aot_eager")):
        layer.zero_grad()
        out = call(x)
        out.square().sum().backward()
        results.append((out, [value.grad for value in layer.parameters()]))
    torch.testing.assert_close(results[1], results[0])


def test_forward_looks_at_no_value() -> None:
    """On the meta device there is none to look at: whatever waits for one fails there."""
    layer = EILinear(12, 8, device="meta")
    layer.initialized = True
    assert layer(torch.empty(4, 12, device="meta")).shape == (4, 8)
    assert not layer.eval().training


def test_half_precision_and_autocast_stay_near_the_full_one() -> None:
    layer, x = linear()
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x), exact, rtol=0.1, atol=0.15)  # 8 bits of currents whose difference is taken
    rounded = copy.deepcopy(layer).bfloat16()(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.15)


def test_a_layer_shows_what_is_not_as_usual() -> None:
    layer, _ = linear(subtractive=False, prop=False)
    assert "subtractive=False, prop=False" in repr(layer)
    assert "initialized" not in repr(layer)
    assert "divisive" not in repr(EILinear(4, 4, output=True))
