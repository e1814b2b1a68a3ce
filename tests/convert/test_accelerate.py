"""``accelerate``: what it changes, what it leaves, what it says about it. That results stay the same is tested in ``tests/parity``."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
import snntorch as snn
import torch
from snntorch import surrogate as peers
from snntorch import utils
from torch import nn

import neurosim as ns
from neurosim.convert.snntorch_layers import FusedLeaky, FusedSynaptic
from tests.pages import ROOT, blocks, run


def network() -> nn.Sequential:
    """Two layers that can be accelerated, one that cannot."""
    return nn.Sequential(
        nn.Linear(4, 6),
        snn.Leaky(beta=0.9, init_hidden=True, reset_mechanism="zero", reset_delay=False),
        snn.Alpha(alpha=0.9, beta=0.8, init_hidden=True),
        snn.Synaptic(alpha=0.5, beta=0.8, init_hidden=True, spike_grad=peers.fast_sigmoid(slope=10)),
    )


def test_the_report_says_of_every_neuron_layer_what_became_of_it() -> None:
    net = ns.accelerate(network())
    assert [type(part) for part in net] == [nn.Linear, FusedLeaky, snn.Alpha, FusedSynaptic]
    assert str(net.acceleration) == (
        "neuron layers: 2 accelerated, 0 skipped, 1 refused\n"
        "  layer  type      status       convention, or why not\n"
        "  1      Leaky     accelerated  reset zero, at once; fires above the threshold; gradient arctan(alpha=2)\n"
        "  2      Alpha     refused      only Leaky and Synaptic have a fused form\n"
        "  3      Synaptic  accelerated  reset subtract, with the next step; fires above the threshold; gradient fast_sigmoid(slope=10)"
    )


def test_the_report_on_the_page_is_the_one_that_its_example_prints() -> None:
    example, printed, *_ = blocks("docs/accelerate.md")
    assert run([sys.executable, "-c", example.text], ROOT) == printed.text


def test_the_report_is_plain_data_too() -> None:
    net = ns.accelerate(network())
    assert isinstance(net.acceleration, ns.Acceleration)
    found = json.loads(json.dumps(net.acceleration.to_dict()))
    assert [layer["status"] for layer in found["layers"]] == ["accelerated", "refused", "accelerated"]


def test_a_network_with_a_layer_that_stays_still_runs() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = network()
    ours = ns.accelerate(theirs, inplace=False)
    x = 4 * torch.rand(20, 2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.stack([theirs(step) for step in x]), torch.stack([ours(step) for step in x]))


def test_a_layer_alone_is_a_model() -> None:
    layer = snn.Leaky(beta=0.9)
    assert ns.accelerate(layer) is layer
    assert "(model)" in str(layer.acceleration)


def test_in_place_by_default_and_in_a_copy_if_wanted() -> None:
    net = network()
    copied = ns.accelerate(net, inplace=False)
    assert type(net[1]) is snn.Leaky
    assert type(copied[1]) is FusedLeaky
    assert ns.accelerate(net) is net


@pytest.mark.parametrize(("choice", "chosen"), [({"layers": "1"}, {"1"}), ({"skip": "1"}, {"3"}), ({"layers": snn.Synaptic}, {"3"})])
def test_layers_are_chosen_by_globs_and_types(choice: dict[str, Any], chosen: set[str]) -> None:
    net = ns.accelerate(network(), **choice)
    assert {path for path, part in net.named_modules() if isinstance(part, FusedLeaky | FusedSynaptic)} == chosen
    assert "skipped" in str(net.acceleration)


def test_a_glob_that_names_nothing_is_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"accelerate: layers: 'lif\*' names no neuron layer; valid: '1', '2', '3'"):
        ns.accelerate(network(), layers="lif*")


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"accelerate: model must be a torch.nn.Module, got str"):
        ns.accelerate("model")  # type: ignore[type-var]  # the point of the test


def test_a_model_without_neurons_is_refused() -> None:
    with pytest.raises(ns.ConversionError, match=r"got none:\n  it has no neuron of snnTorch or norse"):
        ns.accelerate(nn.Linear(2, 2))


def test_a_model_that_cannot_be_copied_is_refused_and_left() -> None:
    layer = snn.Leaky(beta=0.9)
    layer(torch.rand(2, 3, requires_grad=True))  # its hidden state now belongs to a graph
    with pytest.raises(ns.ConversionError, match=r"accelerate: the model must be deep-copyable, got RuntimeError.*inplace=True"):
        ns.accelerate(layer, inplace=False)
    assert type(layer) is snn.Leaky
    assert type(ns.accelerate(layer)) is FusedLeaky


def _changed(**attributes: Any) -> Any:
    layer = snn.Leaky(beta=0.9)
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


class Mine(snn.Leaky):  # type: ignore[misc]  # snnTorch has no types
    """A layer that somebody has changed."""


@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: snn.Leaky(beta=0.9, inhibition=True), r"the neurons of a sample compete"),
        (lambda: snn.Leaky(beta=0.9, state_quant=lambda mem: mem), r"state_quant: a function"),
        (lambda: snn.Leaky(beta=0.9, graded_spikes_factor=0.0, reset_delay=False), r"divides by graded_spikes_factor, which is 0"),
        (lambda: _changed(reset_mechanism="zero"), r"reset_mechanism was changed after it was made"),
        (lambda: _changed(state_function=lambda x: x), r"state_function was replaced"),
        (lambda: Mine(beta=0.9), r"Mine is a class of its own: what it changes of Leaky is not known"),
        (lambda: snn.RLeaky(beta=0.9, all_to_all=False), r"only Leaky and Synaptic"),
        (lambda: snn.Leaky(beta=0.9, spike_grad=lambda z: (z > 0).float()), r"spike_grad is no surrogate of snntorch.surrogate"),
        (lambda: snn.Leaky(beta=0.9, spike_grad=peers.atan(alpha=-1.0)), r"alpha=-1: surrogate arctan: alpha must be a finite number > 0"),
        (lambda: snn.Leaky(beta=0.9, spike_grad=peers.atan(alpha=nn.Parameter(torch.ones(())))), r"which is no fixed number"),
        *(
            (lambda factory=factory: snn.Leaky(beta=0.9, spike_grad=factory()), rf"its surrogate, {factory.__name__}, is none of the fused")
            for factory in (peers.triangular, peers.heaviside, peers.spike_rate_escape, peers.SSO, peers.LSO, peers.SFS)
        ),
        (
            lambda: snn.Leaky(beta=0.9, spike_grad=peers.custom_surrogate(lambda z, grad, spikes: grad)),
            r"it runs a function of its author's",
        ),
    ],
)
def test_what_cannot_be_represented_is_refused_with_its_reason(make: Any, reason: str) -> None:
    layer = make()
    kind = type(layer)
    with pytest.raises(ns.ConversionError, match=reason):
        ns.accelerate(layer)
    assert type(layer) is kind


def test_a_surrogate_that_changed_in_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As SuperSpike did in norse: name and argument stay, the formula does not."""
    backward = peers.ATan.backward
    monkeypatch.setattr(peers.ATan, "backward", staticmethod(lambda ctx, grad: (backward(ctx, grad)[0] / 2, None)))
    with pytest.raises(ns.ConversionError, match=r"its surrogate, atan, is not what it was in snnTorch 1.0.0"):
        ns.accelerate(snn.Leaky(beta=0.9))


