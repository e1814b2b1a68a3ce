"""``lif``: its equations, what odd numbers give, and what it refuses; on the reference and on the kernels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.ops.lif import lif
from neurosim.ops.neuron_arguments import RESETS, Reset
from neurosim.random import stream
from neurosim.surrogate import SURROGATES, Formula, surrogate
from tests.ops.neuron_cases import laid_out, normal

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation", "poisoned")]

INF = math.inf


def by_hand(
    x: list[float], a: float, theta: float, rho: float, v_reset: float, reset: str, strict: bool
) -> tuple[list[float], list[float]]:
    """Spikes and membranes of one neuron in Python's numbers, from the table in the docstring."""
    fires = (lambda v: v > theta) if strict else (lambda v: v >= theta)
    v, spikes, record = 0.0, [], []
    for x_t in x:
        r = fires(v)
        h = a * v + x_t
        if reset == "soft_next_decayed":
            h = a * (v - rho * r) + x_t
        elif reset == "hard_next":
            h = a * (v_reset if r else v) + x_t
        elif reset == "hard_next_erasing" and r:
            h = v_reset
        elif reset in ("soft_next", "soft_both"):
            h -= rho * r
        s = fires(h)
        v = {"soft": h - rho * s, "hard": v_reset if s else h, "soft_both": h - rho * (s - r)}.get(reset, h)
        spikes.append(float(s))
        record.append(v)
    return spikes, record


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_one_neuron_does_what_the_table_says(reset: Reset, strict: bool) -> None:
    """Numbers are multiples of 1/64, so that thresholds are met exactly and nothing is rounded before the tenth step."""
    x = [0.5, 0.5, 0.25, 1.5, 0.0, 2.75, -0.5, 1.0, 0.75, 1.0]
    out = lif(
        torch.tensor(x, dtype=torch.float64)[:, None],
        decay=0.5,
        threshold=0.75,
        reset_by=0.5,
        v_reset=0.25,
        reset=reset,
        strict=strict,
        record=True,
    )
    spikes, record = by_hand(x, 0.5, 0.75, 0.5, 0.25, reset, strict)
    assert out.spikes.flatten().tolist() == spikes
    assert out.record is not None
    assert out.record.flatten().tolist() == record
    assert out.v.item() == record[-1]


def test_a_constant_input_fires_at_the_period_of_the_equation() -> None:
    a, drive = math.exp(-1 / 20), 0.1
    spikes = lif(torch.full((100, 1), drive), decay=a, reset="hard").spikes
    period = math.ceil(math.log(1 - (1 - a) / drive) / math.log(a))  # drive (1 - a^n) / (1 - a) reaches 1 at that n
    assert spikes.nonzero()[:, 0].tolist() == list(range(period - 1, 100, period))


def test_only_strict_neurons_do_not_fire_at_the_threshold() -> None:
    x = torch.ones(1, 1)
    assert lif(x, decay=0.5).spikes.item() == 1
    assert lif(x, decay=0.5, strict=True).spikes.item() == 0


def test_the_sign_turns_the_comparison_and_nothing_else() -> None:
    x = torch.tensor([[-1.5, -1.5], [-0.5, -0.5]])
    out = lif(x, decay=0.0, threshold=-1.0, reset_by=0.25, sign=torch.tensor([1.0, -1.0]))
    assert out.spikes.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert lif(x[:1], decay=0.0, threshold=-1.0, reset_by=0.25, sign=-1.0).v.tolist() == [-1.75, -1.75]


@pytest.mark.parametrize("reset", RESETS)
def test_a_sequence_can_be_cut_in_time(reset: Reset) -> None:
    x = 0.5 + normal("x", (20, 3, 5))
    arguments: dict[str, Any] = {"decay": 0.8, "reset": reset, "v_reset": 0.1, "gain": torch.linspace(0.5, 1, 5)}
    whole = lif(x, **arguments)
    first = lif(x[:12], **arguments)
    second = lif(x[12:], first.v, **arguments)
    assert torch.equal(torch.cat([first.spikes, second.spikes]), whole.spikes)
    assert torch.equal(second.v, whole.v)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 1), (3, 5), (1, 5), (2, 1, 1), (2, 3, 5), (2, 1, 5)])
