"""Layers of snnTorch 1.0.0 and what ``accelerate`` makes of them, side by side: spikes and membranes bit for bit, gradients to 1e-5."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pytest
import snntorch as snn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import surrogate as peers
from snntorch import utils
from torch import Tensor, nn

import neurosim as ns
from tests.parity.recorded import names, record

STATES: dict[type[nn.Module], int] = {snn.Leaky: 1, snn.Synaptic: 2}
UNITS = (4, 7)
T = 25
RESETS = list(product(("subtract", "zero", "none"), (True, False)))


def drive(*shape: int, seed: int = 0, mean: float = 0.3) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + mean


def uniform(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def pair(kind: type[nn.Module], **arguments: Any) -> tuple[Any, Any]:
    """A layer of snnTorch and the accelerated copy of it."""
    rates: dict[str, Any] = {"beta": 0.85} if kind is snn.Leaky else {"alpha": 0.7, "beta": 0.85}
    layer = kind(**{**rates, **arguments})
    return layer, ns.accelerate(layer, inplace=False)


def loop(layer: Any, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Spikes of all steps, last state, membranes of all steps, as a user of snnTorch writes it."""
    spikes, membranes = [], []
    for step in x.unbind(0):
        spike, *state_after = layer(step, *state)
        state = tuple(state_after)
        spikes.append(spike)
        membranes.append(state[-1])
    return torch.stack(spikes), state, torch.stack(membranes)