def test_a_layer_used_twice_is_changed_once_and_reported_under_both_names() -> None:
    layer = snn.Leaky(beta=0.9)
    net = ns.accelerate(nn.ModuleDict({"first": layer, "second": layer}))
    assert net["first"] is net["second"]
    assert isinstance(net.acceleration, ns.Acceleration)
    assert [(one.path, one.text.rpartition("; ")[2]) for one in net.acceleration.layers] == [("first", "also used as second")]


def test_a_second_time_it_changes_nothing() -> None:
    net = ns.accelerate(network())
    first = str(net.acceleration)
    assert str(ns.accelerate(net).acceleration) == first


@pytest.mark.parametrize(("name", "value"), [("spike_grad", peers.atan()), ("reset_delay", False), ("reset_mechanism", "none")])
def test_what_was_read_at_conversion_cannot_be_changed_afterwards(name: str, value: Any) -> None:
    layer = ns.accelerate(snn.Leaky(beta=0.9))
    with pytest.raises(ns.ConversionError, match=rf"FusedLeaky: {name} must be set before neurosim.accelerate, which has read it"):
        setattr(layer, name, value)


def test_hooks_and_mode_stay() -> None:
    layer = snn.Leaky(beta=0.9).eval()
    seen: list[Any] = []
    layer.register_forward_hook(lambda module, inputs, outputs: seen.append(type(module)))
    ns.accelerate(layer)(torch.rand(2, 3), torch.zeros(2, 3))
    assert seen == [FusedLeaky]
    assert not layer.training


