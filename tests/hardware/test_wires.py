"""The stage of resistive wires: tiles, pairs, loads; and the loss along one line that depends on the inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.ir_drop import ir_drop
from neurosim.hardware.nodal import nodal_conductance
from neurosim.hardware.parasitics import LOAD_LIMIT, Crossbar, parasitic_load
from neurosim.hardware.stage import STAGES, Context
from neurosim.hardware.stages import Wires, wire_loads, wired
from neurosim.random import stream

WIRES: dict[str, Any] = {"rows": 4, "columns": 3, "r_row_ohm": 20.0, "r_column_ohm": 30.0}


def cells(*shape: int) -> Tensor:
    return 1e-4 * stream(5, "cells").uniform(shape, like=torch.empty(0, dtype=torch.float64))


def wires_of(spec: Wires) -> Crossbar:
    return Crossbar(spec.r_row_ohm, spec.r_column_ohm, spec.driven, spec.sensed)


@pytest.mark.parametrize(("outs", "ins"), [(6, 8), (7, 9), (2, 3), (3, 4), (10, 13)])
def test_every_tile_is_solved_by_itself(outs: int, ins: int) -> None:
    g, spec = cells(2, 2, outs, ins), Wires(**WIRES, method="exact")
    expected = torch.empty_like(g)
    for plane in range(2):
        for group in range(2):
            for i in torch.arange(outs).split(-(-outs // -(-outs // 3))):
                for j in torch.arange(ins).split(-(-ins // -(-ins // 4))):
                    tile = g[plane, group, i[:, None], j]
                    expected[plane, group, i[:, None], j] = nodal_conductance(tile[None], wires_of(spec))[0]
    assert torch.allclose(wired(g, spec), expected, rtol=1e-9)


def test_the_fast_method_is_near_the_exact_one_and_not_the_same() -> None:
    g = cells(2, 1, 7, 9)
    fast, exact = wired(g, Wires(**WIRES)), wired(g, Wires(**WIRES, method="exact"))
    assert not torch.equal(fast, exact)
    assert (fast - exact).abs().sum(-1).max() < 0.01 * 4 * g.max()
    assert (exact - g).abs().max() > 10 * (fast - exact).abs().max()


@pytest.mark.parametrize("field", ["r_row_ohm", "r_column_ohm"])
def test_each_resistance_is_that_of_its_wire(field: str) -> None:
    g, spec = cells(1, 1, 3, 4), Wires(**{**WIRES, "r_row_ohm": 0.0, "r_column_ohm": 0.0, field: 50.0}, method="exact")
    other = Crossbar(50.0, 0.0) if field == "r_row_ohm" else Crossbar(0.0, 50.0)
    assert torch.allclose(wired(g, spec)[0], nodal_conductance(g[0], other), rtol=1e-9)


@pytest.mark.parametrize("ends", ["first", "last", "both"])
def test_ends_are_those_of_the_network(ends: Any) -> None:
    g, spec = cells(1, 1, 3, 4), Wires(**WIRES, driven=ends, sensed=ends, method="exact")
    assert torch.allclose(wired(g, spec)[0], nodal_conductance(g[0], wires_of(spec)), rtol=1e-9)


@pytest.mark.parametrize("method", ["fast", "exact"])
def test_interleaved_planes_stand_on_common_columns_in_pairs(method: Any) -> None:
    g, spec = cells(4, 2, 3, 4), Wires(**WIRES, interleaved=True, method=method)
    tolerance = 1e-9 if method == "exact" else 0.01
    a = wired(g, spec)
    assert a.shape == g.shape
    for pair in (0, 2):
        for group in range(2):
            truth = nodal_conductance(g[pair : pair + 2, group], wires_of(spec))
            assert torch.allclose(a[pair : pair + 2, group], truth, rtol=tolerance, atol=tolerance * float(g.max()))
    assert not torch.allclose(a, wired(g, Wires(**WIRES, method=method)), rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 1, 3, 4), (3, 4)])
def test_planes_without_a_partner_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="planes in pairs"):
        wired(cells(*shape), Wires(**WIRES, interleaved=True))


def test_loads_say_which_tiles_the_fast_method_may_miss() -> None:
    g = cells(1, 1, 7, 9)
    g[..., 3:6, :3] *= 400
    spec = Wires(**WIRES)
    loads = wire_loads(g, spec)
    assert loads.shape == (1, 1, 3, 3)
    assert loads[0, 0, 1, 0] == parasitic_load(g[:, 0, 3:6, :3], wires_of(spec))
    assert loads[0, 0, 2, 2] == parasitic_load(g[:, 0, 6:, 6:], wires_of(spec))
    assert (loads > LOAD_LIMIT).nonzero().tolist() == [[0, 0, 1, 0]]
    assert wire_loads(cells(4, 2, 7, 9), Wires(**WIRES, interleaved=True)).shape == (2, 2, 3, 3)


def test_ideal_wires_give_back_what_came() -> None:
    spec = Wires(**{**WIRES, "r_row_ohm": 0.0, "r_column_ohm": 0.0})
    g = cells(2, 1, 3, 4)
    assert STAGES["wires"].apply(g, spec, {}, None, Context(None)) is g
    assert STAGES["wires"].describe(spec) == "ideal wires"


def test_the_gradient_is_the_true_derivative_over_the_edges_of_tiles() -> None:
    g = (1e4 * cells(2, 1, 4, 5)).requires_grad_()
    for fields in ({}, {"method": "exact"}, {"interleaved": True}):
        spec = Wires(**{**WIRES, "r_row_ohm": 0.02, "r_column_ohm": 0.03, **fields})
        assert torch.autograd.gradcheck(lambda g, spec=spec: wired(g, spec), (g,))


def test_a_fast_tile_compiles_into_one_graph() -> None:
    g, spec = cells(2, 1, 7, 9).float(), Wires(**WIRES)
    compiled = torch.compile(lambda g: wired(g, spec), fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(g), wired(g, spec), rtol=1e-6)


def test_chips_on_an_axis_of_their_own_are_solved_as_one_by_one() -> None:
    g, spec = cells(3, 2, 1, 7, 9), Wires(**WIRES)
    assert torch.allclose(torch.func.vmap(lambda one: wired(one, spec))(g), torch.stack([wired(one, spec) for one in g]), rtol=1e-12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"rows": 5000, "method": "exact"}, "at most 4096"), ({"r_row_ohm": -1.0}, "r_row_ohm"), ({"columns": 0}, "columns")],
)
def test_tiles_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Wires(**{**WIRES, **fields})


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.5])
def test_loss_along_a_line_is_that_of_the_loop(strength: float) -> None:
    like = torch.empty(0, dtype=torch.float64)
    x, w = (stream(1, name).uniform(shape, like=like) * 2 - 1 for name, shape in (("x", (3, 2, 40)), ("w", (5, 40))))
    y = x @ w.T
    got = ir_drop(y, x, w, strength=strength, r_wire_ohm=0.7, g_max_siemens=2e-4)
    for b in range(3):
        for c in range(2):
            for i in range(5):
                a = sum(abs(float(w[i, j]) * float(x[b, c, j])) for j in range(40)) * 40 * 0.7 * 2e-4
                lost = sum(float(w[i, j] * x[b, c, j]) * (1 - (1 - j / 40) ** 2) for j in range(40))
                expected = float(y[b, c, i]) - strength * a * (a * (0.05 * a - 0.2) + 0.5) * lost
                assert got[b, c, i].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_loss_along_a_line_grows_with_the_square_of_small_inputs_and_has_a_gradient() -> None:
    w = stream(1, "w").uniform((5, 40), like=torch.empty(0, dtype=torch.float64))
    x = torch.ones(1, 40, dtype=torch.float64)
    lost = [(x * s @ w.T - ir_drop(x * s @ w.T, x * s, w)).squeeze() for s in (1e-3, 2e-3)]
    assert torch.allclose(lost[1], 4 * lost[0], rtol=1e-4)
    inputs = tuple(part.clone().requires_grad_() for part in (w[:, :6] @ w[:, :6].T, x[:, :6] * 0.5, w[:, :6]))
    assert torch.autograd.gradcheck(lambda y, x, w: ir_drop(y, x, w, r_wire_ohm=1e3), inputs)


def test_shapes_that_are_no_product_are_refused() -> None:
    with pytest.raises(ConfigError, match="ir_drop: w must be"):
        ir_drop(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(4, 3))