def sequence(layer: Any, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """The same in one call."""
    given_state = state if state and state[0].numel() else ()
    spikes, *after = layer.sequence(x, *given_state)
    membranes = layer.sequence(x, *given_state, record=True)[-1]
    return spikes, tuple(after), membranes


def outcome(run: Any, layer: Any, x: Tensor, state: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """Everything that comes out, and every gradient of a loss on all of it."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    state = tuple(value.clone().requires_grad_(value.numel() > 0) for value in state)
    spikes, after, membranes = run(layer, x, state)
    out = [spikes, *after, membranes]
    terms = [(value * drive(*value.shape, seed=9 + index)).sum() for index, value in enumerate(out) if value.requires_grad]
    loss = torch.stack([term.double() for term in terms]).sum()
    inputs = [x, *(value for value in state if value.numel()), *layer.parameters()]
    grads: Sequence[Tensor | None] = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [value.detach() for value in out], [torch.zeros_like(a) if g is None else g for g, a in zip(grads, inputs, strict=True)]


def assert_same(theirs: tuple[list[Tensor], list[Tensor]], ours: tuple[list[Tensor], list[Tensor]]) -> None:
    assert theirs[0][0].sum() > 0
    for a, b in zip(*(part[0] for part in (theirs, ours)), strict=True):
        assert torch.equal(a, b)
        assert a.dtype == b.dtype
    for a, b in zip(*(part[1] for part in (theirs, ours)), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5 * max(1.0, float(a.abs().max())))


def rest(kind: type[nn.Module]) -> tuple[Tensor, ...]:
    """What ``reset_mem`` of a new layer gives."""
    return tuple(torch.zeros(0) for _ in range(STATES[kind]))


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("run", [loop, sequence])
@pytest.mark.parametrize(("mechanism", "delay"), RESETS)
@pytest.mark.parametrize("kind", list(STATES))
def test_learned_tensors_per_neuron_and_every_reset(kind: type[nn.Module], mechanism: str, delay: bool, run: Any) -> None:
    """Rates beyond [0, 1] are clamped as snnTorch clamps them, with its gradient."""
    rates: dict[str, Any] = {"beta": uniform(7) * 1.2, "learn_beta": True, "threshold": 0.5 + uniform(7, seed=2), "learn_threshold": True}
    if kind is snn.Synaptic:
        rates |= {"alpha": uniform(7, seed=3) * 1.2 - 0.1, "learn_alpha": True}
    theirs, ours = pair(kind, reset_mechanism=mechanism, reset_delay=delay, **rates)
    x = drive(T, *UNITS)
    assert_same(outcome(loop, theirs, x, rest(kind)), outcome(run, ours, x, rest(kind)))


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("run", [loop, sequence])
@pytest.mark.parametrize(("mechanism", "delay"), RESETS)
@pytest.mark.parametrize("kind", list(STATES))
def test_a_state_beyond_the_threshold_goes_on_as_in_snntorch(kind: type[nn.Module], mechanism: str, delay: bool, run: Any) -> None:
    theirs, ours = pair(kind, reset_mechanism=mechanism, reset_delay=delay, learn_threshold=True)
    state = tuple(2 * drive(*UNITS, seed=4 + index) for index in range(STATES[kind]))
    assert_same(outcome(loop, theirs, drive(T, *UNITS), state), outcome(run, ours, drive(T, *UNITS), state))


@pytest.mark.parametrize("run", [loop, sequence])
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("kind", list(STATES))
def test_a_threshold_below_rest_goes_on_as_in_snntorch(kind: type[nn.Module], delay: bool, run: Any) -> None:
    theirs, ours = pair(kind, reset_mechanism="zero", reset_delay=delay, threshold=torch.tensor(-0.4), learn_threshold=True)
    assert_same(outcome(loop, theirs, drive(T, *UNITS), rest(kind)), outcome(run, ours, drive(T, *UNITS), rest(kind)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: peers.atan(alpha=3.0),
        lambda: peers.fast_sigmoid(slope=10),
        lambda: peers.sigmoid(slope=5),
        lambda: peers.straight_through_estimator(),
        lambda: peers.atan(alpha=torch.tensor(1.5)),
    ],
    ids=["atan", "fast_sigmoid", "sigmoid", "straight_through", "atan of a tensor"],
)
@pytest.mark.parametrize("delay", [True, False])
def test_every_surrogate_that_is_taken_over_has_its_gradient(make: Any, delay: bool) -> None:
    theirs, ours = pair(snn.Leaky, spike_grad=make(), reset_delay=delay, learn_threshold=True)
    x = drive(T, *UNITS)
    for run in (loop, sequence):
        assert_same(outcome(loop, theirs, x, rest(snn.Leaky)), outcome(run, ours, x, rest(snn.Leaky)))


def test_where_the_gradient_of_their_sigmoid_is_not_a_number_ours_is_its_limit() -> None:
    """It divides exp(88.75) by its square in float32; the slope of a sigmoid there is 25·exp(−88.75)."""
    theirs, ours = pair(snn.Leaky, spike_grad=peers.sigmoid(slope=25))
    grads: list[Tensor] = []
    for layer in (theirs, ours):
        x = torch.full((1, 1), -2.6, requires_grad=True)
        grads += torch.autograd.grad(layer(x, torch.zeros(1, 1))[0].sum(), x)
    assert grads[0].isnan().all()
    assert float(grads[1]) == pytest.approx(0, abs=1e-30)
    assert "3.52 below the threshold" in str(ours.acceleration)


@pytest.mark.parametrize("delay", [True, False])
def test_spikes_without_surrogate_carry_no_gradient(delay: bool) -> None:
    theirs, ours = pair(snn.Leaky, surrogate_disable=True, reset_delay=delay, learn_threshold=True)
    x = drive(T, *UNITS)
    for run in (loop, sequence):
        assert_same(outcome(loop, theirs, x, rest(snn.Leaky)), outcome(run, ours, x, rest(snn.Leaky)))
    assert not ours.sequence(x.requires_grad_())[0].requires_grad


@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("factor", [torch.tensor(0.3), uniform(7) + 0.5])
def test_graded_spikes_and_their_learned_factor(factor: Tensor, delay: bool) -> None:
    theirs, ours = pair(snn.Leaky, graded_spikes_factor=factor, learn_graded_spikes_factor=True, reset_delay=delay)
    x = drive(T, *UNITS)
    for run in (loop, sequence):
        assert_same(outcome(loop, theirs, x, rest(snn.Leaky)), outcome(run, ours, x, rest(snn.Leaky)))


@pytest.mark.parametrize(("beta", "threshold"), [(1, 1), (0, 2), (torch.tensor([0.5]), 1.0)], ids=["ints", "no memory", "one element"])
def test_whole_numbers_and_single_elements_are_parameters_too(beta: Any, threshold: Any) -> None:
    theirs, ours = pair(snn.Leaky, beta=beta, threshold=threshold)
    x = drive(T, *UNITS, mean=1.0)
    for run in (loop, sequence):
        assert_same(outcome(loop, theirs, x, rest(snn.Leaky)), outcome(run, ours, x, rest(snn.Leaky)))


@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (6,), (1, 1)])
@pytest.mark.parametrize("kind", list(STATES))
def test_images_vectors_and_single_neurons(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    arguments = {"beta": uniform(2, 1, 1)} if len(shape) == 4 else {}
    theirs, ours = pair(kind, **arguments)
    x = drive(T, *shape)
    for run in (loop, sequence):
        assert_same(outcome(loop, theirs, x, rest(kind)), outcome(run, ours, x, rest(kind)))


@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("kind", list(STATES))
def test_double_precision(kind: type[nn.Module], delay: bool) -> None:
    """Spikes are float32 there too, as in snnTorch; the parameters are float32 numbers in double arithmetic."""
    theirs, ours = pair(kind, reset_delay=delay, learn_beta=True)
    x = drive(T, *UNITS).double()
    for run in (loop, sequence):
        assert_same(outcome(loop, theirs, x, rest(kind)), outcome(run, ours, x, rest(kind)))


def test_types_that_promote_run_as_in_snntorch() -> None:
    """A double rate per neuron makes the membrane double: the op has one type, so this is computed by snnTorch's own steps."""
    theirs, ours = pair(snn.Leaky, beta=uniform(7).double())
    x = drive(T, *UNITS)
    for run in (loop, sequence):
        assert_same(outcome(loop, theirs, x, rest(snn.Leaky)), outcome(run, ours, x, rest(snn.Leaky)))


def test_half_precision_gives_float32_spikes_from_a_float32_membrane() -> None:
    """snnTorch keeps the membrane in 16 bits. Ours is that of the same inputs in float32."""
    theirs, ours = pair(snn.Leaky)
    x = drive(T, *UNITS).bfloat16()
    spikes, mem = ours.sequence(x)
    expected, (last,), _ = loop(theirs, x.float(), rest(snn.Leaky))
    assert spikes.dtype == torch.float32
    assert torch.equal(spikes, expected)
    assert torch.equal(mem, last)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(list(STATES)),
    reset=st.sampled_from(RESETS),
    steps=st.integers(1, 9),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    split=st.integers(0, 9),
    gain=st.sampled_from([0.0, 0.5, 3.0]),
)
def test_a_sequence_in_two_parts_is_the_loop_over_all(
    kind: type[nn.Module], reset: tuple[str, bool], steps: int, shape: list[int], split: int, gain: float
) -> None:
    theirs, ours = pair(kind, reset_mechanism=reset[0], reset_delay=reset[1])
    x = gain * drive(steps, *shape)
    expected, after, _ = loop(theirs, x, rest(kind))
    parts: list[Tensor] = []
    state: Sequence[Tensor] = ()
    for part in (x[:split], x[split:]):
        spikes, *state = ours.sequence(part, *state)
        parts.append(spikes)
    assert torch.equal(torch.cat(parts), expected)
    assert all(torch.equal(a, b) for a, b in zip(after, state, strict=True))


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("name", names("snntorch"))
def test_spikes_and_gradients_are_the_recorded_ones(name: str) -> None:
    known = record(name)
    if "leaky" in name:
        layer: Any = snn.Leaky(beta=known.settings["beta"], reset_mechanism=name.split("_")[2], reset_delay=name.endswith("1"))
    else:
        rates = {key: known.settings[key] for key in ("alpha", "beta")}
        layer = snn.Synaptic(**rates, reset_mechanism="zero", reset_delay=False, spike_grad=peers.fast_sigmoid(slope=25))
    ns.accelerate(layer)
    x = known.x.clone().requires_grad_()
    spikes = layer.sequence(x)[0]
    assert torch.equal(spikes, known.spikes)
    (grad,) = torch.autograd.grad((spikes * known.cotangent).sum(), x)
    assert torch.allclose(grad, known.grad_x, rtol=1e-5, atol=1e-6)


class Network(nn.Module):
    """The network of snnTorch's tutorials: explicit state, a loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 12)
        self.lif1 = snn.Leaky(beta=0.9, learn_beta=True)
        self.fc2 = nn.Linear(12, 3)
        self.lif2 = snn.Synaptic(alpha=0.6, beta=0.8, learn_threshold=True, reset_mechanism="zero")

    def forward(self, x: Tensor) -> Tensor:
        mem1 = self.lif1.reset_mem()
        syn2, mem2 = self.lif2.reset_mem()
        spikes = []
        for step in x.unbind(0):
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            spk2, syn2, mem2 = self.lif2(self.fc2(spk1), syn2, mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


def seeded(make: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def test_training_the_accelerated_network_is_training_the_network() -> None:
    theirs, ours = seeded(Network), seeded(Network)
    before = list(ours.parameters())
    optimisers = [torch.optim.SGD(net.parameters(), lr=0.05) for net in (theirs, ours)]
    ns.accelerate(ours)  # after the optimiser was made
    assert all(a is b for a, b in zip(before, ours.parameters(), strict=True))
    x = 2 * drive(T, 4, 5)
    for _ in range(5):
        for net, optimiser in zip((theirs, ours), optimisers, strict=True):
            optimiser.zero_grad()
            net(x).mean(0)[:, 0].sum().neg().backward()
            optimiser.step()
    assert not torch.equal(theirs.fc1.weight, seeded(Network).fc1.weight)
    for (name, a), b in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6), name


def hidden() -> nn.Sequential:
    """Layers that keep their state, as snnTorch's ``nn.Sequential`` models do."""
    last = snn.Synaptic(alpha=0.6, beta=0.8, init_hidden=True, output=True)
    return nn.Sequential(nn.Linear(5, 12), snn.Leaky(beta=0.9, init_hidden=True), nn.Linear(12, 3), last)


@pytest.fixture(autouse=True)
def other_layers_do_not_stay() -> Iterator[None]:
    """snnTorch keeps every layer that was ever made; each test has its own list."""
    before = snn.SpikingNeuron.instances
    snn.SpikingNeuron.instances = []
    yield
    snn.SpikingNeuron.instances = before


@pytest.mark.parametrize("inplace", [True, False])
def test_hidden_states_go_on_from_call_to_call_and_their_reset_reaches_them(inplace: bool) -> None:
    theirs, ours = seeded(hidden), ns.accelerate(seeded(hidden), inplace=inplace)
    x = 3 * drive(T, 4, 5)
    for net in (theirs, ours):
        utils.reset(net)
        first = [net(step) for step in x]
        again = [net(step) for step in x]
        assert any(not torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
        utils.reset(net)
        assert all(torch.equal(a[1], b[1]) for a, b in zip(first, [net(step) for step in x], strict=True))
    utils.reset(theirs)  # it resets every layer of the program
    expected, found = ([torch.stack(part) for part in zip(*(net(step) for step in x), strict=True)] for net in (theirs, ours))
    assert len(found) == 3
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_hidden_state_is_where_a_sequence_starts_and_what_it_leaves() -> None:
    theirs, ours = pair(snn.Leaky, init_hidden=True)
    x = drive(T, *UNITS)
    expected = torch.stack([theirs(step) for step in x])
    found = torch.cat([ours(x[0])[None], ours.sequence(x[1:10])[0], ours.sequence(x[10:])[0]])
    assert torch.equal(found, expected)
    assert torch.equal(ours.mem, theirs.mem)


def test_a_sequence_leaves_no_state_in_a_layer_whose_state_is_passed_by_hand() -> None:
    layer = ns.accelerate(snn.Leaky(beta=0.9))
    layer.sequence(drive(T, *UNITS))
    assert layer.mem.numel() == 0


def test_detaching_hidden_states_cuts_the_graph() -> None:
    """As in truncated backpropagation through time: the second backward must not reach into the first part."""
    net = ns.accelerate(seeded(hidden))
    for part in (3 * drive(2 * T, 4, 5)).split(T):
        torch.stack([net(step)[0] for step in part]).sum().backward()
        snn.Leaky.detach_hidden()
        snn.Synaptic.detach_hidden()
    assert net[0].weight.grad is not None


def test_what_snntorch_refuses_is_still_refused() -> None:
    layer = ns.accelerate(snn.Leaky(beta=0.9, init_hidden=True))
    with pytest.raises(TypeError, match="should not be passed as an argument while `init_hidden=True`"):
        layer(drive(*UNITS), torch.zeros(UNITS))


def test_a_state_of_another_shape_is_rest_as_in_snntorch() -> None:
    theirs, ours = pair(snn.Leaky)
    x = drive(*UNITS)
    for mem in (torch.zeros(1), torch.full((2, 7), 9.0)):
        assert torch.equal(theirs(x, mem)[1], ours(x, mem)[1])


def test_state_dicts_load_strictly_both_ways() -> None:
    theirs, ours = seeded(Network), ns.accelerate(seeded(Network))
    assert list(theirs.state_dict()) == list(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = 2 * drive(T, 4, 5)
    assert torch.equal(theirs(x), ours(x))
    ours.lif2.threshold.data.fill_(0.5)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(theirs(x), ours(x))


def test_copies_of_an_accelerated_network_go_their_own_way() -> None:
    ours = ns.accelerate(seeded(Network))
    x = 2 * drive(T, 4, 5)
    with torch.no_grad():
        expected = ours(x)
        twin = copy.deepcopy(ours)
        twin.lif1.beta.fill_(0.1)
        assert not torch.equal(twin(x), expected)
        assert torch.equal(ours(x), expected)


def test_compiled_it_computes_the_same() -> None:
    theirs, ours = pair(snn.Leaky, beta=uniform(7), learn_beta=True)
    x = drive(T, *UNITS)
    compiled = torch.compile(lambda x: ours.sequence(x)[0], fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), loop(theirs, x, rest(snn.Leaky))[0])