def test_a_parameter_broadcasts_as_torch_broadcasts_it(shape: tuple[int, ...]) -> None:
    x = 0.5 + normal("x", (6, 2, 3, 5))
    values = 0.5 + 0.1 * normal("p", shape)
    expanded = values.expand(2, 3, 5).contiguous()
    for name in ("decay", "threshold", "reset_by", "gain", "bias", "v_reset"):
        one, other = (lif(x, **{"decay": 0.5, "reset": "hard", name: value}) for value in (values, expanded))  # type: ignore[arg-type]  # one of several
        assert torch.equal(one.spikes, other.spikes)
        assert torch.equal(one.v, other.v)


def test_a_number_and_a_tensor_of_it_give_the_same() -> None:
    x = normal("x", (6, 40))
    one = lif(x, decay=0.9, threshold=0.3, gain=1.7, bias=-0.1)
    other = lif(x, **{k: torch.tensor(v) for k, v in {"decay": 0.9, "threshold": 0.3, "gain": 1.7, "bias": -0.1}.items()})  # type: ignore[arg-type]  # mypy takes each for any of them
    assert torch.equal(one.spikes, other.spikes)
    assert torch.equal(one.v, other.v)


def test_an_infinite_threshold_fires_never_or_always() -> None:
    x = torch.tensor([[-1e30, 0.0, 1e30]])
    assert lif(x, decay=0.5, threshold=INF).spikes.tolist() == [[0.0, 0.0, 0.0]]
    assert lif(x, decay=0.5, threshold=INF).v.tolist() == x[0].tolist()
    assert lif(x, decay=0.5, threshold=-INF, reset_by=1.0).spikes.tolist() == [[1.0, 1.0, 1.0]]
    assert lif(x, decay=0.5, threshold=torch.full((3,), -INF), reset_by=1.0, sign=-1.0).spikes.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("threshold", [INF, -INF])
@pytest.mark.parametrize("name", sorted(name for name in SURROGATES if SURROGATES[name].code is not None))
def test_an_infinite_threshold_has_no_gradient(threshold: float, name: str) -> None:
    x = normal("x", (4, 9)).requires_grad_()
    lif(x, decay=0.0, threshold=threshold, reset_by=1.0, surrogate=surrogate(name)).spikes.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("strict", [False, True])
def test_a_membrane_that_is_nan_never_fires_and_stays_nan(reset: Reset, strict: bool) -> None:
    x = torch.tensor([[math.nan], [5.0], [5.0]])
    for sign in (1.0, -1.0):
        out = lif(x, decay=0.5, threshold=sign, sign=sign, reset=reset, strict=strict, record=True)  # at rest it does not fire
        assert out.record is not None
        assert out.spikes.sum() == 0
        assert out.record.isnan().all()


def test_an_infinite_membrane_fires_by_its_sign() -> None:
    x = torch.tensor([[INF, -INF]])
    soft = lif(x, decay=0.5)
    assert soft.spikes.tolist() == [[1.0, 0.0]]
    assert soft.v.tolist() == [INF, -INF]
    assert lif(x, decay=0.5, reset="hard").v.tolist() == [0.0, -INF]
    assert lif(torch.zeros(1, 2), soft.v, decay=0.0).v.isnan().all()  # 0 · inf


def test_nan_in_one_neuron_does_not_touch_the_others() -> None:
    x = normal("x", (9, 40)).requires_grad_()
    with torch.no_grad():
        x[3, 7] = math.nan
    out = lif(x, decay=0.9, detach_reset=False)
    out.spikes.sum().backward()
    assert x.grad is not None
    bad = torch.zeros(40, dtype=torch.bool)
    bad[7] = True
    assert not x.grad[:, ~bad].isnan().any()
    assert x.grad[:4, 7].isnan().all()


