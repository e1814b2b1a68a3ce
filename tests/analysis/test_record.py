"""Recording what layers do, without changing it."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis.layer import LayerRecording
from neurosim.errors import ConfigError
from tests.neurons.cases import CASES, NOISE, drive

DT = 1e-3


def noise(shape: tuple[int, ...], name: str) -> Tensor:
    return ns.random.stream(3, name).uniform(shape, like=torch.empty(0))


def network() -> ns.nn.SpikingSequential:
    """Two spiking layers, one of them in a residual block, and an integrating read-out; the same at every call."""
    block = ns.nn.SpikingSequential(nn.Conv2d(4, 4, 3, padding=1), ns.LIF(2e-3, DT))
    net = ns.nn.SpikingSequential(
        nn.Conv2d(1, 4, 3), ns.LIF(4e-3, DT), ns.nn.SpikingResidual(block), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3), ns.LI(4e-3, DT)
    )
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.copy_((noise(tuple(value.shape), name) - 0.3) / value[0].numel() ** 0.5 * 4)
    return net


X = noise((6, 2, 1, 6, 6), "x") * 2


def attributes(model: nn.Module) -> list[tuple[set[str], int]]:
    """What a recording could leave behind."""
    return [({*module.__dict__}, len(module._forward_hooks) + len(module._forward_pre_hooks)) for module in model.modules()]


def test_every_neuron_is_recorded_by_its_path() -> None:
    net = network()
    with ns.record(net) as recording:
        y = net(X)
    assert list(recording) == ["1", "2.body.1", "6"]
    first = recording["1"]
    assert (first.type, first.dt, first.v_threshold, first.v_reset) == ("LIF", DT, 1.0, 0.0)
    assert first.spikes.shape == first.membrane.shape == (6, 2, 4, 4, 4)
    assert (first.n_steps, first.batch, first.unit_shape) == (6, 2, (4, 4, 4))
    assert recording["6"].signals == ("membrane",)
    assert torch.equal(recording["6"].membrane, y)


def test_what_is_recorded_is_what_the_neurons_give() -> None:
    net = network()
    with ns.record(net) as recording:
        net(X)
    current = ns.nn.TimeFold(net[0])(X)
    traced = net[1].trace(current)
    assert torch.equal(recording["1"].spikes, traced.spikes)
    assert torch.equal(recording["1"].membrane, traced.v)
    body: Any = net[2].body
    traced = body[1].trace(ns.nn.TimeFold(body[0])(traced.spikes))
    assert torch.equal(recording["2.body.1"].spikes, traced.spikes)
    assert 0 < float(recording["2.body.1"].spikes.mean()) < 1


@pytest.mark.parametrize("what", [("spikes",), ("membrane",), ("spikes", "membrane", "output")])
def test_results_and_gradients_are_the_same_bit_for_bit(what: Any) -> None:
    def run(recorded: bool) -> list[Tensor]:
        net, x = network(), X.clone().requires_grad_()
        with ns.record(net, "*", what) if recorded else contextlib.nullcontext():
            y, state = net.run(x)
        (y.square().sum() + state[1].v.sum()).backward()
        return [y, *state[1][:1], x.grad, *(value.grad for value in net.parameters())]  # type: ignore[list-item]  # they are there

    plain, recorded = run(False), run(True)
    assert all(one.abs().sum() > 0 for one in plain)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_registered_neuron_can_be_recorded(case: tuple[str, str]) -> None:
    neuron, x, stream = CASES[case](), drive(), NOISE
    expected, after = neuron.run(x, stream=stream)
    with ns.record(neuron) as recording:
        y, state = neuron.run(x, stream=stream)
        again = neuron(x, stream=stream)
    assert torch.equal(y, expected)
    assert torch.equal(again, expected)
    for one, other in zip(state, after, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    layer = recording[""]
    assert torch.equal(layer.membrane[-1, :3], after.v)
    if "spikes" in layer.signals:
        assert torch.equal(layer.spikes, torch.cat([expected, expected], 1))


class Doubling(ns.LIF):
    """A subclass that changes ``run``, and not ``trace``."""

    def run(self, x: Tensor, state: Any = None, *, stream: Any = None) -> Any:
        return super().run(2 * x, state, stream=stream)


class Plain(ns.Neuron[Any]):
    """A neuron without ``trace``, as users write them; its state has a membrane only if it is named ``v``."""

    def __init__(self, kind: type[Any]) -> None:
        super().__init__(DT)
        self.kind = kind

    def run(self, x: Tensor, state: Any = None, *, stream: Any = None) -> Any:
        v, spikes = (torch.zeros_like(x[0]) if len(x) else x.sum(0)) if state is None else state[0], []
        for current in x.unbind(0):
            v = 0.8 * v + current
            spikes.append(ns.neurons.spike(v - 1))
            v = v - spikes[-1]
        return torch.stack(spikes) if spikes else x, self.kind(v)


def test_the_membrane_of_a_subclass_is_that_of_its_own_run() -> None:
    x = drive()
    with ns.record(neuron := Doubling(20e-3, DT)) as recording:
        y = neuron(x)
    expected = ns.LIF(20e-3, DT).trace(2 * x)
    assert torch.equal(y, expected.spikes)
    assert torch.equal(recording[""].spikes, expected.spikes)
    assert torch.equal(recording[""].membrane, expected.v)


def test_a_neuron_without_trace_is_run_step_by_step() -> None:
    x, neuron = drive(), Plain(ns.neurons.LIState)
    with ns.record(neuron) as recording:
        y, state = neuron.run(x)
    assert torch.equal(y, neuron(x))
    assert torch.equal(recording[""].spikes, y)
    assert torch.equal(recording[""].membrane[-1], state.v)
    assert torch.equal(recording[""].membrane[4], neuron.run(x[:5])[1].v)


def test_a_neuron_whose_state_has_no_membrane_has_spikes_only() -> None:
    x, neuron = drive(), Plain(lambda v: (v,))  # type: ignore[arg-type]  # any state will do
    with ns.record(neuron) as recording:
        neuron(x)
    assert recording[""].signals == ("spikes",)
    with pytest.raises(ns.ConfigError, match=r"\(model\) \(Plain\) has no membrane; what there is: spikes"):
        _ = recording[""].membrane


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("make", [lambda: ns.LIF(20e-3, DT), lambda: Plain(ns.neurons.LIState), lambda: ns.LI(20e-3, DT)])
def test_no_step_and_one_step_can_be_recorded(steps: int, make: Any) -> None:
    with ns.record(neuron := make()) as recording:
        neuron(drive(steps))
    assert recording[""].membrane.shape == (steps, 3, 5)


def test_folded_layers_and_containers_have_outputs_with_a_time_axis() -> None:
    net = network()
    with ns.record(net, ["0", "2", "3", "5", "", "2.body*"]) as recording:
        y = net(X)
    assert torch.equal(recording["0"].output, ns.nn.TimeFold(net[0])(X))
    assert recording["3"].output.shape == (6, 2, 4, 2, 2)
    assert torch.equal(recording[""].output, y)
    assert recording["2"].output.shape == recording["2.body"].output.shape == (6, 2, 4, 4, 4)
    expected = torch.stack([net[4](step) for step in recording["3"].output.unbind(0)])
    torch.testing.assert_close(recording["5"].output, torch.stack([net[5](step) for step in expected.unbind(0)]))


def test_what_a_time_fold_holds_is_unfolded_too() -> None:
    fold = ns.nn.TimeFold(nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True)))
    with torch.no_grad():
        fold.get_parameter("module.0.bias").fill_(-0.5)  # so that something is below 0, whatever the weights
    x = noise((5, 2, 3), "fold")
    with ns.record(fold, "*") as recording:
        y = fold(x)
    assert recording["module.0"].output.shape == (5, 2, 4)
    assert torch.equal(recording["module.0"].output.relu(), y)
    assert (recording["module.0"].output < 0).any()  # what follows in place does not reach what was recorded


def test_a_digital_model_has_outputs_without_a_time_axis() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), noise((7, 3), "digital")
    with ns.record(model, nn.ReLU) as recording:
        first = model(x)
        second = model(x[:2])
    layer = recording["1"]
    assert (layer.timed, layer.n_steps, layer.batch) == (False, 0, 9)
    assert torch.equal(layer.output, torch.cat([first, second]))


def test_a_network_behind_the_interface_of_a_classifier_is_recorded() -> None:
    net = ns.nn.SpikingNetwork(network(), time_steps=4)
    with ns.record(net) as recording:
        y = net(X[0])
    assert list(recording) == ["body.1", "body.2.body.1", "body.6"]
    assert torch.equal(recording["body.6"].membrane.mean(0), y)


def test_the_layers_of_an_analog_model_are_recorded() -> None:
    analog = ns.to_analog(network(), "photonic_avnn", seed=1)
    with ns.noise("ideal", analog), ns.record(analog, ["0", "1"]) as recording:
        analog(X)
    torch.testing.assert_close(recording["0"].output, ns.nn.TimeFold(network()[0])(X))


# --- several forwards ---------------------------------------------------------------------------------------------------------------------


def test_several_forwards_are_other_samples() -> None:
    net = network()
    with ns.record(net) as recording:
        net(X)
        net(X[:, :1])
    assert recording["1"].spikes.shape == (6, 3, 4, 4, 4)
    assert recording["1"].sample_index.tolist() == [0, 1, 2]
    assert len(recording["1"].calls["spikes"]) == 2


def test_along_time_the_chunks_of_a_sequence_are_one() -> None:
    net = network()
    with ns.record(net) as whole:
        net(X)
    with ns.record(net, along="time") as chunks:
        _, state = net.run(X[:2])
        net.run(X[2:], state)
    for path, layer in whole.items():
        torch.testing.assert_close(chunks[path].membrane, layer.membrane)
    assert torch.equal(chunks["1"].spikes, whole["1"].spikes)
    assert chunks["1"].sample_index.tolist() == [0, 1]


def test_along_time_the_steps_of_a_plain_layer_become_a_time_axis() -> None:
    linear, x = nn.Linear(3, 4), noise((5, 2, 3), "steps")
    with ns.record(linear, "*", along="time") as recording:
        steps = [linear(step) for step in x.unbind(0)]
    assert torch.equal(recording[""].output, torch.stack(steps))
    assert (recording[""].n_steps, recording[""].batch) == (5, 2)


class Loop(nn.Module):
    """A model that runs its layers step by step, as recurrent ones do."""

    def __init__(self, body: ns.nn.SpikingSequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = None, []
        for step in x.split(1):
            y, state = self.body.run(step, state)
            outputs.append(y)
        return torch.cat(outputs)


@pytest.mark.parametrize("along", ["batch", "time"])
def test_a_model_that_runs_step_by_step_is_recorded_as_one_that_does_not(along: Any) -> None:
    net, loop = network(), Loop(network())
    with ns.record(net, "*", along=along) as whole, ns.record(loop, "*", along=along) as stepped:
        for x in (X, X.flip(1)):
            torch.testing.assert_close(loop(x), net(x))
    for path, layer in whole.items():
        twin = stepped[f"body.{path}" if path else "body"]
        torch.testing.assert_close(twin.joined(layer.signals[0]), layer.joined(layer.signals[0]))
        assert twin.sample_index.tolist() == layer.sample_index.tolist()
        assert len(twin.calls[layer.signals[0]]) == 2


@pytest.mark.parametrize("along", ["batch", "time"])
def test_a_graph_with_a_delayed_edge_is_recorded_as_one_sequence(along: Any) -> None:
    fire, back = ns.LIF(4e-3, DT), nn.Linear(3, 3)
    graph = ns.nn.SpikingGraph(
        {"fire": fire, "back": back}, {"fire": ["input"], "back": ["fire"]}, output="fire", delayed=[("back", "fire")]
    )
    x = noise((6, 2, 3), "graph")
    with ns.record(graph, ["fire", "back"], along=along) as recording:
        y = graph(x)
    assert torch.equal(recording["fire"].spikes, y)
    torch.testing.assert_close(recording["back"].output, ns.nn.TimeFold(back)(y))
    with ns.record(fire) as alone:
        fire(x + torch.cat([torch.zeros(1, 2, 3), recording["back"].output[:-1]]))
    torch.testing.assert_close(alone[""].membrane, recording["fire"].membrane)


def test_what_follows_a_network_over_time_has_no_time_axis() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = network(), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.body(x).flatten(0, 1))  # as many rows as there are steps and samples
            return y

    model = Classifier()
    with ns.record(model, ["head", ""]) as recording:
        y = model(X)
    assert torch.equal(recording["head"].output, y)
    assert torch.equal(recording[""].output, y)


def test_forwards_that_do_not_fit_together_are_kept_one_by_one() -> None:
    neuron = ns.LIF(20e-3, DT)
    with ns.record(neuron) as recording:
        neuron(drive(5))
        neuron(drive(7))
    assert [len(one) for one in recording[""].calls["spikes"]] == [5, 7]
    with pytest.raises(ns.ConfigError, match=r"must fit together to be joined along batch, got the shapes \(5, 3, 5\), \(7, 3, 5\)"):
        _ = recording[""].spikes


# --- less of it ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "index"),
    [(3, [0, 1, 2]), (slice(10, 60, 20), [10, 30, 50]), ([5, 0, -1], [5, 0, 63]), (torch.tensor([2]), [2]), (99, range(64))],
)
def test_chosen_units_are_those_of_the_whole(units: Any, index: Any) -> None:
    net = network()
    with ns.record(net) as whole, ns.record(net, "1", units=units) as part:
        net(X)
    for signal in ("spikes", "membrane"):
        assert torch.equal(getattr(part["1"], signal), getattr(whole["1"], signal).flatten(2)[:, :, list(index)])
    assert part["1"].unit_index is not None
    assert part["1"].unit_index.tolist() == list(index)
    assert part["1"].unit_shape == (4, 4, 4)


def test_chosen_samples_are_those_of_every_forward() -> None:
    neuron, x = ns.LIF(20e-3, DT), drive(20, 4)
    with ns.record(neuron, samples=[0, 3]) as recording:
        neuron(x)
        neuron(x.flip(1))
    spikes = neuron(x)
    assert torch.equal(recording[""].spikes, torch.stack([spikes[:, 0], spikes[:, 3], spikes[:, 3], spikes[:, 0]], 1))
    assert recording[""].sample_index.tolist() == [0, 3, 4, 7]


@pytest.mark.parametrize("choice", [0, -1, True, 1.5, "a", [], [0.5], [[1]]])
@pytest.mark.parametrize("name", ["units", "samples"])
def test_a_choice_that_is_none_is_refused(name: str, choice: Any) -> None:
    neuron = ns.LIF(20e-3, DT)
    with pytest.raises(ns.ConfigError, match=f"record: .*{name}: must be"), ns.record(neuron, **{name: choice}):
        neuron(drive())
    assert attributes(neuron) == attributes(ns.LIF(20e-3, DT))


def test_an_index_out_of_range_says_of_which_layer() -> None:
    net = network()
    with (
        pytest.raises(ns.ConfigError, match=r"record: 1: units: must be indices below 64, got 3 to 64"),
        ns.record(net := network(), units=[3, 64]),
    ):
        net(X)


# --- nothing is left behind ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_left_behind() -> None:
    net = network()
    before = attributes(net)
    with ns.record(net, "*"):
        assert attributes(net) != before
        net(X)
    assert attributes(net) == before


@pytest.mark.parametrize(("place", "error"), [("in the block", RuntimeError), ("in the model", ConfigError)])
def test_nothing_is_left_behind_by_an_error(place: str, error: type[Exception]) -> None:
    net = network()
    before = attributes(net)
    wrong = X[..., :2] if place == "in the model" else X

    def interrupted() -> None:
        with ns.record(net, "*"):
            net(X)
            net(wrong)
            raise RuntimeError

    with pytest.raises(error):
        interrupted()
    assert attributes(net) == before


def test_an_error_that_is_caught_in_the_block_does_not_confuse_what_follows() -> None:
    net = network()
    with ns.record(net, "*") as recording:
        with pytest.raises(ConfigError, match="steps that Conv2d"):
            net(torch.zeros(6, 2, 2, 6, 6))
        net(X)
    assert recording["0"].output.shape == (6, 2, 4, 4, 4)


def test_recordings_may_be_nested_and_end_in_any_order() -> None:
    net = network()
    before = attributes(net)
    outer, inner = ns.record(net, what="spikes"), ns.record(net)
    first = outer.__enter__()
    second = inner.__enter__()
    net(X)
    outer.__exit__(None, None, None)
    net(X)
    inner.__exit__(None, None, None)
    net(X)
    assert attributes(net) == before
    assert first["1"].spikes.shape[1] == 2
    assert second["1"].spikes.shape[1] == 4
    assert torch.equal(first["1"].spikes, second["1"].spikes[:, :2])
    assert first["1"].signals == ("spikes",)


def test_a_method_that_someone_else_replaced_is_used_and_comes_back() -> None:
    neuron, seen = ns.LIF(20e-3, DT), []
    method = neuron.run

    def run(x: Tensor, state: Any = None, *, stream: Any = None) -> Any:
        seen.append(len(x))
        return method(0.5 * x, state, stream=stream)

    neuron.run = run  # type: ignore[method-assign]  # as someone else may do
    with ns.record(neuron) as recording:
        y = neuron(drive())
    assert neuron.run is run
    assert torch.equal(y, ns.LIF(20e-3, DT)(0.5 * drive()))
    assert torch.equal(recording[""].membrane, ns.LIF(20e-3, DT).trace(0.5 * drive()).v)
    assert seen


def test_copies_made_while_recording_are_not_recorded() -> None:
    net = network()
    with ns.record(net, "*") as recording:
        twins = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
        for twin in twins:
            assert torch.equal(twin(X), network()(X))
            with ns.record(twin) as own:
                twin(X)
            assert torch.equal(own["1"].spikes, network()[1](ns.nn.TimeFold(network()[0])(X)))
    assert all(not layer.signals for layer in recording.values())
    assert twins[0][1].run.__self__ is twins[0][1]


def test_a_compiled_model_is_recorded_and_stays_compiled() -> None:
    net = network()
    torch.compiler.reset()
    compiled: Any = torch.compile(net, fullgraph=True, backend="aot_eager")
    y = compiled(X)
    with ns.record(compiled) as recording:
        compiled(X)
    assert list(recording) == ["1", "2.body.1", "6"]
    torch.testing.assert_close(recording["6"].membrane, y)
    assert torch.equal(compiled(X), y)
    assert recording["6"].batch == 2


def test_copies_have_no_gradient_and_are_not_those_of_inference_mode() -> None:
    net = network()
    with ns.record(net, "*") as recording:
        net(X)
        with torch.inference_mode():
            net(X)
    for layer in recording.values():
        tensor = layer.joined(layer.signals[0])
        assert not tensor.requires_grad
        assert not tensor.is_inference()


# --- what cannot be -----------------------------------------------------------------------------------------------------------------------


def test_messages_say_what_is_there() -> None:
    net: Any = network()
    cases: list[tuple[Any, str]] = [
        (("conv1",), r"record: 'conv1' names no layer"),
        ((nn.Dropout,), r"record: the model has no layer Dropout"),
        (([],), r"record: layers must name some layers, got none"),
        ((None, "spike"), r"no signal is named 'spike'; did you mean 'spikes'"),
        (("5", "spikes"), r"record: 5 must have spikes, has output"),
    ]
    for arguments, message in cases:
        with pytest.raises(ns.ConfigError, match=message), ns.record(net, *arguments):
            pass
    wrong: Any = "tme"
    with pytest.raises(ns.ConfigError, match="along must be 'batch' or 'time', got 'tme'"), ns.record(net, along=wrong):
        pass
    with pytest.raises(ns.ConfigError, match="has no neurons; name the layers to record"), ns.record(nn.Linear(2, 2)):
        pass
    not_a_model: Any = 5
    with pytest.raises(ns.ConfigError, match=r"must be a torch.nn.Module, got int"), ns.record(not_a_model):
        pass
    with ns.record(net) as recording:
        pass
    with pytest.raises(ns.ConfigError, match=r"1 \(LIF\) has no spikes; what there is: nothing: it was not called"):
        _ = recording["1"].spikes
    with pytest.raises(ns.ConfigError, match=r"no layer '2.body.2' was recorded; did you mean '2.body.1'"):
        _ = recording["2.body.2"]
    assert "2.body.2" not in recording
    assert recording.get("2.body.2") is None


class Gives(nn.Module):
    """Gives something else than a tensor."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Any:
        return self.value


