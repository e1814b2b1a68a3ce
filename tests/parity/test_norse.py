"""Layers of norse 1.1.0 and what ``accelerate`` makes of them, side by side: spikes but for ties, membranes and gradients to rounding."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from tests.parity.recorded import names, record

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it compiles functions with torch.jit at import, which torch calls deprecated
    import norse.torch as peer
    from norse.torch.functional.lif import LIFFeedForwardState, LIFParameters
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract, reset_value

T, UNITS = 25, (4, 7)
METHODS = ["super", "triangle", "tanh", "heavi_erfc", "heaviside"]


def drive(*shape: int, seed: int = 0, mean: float = 1.0, double: bool = True) -> Tensor:
    x = 4 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean
    return x if double else x.float()


def tensors(**values: float) -> dict[str, Tensor]:
    """Learned parameters; norse keeps them outside of ``parameters()``."""
    return {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}


def lif(method: str = "super", alpha: float = 2.0, **values: float) -> Any:
    learned = {"tau_syn_inv": 200.0, "tau_mem_inv": 100.0, "v_leak": 0.0, "v_th": 0.3, "v_reset": 0.0}
    return peer.LIF(LIFParameters(**tensors(**(learned | values)), method=method, alpha=torch.tensor(alpha)), record_states=True)


def box(reset_method: Any = reset_value, **values: float) -> Any:
    learned = {"tau_mem_inv": 100.0, "v_leak": 0.0, "v_th": 0.3, "v_reset": 0.0}
    parameters = LIFBoxParameters(**tensors(**(learned | values)), alpha=torch.tensor(7.0), reset_method=reset_method)
    return peer.LIFBoxCell(parameters)


def learned(layer: Any) -> list[Tensor]:
    return [value for value in layer.p if isinstance(value, Tensor) and value.requires_grad]


def start(kind: Any) -> Any:
    """Some state, with its gradient."""
    return kind(*(drive(*UNITS, seed=5 + index, mean=0.0).requires_grad_() for index in range(len(kind._fields))))


def loop(cell: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    spikes = []
    for step in x.unbind(0):
        spike, state = cell(step, state)
        spikes.append(spike)
    return torch.stack(spikes), state


def outcome(run: Any, layer: Any, x: Tensor, state: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Spikes, states, and the gradient of a loss on all of them with respect to everything."""
    x = x.clone().requires_grad_()
    spikes, after = run(x, state)
    out = [spikes, *after]
    loss = torch.stack([(value * drive(*value.shape, seed=11 + index)).sum() for index, value in enumerate(out)]).sum()
    inputs = [x, *(state or ()), *learned(layer)]
    grads: Sequence[Tensor | None] = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [value.detach() for value in out], [torch.zeros_like(a) if g is None else g for g, a in zip(grads, inputs, strict=True)]


def assert_same(theirs: tuple[list[Tensor], list[Tensor]], ours: tuple[list[Tensor], list[Tensor]]) -> None:
    """In double precision a tie within rounding does not come up; norse starts from float32 zeros, which are exact."""
    assert theirs[0][0].sum() > 0
    assert torch.equal(theirs[0][0], ours[0][0])
    for a, b in zip(theirs[0] + theirs[1], ours[0] + ours[1], strict=True):
        assert a.shape == b.shape
        assert torch.allclose(a, b.to(a.dtype), rtol=1e-5, atol=1e-7 * max(1.0, float(a.abs().max())))


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("given", [False, True], ids=["from rest", "from a state"])
@pytest.mark.parametrize("levels", [{}, {"v_leak": -0.1, "v_reset": -0.2}], ids=["zero", "levels"])
@pytest.mark.parametrize("method", METHODS)
def test_lif_over_a_sequence_with_every_method(method: str, levels: dict[str, float], given: bool) -> None:
    """All states of the sequence, and gradients of all parameters, the reset's included: norse leaves it in the graph."""
    theirs, ours = lif(method, **levels), ns.accelerate(lif(method, **levels))
    x, state = drive(T, *UNITS), start(LIFFeedForwardState) if given else None
    assert_same(outcome(theirs, theirs, x, state), outcome(ours, ours, x, state))


@pytest.mark.parametrize("given", [False, True], ids=["from rest", "from a state"])
@pytest.mark.parametrize("way", ["steps", "sequence"])
@pytest.mark.parametrize("reset_method", [reset_value, reset_subtract])
def test_the_box_neuron_step_by_step_and_at_once(reset_method: Any, way: str, given: bool) -> None:
    theirs, ours = (box(reset_method, v_leak=0.1, v_reset=-0.2) for _ in range(2))
    ns.accelerate(ours)
    x, state = drive(T, *UNITS), start(LIFBoxFeedForwardState) if given else None
    run = (lambda x, state: loop(ours, x, state)) if way == "steps" else ours.sequence
    assert_same(outcome(lambda x, state: loop(theirs, x, state), theirs, x, state), outcome(run, ours, x, state))


