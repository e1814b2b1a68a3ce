"""Recurrent layers on hardware: without errors they compute what torch's compute; each of their products is a chip's own."""

from __future__ import annotations

import copy
import pickle
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.hardware.stages.mapping import encode
from neurosim.nn import AnalogGRU, AnalogLSTM, AnalogLSTMCell, AnalogProduct
from tests.nn.test_array import CELLS, LAYOUTS, profile

#: chains without errors: elementwise, in the layer's own shape, and split
CHAINS: dict[str, dict[str, Any]] = {
    "elementwise": {"output": {"normalize": {"kind": "clamp", "low": -1e3, "high": 1e3}}},
    "whole": LAYOUTS["pairs"],
    "tiles": LAYOUTS["an offset by a column, on tiles"],
    "passes": LAYOUTS["one sign at a time"],
}
SEQUENCES: dict[str, Any] = {
    "rnn": lambda: nn.RNN(5, 4),
    "rnn, relu, no bias": lambda: nn.RNN(5, 4, 2, nonlinearity="relu", bias=False, batch_first=True),
    "rnn, both ways": lambda: nn.RNN(5, 4, 2, bidirectional=True),
    "lstm": lambda: nn.LSTM(5, 4),
    "lstm, deep, both ways": lambda: nn.LSTM(5, 4, 2, bidirectional=True, batch_first=True),
    "lstm, projected": lambda: nn.LSTM(5, 4, 2, proj_size=3, bidirectional=True),
    "lstm, no bias": lambda: nn.LSTM(5, 4, 2, bias=False),
    "gru": lambda: nn.GRU(5, 4),
    "gru, deep, both ways": lambda: nn.GRU(5, 4, 2, bidirectional=True, batch_first=True),
    "gru, no bias": lambda: nn.GRU(5, 4, bias=False),
}
CELLS_OF: dict[str, Any] = {
    "rnn": lambda: nn.RNNCell(5, 4),
    "rnn, relu": lambda: nn.RNNCell(5, 4, nonlinearity="relu"),
    "lstm": lambda: nn.LSTMCell(5, 4),
    "gru": lambda: nn.GRUCell(5, 4, bias=False),
}


def same(model: nn.Module, other: nn.Module, *inputs: Any, within: float = 1e-12) -> None:
    """Outputs, last states and all gradients agree."""
    given = [tensor for tensor in _tensors(inputs) if tensor.requires_grad]
    one, two = _tensors(model(*inputs)), _tensors(other(*inputs))
    assert [part.shape for part in one] == [part.shape for part in two]
    torch.testing.assert_close(one, two, rtol=0, atol=within)
    cotangents = [torch.randn_like(part) for part in one if part.is_floating_point()]
    grads = [
        torch.autograd.grad([part for part in parts if part.requires_grad], [*module.parameters(), *given], cotangents)
        for parts, module in ((one, model), (two, other))
    ]
    torch.testing.assert_close(*grads, rtol=0, atol=10 * within)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value if part is not None for tensor in _tensors(part)]


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("how", SEQUENCES)
@pytest.mark.parametrize("chain", CHAINS)
def test_a_recurrent_layer_without_errors_is_the_digital_one(chain: str, how: str) -> None:
    torch.manual_seed(0)
    layer = SEQUENCES[how]().double()
    analog = ns.to_analog(layer, profile(CHAINS[chain]), seed=0)
    same(analog, layer, normal(3, 3, 5))


@pytest.mark.parametrize("how", SEQUENCES)
def test_a_state_to_begin_with_and_inputs_without_a_batch_are_taken(how: str) -> None:
    torch.manual_seed(1)
    layer = SEQUENCES[how]().double()
    analog = ns.to_analog(layer, profile(CHAINS["tiles"]), seed=0)
    count = layer.num_layers * (1 + layer.bidirectional)
    state: Any = normal(count, 3, layer.proj_size or 4)
    state = (state, normal(count, 3, 4)) if isinstance(layer, nn.LSTM) else state
    same(analog, layer, normal(*((3, 2) if layer.batch_first else (2, 3)), 5), state)
    alone: Any = normal(count, layer.proj_size or 4)
    alone = (alone, normal(count, 4)) if isinstance(layer, nn.LSTM) else alone
    same(analog, layer, normal(4, 5), alone)
    same(analog, layer, normal(4, 5))