@pytest.mark.parametrize(("value", "got"), [({"a": 1}, "dict"), (torch.tensor(1.0), "a number")])
def test_a_layer_that_gives_no_samples_is_refused(value: Any, got: str) -> None:
    model = Gives(value)
    with pytest.raises(ns.ConfigError, match=rf"\(model\) \(Gives\) gives {got}, not samples"), ns.record(model, "*"):
        model(X)


def test_of_a_tuple_the_first_tensor_is_recorded() -> None:
    model = Gives((torch.ones(2, 3), torch.zeros(1)))
    with ns.record(model, "*") as recording:
        model(X)
    assert torch.equal(recording[""].output, torch.ones(2, 3))


def test_a_shared_layer_has_its_first_path() -> None:
    neuron = ns.LIF(20e-3, DT)
    net = ns.nn.SpikingSequential(neuron, neuron)
    with ns.record(net) as recording:
        net(drive())
    assert list(recording) == ["0"]
    assert recording["0"].batch == 6  # both uses


def normed(**changes: Any) -> ns.nn.SpikingSequential:
    """Two normalised layers, the second on maps of units of their own."""
    torch.manual_seed(0)
    hidden = ns.nn.MPBN(ns.LIF(4e-3, DT, v_threshold=0.5, v_reset=0.1, reset="hard"), 12, **changes)
    return ns.nn.SpikingSequential(nn.Flatten(), nn.Linear(36, 12), hidden, nn.Linear(12, 5), ns.nn.MPBN(ns.LIF(4e-3, DT), 5))


