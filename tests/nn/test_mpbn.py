"""Membrane-potential batch norm, and its folding into thresholds."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons import LIFState
from neurosim.nn import MPBN
from neurosim.surrogate import surrogate
from tests.norms.cases import recorded, sequence

C = 6
RESETS = ("soft", "hard", "none")
NOISE = ns.random.stream(2, "noise of MPBN")


def lif(**changes: Any) -> ns.LIF:
    return ns.LIF(2e-3, 1e-3, **{"v_threshold": 0.6, "v_reset": 0.1, **changes})


def layer(features: Any = (C, 1, 1), *, seed: int = 0, neuron: ns.LIF | None = None, **changes: Any) -> MPBN:
    """With random scales, negative ones among them, and random shifts and statistics."""
    made = MPBN(neuron or lif(), features, **changes)
    draw = ns.random.stream(seed, "weights")
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean"):
            value = getattr(made.norm, name)
            value.copy_(draw.child(name).normal(value.shape, like=value))
        made.norm.running_var.copy_(0.2 + 2 * draw.child("var").uniform(made.norm.running_var.shape, like=made.norm.running_var))
    return made


# --- the authors, and SpikingJelly -----------------------------------------------------------------------------------------------------


def authors(v_th: float = 1.0) -> ns.LIF:
    """The neuron of the authors' layer: decay ¼, fires above V_th/2, hard reset that gradients go through, clamped tanh."""
    shape = surrogate("clamped_tanh", width=v_th)
    return ns.LIF(-1 / math.log(0.25), 1.0, v_threshold=v_th / 2, strict=True, reset="hard", detach_reset=False, surrogate=shape)