@pytest.mark.parametrize("how", SEQUENCES)
@pytest.mark.parametrize("sort", [True, False])
def test_sequences_of_several_lengths_are_packed_and_unpacked(how: str, sort: bool) -> None:
    torch.manual_seed(2)
    layer = SEQUENCES[how]().double()
    analog = ns.to_analog(layer, profile(CHAINS["whole"]), seed=0)
    parts = [normal(length, 5) for length in ((4, 3, 3, 1) if sort else (3, 1, 4, 3))]
    packed = pack_sequence(parts, enforce_sorted=sort)
    y, expected = analog(packed)[0], layer(packed)[0]
    assert isinstance(y, PackedSequence)
    for one, other in zip(y[1:], expected[1:], strict=True):
        assert (one is None) is (other is None)
        assert one is None or torch.equal(one, other)
    same(_Data(analog), _Data(layer), packed)
    count = layer.num_layers * (1 + layer.bidirectional)
    state: Any = normal(count, 4, layer.proj_size or 4)
    same(_Data(analog), _Data(layer), packed, (state, normal(count, 4, 4)) if isinstance(layer, nn.LSTM) else state)


class _Data(nn.Module):
    """Only what is computed of a packed sequence."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Any) -> Any:
        y, state = self.layer(*inputs)
        return y.data, state


@pytest.mark.parametrize("how", CELLS_OF)
@pytest.mark.parametrize("chain", CHAINS)
def test_a_cell_without_errors_is_the_digital_one(chain: str, how: str) -> None:
    torch.manual_seed(3)
    cell = CELLS_OF[how]().double()
    analog = ns.to_analog(cell, profile(CHAINS[chain]), seed=0)
    for shape, x in (((3, 4), normal(3, 5)), ((4,), normal(5))):
        same(analog, cell, x)
        same(analog, cell, x, (normal(*shape), normal(*shape)) if isinstance(cell, nn.LSTMCell) else normal(*shape))


def test_dropout_between_layers_drops_what_torch_drops() -> None:
    torch.manual_seed(4)
    layer = nn.GRU(5, 64, 2, dropout=0.5).double()
    analog, x = ns.to_analog(layer, profile(CHAINS["whole"]), seed=0), torch.randn(6, 3, 5, dtype=torch.float64)
    torch.manual_seed(0)
    y = analog(x)[0]
    torch.manual_seed(0)
    torch.testing.assert_close(y, layer(x)[0], rtol=0, atol=1e-12)
    assert not torch.equal(analog(x)[0], y)
    torch.testing.assert_close(analog.eval()(x), layer.eval()(x), rtol=0, atol=1e-12)


def test_the_gates_of_a_noisy_layer_are_those_of_its_products() -> None:
    torch.manual_seed(5)
    analog: Any = ns.to_analog(nn.LSTM(5, 4), "photonic_avnn", seed=3)
    seen: dict[str, list[Tensor]] = {}
    for name in ("ih_l0", "hh_l0"):
        analog.get_submodule(name).register_forward_hook(lambda module, args, y, name=name: seen.setdefault(name, []).append(y))
    y, (h, c) = analog(torch.rand(3, 2, 5))
    given, recalled = seen["ih_l0"][0], seen["hh_l0"]
    assert len(recalled) == 3
    state = torch.zeros(2, 4), torch.zeros(2, 4)
    for t in range(3):
        i, f, g, o = (given[t] + recalled[t]).split(4, -1)
        cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        state = o.sigmoid() * cell.tanh(), cell
        torch.testing.assert_close(y[t], state[0])
    torch.testing.assert_close((h[0], c[0]), state)


@pytest.mark.parametrize(("scope", "differs"), [("read", True), ("device", False)])
def test_weights_that_are_drawn_at_every_use_differ_between_steps_and_frozen_ones_do_not(scope: str, differs: bool) -> None:
    noise = {"kind": "noise", "distribution": "gaussian", "scale": 0.1, "scope": scope}
    analog: Any = ns.to_analog(nn.RNN(5, 4), profile({"weight": {"noise": noise}, "array": {"mapping": CELLS}}), seed=0)
    steps: list[tuple[Tensor, Tensor]] = []
    analog.hh_l0.register_forward_hook(lambda module, args, y: steps.append((args[0], y)))
    analog(torch.randn(4, 12, 5))
    weights = [torch.linalg.lstsq(torch.cat([h, torch.ones(12, 1)], 1), y).solution[:4].T for h, y in steps[1:]]
    assert len(weights) == 3
    assert torch.allclose(weights[0], weights[1], atol=1e-2) is not differs


def test_what_arrays_hold_is_computed_once_a_sequence_unless_every_use_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    times = []

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        times.append(1)
        return encode(*args, **kwargs)

    monkeypatch.setattr("neurosim.nn.array.encode", counted)
    noise = {"kind": "noise", "distribution": "gaussian", "scale": 0.1}
    x, layer = torch.rand(7, 2, 5), nn.LSTM(5, 4)
    for scope, once in (("device", 2), ("batch", 2), ("read", 8)):  # one input product, seven with the state
        analog: Any = ns.to_analog(layer, profile({"weight": {"noise": noise | {"scope": scope}}, "array": {"mapping": CELLS}}), seed=0)
        for around in (nullcontext(), torch.no_grad(), ns.keep_weights(analog)):
            with around:
                times.clear()
                first = analog(x)[0]
                assert len(times) == once
        assert torch.equal(analog(x)[0], first) is (scope == "device")
        with torch.no_grad():
            analog.weight_hh_l0.add_(1.0)
        assert not torch.equal(analog(x)[0], first)


def test_a_weight_that_is_computed_once_a_sequence_has_the_gradient_of_all_its_uses() -> None:
    torch.manual_seed(9)
    noise = {"kind": "noise", "distribution": "gaussian", "scale": 0.1, "scope": "device"}
    analog: Any = ns.to_analog(nn.GRU(3, 2), profile({"weight": {"noise": noise}, "array": {"mapping": CELLS}}), seed=0).double()
    x, weight = torch.randn(4, 2, 3, dtype=torch.float64), analog.weight_hh_l0.detach().clone().mul_(0.5).requires_grad_()
    torch.autograd.gradcheck(lambda w: torch.func.functional_call(analog, {"weight_hh_l0": w}, (x,))[0], (weight,))


def test_each_product_is_a_chip_of_its_own_and_programming_changes_all() -> None:
    chain = {"weight": {"noise": {"kind": "noise", "distribution": "gaussian", "scale": 0.1, "scope": "device"}}}
    analog: Any = ns.to_analog(nn.Sequential(nn.GRU(4, 4, 2, bidirectional=True)), profile(chain), seed=0)
    errors = [layer.chain.get_buffer("weight_noise__standard").flatten() for layer in ns.analog_layers(analog).values()]
    assert len(errors) == 8
    assert all(not torch.equal(one[:48], other[:48]) for at, one in enumerate(errors) for other in errors[:at])
    before, x = analog(torch.ones(2, 1, 4))[0], torch.ones(2, 1, 4)
    assert torch.equal(analog(x)[0], before)
    ns.program(analog, 1)
    assert not torch.equal(analog(x)[0], before)
    ns.program(analog, 0)
    assert torch.equal(analog(x)[0], before)


def test_a_product_is_chosen_by_its_own_path_or_by_that_of_its_layer() -> None:
    model = nn.Sequential(nn.LSTM(5, 4), nn.Linear(4, 2))

    def converted(**choice: Any) -> list[str]:
        return list(ns.analog_layers(ns.to_analog(model, "photonic_avnn", seed=0, **choice)))

    assert converted() == ["0.ih_l0", "0.hh_l0", "1"]
    assert converted(layers="0") == converted(layers=nn.LSTM) == ["0.ih_l0", "0.hh_l0"]
    assert converted(layers="*.ih_*") == ["0.ih_l0"]
    assert converted(skip="0.hh_l0") == ["0.ih_l0", "1"]
    assert converted(skip=[nn.LSTM]) == ["1"]
    analog = ns.to_analog(model, "photonic_avnn", seed=0, overrides={"0": {"output.adc.levels": 5}, "0.hh_l0": {"output.adc.levels": 9}})
    levels = {path: layer.chain.spec.output.adc.levels for path, layer in ns.analog_layers(analog).items()}  # type: ignore[union-attr]  # a quantiser
    assert levels == {"0.ih_l0": 5, "0.hh_l0": 9, "1": 33}
    ns.override(analog, {"output.adc.levels": 3}, layers="0")
    assert [layer.chain.spec.output.adc.levels for layer in ns.analog_layers(analog).values()] == [3, 3, 33]  # type: ignore[union-attr]  # a quantiser
    with pytest.raises(ConfigError, match=r"'0\.ih' names no layer with weights"):
        converted(layers="0.ih")


def test_a_product_that_stays_digital_is_computed_digitally() -> None:
    torch.manual_seed(6)
    layer, x = nn.GRU(5, 4), torch.rand(3, 2, 5)
    analog: Any = ns.to_analog(layer, "photonic_avnn", seed=0, skip="hh_l0")
    assert [(row.path, row.status) for row in analog.conversion.layers] == [("ih_l0", "converted"), ("hh_l0", "digital")]
    assert not torch.allclose(analog(x)[0], layer(x)[0], atol=1e-3)
    with ns.noise("ideal", analog):
        assert torch.equal(analog(x)[0], layer(x)[0])
    again: Any = ns.to_analog(analog, profile(CHAINS["whole"]), seed=0)
    assert list(ns.analog_layers(again)) == ["ih_l0", "hh_l0"]
    torch.testing.assert_close(again(x)[0], layer(x)[0])


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("make", [*SEQUENCES.values(), *CELLS_OF.values()], ids=[*SEQUENCES, *(f"{name} cell" for name in CELLS_OF)])
def test_the_way_there_and_back_keeps_the_module(make: Any) -> None:
    torch.manual_seed(7)
    layer = make()
    analog: Any = ns.to_analog(layer, "photonic_avnn", seed=0, overrides={"*": {"weight.noise.scope": "device"}})
    assert isinstance(analog, type(layer))
    assert list(analog.state_dict()) == list(layer.state_dict())
    analog.load_state_dict(make().state_dict(), strict=True)
    layer.load_state_dict(analog.state_dict(), strict=True)
    x = torch.rand((2, 5) if isinstance(layer, nn.RNNCellBase) else (3, 2, 5))
    with ns.noise("ideal", analog):
        assert all(torch.equal(one, other) for one, other in zip(_tensors(analog(x)), _tensors(layer(x)), strict=True))
    with ns.noise("off", analog):
        assert all(torch.equal(one, other) for one, other in zip(_tensors(analog(x)), _tensors(analog(x)), strict=True))
    noisy = copy.deepcopy(analog), pickle.loads(pickle.dumps(analog)), analog
    answers = [_tensors(one(x)) for one in noisy]
    assert all(torch.equal(one, other) for answer in answers for one, other in zip(answer, answers[0], strict=True))
    assert not torch.equal(_tensors(analog(x))[0], answers[0][0])
    digital = ns.to_digital(analog)
    assert type(digital) is type(layer)
    assert list(digital.named_children()) == []
    assert all(torch.equal(one, other) for one, other in zip(_tensors(digital(x)), _tensors(layer(x)), strict=True))


def test_what_the_converters_learn_of_each_product_trains_and_is_saved() -> None:
    learned = {"output": {"normalize": {"kind": "clamp", "low": -4.0, "high": 4.0, "learned": True}}}
    analog: Any = ns.to_analog(nn.LSTM(5, 4), profile(learned), seed=0)
    names = [name for name, _ in analog.named_parameters() if "chain" in name]
    assert {name.split(".")[0] for name in names} == {"ih_l0", "hh_l0"}
    (analog(torch.rand(3, 2, 5) * 40)[0].square().sum()).backward()
    assert any(analog.get_parameter(name).grad.abs().sum() > 0 for name in names)
    analog.load_state_dict(nn.LSTM(5, 4).state_dict(), strict=True)
    assert set(names) <= set(analog.state_dict())


def test_compiled_layers_compute_the_same() -> None:
    torch._dynamo.reset()
    torch.manual_seed(8)
    analog = ns.to_analog(nn.Sequential(nn.LSTMCell(5, 4)), "photonic_avnn", seed=0)
    twin = copy.deepcopy(analog)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    x = torch.rand(2, 5)
    for _ in range(2):
        for one, other in zip(analog(x), compiled(x), strict=True):
            assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # of the compiler
def test_torch_does_not_compile_sequences_and_they_run_all_the_same() -> None:
    torch._dynamo.reset()
    analog = ns.to_analog(nn.GRU(3, 2), "photonic_avnn", seed=0)
    twin, x = copy.deepcopy(analog), torch.rand(2, 1, 3)
    assert torch.equal(torch.compile(twin, backend="aot_eager")(x)[0], analog(x)[0])


def test_layers_are_made_for_hardware_directly() -> None:
    made = AnalogLSTM(5, 4, 2, profile="photonic_avnn", seed=3, path="0")
    assert [name for name, part in made.named_children() if isinstance(part, AnalogProduct)] == ["ih_l0", "hh_l0", "ih_l1", "hh_l1"]
    analog: Any = ns.to_analog(nn.Sequential(nn.LSTM(5, 4, 2)), "photonic_avnn", seed=3)
    analog[0].load_state_dict(made.state_dict())
    x = torch.rand(3, 2, 5)
    ns.set_draw(made, 0)
    ns.set_draw(analog, 0)
    assert torch.equal(made(x)[0], analog[0](x)[0])


def test_a_users_own_layer_keeps_its_class_and_its_own_forward_is_refused() -> None:
    analog: Any = ns.to_analog(nn.Sequential(Named(5, 4), Own(5, 4)), "photonic_avnn", seed=0)
    assert isinstance(analog[0], Named)
    assert isinstance(analog[0], AnalogGRU)
    rows = {row.path: row for row in analog.conversion.layers}
    assert rows["1"].status == "refused"
    assert rows["1"].reason == "Own defines forward itself, so its product is not known to be that of GRU"
    assert type(pickle.loads(pickle.dumps(analog))[0]) is type(analog[0])
    assert type(ns.to_digital(analog)[0]) is Named  # type: ignore[index]  # an nn.Sequential


class Named(nn.GRU):
    """A user's layer."""