@pytest.mark.parametrize(
    "make",
    [
        lambda: snn.Leaky(beta=0.9, threshold=0.4, spike_grad=peers.fast_sigmoid(slope=7), learn_beta=True),
        lambda: snn.Synaptic(alpha=0.5, beta=0.9, surrogate_disable=True),
    ],
)
def test_it_can_be_pickled_though_snntorchs_own_cannot(make: Any) -> None:
    layer = ns.accelerate(make())
    x = torch.rand(20, 2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = layer.sequence(x)[0]
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        found = twin.sequence(x)[0]
        assert torch.equal(found, expected)
        for spikes in (expected, found):
            (spikes.sum() + twin.sequence(x)[-1].sum()).backward(retain_graph=True)
    if not layer.surrogate_disable:
        with pytest.raises(AttributeError, match="Can't pickle local object"):
            pickle.dumps(make())


def test_an_accelerated_network_is_saved_whole_and_read_where_snntorch_was_not_imported() -> None:
    net = ns.accelerate(nn.Sequential(nn.Linear(4, 6), snn.Leaky(beta=0.9, init_hidden=True)))
    file = io.BytesIO()
    torch.save(net, file)
    program = "import io, sys, torch; net = torch.load(io.BytesIO(sys.stdin.buffer.read()), weights_only=False); print(net.acceleration)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], input=file.getvalue(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == str(net.acceleration)


def test_accelerating_imports_no_library_that_the_model_does_not_use() -> None:
    program = (
        "import sys, torch, neurosim as ns\n"
        "try: ns.accelerate(torch.nn.Linear(2, 2))\n"
        "except ns.ConversionError: print({'snntorch', 'norse'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_sequence_that_does_not_fit_is_refused() -> None:
    layer = ns.accelerate(snn.Leaky(beta=0.9))
    with pytest.raises(ns.ConfigError, match=r"FusedLeaky.sequence: x must be a tensor \(time, batch, \*units\), got 3"):
        layer.sequence(3)
    with pytest.raises(ns.ConfigError, match=r"FusedLeaky.sequence: mem must have the shape of one step, \(2, 3\)"):
        layer.sequence(torch.rand(5, 2, 3), torch.rand(2, 4))
    keeper = ns.accelerate(snn.Leaky(beta=0.9, init_hidden=True))
    with pytest.raises(ns.ConfigError, match=r"a layer with init_hidden=True keeps its state itself"):
        keeper.sequence(torch.rand(5, 2, 3), torch.rand(2, 3))


@pytest.mark.parametrize("delay", [True, False])
def test_a_sequence_without_steps_gives_no_spikes_and_the_state_back(delay: bool) -> None:
    layer = ns.accelerate(snn.Leaky(beta=0.9, reset_mechanism="zero", reset_delay=delay))
    spikes, mem = layer.sequence(torch.zeros(0, 2, 3), torch.full((2, 3), 5.0))
    assert spikes.shape == (0, 2, 3)
    assert torch.equal(mem, torch.full((2, 3), 5.0))


@pytest.mark.parametrize("kind", [lambda: snn.Leaky(beta=torch.rand(3).double()), lambda: snn.Synaptic(alpha=0.5, beta=0.9)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64, torch.bfloat16])
def test_no_steps_of_any_type_give_no_spikes_and_rest(kind: Any, dtype: torch.dtype) -> None:
    layer = ns.accelerate(kind())
    spikes, *state = layer.sequence(torch.zeros(0, 2, 3, dtype=dtype))
    recorded = layer.sequence(torch.zeros(0, 2, 3, dtype=dtype), record=True)[-1]
    assert (spikes.shape, spikes.dtype, recorded.shape) == ((0, 2, 3), torch.float32, (0, 2, 3))
    for value in state:
        assert torch.equal(value, torch.zeros(2, 3, dtype=torch.float64 if dtype == torch.float64 else torch.float32))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), lambda net: _saved(net)])