@pytest.mark.parametrize("chip", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_normalised_layer_is_one_layer_of_neurons(chip: bool, training: bool) -> None:
    net: Any = normed()
    net(X)
    if chip:
        net = ns.to_neuromorphic(net, "bss2_spiking", seed=0)
        ns.redraw(net, "manual")
    net.train(training)
    expected, y = copy.deepcopy(net)[2].trace(net[1](X.flatten(2))), copy.deepcopy(net)(X)
    with ns.record(net) as recording:
        assert torch.equal(net(X), y)
    assert list(recording) == ["2", "4"]
    layer = recording["2"]
    assert (layer.type, layer.dt, layer.signals, layer.v_reset) == ("MPBN", DT, ("spikes", "membrane"), 0.1)
    assert torch.equal(layer.spikes, expected.spikes)
    assert torch.equal(layer.membrane, expected.v)
    assert torch.equal(recording["4"].spikes, y)
    assert 0 < float(layer.spikes.mean()) < 1


def test_the_threshold_of_a_normalised_layer_is_that_of_the_membrane_that_is_recorded() -> None:
    net: Any = normed()
    for _ in range(5):
        net(X)
    net.eval()
    with ns.record(net, "2") as recording:
        net(X)
    layer = recording["2"]
    current = net[1](X.flatten(2))
    before = torch.cat([torch.zeros_like(layer.membrane[:1]), layer.membrane[:-1]])
    potential = math.exp(-1 / 4) * before + current
    assert torch.equal(layer.spikes, (potential >= layer.v_threshold).float())
    with ns.record(normed(carry="normalized"), "2") as other:
        pass
    assert other["2"].v_threshold == 0.5


@pytest.mark.parametrize("make", ["rlif", "rcubalif", "recurrent", "mpbn"])
def test_neurons_within_neurons_are_recorded_once(make: str) -> None:
    layer: nn.Module = {
        "rlif": ns.neurons.RLIF(5, 4e-3, DT),
        "rcubalif": ns.neurons.RCubaLIF(5, 8e-3, 4e-3, DT),
        "mpbn": ns.nn.MPBN(ns.LIF(4e-3, DT), 5),
        "recurrent": ns.neurons.Recurrent(ns.LIF(4e-3, DT), nn.Linear(5, 5)),
    }[make]
    net = ns.nn.SpikingSequential(nn.Linear(3, 5), layer, ns.LIF(4e-3, DT))
    x = 3 * noise((6, 2, 3), "drive")
    for layers in (None, "*", ["1*", "2"]):
        with ns.record(net, layers, "spikes") as recording:
            net(x)
        assert list(recording) == ["1", "2"]
        assert recording["1"].spikes.shape == (6, 2, 5)
    assert [one.path for one in ns.activity(net, x).layers] == ["1", "2"]
    with ns.record(layer) as alone:
        layer(torch.ones(6, 2, 5))
    assert list(alone) == [""]
    with pytest.raises(ns.ConfigError, match=r"record: '1.neuron' names no layer"), ns.record(net, "1.neuron"):
        pass


def test_a_recording_is_shown_as_a_table() -> None:
    net = network()
    with ns.record(net, units=5) as recording:
        net(X)
    assert repr(recording).splitlines()[:2] == [
        "recording",
        "  layer     type  signals           steps  samples  units",
    ]
    assert "  2.body.1  LIF   spikes, membrane  6      2        5 of 4 × 4 × 4" in repr(recording).splitlines()
    assert isinstance(recording["1"], LayerRecording)