@pytest.mark.parametrize("way", ["steps", "sequence"])
def test_the_lif_cell_step_by_step_and_at_once(way: str) -> None:
    theirs, ours = (peer.LIFCell(lif(v_leak=0.1).p) for _ in range(2))
    ns.accelerate(ours)
    x = drive(T, *UNITS)
    run = (lambda x, state: loop(ours, x, state)) if way == "steps" else ours.sequence
    assert_same(outcome(lambda x, state: loop(theirs, x, state), theirs, x, None), outcome(run, ours, x, None))


def test_parameters_per_neuron() -> None:
    """norse starts from rest only with one v_leak for all, so a state is given."""
    rates = torch.linspace(50.0, 300.0, 7, dtype=torch.float64)
    values = {"tau_mem_inv": rates, "v_th": rates / 500, "v_leak": rates / 1000, "v_reset": -rates / 1000, "tau_syn_inv": rates.flip(0)}
    theirs, ours = (peer.LIF(LIFParameters(**{k: v.clone().requires_grad_() for k, v in values.items()})) for _ in range(2))
    ns.accelerate(ours)
    x, state = drive(T, *UNITS), start(LIFFeedForwardState)
    assert_same(outcome(theirs, theirs, x, state), outcome(ours, ours, x, state))


def test_in_float32_spikes_differ_only_where_a_membrane_met_the_threshold_within_rounding() -> None:
    """From the first difference on a neuron goes its own way, so it is the first that counts: there one of the two membranes, the one
    that was not reset, is at the threshold to 1e-5."""
    theirs = peer.LIF(LIFParameters(v_th=torch.tensor(0.4)), record_states=True)
    ours = ns.accelerate(copy.deepcopy(theirs))
    x = drive(100, 20_000, double=False)
    with torch.no_grad():
        (z1, s1), (z2, s2) = theirs(x), ours(x)
    differs = z1 != z2
    first = differs.int().argmax(0)
    neurons = differs.any(0).nonzero().flatten()
    unreset = torch.where(z1[first[neurons], neurons] == 0, s1.v[first[neurons], neurons], s2.v[first[neurons], neurons])
    assert len(neurons) < 20
    assert torch.allclose(unreset, torch.tensor(0.4), rtol=0, atol=1e-5)


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
def test_spikes_and_gradients_are_the_recorded_ones() -> None:
    """The record says alpha=100, but norse 1.1.0 does not use it: its gradient is 1/(1 + |z|)²."""
    (name,) = names("norse")
    known = record(name)
    layer = peer.LIF(LIFParameters(v_th=torch.tensor(known.settings["v_th"])), dt=known.settings["dt"])
    assert (float(layer.p.tau_mem_inv), float(layer.p.tau_syn_inv)) == (known.settings["tau_mem_inv"], known.settings["tau_syn_inv"])
    ns.accelerate(layer)
    assert "gradient fast_sigmoid(slope=1)" in str(layer.acceleration)
    x = known.x.clone().requires_grad_()
    spikes, _ = layer(x * known.settings["input_scale"])
    assert torch.equal(spikes, known.spikes)
    (grad,) = torch.autograd.grad((spikes * known.cotangent).sum(), x)
    assert torch.allclose(grad, known.grad_x, rtol=1e-5, atol=1e-5)


def test_half_precision_is_answered_in_float32_as_by_norse() -> None:
    layer = peer.LIF(LIFParameters(v_th=torch.tensor(0.4)))
    x = drive(T, *UNITS, double=False).bfloat16()
    expected, state = layer(x)
    found, after = ns.accelerate(layer)(x)
    assert torch.equal(found, expected)
    assert [value.dtype for value in after] == [value.dtype for value in state]


def test_an_empty_sequence_leaves_the_state_where_it_was() -> None:
    layer = ns.accelerate(peer.LIF())
    state = LIFFeedForwardState(v=torch.full(UNITS, 0.5), i=torch.full(UNITS, 2.0))
    spikes, after = layer(torch.zeros(0, *UNITS), state)
    assert spikes.shape == (0, *UNITS)
    assert torch.allclose(torch.stack([*after]), torch.stack([*state]))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.bfloat16])
def test_no_steps_may_be_of_any_type(dtype: torch.dtype) -> None:
    x = torch.zeros(0, *UNITS, dtype=dtype)
    spikes, after = ns.accelerate(peer.LIF())(x)
    assert (spikes.shape, spikes.dtype, after.v.shape) == ((0, *UNITS), torch.float32, UNITS)
    assert ns.accelerate(peer.LIFCell()).sequence(x)[0].shape == (0, *UNITS)


@pytest.mark.parametrize("make", [lambda: lif("heaviside"), lambda: heaviside_box(reset_value), lambda: heaviside_box(reset_subtract)])
def test_a_threshold_that_norse_does_not_differentiate_has_no_gradient(make: Any) -> None:
    """Without a surrogate only a reset that subtracts the threshold reaches it."""
    grads = []
    for layer in (make(), ns.accelerate(make())):
        x = drive(T, *UNITS)
        _, after = layer(x) if isinstance(layer, peer.LIF) else loop(layer, x, None)
        grads.append(torch.autograd.grad(after.v.sum(), layer.p.v_th, allow_unused=True)[0])
    assert (grads[0] is None) == (grads[1] is None) == (not hasattr(layer.p, "reset_method") or layer.p.reset_method is reset_value)
    assert grads[0] is None or torch.allclose(grads[0], grads[1])