def test_the_reset_of_snntorch_reaches_what_was_read_back_or_copied(way: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = way(ns.accelerate(network()[:2]))
    with torch.no_grad():
        net(torch.ones(2, 4))
        assert net[1].mem.abs().sum() > 0
        utils.reset(net)
    assert net[1].mem.abs().sum() == 0


def _saved(net: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_a_copied_layer_is_in_the_list_of_snntorch_once() -> None:
    layer = ns.accelerate(ns.accelerate(snn.Leaky(beta=0.9)), inplace=False)
    assert sum(one is layer for one in snn.Leaky.instances) == 1


def test_hooks_see_calls_but_no_sequences() -> None:
    layer = ns.accelerate(snn.Leaky(beta=0.9, init_hidden=True))
    seen: list[torch.Size] = []
    layer.register_forward_hook(lambda module, inputs, spikes: seen.append(spikes.shape))
    layer.sequence(torch.rand(5, 2, 3))
    assert seen == []
    layer(torch.rand(2, 3))
    assert seen == [(2, 3)]


@pytest.mark.parametrize(("mechanism", "delay"), [("subtract", True), ("subtract", False), ("zero", True), ("none", True)])
@pytest.mark.parametrize("make", [snn.Leaky, lambda **rest: snn.Synaptic(alpha=0.5, **rest)])
def test_parameters_can_be_mapped_over(make: Any, mechanism: str, delay: bool) -> None:
    layer = ns.accelerate(make(beta=0.9, learn_beta=True, learn_threshold=True, reset_mechanism=mechanism, reset_delay=delay))
    values = {"beta": torch.tensor([0.9, 0.3]), "threshold": torch.tensor([1.0, 0.4])}
    x = 2 * torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    state = [torch.full((2, 3), 0.8) for _ in layer.states]

    def membranes(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        after: torch.Tensor = torch.func.functional_call(layer, parameters, (x, *state))[-1]
        return after.sum()

    for function in (membranes, torch.func.grad(membranes)):
        found = torch.func.vmap(function)(values)
        expected = [function({name: value[index] for name, value in values.items()}) for index in range(2)]
        for index, one in enumerate(expected):
            pairs = [(found[name][index], one[name]) for name in one] if isinstance(one, dict) else [(found[index], one)]
            assert all(torch.allclose(a, b) for a, b in pairs)


def test_what_cannot_be_mapped_over_says_so() -> None:
    layer = ns.accelerate(snn.Leaky(beta=0.9, learn_beta=True, reset_mechanism="zero", reset_delay=False))
    call = torch.func.vmap(lambda beta: torch.func.functional_call(layer, {"beta": beta}, (torch.ones(2, 3), torch.zeros(2, 3)))[1])
    with pytest.raises(ns.RunError, match=r'FusedLeaky: inside of torch.func transforms .*reset_mechanism="zero" with reset_delay=False'):
        call(torch.tensor([0.9, 0.5]))


def test_parametrised_rates_are_followed() -> None:
    layer = ns.accelerate(snn.Leaky(beta=0.3, learn_beta=True))
    x = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = ns.accelerate(snn.Leaky(beta=0.6)).sequence(x)[1]
    nn.utils.parametrize.register_parametrization(layer, "beta", Twice())
    assert torch.equal(layer.sequence(x)[1], expected)


class Twice(nn.Module):
    """A parametrisation."""

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return 2 * value
