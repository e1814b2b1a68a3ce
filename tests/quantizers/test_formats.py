"""Formats: which numbers their codes are, and rounding to them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.quantizers import DenormalInteger, Integer, MiniFloat, Quantizer, Table, exponent_bias, fake_quantize, number_format, round_to

NAMES = list(ns.FORMATS)
ST: Any = "st"
UP: Any = "up"


def signal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(5, name).normal(shape, like=torch.empty(0, dtype=torch.float64))


@pytest.mark.parametrize("name", NAMES)
def test_every_code_is_a_number_that_rounding_leaves_alone_and_every_result_is_one(name: str) -> None:
    form = ns.FORMATS[name]
    codes = [form.decode(code) for code in range(1 << form.bits)]
    numbers = torch.tensor(codes)
    assert torch.equal(round_to(numbers, form), numbers)
    assert sorted({*codes}) == list(form.values)
    assert len(form.values) == (1 << form.bits) - form.signed  # there is one zero, and it has two codes
    scaled = fake_quantize(signal(500).float(), form, 2.5)
    grid = torch.tensor(form.values) * (torch.tensor(2.5) / form.largest)
    assert bool(torch.isin(scaled, grid).all())


def test_names_say_how_many_bits() -> None:
    assert len(NAMES) > 50
    assert {name: ns.FORMATS[name].bits for name in ("int4", "uint8", "dint4", "pow2_5", "e2m1", "e4m3")} == {
        "int4": 4,
        "uint8": 8,
        "dint4": 4,
        "pow2_5": 5,
        "e2m1": 4,
        "e4m3": 8,
    }
    with pytest.raises(ConfigError, match="no number format is named 'e2m'; did you mean 'e2m"):
        number_format("e2m")


@pytest.mark.parametrize(("name", "dtype"), [("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)])
def test_eight_bit_floats_are_those_of_torch_below_their_infinities(name: str, dtype: torch.dtype) -> None:
    form = number_format(name)
    edges = torch.tensor(form.values)
    x = torch.cat([signal(4000).float() * 30, signal(4000).float() * 1e-3, (edges[1:] + edges[:-1]) / 2, edges])
    x = x[x.abs() <= torch.finfo(dtype).max]
    assert torch.equal(round_to(x, form), x.to(dtype).float())


@pytest.mark.parametrize(("exponent", "mantissa"), [(2, 1), (3, 2), (4, 3), (1, 6), (5, 2)])
def test_floats_have_the_steps_of_a_real_exponent_bias(exponent: int, mantissa: int) -> None:
    """The formula of LLM-FP4: the step of each number follows its exponent, and is constant below that of the least normal one."""
    x, limit = 0.4 * signal(3000), 1.7
    form = MiniFloat(exponent, mantissa)
    bias = exponent_bias(form, limit)
    top = (2 - 2.0**-mantissa) * 2 ** (2**exponent - 1 - bias)
    assert top == pytest.approx(limit)
    limited = x.clamp(-top, top)
    step = 2 ** ((limited.abs().log2() + bias).floor().clamp(min=1) - mantissa - bias)
    torch.testing.assert_close(fake_quantize(x, form, limit), (limited / step).round() * step, rtol=1e-12, atol=1e-14)


def test_one_exponent_bit_gives_integers() -> None:
    x = signal(2000)
    assert [7 * one / 3.5 for one in number_format("e1m2").values] == list(number_format("int4").values)
    assert torch.equal(fake_quantize(x, "e1m2", 2.0), fake_quantize(x, "int4", 2.0))
    assert number_format("pow2_4").values == number_format("e3m0").values


def test_half_a_step_keeps_small_numbers_from_being_lost() -> None:
    small = torch.tensor([0.3, -0.4, 0.7])
    assert round_to(small, number_format("dint4")).tolist() == [0.5, -0.5, 0.5]
    assert round_to(small, number_format("int4")).tolist() == [0.0, 0.0, 1.0]
    assert len(DenormalInteger(4).values) == len(Integer(4).values)


def test_every_rounding_follows_its_definition_ties_included() -> None:
    x = torch.tensor([-2.5, -1.7, -1.5, -0.5, 0.0, 0.5, 1.5, 1.7, 2.5, 3.0, 8.0])
    expected = {
        "half_even": [-2, -2, -2, 0, 0, 0, 2, 2, 2, 3, 3],
        "half_to_zero": [-2, -2, -1, 0, 0, 0, 1, 2, 2, 3, 3],
        "to_zero": [-2, -1, -1, 0, 0, 0, 1, 1, 2, 3, 3],
        "away_from_zero": [-3, -2, -2, -1, 0, 1, 2, 2, 3, 3, 3],
        "floor": [-3, -2, -2, -1, 0, 0, 1, 1, 2, 3, 3],
        "ceil": [-2, -1, -1, 0, 0, 1, 2, 2, 3, 3, 3],
    }
    for rounding, numbers in expected.items():
        assert round_to(x, Integer(3), rounding).tolist() == numbers, rounding  # type: ignore[arg-type]  # the names of the rules


def test_stochastic_rounding_has_the_mean_of_the_signal() -> None:
    n = 40_000
    for x in (0.3, 1.25, 5.5, -4.1):
        drawn = fake_quantize(torch.full((n,), x), "e2m1", 6.0, rounding="stochastic", stream=ns.random.stream(0, "r"))
        low, high = (float(one) for one in drawn.unique())
        p = (x - low) / (high - low)
        assert abs(float(drawn.mean()) - x) < 5 * (high - low) * math.sqrt(p * (1 - p) / n)
        assert {low, high} <= {*number_format("e2m1").values}
    assert fake_quantize(torch.tensor([99.0, -99.0]), "e2m1", 6.0, rounding="stochastic", stream=ns.random.stream(0, "r")).tolist() == [
        6,
        -6,
    ]
    assert fake_quantize(torch.tensor([2.6]), "e2m1", 6.0, rounding="stochastic").item() == 3.0  # noiseless


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_signal_keeps_its_type_what_is_no_number_stays_and_what_is_infinite_saturates(dtype: torch.dtype) -> None:
    y = fake_quantize(torch.tensor([math.nan, math.inf, -math.inf, 0.26], dtype=dtype), "e2m1", 1.5)
    assert y.dtype == dtype
    assert y[0].isnan()
    assert y[1:].tolist() == [1.5, -1.5, 0.25]


def test_a_channel_of_zeros_stays_zero() -> None:
    y = fake_quantize(torch.tensor([[0.0, 0.0], [1.2, -2.0]]), "int4", torch.tensor([[0.0], [2.0]]))
    assert y.tolist() == [[0.0, 0.0], [pytest.approx(8 / 7), -2.0]]


def test_gradients_follow_their_rule() -> None:
    x = torch.tensor([-3.0, -0.4, 0.3, 1.9, 2.0, 7.0], dtype=torch.float64, requires_grad=True)
    for grad, expected in (("ste_masked", [0, 1, 1, 1, 1, 0]), ("ste", [1] * 6), ("lsq", [0, 1, 1, 1, 1, 0])):
        y = fake_quantize(x, "e2m1", torch.tensor(2.0, dtype=torch.float64), grad=grad)  # type: ignore[arg-type]  # the names of the rules
        assert torch.equal(y.detach(), fake_quantize(x.detach(), "e2m1", 2.0))
        assert torch.autograd.grad(y.sum(), x)[0].tolist() == expected
    assert not fake_quantize(x, "e2m1", 2.0, grad="through").requires_grad


def test_a_learned_limit_has_the_derivative_of_what_stays_of_the_codes() -> None:
    """Where no code changes y = r·v/v_max − (x − x₀), so finite differences see v/v_max, and the rule adds −x/r between the ends."""
    x = torch.tensor([-3.0, -0.4, 0.3, 1.85, 7.0], dtype=torch.float64)
    limit = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(fake_quantize(x, "int4", limit, grad="lsq").sum(), limit)
    h = 1e-6
    change = (fake_quantize(x, "int4", 2.0 + h) - fake_quantize(x, "int4", 2.0 - h)) / (2 * h)
    inside = x.abs() <= 2.0
    assert float(found) == pytest.approx(float((change - inside * x / 2.0).sum()), abs=1e-8)


def test_rounding_compiles_and_maps() -> None:
    x = signal(4, 6).float()
    compiled = torch.compile(lambda x: fake_quantize(x, "e2m1", 1.0), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), fake_quantize(x, "e2m1", 1.0))
    assert torch.equal(torch.func.vmap(lambda x: fake_quantize(x, "dint4", 1.0))(x), fake_quantize(x, "dint4", 1.0))
    limits = torch.tensor([0.5, 1.0, 2.0, 0.0])
    expected = fake_quantize(x, "int4", limits.unsqueeze(1))
    limited = torch.compile(lambda limit: fake_quantize(x, "int4", limit), fullgraph=True, backend="aot_eager")
    assert torch.equal(limited(limits.unsqueeze(1)), expected)
    assert torch.equal(torch.func.vmap(lambda x, limit: fake_quantize(x, "int4", limit))(x, limits), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Integer(1), r"Integer.bits: must be a whole number, from 2 to 16, got 1"),
        (lambda: MiniFloat(0, 3), r"MiniFloat.exponent: must be a whole number, from 1 to 6, got 0"),
        (lambda: MiniFloat(6, 10), r"exponent \+ mantissa \+ sign, bits: must be a whole number, from 1 to 16, got 17"),
        (lambda: Table((0.0, 1.0, 2.0)), r"Table.magnitudes: must be a power of two of numbers, at least 2, got 3"),
        (lambda: Table((0.0, 2.0, 1.0, 3.0)), r"Table.magnitudes: must ascend from 0 and be finite"),
        (lambda: Integer(4).decode(16), r"Format.decode: code: must be a whole number, from 0 to 15, got 16"),
        (lambda: exponent_bias(MiniFloat(2, 1), 0.0), r"exponent_bias: limit: must be a finite number > 0"),
        (lambda: fake_quantize(torch.tensor([1]), "int4", 1.0), r"x must be floating point, got torch.int64"),
        (lambda: fake_quantize(torch.ones(2), "int4", torch.tensor([1.0, -1.0])), r"limit must be ≥ 0, got -1\.0"),
        (lambda: fake_quantize(torch.ones(2, 3), "int4", torch.ones(4)), r"broadcast to x, shape \(2, 3\), got shape \(4,\)"),
        (lambda: fake_quantize(torch.ones(2, 3), "int4", torch.ones(5, 1, 1)), r"broadcast to x, shape \(2, 3\), got shape \(5, 1, 1\)"),
        (lambda: Quantizer("int4", torch.ones(4))(torch.ones(2, 3)), r"broadcast to x, shape \(2, 3\), got shape \(4,\)"),
        (lambda: fake_quantize(torch.ones(1), "int4", 1.0, grad=ST), r"grad: must be one of .*, got 'st'"),
        (lambda: fake_quantize(torch.ones(1), "int4", 1.0, rounding=UP), r"rounding: must be one of"),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=message):
        make()