class Own(nn.GRU):
    """A user's layer with a product of its own."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # type: ignore[override]  # torch's has overloads
        """Twice as much."""
        return super().forward(2 * input, hx)


def test_inputs_that_do_not_fit_are_refused_as_by_the_digital_layer() -> None:
    layer = nn.LSTM(5, 4)
    analog = ns.to_analog(layer, "photonic_avnn", seed=0)
    for inputs in (
        (torch.rand(3, 2, 6),),
        (torch.rand(5),),
        (torch.rand(0, 2, 5),),
        (torch.rand(3, 2, 5), (torch.zeros(1, 1, 4), torch.zeros(1, 2, 4))),
        (torch.rand(3, 5), (torch.zeros(1, 1, 4), torch.zeros(1, 1, 4))),
    ):
        messages = []
        for one in (layer, analog):
            with pytest.raises((RuntimeError, ValueError)) as caught:
                one(*inputs)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    cell = AnalogLSTMCell(5, 4, profile="photonic_avnn", seed=0, path="cell")
    with pytest.raises(ConfigError, match=r"LSTMCell: hx must be 2 of shape \(2, 4\) for this input, got \(2, 4\), \(1, 4\)"):
        cell(torch.rand(2, 5), (torch.zeros(2, 4), torch.zeros(1, 4)))