def test_spikes_gradients_and_running_statistics_are_the_authors() -> None:
    trained, evaluated = recorded("nn/data/mpbn.h5", "mpbn_train"), recorded("nn/data/mpbn.h5", "mpbn_eval")
    mpbn = MPBN(authors(), (10, 1, 1))
    with torch.no_grad():
        mpbn.norm.weight.copy_(trained["gamma"])
        mpbn.norm.bias.copy_(trained["beta"])  # type: ignore[union-attr]  # this norm has a shift
    x = trained["x"].requires_grad_()
    spikes = mpbn(x)
    (spikes * trained["cotangent"]).sum().backward()
    assert torch.equal(spikes, trained["spikes"])
    found = {name: value.grad for name, value in (("x", x), ("gamma", mpbn.norm.weight), ("beta", mpbn.norm.bias)) if value is not None}
    for name, value in found.items():
        torch.testing.assert_close(value, trained[f"grad_{name}"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mpbn.norm.running_mean, trained["running_mean"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(mpbn.norm.running_var, trained["running_var"], rtol=1e-6, atol=1e-7)
    mpbn.eval()
    assert torch.equal(mpbn(evaluated["x"]), evaluated["spikes"])
    assert torch.equal(mpbn.fold()(evaluated["x"]), evaluated["spikes"])


def test_the_recording_is_of_a_decay_of_a_quarter_and_a_threshold_of_1() -> None:
    with h5py.File(Path(__file__).parent / "data/mpbn.h5") as store:
        settings = store["mpbn_train"].attrs
        assert [settings[name] for name in ("decay", "v_th", "bn_eps", "bn_momentum")] == [0.25, 1.0, 1e-5, 0.1]


@pytest.mark.parametrize("v_th", [1.0, 0.7, 2.0])
def test_the_surrogate_is_the_derivative_of_the_authors_formula_whatever_the_threshold(v_th: float) -> None:
    """They replace the spike by y = (tanh(3 (c − ½)) + tanh 1.5) / (2 tanh 1.5), c = clamp(m / V_th, 0, 1)."""
    m = torch.linspace(-0.9, 2.3, 401, dtype=torch.float64, requires_grad=True)
    y = (torch.tanh(3 * (torch.clamp(m / v_th, 0, 1) - 0.5)) + math.tanh(1.5)) / (2 * math.tanh(1.5))
    (expected,) = torch.autograd.grad(y.sum(), m)
    torch.testing.assert_close(authors(v_th).surrogate.gradient(m.detach() - v_th / 2), expected)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_spikes_gradients_and_running_statistics_are_spikingjellys_with_the_normalised_potential_carried_on(reset: Any) -> None:
    shared, theirs = recorded("norms/data/spikingjelly.h5"), recorded("norms/data/spikingjelly.h5", f"mpbn_{reset}")
    neuron = ns.LIF(1 / math.log(2), 1.0, v_threshold=0.6, reset=reset, detach_reset=False)
    mpbn = MPBN(neuron, (C, 1, 1), carry="normalized")
    with torch.no_grad():
        mpbn.norm.weight.copy_(theirs["gamma"])
        mpbn.norm.bias.copy_(theirs["beta"])  # type: ignore[union-attr]  # this norm has a shift
    x = shared["x"].requires_grad_()
    spikes = mpbn(x)
    (spikes * shared["cotangent"]).sum().backward()
    assert torch.equal(spikes, theirs["y"])
    assert x.grad is not None
    torch.testing.assert_close(x.grad, theirs["grad_x"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mpbn.norm.running_mean, theirs["running_mean"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mpbn.norm.running_var, theirs["running_var"], rtol=1e-5, atol=1e-6)
    assert torch.equal(mpbn.eval()(shared["x_eval"]), theirs["y_eval"])


# --- the neuron ------------------------------------------------------------------------------------------------------------------------

NEURONS: dict[str, Callable[[], ns.LIF]] = {
    **{reset: (lambda reset=reset: lif(reset=reset)) for reset in RESETS},  # type: ignore[misc]  # mypy cannot type the default
    "rests elsewhere": lambda: lif(v_leak=-0.2, r=1.5),
    "strict": lambda: lif(strict=True, reset="hard"),
    "of every unit": lambda: lif(v_threshold=torch.rand(C, 3, 2), r=1 + torch.rand(C, 3, 2), sign=torch.tensor([1.0, -1.0])),
    "noisy": lambda: lif(input_noise=0.2, membrane_noise=0.1),
}
EACH = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in NEURONS.items()])


@EACH
@pytest.mark.parametrize("carry", ["raw", "normalized"])
def test_with_a_norm_that_changes_nothing_it_is_the_neuron(make: Callable[[], ns.LIF], carry: Any) -> None:
    torch.manual_seed(0)
    neuron, x = make(), sequence(12)
    mpbn = MPBN(neuron, (C, 1, 1), carry=carry, eps=2.0**-10).eval()
    mpbn.norm.running_var.fill_(1 - 2.0**-10)
    expected = neuron.trace(x, stream=NOISE)
    assert expected.spikes.mean() > 0.05
    found = mpbn.trace(x, stream=NOISE)
    assert torch.equal(found.spikes, expected.spikes)
    assert torch.equal(found.v, expected.v)
    assert torch.equal(found.state.v, expected.state.v)
    assert found.state.step == expected.state.step == 12


@EACH
def test_a_sequence_can_be_cut_in_evaluation_without_change(make: Callable[[], ns.LIF]) -> None:
    mpbn, x = layer(neuron=make()).eval(), sequence(9)
    first, state = mpbn.run(x[:4], stream=NOISE)
    second, after = mpbn.run(x[4:], state, stream=NOISE)
    whole, end = mpbn.run(x, stream=NOISE)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(after.v, end.v)
    nothing, same = mpbn.run(x[:0], end, stream=NOISE)
    assert nothing.shape == (0, *x.shape[1:])
    assert torch.equal(same.v, end.v)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("detach_reset", [True, False])
def test_gradients_of_the_neuron_go_through_a_norm_that_changes_nothing(reset: Any, detach_reset: bool) -> None:
    neuron, x = lif(reset=reset, detach_reset=detach_reset, learn=("v_threshold", "tau_mem")).double(), sequence(8, dtype=torch.float64)
    mpbn = MPBN(copy.deepcopy(neuron), (C, 1, 1), eps=2.0**-10).double().eval()
    mpbn.norm.running_var.fill_(1 - 2.0**-10)
    weights = sequence(8, name="cotangent", dtype=torch.float64)
    grads = []
    for one, parameters in ((neuron, neuron.parameters()), (mpbn, mpbn.neuron.parameters())):
        inputs = x.clone().requires_grad_()
        grads.append(torch.autograd.grad((one(inputs) * weights).sum(), [inputs, *parameters]))
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected)


# --- statistics ------------------------------------------------------------------------------------------------------------------------


def test_statistics_per_step_are_a_batch_norm_of_torch_called_at_every_step() -> None:
    mpbn, x = layer(neuron=lif(reset="hard")), sequence()
    norm = nn.BatchNorm2d(C)
    norm.load_state_dict(mpbn.norm.state_dict())
    v, spikes = torch.zeros_like(x[0]), []
    for step in x.unbind(0):
        h = math.exp(-0.5) * v + step
        spikes.append((norm(h) >= 0.6).float())
        v = torch.where(spikes[-1] > 0, 0.1, h)
    assert torch.equal(mpbn(x), torch.stack(spikes))
    torch.testing.assert_close(mpbn.norm.state_dict(), norm.state_dict(), rtol=0, atol=0)


def test_merged_statistics_of_the_raw_potential_are_those_of_the_membranes_that_evaluation_has() -> None:
    mpbn, x = layer(neuron=lif(reset="hard"), statistics="merged", momentum=1.0), sequence()
    before = copy.deepcopy(mpbn).eval()
    after = before.trace(x).v
    h = torch.stack([math.exp(-0.5) * v + step for v, step in zip((torch.zeros_like(x[0]), *after[:-1]), x.unbind(0), strict=True)])
    spikes = mpbn(x)
    torch.testing.assert_close(mpbn.norm.running_mean, h.mean((0, 1, 3, 4)))
    torch.testing.assert_close(mpbn.norm.running_var, h.var((0, 1, 3, 4)))
    assert int(mpbn.norm.num_batches_tracked) == 1
    count = h.numel() // C
    biased = copy.deepcopy(mpbn).eval()
    biased.norm.running_var.mul_((count - 1) / count)
    assert (biased(x) != spikes).float().mean() < 1e-3  # one pair, for all steps; rounded otherwise


def test_merged_statistics_of_the_normalised_potential_are_those_of_the_steps_so_far() -> None:
    mpbn, x = MPBN(lif(reset="none"), C, carry="normalized", statistics="merged", momentum=1.0, eps=1e-12).double(), sequence(3, 7, C)
    x = x.double()
    v, seen = torch.zeros_like(x[0]), []
    expected = []
    for step in x.unbind(0):
        seen.append(math.exp(-0.5) * v + step)
        so_far = torch.cat(seen)
        v = (seen[-1] - so_far.mean(0)) / so_far.std(0, correction=0)
        expected.append(v)
    torch.testing.assert_close(mpbn.trace(x).v, torch.stack(expected))
    torch.testing.assert_close(mpbn.norm.running_mean, torch.cat(seen).mean(0))


@pytest.mark.parametrize("statistics", ["per_step", "merged"])
@pytest.mark.parametrize("carry", ["raw", "normalized"])
def test_gradients_through_the_statistics_are_those_of_finite_differences(carry: Any, statistics: Any) -> None:
    """Of the normalised potentials of every step, in a neuron without reset: spikes have no derivative."""
    mpbn = layer(C, neuron=lif(reset="none"), carry=carry, statistics=statistics).double()
    x = sequence(3, 4, C, dtype=torch.float64).requires_grad_()

    def normalized(x: Tensor) -> Tensor:
        one = copy.deepcopy(mpbn)
        out: list[Tensor] = []
        one.norm.register_forward_hook(lambda _, __, y: out.append(y))
        one(x)
        return torch.cat(out[-3:])

    assert torch.autograd.gradcheck(normalized, (x,), fast_mode=True)


@pytest.mark.parametrize(
    ("shape", "statistics", "count"),
    [
        ((1, 1, C), "per_step", 1),
        ((4, 1, C), "per_step", 1),
        ((4, 2, C), "per_step", 2),
        ((1, 1, C), "merged", 1),
        ((2, 1, C), "merged", 2),
        ((1, 1, C, 2, 1), "per_step", 2),
        ((1, 1, C, 1, 1), "merged", 1),
    ],
)
def test_a_batch_of_one_is_refused_only_where_a_statistic_would_be_of_one_value(shape: Any, statistics: Any, count: int) -> None:
    norm = ns.norms.BatchNormOverTime(C, statistics)
    for made in (MPBN(lif(), (C, *[1] * (len(shape) - 3)), statistics=statistics), norm):
        if count < 2:
            with pytest.raises(ConfigError, match=r"statistics in training need more than one value each, got 1 in shape"):
                made(sequence(*shape))
            assert int(made.get_buffer("num_batches_tracked" if made is norm else "norm.num_batches_tracked")) == 0
        else:
            assert made(sequence(*shape)).isfinite().all()
            assert made.get_buffer("running_var" if made is norm else "norm.running_var").isfinite().all()
        assert made.eval()(sequence(*shape)).shape == shape


def test_statistics_per_step_leave_a_larger_gap_between_training_and_evaluation_than_merged_ones() -> None:
    """The membrane fills up in the first steps: statistics of every step hide that from training, and evaluation sees it."""
    gaps = {}

    def drive(batch: int, name: str) -> Tensor:
        return 0.3 + 0.5 * ns.random.stream(0, name).normal((8, batch, 40), like=torch.empty(0))

    for statistics in ("per_step", "merged"):
        torch.manual_seed(0)
        mpbn = MPBN(ns.LIF(5e-3, 1e-3, reset="hard"), 40, statistics=statistics)
        with torch.no_grad():
            for at in range(100):
                mpbn(drive(64, f"batch {at}"))
            x = drive(512, "test")
            trained, evaluated = copy.deepcopy(mpbn)(x).mean((1, 2)), mpbn.eval()(x).mean((1, 2))
        gaps[statistics] = (trained - evaluated).abs().max().item()
    assert gaps["merged"] < 0.02 < 0.1 < gaps["per_step"], gaps


# --- folding ---------------------------------------------------------------------------------------------------------------------------


def assert_folds(mpbn: MPBN, x: Tensor) -> None:
    folded, stream = mpbn.eval().fold(), NOISE
    assert type(folded) is ns.LIF
    assert not [module for module in folded.modules() if "Norm" in type(module).__name__]
    assert torch.equal(folded(x, stream=stream), mpbn(x, stream=stream))
    assert torch.equal(folded.run(x, stream=stream)[1].v, mpbn.run(x, stream=stream)[1].v)


@EACH
@pytest.mark.parametrize("features", [(C, 1, 1), (C, 3, 2)], ids=["channels", "elements"])
def test_folded_spikes_are_identical(make: Callable[[], ns.LIF], features: Any) -> None:
    for seed in range(5):
        mpbn = layer(features, seed=seed, neuron=make())
        assert (mpbn.norm.weight < 0).any()
        assert_folds(mpbn, sequence(20, 8, name=f"x {seed}"))


@settings(max_examples=50)
@given(
    gamma=st.lists(st.floats(-3, 3, width=32) | st.just(0.0), min_size=C, max_size=C),
    beta=st.lists(st.floats(-2, 2, width=32), min_size=C, max_size=C),
    reset=st.sampled_from(RESETS),
    strict=st.booleans(),
)
def test_folded_spikes_are_identical_whatever_the_sign_of_the_scale(
    gamma: list[float], beta: list[float], reset: Any, strict: bool
) -> None:
    mpbn = layer(C, neuron=lif(reset=reset, strict=strict))
    with torch.no_grad():
        mpbn.norm.weight.copy_(torch.tensor(gamma))
        mpbn.norm.bias.copy_(torch.tensor(beta))  # type: ignore[union-attr]  # this norm has a shift
    assert_folds(mpbn, sequence(10, 20, C))


def test_folded_spikes_are_identical_where_potentials_lie_on_the_threshold() -> None:
    """Inputs in steps of 1/4, and threshold and statistics on the same grid, so that one potential in twenty ties."""
    x = (sequence(3, 800, C) * 2).round() / 4
    for strict in (False, True):
        mpbn = MPBN(ns.LIF(math.inf, 1e-3, strict=strict, v_threshold=0.5), C, eps=2.0**-10)
        with torch.no_grad():
            mpbn.norm.weight.copy_(torch.tensor([1.0, -1.0, 0.5, -0.5, 2.0, -2.0]))
        mpbn.norm.running_var.fill_(1 - 2.0**-10)
        mpbn.norm.running_mean.fill_(0.25)
        assert_folds(mpbn, x)
        v = torch.cat([torch.zeros_like(x[:1]), mpbn.trace(x).v[:-1]]) + x
        assert ((v - 0.25) * mpbn.norm.weight == 0.5).float().mean() > 0.04


def test_a_scale_of_0_folds_to_neurons_that_fire_always_or_never() -> None:
    mpbn = layer(2)
    with torch.no_grad():
        mpbn.norm.weight.zero_()
        mpbn.norm.bias.copy_(torch.tensor([0.7, 0.5]))  # type: ignore[union-attr]  # this norm has a shift
    folded = mpbn.eval().fold()
    assert torch.as_tensor(folded.v_threshold).tolist() == [-math.inf, math.inf]
    assert folded(sequence(5, 3, 2)).mean((0, 1)).tolist() == [1.0, 0.0]
    assert folded.reset_by == pytest.approx(0.6)


def test_the_reset_amount_stays_that_of_the_raw_potential() -> None:
    mpbn = layer(C, neuron=lif(reset="soft"))
    folded = mpbn.eval().fold()
    assert folded.reset_by == pytest.approx(0.6)
    x = sequence(1, 50, C)
    spikes, after = folded.run(x)
    torch.testing.assert_close(after.v, x[0] - 0.6 * spikes[0])


def test_folding_changes_nothing_of_the_layer() -> None:
    mpbn = layer(C, neuron=lif(learn=("v_threshold",)))
    before = pickle.dumps(mpbn)
    folded = mpbn.fold()
    assert pickle.dumps(mpbn) == before
    assert list(folded.parameters()) == []


def test_a_norm_within_the_dynamics_cannot_be_folded() -> None:
    with pytest.raises(ConversionError, match=r"carry='normalized' the norm changes what the next step starts from.*train.*carry='raw'"):
        layer(carry="normalized").fold()


# --- what can go wrong -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MPBN(nn.ReLU(), 3), "MPBN.neuron: must be a LIF, got ReLU"),  # type: ignore[arg-type]  # what is tested
        (lambda: MPBN(lif(reset="soft_next"), 3), "reset must be one of soft, hard, none, got 'soft_next'"),
        (lambda: layer(3, carry="normalised"), "carry: must be 'raw' or 'normalized', got 'normalised'; did you mean 'normalized'"),
        (lambda: layer(3, statistics="all"), "statistics: must be 'per_step' or 'merged'"),
        (lambda: layer((3, 0)), "MPBN.features: must be a number of channels"),
        (lambda: layer(C)(sequence()), r"features of shape \(6,\) need units of as many axes, .*features=\(6, 1, 1\)"),
        (lambda: layer((4, 1, 1))(sequence()), r"x must be \(time, batch, 4, \*\)"),
        (lambda: layer()(sequence()[0]), r"features of shape|x must be"),
        (lambda: layer(C)(sequence(3, 1, C)), "more than one value each, got 1"),
        (lambda: layer(C).run(sequence(3, 2, C), (torch.zeros(2, C), 0)), "state must be a LIFState or None, got tuple"),
        (lambda: layer(neuron=lif(input_noise=0.1))(sequence()), "noise needs a stream"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_it_survives_copies_pickles_state_dicts_and_16_bits() -> None:
    mpbn, x = layer().eval(), sequence()
    other = layer(seed=1).eval()
    other.load_state_dict(mpbn.state_dict(), strict=True)
    for one in (copy.deepcopy(mpbn), pickle.loads(pickle.dumps(mpbn)), other):
        assert torch.equal(one(x), mpbn(x))
    half = mpbn.half()(x.half())
    assert half.dtype == torch.float16
    assert (half != mpbn(x)).float().mean() < 0.01
    assert layer().train()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
@pytest.mark.parametrize("training", [False, True])
def test_it_compiles_whole(training: bool) -> None:
    mpbn, other, x = layer().train(training), layer().train(training), sequence()
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), mpbn(x))
    torch.testing.assert_close(other.state_dict(), mpbn.state_dict())


def test_under_autocast_the_membrane_keeps_32_bits() -> None:
    net = ns.nn.SpikingSequential(nn.Conv2d(2, C, 1), layer(statistics="merged"))
    x = torch.rand(3, 4, 2, 3, 2)
    with torch.autocast("cpu", torch.bfloat16):
        spikes, state = net.run(x)
    assert spikes.dtype == torch.bfloat16
    assert state[1].v.dtype == torch.float32
    spikes.float().sum().backward()


def test_the_state_is_the_neurons() -> None:
    _, state = layer().run(sequence())
    assert isinstance(state, LIFState)
    assert ns.neurons.detach(state).v.requires_grad is False