def heaviside_box(reset_method: Any) -> Any:
    layer = box(reset_method)
    layer.p = layer.p._replace(method="heaviside")
    return layer


def test_parameters_can_be_mapped_over() -> None:
    x = drive(*UNITS)
    state = start(LIFFeedForwardState)
    cell = ns.accelerate(peer.LIFCell(LIFParameters(method="tanh", alpha=torch.tensor(2.0))))

    def membrane(threshold: Tensor) -> Tensor:
        cell.p = cell.p._replace(v_th=threshold)
        v: Tensor = cell(x, state)[1].v
        return v.sum()

    levels = torch.tensor([-0.2, 0.3], dtype=torch.float64)
    for run in (membrane, torch.func.grad(membrane)):
        assert torch.allclose(torch.func.vmap(run)(levels), torch.stack([run(level) for level in levels]))


def test_sparse_inputs_run_on_norse() -> None:
    layer = peer.LIF(LIFParameters(v_th=torch.tensor(0.1)))
    x = (drive(T, *UNITS, double=False) > 5).float()
    expected, _ = layer(x.to_sparse())
    found, _ = ns.accelerate(layer)(x.to_sparse())
    assert found.is_sparse
    assert torch.equal(found.to_dense(), expected.to_dense())


def test_states_thread_through_norses_sequential_models() -> None:
    low = LIFParameters(v_th=torch.tensor(0.05))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = peer.SequentialState(peer.Lift(nn.Linear(5, 6)), peer.LIF(low), peer.Lift(nn.Linear(6, 3)), peer.LIF(low))
    ours = ns.accelerate(theirs, inplace=False)
    x = drive(T, 4, 5, double=False)
    expected, _ = theirs(x)
    first, state = ours(x[:10])
    second, _ = ours(x[10:], state)
    assert expected.sum() > 0
    assert torch.equal(torch.cat([first, second]), expected)


def test_parameters_can_be_replaced_but_not_what_decides_the_formula() -> None:
    layer = ns.accelerate(peer.LIF())
    layer.p = layer.p._replace(v_th=torch.tensor(0.1))
    assert layer(drive(T, *UNITS, double=False))[0].sum() > ns.accelerate(peer.LIF())(drive(T, *UNITS, double=False))[0].sum()
    with pytest.raises(ns.ConversionError, match=r"FusedLIF: method, alpha, reset_method must be set before neurosim.accelerate"):
        layer.p = layer.p._replace(method="tanh")


@pytest.mark.parametrize("make", [lif, box, lambda: peer.LIFCell()], ids=["LIF", "LIFBoxCell", "LIFCell"])
def test_it_can_be_pickled_and_copied_though_norses_own_cannot_be_pickled(make: Any) -> None:
    layer = ns.accelerate(make())
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(make())
    x = drive(T, *UNITS)
    run = layer if isinstance(layer, peer.LIF) else layer.sequence
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        again = twin if isinstance(twin, peer.LIF) else twin.sequence
        assert torch.equal(run(x)[0], again(x)[0])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: peer.LIFRecurrent(2, 3), "its spikes come back as its input"),
        (lambda: peer.LIFRecurrentCell(2, 3), "its spikes come back as its input"),
        (lambda: peer.LIFEx(), "only LIF, LIFCell and LIFBoxCell"),
        (lambda: peer.LIF(LIFParameters(method="adjoint")), "a gradient of its own"),
        (lambda: lif("circ"), "method='circ', is none of the fused formulas"),
        (lambda: lif("super", alpha=-1.0), "alpha=-1, which must be > 0"),
        (lambda: lif(tau_syn_inv=1000.0), "forgets everything within a step"),
        (lambda: peer.LIF(LIFParameters(alpha=torch.tensor([1.0, 2.0]))), "which is no fixed number"),
        (lambda: box(lambda z, v, reset, th: v), "its reset_method is none of norse's own"),
        (lambda: type("Mine", (peer.LIF,), {})(), "Mine is a class of its own"),
    ],
)
def test_what_cannot_be_represented_is_refused_with_its_reason(make: Any, reason: str) -> None:
    layer = make()
    kind = type(layer)
    with pytest.raises(ns.ConversionError, match=reason):
        ns.accelerate(layer)
    assert type(layer) is kind


def test_a_sequence_for_a_cell_that_does_not_fit_is_refused() -> None:
    cell = ns.accelerate(peer.LIFCell())
    with pytest.raises(ns.ConfigError, match=r"FusedLIFCell.sequence: state and parameters must broadcast .* of shape \(3, 4\)"):
        cell.sequence(torch.zeros(3, 4), LIFFeedForwardState(v=torch.zeros(5), i=torch.zeros(5)))
    with pytest.raises(ns.ConfigError, match=r"FusedLIFCell.sequence: x must be a tensor"):
        cell.sequence([1.0])