@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (4, 0), (2, 0, 3), (0,)])
def test_no_steps_or_no_units_give_empty_results(shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, requires_grad=True)
    v = normal("v", shape[1:]).requires_grad_()
    out = lif(x, v, decay=torch.tensor(0.5, requires_grad=True), record=True)
    assert out.spikes.shape == shape
    assert out.record is not None
    assert out.record.shape == shape
    grads = torch.autograd.grad(out.spikes.sum() + out.v.sum(), (x, v))
    assert grads[0].shape == shape
    assert torch.equal(grads[1], torch.ones_like(v) if shape[0] == 0 else torch.zeros_like(v))


def test_no_steps_give_the_state_back_or_rest() -> None:
    v = normal("v", (3,))
    assert torch.equal(lif(torch.empty(0, 3), v, decay=0.5).v, v)
    assert torch.equal(lif(torch.empty(0, 3), decay=0.5).v, torch.zeros(3))


@pytest.mark.parametrize("units", [1, 7, 63, 65, 1023, 2049])
@pytest.mark.parametrize("steps", [1, 2, 33])
def test_any_number_of_units_gives_each_what_it_would_get_alone(units: int, steps: int) -> None:
    x = 0.5 + normal("x", (steps, units))
    together = lif(x, decay=0.7).spikes
    for unit in {0, units // 2, units - 1}:
        assert torch.equal(together[:, unit], lif(x[:, unit], decay=0.7).spikes)


@pytest.mark.parametrize("layout", ["channels last", "reversed", "strided"])
def test_the_order_in_memory_changes_no_number(layout: str) -> None:
    x = 0.5 + normal("x", (5, 2, 3, 4, 6))
    decay = torch.tensor([0.5, 0.7, 0.9])[:, None, None]
    grads, outputs = [], []
    for given in (x, laid_out(x, layout)):
        leaf = given.detach().requires_grad_()
        out = lif(leaf, decay=decay)
        (out.spikes * normal("w", tuple(x.shape))).sum().backward()
        outputs.append(out)
        grads.append(leaf.grad)
    assert torch.equal(outputs[0].spikes, outputs[1].spikes)
    assert torch.equal(outputs[0].v, outputs[1].v)
    torch.testing.assert_close(grads[1], grads[0])


def test_channels_last_gives_channels_last() -> None:
    x = torch.rand(5, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0)).movedim(2, -1).contiguous().movedim(-1, 2).requires_grad_()
    out = lif(x, decay=0.5, record=True)
    assert out.record is not None
    assert out.spikes.stride() == x.stride() == out.record.stride()
    assert out.v.stride() == x.stride()[1:]
    out.spikes.sum().backward()
    assert x.grad is not None
    assert x.grad.stride() == x.stride()
    assert lif(x[:, :, ::2], decay=0.5).spikes.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_inputs_have_a_state_in_float32(dtype: torch.dtype) -> None:
    x = (0.5 + normal("x", (20, 33))).to(dtype)
    out = lif(x, decay=0.9, record=True)
    exact = lif(x.float(), decay=0.9, record=True)
    assert out.record is not None
    assert exact.record is not None
    assert (out.spikes.dtype, out.record.dtype, out.v.dtype) == (dtype, dtype, torch.float32)
    assert torch.equal(out.spikes, exact.spikes.to(dtype))
    assert torch.equal(out.record, exact.record.to(dtype))
    assert torch.equal(out.v, exact.v)


STREAM = stream(5, "layer", draw=3)


def test_input_noise_is_that_of_its_stream() -> None:
    x = normal("x", (12, 3, 50))
    noise = STREAM.child("input").normal(x.shape, like=x)
    noisy = lif(x, decay=0.8, input_noise=0.3, stream=STREAM, record=True)
    plain = lif(x + 0.3 * noise, decay=0.8, record=True)
    assert torch.equal(noisy.spikes, plain.spikes)
    assert torch.equal(noisy.v, plain.v)


def test_membrane_noise_is_that_of_its_stream_and_the_last_thing_before_the_spike() -> None:
    x = normal("x", (12, 3, 50))
    noise = STREAM.child("membrane").normal(x.shape, like=x)
    noisy = lif(x, decay=0.8, bias=0.1, membrane_noise=0.3, stream=STREAM)
    v, spikes = torch.zeros(3, 50), []
    for x_t, noise_t in zip(x.unbind(0), noise.unbind(0), strict=True):
        h = 0.8 * v + x_t + 0.1 + 0.3 * noise_t
        spikes.append((h >= 1).float())
        v = torch.where(h >= 1, h - 1, h)
    assert torch.equal(noisy.spikes, torch.stack(spikes))
    assert torch.equal(noisy.v, v)


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_noise_is_numbered_by_step_and_unit_wherever_a_sequence_is_cut(layout: str) -> None:
    x = normal("x", (12, 2, 3, 5))
    arguments: dict[str, Any] = {"decay": 0.8, "input_noise": 0.3, "membrane_noise": 0.2, "stream": STREAM}
    whole = lif(x, **arguments)
    first = lif(laid_out(x[:7], layout), **arguments)
    second = lif(laid_out(x[7:], layout), first.v, step=torch.tensor(7), **arguments)
    assert torch.equal(torch.cat([first.spikes, second.spikes]), whole.spikes)
    assert torch.equal(second.v, whole.v)


def test_noise_is_the_same_on_the_way_back() -> None:
    x = normal("x", (40, 3, 50))
    noise = STREAM.child("input").normal(x.shape, like=x)
    grads = []
    for given, level in ((x, 0.3), (x + 0.3 * noise, 0.0)):
        leaf, gain = given.clone().requires_grad_(), torch.full((50,), 1.5, requires_grad=True)
        spikes = lif(leaf, decay=0.8, gain=gain, input_noise=level, stream=STREAM, detach_reset=False).spikes
        grads.append(torch.autograd.grad((spikes * normal("w", (40, 3, 50))).sum(), (leaf, gain)))
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)


@pytest.fixture
def own() -> Iterator[str]:
    """A surrogate of the user's own, without a code."""
    SURROGATES.add("test window", Formula(lambda z: (z.abs() < 0.5).to(z.dtype), {}))
    yield "test window"
    del SURROGATES._entries["test window"]


def test_a_surrogate_of_ones_own_is_used(own: str) -> None:
    x, grads = normal("x", (12, 50)), []
    for shape in (surrogate(own), surrogate("rectangle")):
        leaf = x.clone().requires_grad_()
        lif(leaf, decay=0.8, input_noise=0.1, stream=STREAM, surrogate=shape).spikes.sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decay": torch.ones(4)}, r"lif: decay must broadcast to one time step, \(2, 3\), got shape \(4,\)"),
        ({"decay": torch.ones(1, 2, 3)}, "lif: decay must broadcast to one time step"),
        ({"decay": torch.ones(3, dtype=torch.int64)}, "lif: decay must be floating point on cpu, got torch.int64 on cpu"),
        ({"v": torch.zeros(3)}, r"lif: v must be floating point, of shape \(2, 3\), on cpu, got torch.float32 of shape \(3,\) on cpu"),
        ({"input_noise": 0.1, "stream": STREAM, "step": 1 << 34}, "one stream holds elements 0 to 2.34 - 1"),
    ],
)
def test_what_does_not_hold_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lif(torch.zeros(4, 2, 3), **{"decay": 0.5, **arguments})


def test_no_argument_is_changed() -> None:
    tensors = [normal(name, (3, 4)) for name in ("x", "v", "p")]
    before = [tensor.clone() for tensor in tensors]
    for reset, record in itertools.product(RESETS, (False, True)):
        lif(tensors[0], tensors[1][0], decay=tensors[2][0], reset=reset, record=record)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_results_share_no_memory() -> None:
    x: Tensor = normal("x", (1, 4))
    v = normal("v", (4,))
    out = lif(x, v, decay=0.5, record=True)
    assert out.record is not None
    assert len({tensor.data_ptr() for tensor in (x, v, out.spikes, out.v, out.record)}) == 5
